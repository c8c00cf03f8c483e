"""Compares this checkout with other commits, and the first of them with itself, in short bursts that take turns.

    python -m bench.bursts v1.4                          drain, pickup, post and latency, on both databases
    python -m bench.bursts HEAD~8,v1.4 post --rounds 200 --only SQLite

The checkouts run at the same time, and each round sends one burst to each of them, each time in another order. A
machine whose speed changes within minutes changes it for all, so that some hundred rounds show differences that whole
runs one after the other do not. The ratios of the first commit's two checkouts, the control, say how far the figures
can be trusted; `to both` is this checkout beside the geometric mean of these two, which depends less on chance. A
process keeps a speed of its own from its start to its end, some percent from that of the same code started again; so
all are started several times, each time in another order. With `--warm 1` one more burst before each does not count, so
that a checkout finds the processors' caches as it left them, as it does when it runs alone. A ratio above 1 says that
this checkout is better. All use this checkout's libraries, the same servers, and tables that grow alike. The exit
status is 1 if a row that counts is below the bound.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

from bench import handler
from bench.http_load import Load, post
from bench.numbers import lower_bound, quantile
from bench.served import KINDS, Served
from bench.servers import TOP, Servers
from bench.watcher import Watcher
from testkit.process import Process
from testkit.stores import PostgreSQLStore

LEAST, CONTROL = 0.97, (0.97, 1.03)
#: This checkout, and the second one of the first commit.
NEW, TWIN = "new", "twin"
#: By row, and by checkout: what each burst said.
Found = dict[str, dict[str, list[float]]]
#: Of a burst: tasks that are posted one by one, tasks of one batch, tasks one after the other on an idle system, and
#: seconds at a steady rate.
POSTS, BATCH, SINGLES, STEADY_SECONDS = 400, 1000, 30, 1.0
#: Of a burst that tells the capacity: about a second, for a steady state. A short one leaves work behind uncounted.
CAPACITY_POSTS = 2500
#: The capacity is told anew every so many rounds: that takes as long as the bursts of a round.
CAPACITY_ROUNDS = 4
PAUSE_SECONDS = 0.012
STAMPS = (
    "SELECT t.result FROM taskdaemon_attempt a JOIN taskdaemon_task t ON t.id = a.task_id "
    "WHERE a.id > {} AND t.status = 'completed'"
)
LEFT = "SELECT 1 FROM taskdaemon_task WHERE status IN ('pending', 'processing') LIMIT 1"


class Checkout(Served):
    """This platform as a checkout's `manage.py up` runs it, with tables of its own."""

    def __init__(self, servers: Servers, place: Path, database: str, broker: str) -> None:
        super().__init__(servers, database, broker, PYTHONPATH=str(place))
        self._place, self.sent = place, 0

    def manage(self, *words: str) -> Process:
        """Start the checkout's `manage.py`."""
        return Process(self.home, self.environment, str(self._place / "manage.py"), *words)

    def last_attempt(self) -> int:
        """The id of the newest attempt."""
        return self.store.rows("SELECT max(id) AS id FROM taskdaemon_attempt")[0]["id"] or 0

    def burst(self, count: int, rate: float | None = None, connections: int = 16) -> tuple[Load, dict[int, float]]:
        """Post so many tasks and wait for their end: the answers, and by number when the handler had each."""
        last = self.last_attempt()
        load = self.post(count, rate, self.sent, connections)
        return load, self._stamps(last, count)

    def batch(self, count: int) -> dict[int, float]:
        """Post one batch and wait for its end."""
        last = self.last_attempt()
        tasks = [{"type": handler.NAME, "data": {"n": self.sent + n}} for n in range(count)]
        post(self.port, "/queue/batch", [json.dumps({"tasks": tasks}).encode()]).good()
        return self._stamps(last, count)

    def _stamps(self, last: int, count: int) -> dict[int, float]:
        numbers = range(self.sent, self.sent + count)
        self.sent += count
        mark = "%s" if isinstance(self.store, PostgreSQLStore) else "?"
        with closing(self.connect()) as connection:
            while connection.execute(LEFT).fetchone():
                time.sleep(0.005)
            rows = connection.execute(STAMPS.format(mark), (last,)).fetchall()
        found = dict(value if isinstance(value, list) else json.loads(value) for (value,) in rows)
        assert sorted(found) == list(numbers), f"{len(found)} of {count} tasks have a result"
        return found


