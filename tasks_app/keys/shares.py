"""How the web servers' hosts share the rates of API keys: a host gets of a key's rate what callers asked of it lately.

Each web process writes once a second into its row how fast callers asked it for tasks by each key that has a rate, and
reads the others' rows. The hosts share a tenth of each rate evenly, so that a caller can begin on any of them, and the
rest by what was asked of each. A caller that uses one host has nine tenths of its rate or more within seconds, and one
that uses all hosts has its rate in all. A POST sends no statement for this.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from tasks_app.keys.rate import KeyRate

#: What was asked counts less with time: after so many seconds, or so many tasks at the key's rate, 1/e of it.
MEMORY_SECONDS, MEMORY_TASKS = 2.0, 3.0
#: The part of a rate that all hosts share evenly.
EVEN_PART = 0.1


class Shares:
    """What was asked of this process, and the shares of its host. For one thread, but `hosts`."""

    def __init__(self) -> None:
        #: How many hosts share the rates: this one, and each on which another process is known to live.
        self.hosts = 1
        #: Of each key: for how many tasks it had been asked at the last beat, and tasks a second lately.
        self._asked: dict[int, int] = {}
        self._lately: dict[int, float] = {}

    def note(self, rates: Mapping[int, KeyRate], passed: float) -> Mapping[int, float]:
        """What was asked of this process lately: tasks a second, by key. `passed`: seconds since the last call."""
        lately = {}
        for key, rate in rates.items():
            kept = math.exp(-passed / max(MEMORY_SECONDS, MEMORY_TASKS / rate.rate))
            grown = max(rate.asked - self._asked.get(key, 0), 0)
            self._asked[key] = rate.asked
            speed = 0.0 if math.isinf(passed) else grown / passed
            lately[key] = min(self._lately.get(key, 0.0) * kept + speed * (1 - kept), rate.rate)
        self._lately = {key: value for key, value in lately.items() if value > rates[key].rate / 1000}
        return self._lately

    def divide(
        self, rates: Mapping[int, KeyRate], domain: str, others: Iterable[tuple[str, Mapping[str, float]]]
    ) -> None:
        """Set the shares of `rates`. `domain`: this host. `others`: the other processes that live, each with its host
        and what was asked of it."""
        asked = {domain: dict(self._lately)}
        for other, lately in others:
            of_host = asked.setdefault(other, {})  # also if nothing was asked of it
            for name, value in lately.items():
                of_host[int(name)] = of_host.get(int(name), 0.0) + value
        self.hosts = len(asked)
        for key, rate in rates.items():
            rate.hosts = self.hosts
            by_host = {host: min(of_host.get(key, 0.0), rate.rate) for host, of_host in asked.items()}
            rate.share = rate.rate * share(domain, by_host)


def share(host: str, asked: Mapping[str, float]) -> float:
    """The part of a key's rate that a host has. `asked`: of each host, tasks a second lately."""
    even = 1 / len(asked)
    total = sum(asked.values())
    return even if total == 0 else EVEN_PART * even + (1 - EVEN_PART) * asked[host] / total
