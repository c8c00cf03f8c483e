"""python -m bench.feeder BACKLOG: holds the backlog of the environment's deployment until it is killed.

The tasks are numbered from 0. PostgreSQL only: what has been settled is read from a sequence, which costs no scan.
"""

from __future__ import annotations

import argparse
import time

import django

from bench import handler

#: Tasks in one commit.
COMMIT_TASKS = 1_000
SETTLED = "SELECT coalesce(pg_sequence_last_value('taskdaemon_attempt_id_seq'), 0)"


def main() -> None:
    """Submit whenever a commit's worth of the backlog has been settled."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("backlog", type=int)
    options = parser.parse_args()
    django.setup()
    from django.db import connection

    from tasks_app.queue.submission import NewTask
    from tasks_app.queue.submit import submit_many

    sent = 0
    with connection.cursor() as cursor:
        while True:
            cursor.execute(SETTLED)
            if sent - cursor.fetchone()[0] > options.backlog - COMMIT_TASKS:
                time.sleep(0.02)
                continue
            submit_many([NewTask(handler.NAME, {"n": number}) for number in range(sent, sent + COMMIT_TASKS)])
            sent += COMMIT_TASKS


if __name__ == "__main__":
    main()
