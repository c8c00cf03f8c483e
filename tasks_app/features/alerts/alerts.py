"""When an alert fires: conditions are judged from readings, and the database has the state of each alert.

An alert fires once its condition has held for `hold` seconds without a break, and is resolved once it has not held for
twice as long. It changes only after the webhook was told of its last change, so that it is told of both, in order.
Guarded updates decide which process changes and which sends one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from axes.models import AccessAttempt
from django.conf import settings
from django.contrib.auth import get_user_model
from django.db.models import Count, F, Q, QuerySet, Sum
from django.db.models.functions import Now

from tasks_app.features.alerts.models import Alert
from tasks_app.handlers.words import plural, span
from tasks_app.logs import harmless
from tasks_app.metrics.reading import RATE_SECONDS, HandlerReading, recent_rates
from tasks_app.metrics.system_reading import SystemReading
from tasks_app.queue.current import writing
from tasks_app.queue.models import FailureReason, Task
from tasks_app.runner.backoff import Backoff

#: The alerts.
NO_NODE, OLDEST_AGE, FAILED_SHARE, CANNOT_START = "no_node", "oldest_age", "failed_share", "cannot_start"
ENGINE_UNREACHABLE, FAILED_LOGINS = "engine_unreachable", "failed_logins"
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
    """Whether the condition of an alert holds, and what is so now. `handler`: the one that it is about, or ""."""

    alert: str
    handler: str
    sentence: str
    details: Mapping[str, Any] = field(default_factory=dict)
    holds: bool = True

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
    `undecided` keys. `instead`: what is so of those that do not hold."""

    holding: Mapping[str, Condition]
    judged: frozenset[str]
    undecided: frozenset[str] = frozenset()
    instead: Mapping[str, Condition] = field(default_factory=dict)

    def denies(self, key: str) -> bool:
        """Whether this says that the condition does not hold."""
        return key.partition("|")[0] in self.judged and key not in self.holding and key not in self.undecided

    def now(self, key: str) -> Condition:
        """What is so of an alert that this judges."""
        alert, _, handler = key.partition("|")
        gone = Condition(alert, handler, f"handler {harmless(handler)} has no slots and no tasks any more", holds=False)
        return self.holding.get(key) or self.instead.get(key) or gone


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
    living = len(reading.nodes)
    if not living:
        waiting = reading.queue_size
        condition = Condition(NO_NODE, "", "no worker lives: tasks are accepted and wait", {"pending": waiting})
        return Judgement({condition.key: condition}, frozenset({NO_NODE}))
    lives = Condition(NO_NODE, "", f"{living} {plural(living, 'worker lives', 'workers live')}", holds=False)
    judged, undecided = [lives, _engine(reading)], set[str]()
    for name, handler in reading.handlers.items():
        if handler.lacks_engine:
            undecided |= {key_of(OLDEST_AGE, name), key_of(CANNOT_START, name)}
        else:
            judged.append(_oldest(name, handler, oldest_limit))
        judged += [_cannot_start(name, handler), _failed(name, shares.get(name), share_limit)]
    judged += [_told(name, sentences) for name, sentences in reading.told.items()]
    return Judgement(
        {condition.key: condition for condition in judged if condition.holds},
        frozenset({NO_NODE, ENGINE_UNREACHABLE, *OF_HANDLERS, *reading.told}),
        frozenset(undecided),
        {condition.key: condition for condition in judged if not condition.holds},
    )


def _told(feature: str, sentences: Sequence[str]) -> Condition:
    """What `/health` says of a feature."""
    if not sentences:
        return Condition(feature, "", f"{feature}: nothing is wrong", holds=False)
    said = [harmless(sentence[:MAX_QUOTE_CHARS]) for sentence in sentences[:MAX_NAMES]]
    return Condition(feature, "", said[0], {"problems": said})


def _engine(reading: SystemReading) -> Condition:
    affected = {
        name: handler.engine_problems[0] for name, handler in reading.handlers.items() if handler.engine_problems
    }
    if not affected:
        return Condition(ENGINE_UNREACHABLE, "", "every handler's engine can be reached", holds=False)
    reason = harmless(min(affected.values())[:MAX_QUOTE_CHARS])
    sentence = f"{len(affected)} {plural(len(affected), 'handler')} cannot start: {reason}"
    named = {"handlers": sorted(affected), "nodes": sorted(reading.without_engine)}
    details = {what: [harmless(name) for name in names[:MAX_NAMES]] for what, names in named.items()}
    return Condition(ENGINE_UNREACHABLE, "", sentence, details)


def _oldest(name: str, handler: HandlerReading, limit: float) -> Condition:
    waited = f"the oldest ready task has waited for {span(handler.oldest)}" if handler.ready else "no task is ready"
    details = {
        "seconds": round(handler.oldest, 1), "limit": limit, "ready": handler.ready, "slots": handler.slots,
    }  # fmt: skip
    paused = "" if handler.paused is None else "paused; "
    holds = bool(handler.ready) and handler.oldest > limit and not paused
    return Condition(OLDEST_AGE, name, f"handler {harmless(name)}: {paused}{waited}", details, holds)


def _cannot_start(name: str, handler: HandlerReading) -> Condition:
    shown, details = harmless(name), {"slots": handler.slots}
    if handler.own_problems:
        problem = harmless(handler.own_problems[0][:MAX_QUOTE_CHARS])
        return Condition(CANNOT_START, name, f"handler {shown} cannot start: {problem}", details)
    sentence = f"handler {shown}: {handler.warm} of {handler.slots} {plural(handler.slots, 'slot')} warm"
    return Condition(CANNOT_START, name, sentence, details, holds=False)


