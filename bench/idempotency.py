"""POSTs with an Idempotency-Key, beside POSTs without one.

    python -m bench.idempotency                        both databases
    python -m bench.idempotency --database sqlite --slices 40

One web server and no node. Slices of POSTs with new keys, and without, are sent in turns over 16 connections. The goal
is half as many a second. Repeats, which store nothing, are measured in the same turns.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import time
from collections import defaultdict

from bench import cpu, handler
from bench.deployment import Deployment
from bench.http_load import post
from bench.numbers import lower_bound, short, summary
from bench.servers import Servers
from testkit.process import Process

DATABASES = ("sqlite", "postgres")
GOAL = 0.5
PLAIN, KEYED, REPEATED = "without a key", "with a key", "repeats"


def measure(servers: Servers, database: str, slices: int, posts: int) -> bool:
    """Print a line for each kind. Returns whether the goal is met."""
    rates: dict[str, list[float]] = defaultdict(list)
    costs: dict[str, list[float]] = defaultdict(list)
    numbers = itertools.count()
    with Deployment(servers, database) as served:
        web = served.manage("web")
        served.until_answers(web)
        for turn in range(slices + 1):
            keys = [f"bench-{next(numbers)}" for _ in range(posts)]
            # In the other order in every second turn: no kind is always the first one after the others.
            kinds = [(PLAIN, None), (KEYED, keys), (REPEATED, keys)]
            for kind, those in kinds if turn % 2 else [*kinds[1:], kinds[0]]:
                rate, cost = _slice(served, web, posts, those)
                if turn:  # the first turn warms up
                    rates[kind].append(rate)
                    costs[kind].append(cost)
    ratios = {
        kind: [a / b for a, b in zip(rates[kind], rates[PLAIN], strict=True)] for kind in (PLAIN, KEYED, REPEATED)
    }
    for kind, found in rates.items():
        bound = lower_bound(ratios[kind])
        print(
            f"{database:>8}  {kind:<13}  {summary(found)} POSTs a second,"
            f" {short(summary(costs[kind]).median * 1e6)} µs of the web server's processor time each;"
            f" {summary(ratios[kind]).median:.2f}x" + ("" if bound is None else f" (at least {bound:.2f}x)"),
            flush=True,
        )
    return summary(ratios[KEYED]).median >= GOAL


def _slice(served: Deployment, web: Process, posts: int, keys: list[str] | None) -> tuple[float, float]:
    """POSTs a second, and CPU seconds of each in the web server."""
    bodies = [json.dumps({"type": handler.NAME, "data": {"n": number}}).encode() for number in range(posts)]
    used, begun = cpu.seconds([web.pid]), time.monotonic()
    post(served.port, "/queue", bodies, keys=keys).good()
    took = time.monotonic() - begun
    return posts / took, (cpu.seconds([web.pid]) - used) / posts


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--database", choices=DATABASES, action="append", help="(default: both)")
    parser.add_argument("--slices", type=int, default=20, help="of each kind (default: 20)")
    parser.add_argument("--posts", type=int, default=400, help="in each slice (default: 400)")
    given = parser.parse_args()
    with Servers() as servers:
        met = [measure(servers, each, given.slices, given.posts) for each in given.database or DATABASES]
    return 0 if all(met) else 1


if __name__ == "__main__":
    sys.exit(main())
