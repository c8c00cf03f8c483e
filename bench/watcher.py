"""When each task's end could be read by others: a thread that looks for new rows of attempts every 2 ms."""

from __future__ import annotations

import threading
import time
from contextlib import closing

from bench.deployment import Deployment
from tests.system.stores import PostgreSQLStore

LOOK = "SELECT id, task_id FROM taskdaemon_attempt WHERE id > ? ORDER BY id"
EVERY = 0.002


class Watcher:
    """A context. An attempt's row is written in the commit that ends its task, so whoever sees it sees the end.

    `seen`: by task id (32 hex digits) the monotonic moment.
    """

    def __init__(self, deployment: Deployment) -> None:
        self._deployment, self._over = deployment, threading.Event()
        self.seen: dict[str, float] = {}
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Watcher:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        last = 0
        with closing(self._deployment.connect()) as connection:
            query = LOOK.replace("?", "%s") if isinstance(self._deployment.store, PostgreSQLStore) else LOOK
            over = False
            while not over:
                over = self._over.wait(EVERY)
                if over:
                    last = 0  # ids may become visible out of order: what was passed over is found by the last look
                rows = connection.execute(query, (last,)).fetchall()
                now = time.monotonic()
                for last, identity in rows:  # noqa: B007 (the last one is where the next look begins)
                    self.seen.setdefault(str(identity).replace("-", ""), now)
