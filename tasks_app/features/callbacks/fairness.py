"""Which host's callback is next: how many are under way to each host, and how it answered the last one.

A host that does not answer keeps each try for as long as a try may take. So hosts that answered quickly have tries of
their own, which no other host can take; among the others those that did not answer leave some to hosts that are new.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

#: Tries at once: to one host, and to one that has not answered yet, or not the last time.
MAX_TO_HOST, MAX_TO_SILENT_HOST = 4, 1
#: To all hosts that answered within `QUICK_SECONDS` the last time, to all others, and to those of them that did not.
MAX_QUICK, MAX_OTHERS, MAX_SLOW = 96, 256, 128
QUICK_SECONDS = 1.0
#: Hosts that are remembered.
MAX_HOSTS = 5000


@dataclass(frozen=True)
class Lane:
    """Where a try counts: with hosts that were quick, slow (false) or new (None) when it began."""

    quick: bool | None


@dataclass
class Host:
    """`answered`: the last try; `quick`: within QUICK_SECONDS, None: it was never tried."""

    under_way: int = 0
    answered: bool = False
    quick: bool | None = None

    @property
    def free(self) -> int:
        """How many more tries at once it may have."""
        return (MAX_TO_HOST if self.answered else MAX_TO_SILENT_HOST) - self.under_way


class Hosts:
    """The hosts to which one process sends."""

    def __init__(self) -> None:
        self._hosts: OrderedDict[str, Host] = OrderedDict()
        #: Of all tries under way; of each the host's `quick` when it began.
        self._under_way: dict[bool | None, int] = {True: 0, None: 0, False: 0}

    def begin(self, host: str) -> Lane | None:
        """Begin a try, if there is room; to be given back to `end`."""
        known = self._hosts.get(host) or Host()
        if known.free <= 0 or not self._has_room(known.quick):
            return None
        self._hosts[host] = known
        self._hosts.move_to_end(host)
        known.under_way += 1
        self._under_way[known.quick] += 1
        return Lane(known.quick)

    def end(self, host: str, lane: Lane, answered: bool | None, seconds: float = 0.0) -> None:
        """A try is over; `answered` None: it was none."""
        known = self._hosts[host]
        known.under_way -= 1
        self._under_way[lane.quick] -= 1
        if answered is not None:
            known.answered, known.quick = answered, answered and seconds <= QUICK_SECONDS
        while len(self._hosts) > MAX_HOSTS and next(iter(self._hosts.values())).under_way == 0:
            self._hosts.popitem(last=False)

    def without_room(self) -> list[str]:
        """Hosts to which no try can begin now."""
        return [name for name, host in self._hosts.items() if host.free <= 0 or not self._has_room(host.quick)]

    def only(self) -> list[str] | None:
        """While there is no room for new hosts: the hosts that alone have room. None: there is."""
        if self._has_room(None):
            return None
        return [name for name, host in self._hosts.items() if host.free > 0 and self._has_room(host.quick)]

    def _has_room(self, quick: bool | None) -> bool:
        if quick:
            return self._under_way[True] < MAX_QUICK
        others = self._under_way[None] + self._under_way[False] < MAX_OTHERS
        return others and (quick is None or self._under_way[False] < MAX_SLOW)
