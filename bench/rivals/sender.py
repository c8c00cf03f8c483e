"""python -m bench.rivals.sender NAME COUNT [--pause SECONDS] [--seed N]: queues numbered tasks in a rival.

Prints a JSON array: for each task when the call began and when it returned (monotonic seconds) and its priority.
"""

from __future__ import annotations

import argparse
import json
import random
import time

from bench.rivals import module


def priorities(count: int, seed: int | None) -> list[int | None]:
    """Random priorities from 0 to 100, the same for the same seed; None without a seed."""
    chance = random.Random(seed)
    return [None if seed is None else chance.randint(0, 100) for _ in range(count)]


def main() -> None:
    """Send and print. `prepare` must have run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name")
    parser.add_argument("count", type=int)
    parser.add_argument("--pause", type=float, default=0.0)
    parser.add_argument("--seed", type=int)
    options = parser.parse_args()
    rival = module(options.name)
    sent = []
    with rival.sending() as send:
        for number, priority in enumerate(priorities(options.count, options.seed)):
            began = time.monotonic()
            send(number, priority)
            sent.append((began, time.monotonic(), priority))
            if options.pause:
                time.sleep(options.pause)
    print(json.dumps(sent))


if __name__ == "__main__":
    main()