def _failed(name: str, share: Share | None, limit: float) -> Condition:
    share = share or Share(0, 0, RATE_SECONDS)
    sentence = f"handler {harmless(name)}: {share.failed} of {share.ended} tasks failed in {span(share.seconds)}"
    details = {"failed": share.failed, "ended": share.ended, "limit": limit, "seconds": round(share.seconds)}
    holds = share.ended >= MIN_ENDED and share.failed > limit * share.ended
    return Condition(FAILED_SHARE, name, sentence, details, holds)


#: Addresses, and users, that the alert about logins names.
MAX_LOGIN_NAMES = 10


def judge_logins(limit: int) -> Judgement:
    """Judge the wrong passwords that count towards lockouts: `limit` of them, for all users and from all addresses.

    Raises DatabaseError.
    """
    tried = AccessAttempt.objects.filter(attempt_time__gte=Now() - settings.AXES_COOLOFF_TIME).order_by()
    found = tried.aggregate(failed=Sum("failures_since_start"), addresses=Count("ip_address", distinct=True))
    failed, addresses = found["failed"] or 0, found["addresses"]
    # A name that no user has may be a password that was typed into the wrong field.
    users = tried.filter(username__in=get_user_model().objects.values("username"))
    sentence = (
        f"{failed} wrong {plural(failed, 'password')} at the login within {span(settings.AXES_COOLOFF_TIME)}, "
        f"from {addresses} {plural(addresses, 'address', 'addresses')}"
    )
    details = {
        "failed": failed, "limit": limit,
        "addresses": _most(tried, "ip_address"), "users": _most(users, "username"),
    }  # fmt: skip
    now = Condition(FAILED_LOGINS, "", sentence, details, holds=failed >= limit)
    kept = {now.key: now}
    return Judgement(kept if now.holds else {}, frozenset({FAILED_LOGINS}), instead={} if now.holds else kept)


def _most(tried: QuerySet[AccessAttempt], name: str) -> list[str]:
    """Those with the most failures."""
    rows = tried.values_list(name).annotate(failures=Sum("failures_since_start")).order_by("-failures", name)
    return [harmless(str(value)) for value, _ in rows[:MAX_LOGIN_NAMES]]


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
    if evaluated_at() is None:
        with writing():
            Alert.objects.bulk_create([Alert(key=ROUND)], ignore_conflicts=True)
    if not this.filter(free).exists():  # a read: most processes take no lock
        return False
    with writing():
        return this.filter(free).update(seen_at=Now()) == 1


def evaluated_at() -> datetime | None:
    """When alerts were evaluated last; None: never. Raises DatabaseError."""
    return Alert.objects.filter(pk=ROUND).values_list("seen_at", flat=True).first()


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
            _observe(row, key, judgement.now(key), hold * RECOVERY_RATIO, gap)


def _observe(row: Alert | None, key: str, now: Condition, hold: float, gap: float) -> None:
    said = {"sentence": now.sentence, "details": dict(now.details)}
    if row is None:
        with writing():
            Alert.objects.bulk_create([Alert(key=key)], ignore_conflicts=True)
    elif row.firing == now.holds:
        # Of an alert that does not fire, the row says how it ended.
        stale = said if now.holds and said != {"sentence": row.sentence, "details": row.details} else {}
        steady = {} if row.differs_since is None else {"differs_since": None, "seen_at": None}
        if stale or steady:
            with writing():
                Alert.objects.filter(pk=key, firing=now.holds).update(**stale, **steady)
        return
    other = Alert.objects.filter(pk=key, firing=not now.holds)
    lasting = other.filter(differs_since__isnull=False, seen_at__gte=_ago(gap), seen_at__lte=_ago(-gap))
    told = Q(told=True) | Q(since__lte=_ago(GIVE_UP_SECONDS))
    change: dict[str, Any] = {
        "firing": now.holds, "told": False, "since": F("differs_since"), "differs_since": None, "seen_at": None,
        "next_send_at": None, "failures": 0, "send_error": "",
    }  # fmt: skip
    # The webhook is still to be told of the firing alert's condition, not of what is so instead.
    meanwhile = said if now.holds or (row is not None and row.told) else {}
    with writing():
        if lasting.filter(told, differs_since__lte=_ago(hold)).update(**change, **_change_said(row, now)):
            return
        if not lasting.update(seen_at=Now(), **meanwhile):
            other.update(differs_since=Now(), seen_at=Now(), **meanwhile)


def _change_said(row: Alert | None, now: Condition) -> dict[str, Any]:
    """What the row says once it has changed."""
    if now.holds or row is None or row.since is None or row.differs_since is None:
        return {"sentence": now.sentence, "details": dict(now.details)}
    sentence, details = over(now.sentence, row.since, row.differs_since)
    return {"sentence": sentence, "details": {**now.details, **details}}


def over(sentence: str, began_at: datetime, ended_at: datetime) -> tuple[str, dict[str, Any]]:
    """What is said of an alert that is over: the sentence with how long it lasted, and details."""
    lasted = (ended_at - began_at).total_seconds()
    details = {"began_at": began_at.isoformat(), "lasted_seconds": round(lasted, 1)}
    return f"{sentence}; the alert lasted {span(lasted)}", details


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
