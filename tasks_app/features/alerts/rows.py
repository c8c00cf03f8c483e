"""The state of alerts in the database. Guarded updates decide which process changes and which sends one.

An alert fires once its condition has held for `hold` seconds without a break, and is resolved once it has not held for
twice as long. It changes only after the webhook was told of its last change, so that it is told of both, in order.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.db.models import F, Q, QuerySet
from django.db.models.functions import Now

from tasks_app.features.alerts.conditions import Condition, Judgement
from tasks_app.features.alerts.models import Alert
from tasks_app.queue.current import writing
from tasks_app.runner.backoff import Backoff

#: The row that says when alerts were last evaluated.
ROUND = "round"
#: Recovery has to last so many times as long as the condition.
RECOVERY_RATIO = 2
#: Another process sends an alert after so long if the one that took it died. Longer than a send may take.
SEND_SECONDS = 60.0
#: Between two tries, at least and at most.
FIRST_RETRY_SECONDS, MAX_RETRY_SECONDS = 10.0, 600.0
#: What was not told for so long is given up: the alert may change again.
GIVE_UP_SECONDS = 86_400.0
#: Two moments that differ by less are one.
SAME_MOMENT = timedelta(milliseconds=1)
#: Alerts that one round sends.
MAX_SENT = 50


def take_round(seconds: float) -> bool:
    """Whether this process is to evaluate now: one of all does every `seconds`. Raises DatabaseError."""
    free = Q(seen_at__isnull=True) | Q(seen_at__lte=_ago(seconds)) | Q(seen_at__gt=_ago(-seconds))
    this = Alert.objects.filter(pk=ROUND)
    if not probe():
        with writing():
            Alert.objects.bulk_create([Alert(key=ROUND)], ignore_conflicts=True)
    if not this.filter(free).exists():  # a read: most processes take no lock
        return False
    with writing():
        return this.filter(free).update(seen_at=Now()) == 1


def probe() -> bool:
    """Whether alerts were evaluated before. Raises DatabaseError."""
    return Alert.objects.filter(pk=ROUND).exists()


def firing() -> list[Alert]:
    """The alerts that fire, in the order in which they began."""
    return list(Alert.objects.filter(firing=True).order_by("since", "key"))


def observe(judgement: Judgement, hold: float, gap: float) -> None:
    """Note what was judged. An observation more than `gap` seconds after the last one begins anew.

    Raises DatabaseError.
    """
    rows = {row.key: row for row in Alert.objects.exclude(pk=ROUND)}
    for key, condition in judgement.holding.items():
        _observe(rows.get(key), key, condition, hold, gap)
    for key, row in rows.items():
        if judgement.denies(key):
            _observe(row, key, None, hold * RECOVERY_RATIO, gap)


def _observe(row: Alert | None, key: str, condition: Condition | None, hold: float, gap: float) -> None:
    """`condition`: None if it does not hold."""
    holds = condition is not None
    if row is None:
        with writing():
            Alert.objects.bulk_create([Alert(key=key)], ignore_conflicts=True)
    elif row.firing == holds:
        if row.differs_since is not None:
            with writing():
                Alert.objects.filter(pk=key, firing=holds).update(differs_since=None, seen_at=None)
        return
    said = {} if condition is None else {"sentence": condition.sentence, "details": dict(condition.details)}
    other = Alert.objects.filter(pk=key, firing=not holds)
    lasting = other.filter(differs_since__isnull=False, seen_at__gte=_ago(gap), seen_at__lte=_ago(-gap))
    told = Q(told=True) | Q(since__lte=_ago(GIVE_UP_SECONDS))
    change: dict[str, Any] = {
        "firing": holds, "told": False, "since": F("differs_since"), "differs_since": None, "seen_at": None,
        "next_send_at": None, "failures": 0, "send_error": "",
    }  # fmt: skip
    with writing():
        if lasting.filter(told, differs_since__lte=_ago(hold)).update(**change, **said):
            return
        if not lasting.update(seen_at=Now(), **said):
            other.update(differs_since=Now(), seen_at=Now(), **said)


def to_send() -> list[Alert]:
    """Changes that the webhook was not told of, and that are due. Raises DatabaseError."""
    return list(_due().order_by("since", "key")[:MAX_SENT])


def take(row: Alert) -> bool:
    """Whether this process is to send it. It is this process's for SEND_SECONDS; then another may send it again."""
    with writing():
        return _same(row, _due()).update(next_send_at=_ago(-SEND_SECONDS)) == 1


def sent(row: Alert) -> None:
    """The webhook took it."""
    with writing():
        _same(row, Alert.objects.all()).update(told=True, next_send_at=None, failures=0, send_error="")


def not_sent(row: Alert, why: str) -> None:
    """It is tried again after a pause that doubles."""
    pause = Backoff(FIRST_RETRY_SECONDS, MAX_RETRY_SECONDS, row.failures).failed()
    with writing():
        _same(row, Alert.objects.all()).update(
            next_send_at=_ago(-pause), failures=row.failures + 1, send_error=why[:300]
        )


def _due() -> QuerySet[Alert]:
    return Alert.objects.filter(Q(next_send_at__isnull=True) | Q(next_send_at__lte=Now()), told=False)


def _same(row: Alert, rows: QuerySet[Alert]) -> QuerySet[Alert]:
    """Of these rows the one that is as it was read."""
    rows = rows.filter(pk=row.pk, told=False, firing=row.firing)
    if row.since is None:
        return rows.filter(since=None)
    # SQLite stores Now() as a text that equals no value that is read.
    return rows.filter(since__gt=row.since - SAME_MOMENT, since__lt=row.since + SAME_MOMENT)


def _ago(seconds: float) -> Any:
    return Now() - timedelta(seconds=seconds)
