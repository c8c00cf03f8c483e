"""Whose file's limits are in force, while files change and processes come and go."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from tasks_app import conf
from tasks_app.conf.reading import use
from tasks_app.conf.watching import RevisionInForce
from tasks_app.features.limits.jobs import WriteLimits
from tasks_app.features.limits.models import Limit, LimitFile
from tasks_app.features.limits.settings import HandlerLimits
from tasks_app.handlers.handlers_toml import Handlers
from tasks_app.queue.current import store
from tasks_app.queue.node_models import Node
from testkit.rows import node
from tests.features.limits.kit import limit
from tests.handlers.kit import read

pytestmark = pytest.mark.django_db

NONE = HandlerLimits()


class Process:
    """A node with a file of its own, whose beats are called here."""

    def __init__(self, name: str, handlers: Handlers, minutes_ago: int) -> None:
        self.name, self.handlers = name, handlers
        use(handlers)
        self._job = WriteLimits()
        began = store().moment()[1] - timedelta(minutes=minutes_ago)
        node(name, revision=self._uses(), revision_at=began)

    def _uses(self) -> dict[str, object]:
        return RevisionInForce(self.handlers.revision, self.handlers.digest)._asdict()

    def beats(self) -> None:
        """A beat that looks."""
        use(self.handlers)
        self._job._look_at = float("-inf")
        self._job.run()

    def registers(self) -> None:
        """It says which limits its file has, and looks for nothing."""
        self._job._tell(self.handlers)

    def reloads(self, handlers: Handlers) -> None:
        """Its file changes while it runs."""
        self.handlers = handlers
        Node.objects.filter(pk=self.name).update(revision=self._uses(), revision_at=store().moment()[1])
        self.beats()

    def ends(self) -> None:
        Node.objects.filter(pk=self.name).update(stopped_at=store().moment()[1])


@pytest.fixture(autouse=True)
def _own_file() -> Iterator[None]:
    before = conf.handlers()
    yield
    use(before)


def file(folder: Path, **limits: str) -> Handlers:
    """A file whose handlers have these keys."""
    text = "".join(f'[handlers.{name}]\ncommand = ["x"]\n{keys}\n' for name, keys in limits.items())
    return read(folder / "handlers.toml", text)


def in_force() -> dict[str, HandlerLimits]:
    return {row.handler: row.limits for row in Limit.objects.all()}


def test_a_process_writes_the_limits_of_handlers_that_have_some(tmp_path: Path) -> None:
    process = Process("one", file(tmp_path, echo='rate = "6/m"\nmax_queue = 5', plain=""), 5)
    process.beats()
    assert in_force() == {"echo": HandlerLimits(rate="6/m", max_queue=5)}
    row = Limit.objects.get()
    assert (row.interval, row.revision) == (10.0, process.handlers.revision)
    assert LimitFile.objects.get().limits == {"echo": {"rate": "6/m", "max_queue": 5}, "plain": {}}


def test_a_file_that_changes_while_its_process_runs_is_in_force_at_once(tmp_path: Path) -> None:
    one = Process("one", file(tmp_path, echo="max_running = 3"), 9)
    one.beats()
    two = Process("two", one.handlers, 5)
    two.beats()
    Limit.objects.update(last_start=7.0)
    two.reloads(file(tmp_path, echo="max_running = 4"))
    assert in_force() == {"echo": HandlerLimits(max_running=4)} and Limit.objects.get().last_start == 7.0
    one.beats()
    assert in_force() == {"echo": HandlerLimits(max_running=4)}, "the older file does not come back"
    two.reloads(file(tmp_path, echo=""))
    for process in (one, two):
        process.beats()
    assert in_force() == {"echo": NONE}, "nor does it once the newer one has no limits"


def test_in_a_rolling_restart_the_new_file_counts_once_no_process_has_the_old_one(tmp_path: Path) -> None:
    old, new = file(tmp_path, echo="max_running = 3"), file(tmp_path, echo="max_running = 4", more="max_queue = 7")
    olds = [Process("old 1", old, 60), Process("old 2", old, 60)]
    for process in olds:
        process.beats()
    news = []
    for number, process in enumerate(olds):
        news.append(Process(f"new {number}", new, 5 - number))
        for each in (*olds, *news):
            each.beats()
        assert in_force()["echo"] == HandlerLimits(max_running=3)
        process.ends()
    assert in_force()["more"] == HandlerLimits(max_queue=7), "nobody's file had limits for it"
    news[0].beats()
    assert in_force()["echo"] == HandlerLimits(max_running=4)


def test_a_roll_back_brings_the_old_limits_back(tmp_path: Path) -> None:
    old, new = file(tmp_path, echo="max_running = 3"), file(tmp_path, echo="max_running = 4")
    for number, handlers in enumerate((old, new, old)):
        process = Process(f"node {number}", handlers, 9)
        process.beats()
        assert in_force() == {"echo": limits_as(handlers)}
        process.ends()


def limits_as(handlers: Handlers) -> HandlerLimits:
    return HandlerLimits.of(handlers["echo"].further)


def test_of_several_processes_the_newest_counts_that_has_the_handler(tmp_path: Path) -> None:
    limit("echo", max_running=1)  # of a revision that no process has
    limit("gone", max_running=1)
    first = Process("first", file(tmp_path, echo="max_running = 3"), 60)
    second = Process("second", file(tmp_path, echo="max_running = 4"), 30)
    third = Process("third", file(tmp_path, other=""), 1)
    for process in (third, second, first):
        use(process.handlers)
        process.registers()
    first.beats()
    assert in_force() == {"echo": HandlerLimits(max_running=4), "gone": HandlerLimits(max_running=1)}
    second.ends()
    first.beats()
    assert in_force()["echo"] == HandlerLimits(max_running=3)
    assert third.name == "third"


def test_nobody_decides_before_a_new_process_has_said_what_its_file_has(tmp_path: Path) -> None:
    limit("echo", max_running=1)
    old = Process("old", file(tmp_path, echo="max_running = 3"), 60)
    new = Process("new", file(tmp_path, echo="max_running = 4"), 0)
    old.beats()
    assert in_force() == {"echo": HandlerLimits(max_running=1)}
    new.beats()
    assert in_force() == {"echo": HandlerLimits(max_running=4)}
