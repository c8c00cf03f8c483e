"""What /health says of callbacks, and what /metrics reads: what waits to be sent, and what is wrong with it."""

from __future__ import annotations

from collections import Counter, defaultdict
from datetime import datetime, timedelta
from typing import NamedTuple

from django.db.models import Count, Min, Q

from tasks_app.features.callbacks.models import SINCE, Delivery, pending
from tasks_app.handlers.words import plural, span
from tasks_app.logs import harmless
from tasks_app.queue.current import store

#: A callback is late if it was due for longer. Whatever takes one again after its process died is quicker.
LATE_SECONDS = 120.0
#: A callback that has failed so often has been tried for half an hour.
FAILING_TRIES = 4
#: Hosts that are named, and pending callbacks that are looked at for them, the first ones due.
MAX_HOSTS, MAX_LOOKED_AT = 10, 10_000
#: For so long the last try of a callback says how its host is, of the oldest ones to it, and kinds that are named.
RECENT_SECONDS, MAX_OF_HOST, MAX_KINDS = 600.0, 1_000, 3
#: What fails is looked for so often in a process: it may be many rows, and changes slowly.
LOOK_SECONDS = 10.0


class Waiting(NamedTuple):
    """The callbacks that are not sent yet. `late`: for how many seconds the first one has been due; 0: none is."""

    pending: int
    late: float


def waiting() -> Waiting:
    """Count them. Raises DatabaseError."""
    found = pending().aggregate(count=Count("*"), first=Min("next_at"))
    return Waiting(found["count"], _late(found["first"], store().moment()[1]))


def problems() -> list[str]:
    """What is wrong, in sentences. Raises DatabaseError."""
    return [*_not_sent(), *_failing.sentences()]


def _late(first: datetime | None, now: datetime) -> float:
    return 0.0 if first is None else max((now - first).total_seconds(), 0.0)


def _not_sent() -> list[str]:
    first = pending().order_by("next_at").values_list("next_at", "host").first()
    if first is None or (late := _late(first[0], now := store().moment()[1])) < LATE_SECONDS:
        return []
    # What is being sent has its time in the near future.
    soon = pending().filter(next_at__gt=now, next_at__lte=now + timedelta(seconds=LATE_SECONDS))
    if soon.filter(sender__isnull=False).exists():
        said = f"callbacks to {harmless(first[1])} wait: one has been due for {span(late)}"
        if kinds := _failed_lately(first[1], now):
            return [f"{said}. Their last tries failed{_by_kind(kinds)}"]
        return [f"{said}. Its receiver answers too slowly for as many as there are"]
    return [f"callbacks are not sent: one has been due for {span(late)}, and no worker sends any"]


def _failed_lately(host: str, now: datetime) -> Counter[str]:
    """How the last tries of callbacks to a host failed, of its oldest ones."""
    oldest = pending().filter(host=host).order_by(SINCE).values("pk")[:MAX_OF_HOST]
    recent = Q(last_try_at__gte=now - timedelta(seconds=RECENT_SECONDS)) & ~Q(last_error="")
    found = Delivery.objects.filter(recent, pk__in=oldest).order_by().values_list("last_error")
    return Counter(dict(found.annotate(count=Count("pk"))))


def _by_kind(kinds: Counter[str]) -> str:
    """`: 40 no connection (Connection refused), 2 answered 503`; blank without any."""
    known = Counter({kind: count for kind, count in kinds.items() if kind})
    named = known.most_common(MAX_KINDS)
    said = [f"{count:,} {harmless(kind)}" for kind, count in named]
    if rest := known.total() - sum(count for _, count in named):
        said.append(f"{rest:,} otherwise")
    return f": {', '.join(said)}" if said else ""


class _Failing:
    """The hosts to which callbacks fail, looked for now and then."""

    def __init__(self) -> None:
        self._looked_at, self._said = float("-inf"), list[str]()

    def sentences(self) -> list[str]:
        if (now := store().elapsed()) >= self._looked_at + LOOK_SECONDS:
            self._said, self._looked_at = self.look(), now
        return self._said

    @staticmethod
    def look() -> list[str]:
        first = pending().order_by("next_at").values("pk")[:MAX_LOOKED_AT]
        rows = Delivery.objects.filter(pk__in=first, tries__gte=FAILING_TRIES).order_by()
        found = rows.values_list("host", "last_error").annotate(count=Count("pk"), since=Min("created_at"))
        kinds, begun = defaultdict[str, Counter[str]](Counter), dict[str, datetime]()
        for host, kind, tried, since in found:
            kinds[host][kind] += tried
            begun[host] = min(since, begun.get(host, since))
        worst = sorted(kinds, key=lambda host: (-kinds[host].total(), host))
        now = store().moment()[1]
        said = [
            f"{(count := kinds[host].total())} {plural(count, 'callback')} to {harmless(host)} "
            f"{plural(count, 'fails', 'fail')} time and again, for {span(now - begun[host])} now{_by_kind(kinds[host])}"
            for host in worst[:MAX_HOSTS]
        ]
        more = len(worst) - MAX_HOSTS
        return [*said, f"callbacks to {more} more {plural(more, 'host')} fail"] if more > 0 else said


_failing = _Failing()