def drain(checkout: Checkout, rate: float) -> float:
    """Tasks a second of one batch, without its first and last tenth."""
    ran = sorted(checkout.batch(BATCH).values())
    tenth = len(ran) // 10
    return (len(ran) - 2 * tenth) / (ran[-tenth - 1] - ran[tenth])


def one_by_one(checkout: Checkout, rate: float, count: int = POSTS) -> float:
    """Executed tasks a second, one POST each over 16 connections."""
    load, ran = checkout.burst(count)
    return count / (max(ran.values()) - min(one.due for one in load.good()))


def pickup(checkout: Checkout, rate: float) -> float:
    """Milliseconds from the POST to the handler, on an idle system: the median."""
    first = checkout.sent
    load, ran = checkout.burst(SINGLES, 1 / PAUSE_SECONDS, connections=1)
    return quantile([(ran[first + n] - one.due) * 1e3 for n, one in enumerate(load.good())], 0.5)


def latency(checkout: Checkout, rate: float) -> float:
    """Milliseconds from when a POST is due until its result is readable, at a steady rate: the median."""
    with Watcher(checkout, checkout.last_attempt()) as watcher:
        load, _ = checkout.burst(int(rate * STEADY_SECONDS), rate, connections=64)
    ids = [str(one.body["task_id"]).replace("-", "") for one in load.good()]
    return quantile([(watcher.seen[name] - one.due) * 1e3 for name, one in zip(ids, load.good(), strict=True)], 0.5)


#: The rows: how a burst is measured, in what, and what is better.
ROWS: dict[str, tuple[Callable[[Checkout, float], float], str, str]] = {
    "drain": (drain, "/s", "more"),
    "pickup": (pickup, "ms", "less"),
    "post": (one_by_one, "/s", "more"),
    "latency": (latency, "ms at 80 %", "less"),
}


