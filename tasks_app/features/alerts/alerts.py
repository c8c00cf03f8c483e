"""When an alert fires: conditions are judged from readings, and the database has the state of each alert.

An alert fires once its condition has held for `hold` seconds without a break, and is resolved once it has not held for
twice as long. It changes only after the webhook was told of its last change, so that it is told of both, in order.
Guarded updates decide which process changes and which sends one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from django.db.models import Count, F, Q, QuerySet
from django.db.models.functions import Now

from tasks_app.features.alerts.models import Alert
from tasks_app.handlers.words import plural, span
from tasks_app.logs.harmless import harmless
from tasks_app.metrics.rates import recent_rates
from tasks_app.metrics.system_reading import SystemReading
from tasks_app.queue.current import writing
from tasks_app.queue.models import FailureReason, Task
from tasks_app.runner.backoff import Backoff

#: The alerts.
NO_NODE, OLDEST_AGE, FAILED_SHARE, CANNOT_START = "no_node", "oldest_age", "failed_share", "cannot_start"
ENGINE_UNREACHABLE = "engine_unreachable"
#: Those that are about a handler.
OF_HANDLERS = frozenset({OLDEST_AGE, FAILED_SHARE, CANNOT_START})
#: The share of failed tasks is judged once so many have ended.
MIN_ENDED = 20
#: Characters of what a handler or a node says.
MAX_QUOTE_CHARS = 300
#: Handlers, and nodes, that an alert names.
MAX_NAMES = 100


@dataclass(frozen=True)
class Condition:
    """A condition that holds. `handler`: the one that it is about, or ""."""

    alert: str
    handler: str
    sentence: str
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """The key of the alert's row."""
        return key_of(self.alert, self.handler)


def key_of(alert: str, handler: str = "") -> str:
    """The key of an alert's row: no handler's name has a `|`."""
    return f"{alert}|{handler}" if handler else alert


@dataclass(frozen=True)
class Judgement:
    """`holding`: the conditions that hold, by key. `judged`: the alerts that this says something about, except for the
    `undecided` keys."""

    holding: Mapping[str, Condition]
    judged: frozenset[str]
    undecided: frozenset[str] = frozenset()

    def denies(self, key: str) -> bool:
        """Whether this says that the condition does not hold."""
        return key.partition("|")[0] in self.judged and key not in self.holding and key not in self.undecided


#: Failed tasks that are read, the latest.
MAX_FAILED_READ = 10_000


@dataclass(frozen=True)
class Share:
    """Tasks that ended within the last `seconds`, without cancelled ones."""

    failed: int
    ended: int
    seconds: float


def failed_shares() -> dict[str, Share]:
    """By handler, read from rows, so that no task pays for it. Looks back five minutes, or less if many attempts have
    ended. Raises DatabaseError."""
    rates = recent_rates()
    late = Task.objects.failed().filter(completed_at__gte=Now() - timedelta(seconds=rates.seconds))
    latest = late.exclude(failure_reason=FailureReason.CANCELLED).order_by("-completed_at").values("pk")
    among = Task.objects.filter(pk__in=latest[:MAX_FAILED_READ]).order_by()
    failed = dict(among.values_list("task_type").annotate(count=Count("pk")))
    # A completed task has exactly one attempt that succeeded.
    return {
        name: Share(failed.get(name, 0), failed.get(name, 0) + rates.succeeded.get(name, 0), rates.seconds)
        for name in {*failed, *rates.succeeded}
    }


def judge(reading: SystemReading, shares: Mapping[str, Share], oldest_limit: float, share_limit: float) -> Judgement:
    """Judge a reading. `oldest_limit` in seconds; `share_limit`: from 0 to 1.

    While no node lives, handlers are not judged: they all wait for the same reason. Nor is what waits because an engine
    cannot be reached: that is one condition, which names the handlers.
    """
    if not reading.nodes:
        waiting = reading.queue_size
        condition = Condition(NO_NODE, "", "no worker lives: tasks are accepted and wait", {"pending": waiting})
        return Judgement({condition.key: condition}, frozenset({NO_NODE}))
    conditions, undecided = _engine(reading), set[str]()
    for name, handler in reading.handlers.items():
        shown = harmless(name)
        if handler.lacks_engine:
            undecided |= {key_of(OLDEST_AGE, name), key_of(CANNOT_START, name)}
        elif handler.ready and handler.oldest > oldest_limit:
            sentence = f"handler {shown}: the oldest ready task has waited for {span(handler.oldest)}"
            details = {
                "seconds": round(handler.oldest, 1),
                "limit": oldest_limit,
                "ready": handler.ready,
                "slots": handler.slots,
            }
            conditions.append(Condition(OLDEST_AGE, name, sentence, details))
        if handler.own_problems:
            problem = harmless(handler.own_problems[0][:MAX_QUOTE_CHARS])
            sentence = f"handler {shown} cannot start: {problem}"
            conditions.append(Condition(CANNOT_START, name, sentence, {"slots": handler.slots}))
        share = shares.get(name)
        if share and share.ended >= MIN_ENDED and share.failed > share_limit * share.ended:
            sentence = f"handler {shown}: {share.failed} of {share.ended} tasks failed in {span(share.seconds)}"
            details = {"failed": share.failed, "ended": share.ended, "limit": share_limit}
            details["seconds"] = round(share.seconds)
            conditions.append(Condition(FAILED_SHARE, name, sentence, details))
    judged = frozenset({NO_NODE, ENGINE_UNREACHABLE, *OF_HANDLERS})
    return Judgement({condition.key: condition for condition in conditions}, judged, frozenset(undecided))


def _engine(reading: SystemReading) -> list[Condition]:
    """The condition that an engine cannot be reached, if it holds."""
    affected = {
        name: handler.engine_problems[0] for name, handler in reading.handlers.items() if handler.engine_problems
    }
    if not affected:
        return []
    reason = harmless(min(affected.values())[:MAX_QUOTE_CHARS])
    sentence = f"{len(affected)} {plural(len(affected), 'handler')} cannot start: {reason}"
    named = {"handlers": sorted(affected), "nodes": sorted(reading.without_engine)}
    details = {what: [harmless(name) for name in names[:MAX_NAMES]] for what, names in named.items()}
    return [Condition(ENGINE_UNREACHABLE, "", sentence, details)]


# The state of each alert, in its row.

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
