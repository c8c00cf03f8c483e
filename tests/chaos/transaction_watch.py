"""Which transactions of PostgreSQL are open, sampled all the time."""

from __future__ import annotations

import time

import psycopg

from tests.chaos.held_snapshot import APPLICATION_NAME
from tests.chaos.horizon import Sample
from tests.chaos.watched_session import WatchedSession

SAMPLE_SECONDS = 0.05
# A session's entry is gone after its changes are visible and its locks are released.
OLDEST = f"""SELECT extract(epoch FROM min(xact_start))::float8 FROM pg_stat_activity
WHERE pid <> pg_backend_pid() AND datname = current_database() AND backend_type = 'client backend'
  AND application_name <> '{APPLICATION_NAME}'"""


class TransactionWatch(WatchedSession):
    """Collects `samples` until `close`. The held snapshot's own transaction, which writes nothing, is not included."""

    def __init__(self, url: str) -> None:
        self.samples: list[Sample] = []
        super().__init__(url, "transaction watch")

    def _use(self, session: psycopg.Connection) -> None:
        while not self._over.wait(SAMPLE_SECONDS):
            began = time.time()
            [(oldest,)] = session.execute(OLDEST)
            self.samples.append(Sample(began if oldest is None else min(oldest, began), time.time()))
