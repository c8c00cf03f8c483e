"""When each task's result became readable: a thread polls for new attempts every 2 ms."""

from __future__ import annotations

import threading
import time
from contextlib import closing

from bench.deployment import Deployment
from testkit.stores import PostgreSQLStore

NEW_ATTEMPTS = "SELECT id, task_id FROM taskdaemon_attempt WHERE id > ? ORDER BY id"
POLL_SECONDS = 0.002


class Watcher:
    """A context. An attempt's row is written in the commit that ends its task.

    `seen`: the monotonic time for each task id (32 hex digits).
    """

    def __init__(self, deployment: Deployment, last_attempt: int = 0) -> None:
        """`last_attempt`: the id after which it looks."""
        self._deployment, self._over, self._first = deployment, threading.Event(), last_attempt
        self.seen: dict[str, float] = {}
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Watcher:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        last = self._first
        with closing(self._deployment.connect()) as connection:
            query = NEW_ATTEMPTS
            if isinstance(self._deployment.store, PostgreSQLStore):
                query = query.replace("?", "%s")
                # A plan that is made while the table is small would read all of it at each poll.
                connection.execute("SET enable_seqscan = off")
            over = False
            while not over:
                over = self._over.wait(POLL_SECONDS)
                if over:
                    last = self._first  # ids may become visible out of order: the last poll finds the skipped ones
                rows = connection.execute(query, (last,)).fetchall()
                now = time.monotonic()
                for last, identity in rows:  # noqa: B007 (the next poll begins at the last one)
                    self.seen.setdefault(str(identity).replace("-", ""), now)
