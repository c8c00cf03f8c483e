"""received = pending + processing + completed + failed + deleted, whatever happens concurrently."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable
from uuid import UUID

import pytest
from django.db import Error, connection
from django.db.models import Count

from tasks_app.metrics.system_reading import current_reading
from tasks_app.queue.cancel import cancel, delete
from tasks_app.queue.claim import rescue
from tasks_app.queue.maintenance import promote
from tasks_app.queue.models import Attempt, Task
from tasks_app.queue.redrive import redrive
from tasks_app.runner.endings import OutcomeKind
from tests.metrics.work import end, submit, take

pytestmark = [pytest.mark.database, pytest.mark.django_db, pytest.mark.usefixtures("database")]

HANDLERS = ("echo", "prime")
TASKS = 600
KINDS = (OutcomeKind.SUCCESS, OutcomeKind.SUCCESS, OutcomeKind.ERROR, OutcomeKind.CRASH, OutcomeKind.RELEASED)


class Chaos:
    """Threads that do everything to the same tasks at once, and count the results that they got."""

    def __init__(self) -> None:
        self.known: list[str] = []
        self.stopping = threading.Event()
        self.counted: Counter[str] = Counter()
        self.faults: list[BaseException] = []
        self._lock = threading.Lock()

    def count(self, what: str, by: int = 1) -> None:
        with self._lock:
            self.counted[what] += by

    def any_task(self) -> UUID:
        return UUID(random.choice(self.known))

    def submitter(self) -> None:
        while len(self.known) < TASKS:
            new = submit(random.randint(1, 9), random.choice(HANDLERS))
            self.count("received", len(new))
            self.known += new

    def worker(self, node: str) -> None:
        for name in HANDLERS:
            tasks = take(random.randint(1, 8), name, node)
            kind = random.choice(KINDS)
            kept = end(tasks, kind, node=node)
            self.count(f"attempts|{kind}", len(kept))
            self.count("stale", len(tasks) - len(kept))
            if kind == OutcomeKind.SUCCESS:
                self.count("completed", len(kept))

    def loser(self) -> None:
        """A node that claims tasks and dies."""
        take(2, random.choice(HANDLERS), "loser")
        self.count("leases_lost", rescue(["loser"], expired_leases=False))

    def meddler(self) -> None:
        self.count("deleted", delete(self.any_task()))
        self.count("redriven", sum(redrive(self.any_task()) is not None for _ in range(5)))
        self.count("cancelled", cancel(self.any_task()))
        promote()

    def witness(self) -> None:
        assert current_reading(refresh=True).unaccounted == 0

    def run(self) -> None:
        self.known += submit(10)
        self.count("received", 10)
        doers = [lambda: self.worker("node-1"), lambda: self.worker("node-2"), self.loser, self.loser, self.meddler]
        threads = [threading.Thread(target=self._loop, args=(do,)) for do in (*doers, self.meddler, self.witness)]
        for thread in threads:
            thread.start()
        try:
            self.submitter()
        finally:
            self.stopping.set()
            for thread in threads:
                thread.join()

    def _loop(self, do: Callable[[], None]) -> None:
        try:
            while not self.stopping.is_set():
                try:
                    do()
                except Error as error:  # the server rolled back one of two deadlocked transactions
                    if "deadlock" not in str(error):
                        raise
        except BaseException as fault:
            self.faults.append(fault)
            self.stopping.set()
        finally:
            connection.close()


def test_every_task_is_accounted_for_at_every_moment_of_a_small_chaos_and_stored_as_the_rows_say() -> None:
    chaos = Chaos()
    chaos.run()
    assert chaos.faults == []

    now = current_reading(refresh=True)
    totals, counted = now.totals, chaos.counted
    assert now.unaccounted == 0
    assert totals.sum("received") == counted["received"]
    assert totals.sum("completed") == counted["completed"]
    assert totals.sum("deleted") == counted["deleted"]
    assert totals.sum("redriven") == counted["redriven"]
    assert totals.sum("stale") == counted["stale"]
    assert totals.sum("leases_lost") == counted["leases_lost"]
    assert sum(n for labels, n in totals.by("failed").items() if labels[1] == "cancelled") == counted["cancelled"]
    for kind in set(KINDS):
        assert sum(n for labels, n in totals.by("attempts").items() if labels[1] == kind) == counted[f"attempts|{kind}"]
    assert counted["stale"] + counted["deleted"] + counted["redriven"] > 0
    rows = Task.objects.order_by().values_list("task_type", "status").annotate(Count("pk"))
    stored = {(name, status): n for name in now.handlers for status, n in now.stored(name).items() if n}
    assert stored == {(name, status): n for name, status, n in rows}
    # The attempts of deleted tasks are deleted too.
    assert now.totals.sum("attempts") >= Attempt.objects.count()
