"""python -m bench.submitter COUNT [--pause SECONDS] [--seed N]: submits numbered tasks to the environment's deployment.

All in one commit (very many in several), or one by one with a pause. Prints a JSON array as `bench.rivals.sender` does.
"""

from __future__ import annotations

import argparse
import json
import time

import django

from bench import handler
from bench.rivals.sender import priorities

#: A commit that inserts many more takes longer than a statement may.
COMMIT_TASKS = 50_000


def main() -> None:
    """Submit, wait until the notifications are sent, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("count", type=int)
    parser.add_argument("--pause", type=float, default=0.0)
    parser.add_argument("--seed", type=int)
    options = parser.parse_args()
    django.setup()
    from tasks_app.broker import notification
    from tasks_app.queue.submission import NewTask
    from tasks_app.queue.submit import submit, submit_many

    levels = [50 if level is None else level for level in priorities(options.count, options.seed)]
    sent = []
    if options.pause:
        submit(handler.NAME, {"n": 0})  # warms up: connections, code that is compiled at first use
        notification.flush(10)
        time.sleep(0.5)
        for number, level in enumerate(levels, 1):
            began = time.monotonic()
            submit(handler.NAME, {"n": number}, level)
            sent.append((began, time.monotonic(), level))
            time.sleep(options.pause)
    else:
        new = [NewTask(handler.NAME, {"n": number}, level) for number, level in enumerate(levels)]
        began = time.monotonic()
        for first in range(0, len(new), COMMIT_TASKS):
            submit_many(new[first : first + COMMIT_TASKS])
        sent = [(began, time.monotonic(), level) for level in levels]
    notification.flush(10)
    print(json.dumps(sent))


if __name__ == "__main__":
    main()
