"""python -m bench.submitter COUNT [options]: submits numbered tasks to the environment's deployment.

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
    parser.add_argument("--keys", type=int, default=0, help="limit_keys that the tasks have in turn")
    parser.add_argument("--seconds", type=float, help="how long the handler shall take, if it can")
    options = parser.parse_args()
    django.setup()
    from tasks_app.broker import notification
    from tasks_app.queue import submission
    from tasks_app.queue.submit import submit_many

    if options.keys:  # it makes held tasks ready at once, as a web server does; else the node's beat would
        from tasks_app.features.limits import filler

        filler.allow(serves_requests=True)
    further = {} if options.seconds is None else {"seconds": options.seconds}

    def new(number: int, level: int) -> submission.NewTask:
        key = submission.TaskOptions(limit_key=f"key-{number % options.keys}") if options.keys else None
        return submission.NewTask(handler.NAME, {"n": number, **further}, level, key)

    levels = [50 if level is None else level for level in priorities(options.count, options.seed)]
    sent = []
    if options.pause:
        submit_many([new(0, 50)])  # warms up: connections, code that is compiled at first use
        notification.flush(10)
        time.sleep(0.5)
        for number, level in enumerate(levels, 1):
            began = time.monotonic()
            submit_many([new(number, level)])
            sent.append((began, time.monotonic(), level))
            time.sleep(options.pause)
    else:
        tasks = [new(number, level) for number, level in enumerate(levels)]
        began = time.monotonic()
        for first in range(0, len(tasks), COMMIT_TASKS):
            submit_many(tasks[first : first + COMMIT_TASKS])
        sent = [(began, time.monotonic(), level) for level in levels]
    notification.flush(10)
    print(json.dumps(sent))


if __name__ == "__main__":
    main()