def main() -> int:
    """Measure and print. Returns 0 if no row that counts is below the bound."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.bursts", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("commits", help="what this checkout is compared with, separated by commas")
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"of: {', '.join(ROWS)} (default: all)")
    parser.add_argument("--rounds", type=int, default=100, help="bursts of each checkout (default: %(default)s)")
    parser.add_argument("--starts", type=int, default=12, help="of each checkout (default: %(default)s)")
    parser.add_argument("--only", default="", metavar="TEXT", help="the databases with this in their name")
    parser.add_argument("--warm", type=int, default=0, metavar="N", help="bursts before each, which do not count")
    options = parser.parse_args()
    if unknown := [name for name in options.rows if name not in ROWS]:
        parser.error(f"there is no row {', '.join(unknown)}; there are {', '.join(ROWS)}")
    sys.setswitchinterval(0.0005)
    below = False
    commits = options.commits.split(",")
    with checkouts(*commits) as places, Servers() as servers:
        for database, broker in KINDS:
            if options.only.lower() in database:
                found: Found = {row: {name: [] for name in places} for row in options.rows or ROWS}
                for start in range(options.starts):
                    ordered = {name: places[name] for name in in_turn(places, start)}
                    with running(servers, ordered, database, broker) as started:
                        for row, bursts in found.items():
                            measure(row, started, max(1, options.rounds // options.starts), options.warm, bursts)
                for row, bursts in found.items():
                    below |= judged(row, database, commits, bursts)
    return 1 if below else 0


@contextmanager
def checkouts(*commits: str) -> Iterator[dict[str, Path]]:
    """This checkout, and temporary ones: one of each commit by its name, and a second one of the first."""
    with tempfile.TemporaryDirectory(prefix="bench-bursts-") as folder:
        named = {**{commit: commit for commit in commits}, TWIN: commits[0]}
        places = {name: Path(folder) / str(number) for number, name in enumerate(named)}
        for name, commit in named.items():
            _git("worktree", "add", "--quiet", "--detach", str(places[name]), commit)
        try:
            yield {NEW: TOP, **places}
        finally:
            for place in places.values():
                _git("worktree", "remove", "--force", str(place))


def _git(*words: str) -> None:
    subprocess.run(["git", *words], cwd=TOP, check=True)


def in_turn(names: Iterable[str], number: int) -> list[str]:
    """The names in another order for each number."""
    ordered = list(names)
    first = number % len(ordered)
    return ordered[first:] + ordered[:first]


@contextmanager
def running(servers: Servers, places: dict[str, Path], database: str, broker: str) -> Iterator[dict[str, Checkout]]:
    """Each checkout, started and warm."""
    with ExitStack() as stack:
        found = {}
        for name, place in places.items():
            servers.forget_tables()
            found[name] = stack.enter_context(Checkout(servers, place, database, broker))
        for checkout in found.values():
            checkout.up()
            for _ in range(3):
                checkout.burst(POSTS)
        yield found


def measure(row: str, started: dict[str, Checkout], rounds: int, warm: int, bursts: dict[str, list[float]]) -> None:
    """Add to `bursts` what a row's bursts say of each checkout, each after `warm` bursts that do not count."""
    act, rate = ROWS[row][0], 0.0
    for number in range(rounds):
        if row == "latency" and number % CAPACITY_ROUNDS == 0:
            rate = share_of_rate(started)
        for name in in_turn(started, number):
            for _ in range(warm):
                act(started[name], rate)
            bursts[name].append(act(started[name], rate))


def share_of_rate(started: dict[str, Checkout]) -> float:
    """Four fifths of what the slowest checkout can do. At more, tasks queue up; and the machine's speed changes."""
    return 0.8 * min(one_by_one(each, 0.0, CAPACITY_POSTS) for each in started.values())


def judged(row: str, database: str, commits: list[str], bursts: dict[str, list[float]]) -> bool:
    """Print a row of one database. Returns whether it counts and is below the bound for one of the commits."""
    _, unit, better = ROWS[row]
    control = ratios(bursts[TWIN], bursts[commits[0]], better)
    counts = CONTROL[0] <= statistics.median(control) <= CONTROL[1]
    below = False
    for commit in commits:
        new = ratios(bursts[NEW], bursts[commit], better)
        good = statistics.median(new) >= LEAST
        verdict = ("good" if good else "BELOW") if counts else "DOES NOT COUNT"
        median = statistics.median(bursts[commit])
        print(f"{row:8} {database:9} {commit[:10]:10} {median:8.1f} {unit:10} {described(new)}  {verdict}")
        below |= counts and not good
    print(f"{row:8} {database:9} control    {described(control)}")
    means = [math.sqrt(one * other) for one, other in zip(bursts[commits[0]], bursts[TWIN], strict=True)]
    print(f"{row:8} {database:9} to both    {described(ratios(bursts[NEW], means, better))}", flush=True)
    return below


def ratios(values: Sequence[float], base: Sequence[float], better: str) -> list[float]:
    """How many times better each value is than the one of its pair."""
    pairs = zip(values, base, strict=True)
    return [(mine / other) if better == "more" else (other / mine) for mine, other in pairs]


def described(found: Sequence[float]) -> str:
    """Median, range, and the bound that the median exceeds with 95 % confidence."""
    bound = lower_bound(found)
    least = "" if bound is None else f", at least {bound:.3f}"
    return f"{statistics.median(found):.3f} ({min(found):.3f} to {max(found):.3f}{least}; {len(found)} pairs)"


if __name__ == "__main__":
    sys.exit(main())
