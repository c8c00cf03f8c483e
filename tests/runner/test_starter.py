"""The pauses between starts of one slot's containers, and what is said of their failures."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tasks_app.handlers.handlers_toml import Handler
from tasks_app.logs import LogOnce
from tasks_app.runner import starter as module
from tasks_app.runner.dialog import Dialog
from tasks_app.runner.endings import DeathReason
from tasks_app.runner.engine import ContainerExit
from tasks_app.runner.process_engine import ProcessContainer, ProcessEngine
from tasks_app.runner.revision import Revision
from tasks_app.runner.slot_owner import Probing, SlotOwner, StartTimes
from tasks_app.runner.starter import MAX_PAUSE_SECONDS, ContainerStarter

CAT = Handler(name="cat", command=("cat",))
READY_AFTER = 3600.0


def owner() -> SlotOwner:
    """A pool that lets its slot start."""
    times = StartTimes(CAT.start_timeout)
    return cast(
        SlotOwner,
        SimpleNamespace(
            name=CAT.name,
            revision=Revision(CAT),
            is_untried=False,
            probing=Probing(),
            start_times=times,
            start_delay=lambda number: 0.0,
            not_started=lambda number: None,
        ),
    )


@pytest.fixture
def starter() -> ContainerStarter:
    return ContainerStarter(ProcessEngine(), 0, READY_AFTER, owner())


@pytest.fixture
def dialog(starter: ContainerStarter) -> Iterator[Dialog]:
    dialog = starter.start()
    assert dialog is not None
    yield dialog
    dialog.container.destroy()


def sentence(starter: ContainerStarter) -> str | None:
    problem = starter.problem or starter._owner.probing.problem
    return problem and problem.sentence


def test_the_pause_doubles_while_no_container_can_be_started_and_ends_once_one_works(starter: ContainerStarter) -> None:
    pauses = [starter._backoff.pause]
    for _ in range(9):
        starter.failed("there is no image")
        pauses.append(starter._backoff.pause)
    assert pauses == [0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, MAX_PAUSE_SECONDS, MAX_PAUSE_SECONDS, MAX_PAUSE_SECONDS]
    assert sentence(starter) == "there is no image"
    starter.worked()
    assert starter._backoff.pause == 0.0 and not starter.problem


def played(**fields: Any) -> Dialog:
    """A dialog without anything unusual, except for these fields."""
    usual: dict[str, Any] = {"calls": 0, "started_at": time.monotonic(), "tails": lambda: ("", "")}
    usual |= dict.fromkeys(("replied", "closed_stdin", "flooding"), False) | {
        "container": SimpleNamespace(id="c"),
        "revision": Revision(CAT),
    }
    return cast(Dialog, SimpleNamespace(**usual | fields))


EXIT, CHATTER, OOM = DeathReason.EXIT, DeathReason.UNASKED_OUTPUT, DeathReason.OOM
REPLIED = {"calls": 1, "replied": True}
KILLED = ContainerExit(None, running=True)


@pytest.mark.parametrize(("fields", "reason", "container_exit", "says"), [
    ({}, EXIT, ContainerExit(0), "ends at once with exit code 0 (a handler reads lines until its stdin ends)"),
    ({}, EXIT, ContainerExit(None), "ends at once"),
    ({}, EXIT, KILLED, "closed its stdout before its first task"),
    ({"closed_stdin": True}, EXIT, KILLED, "closed its stdin before its first task"),
    ({"closed_stdin": True}, EXIT, ContainerExit(2), "ends at once with exit code 2"),
    ({}, OOM, ContainerExit(137, oom=True), "was killed for memory before its first task (`memory_limit` allows more)"),
    ({}, CHATTER, KILLED, "replied before its first task (a handler reads a line, then replies)"),
    ({"flooding": True}, CHATTER, KILLED,
     "wrote more than 1 MiB to stdout before its first task; write logs to stderr"),
    (REPLIED, EXIT, ContainerExit(3), "ended while idle with exit code 3"),
    (REPLIED, EXIT, KILLED, "closed its stdout after its reply"),
    (REPLIED | {"closed_stdin": True}, EXIT, KILLED, "closed its stdin after its reply"),
    (REPLIED, CHATTER, KILLED, "wrote to stdout after its reply"),
    (REPLIED, OOM, ContainerExit(137, oom=True), "was killed for memory after its reply (`memory_limit` allows more)"),
])  # fmt: skip
def test_the_log_says_what_a_container_did_that_ended_it(
    starter: ContainerStarter,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    fields: Any,
    reason: DeathReason,
    container_exit: ContainerExit,
    says: str,
) -> None:
    monkeypatch.setattr(module, "log_once", LogOnce())
    starter.ended(played(**fields), reason, container_exit, explained=False)
    assert caplog.messages == [f"handler 'cat' {says} (container c)"]
    assert sentence(starter) == (None if fields.get("replied") else f"handler 'cat' {says}")


def test_a_container_that_has_read_its_line_ends_the_failures_before_it(starter: ContainerStarter) -> None:
    for _ in range(2):
        starter.ended(played(), EXIT, ContainerExit(3), explained=False, started=False)
    assert starter._owner.probing.active
    starter.ended(played(calls=1), EXIT, ContainerExit(3), explained=True, started=True)
    assert not starter._owner.probing.active


def test_one_line_tells_of_all_containers_that_end_after_a_reply_whatever_they_wrote(
    starter: ContainerStarter, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "log_once", LogOnce())
    for task in ("task 1", "task 2"):
        starter.ended(played(**REPLIED, tails=lambda task=task: ("", task)), EXIT, ContainerExit(0), explained=False)
    assert caplog.messages == ["handler 'cat' ended while idle with exit code 0: task 1 (container c)"]


def test_one_line_tells_of_all_starts_whose_errors_differ_in_numbers_alone(
    starter: ContainerStarter, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "log_once", LogOnce())
    lines = [
        "2026-11-30T01:02:03.123Z [71] 0xfade: fbeadcde-3f0b-4a61-9c55-a6a1d16c9d0e cannot bind to port",
        "2026-12-01T11:12:13.456Z [1234] 0x7f3a: 0b7d4c11-bcde-4f00-8a35-d16c9d0ea6a1 cannot bind to port",
        "2026-12-01T11:12:14.456Z [1235] 0x7f3a: 0b7d4c11-bcde-4f00-8a35-d16c9d0ea6a1 cannot find the port",
    ]
    said = [f"handler 'cat' ends at once with exit code 1: {line}" for line in lines]
    for line in lines:
        starter.ended(played(tails=lambda line=line: ("", line)), EXIT, ContainerExit(1), explained=False)
        assert sentence(starter) == said[lines.index(line)]
    assert caplog.messages == [f"{said[0]} (container c)", f"{said[2]} (container c)"]


def test_a_container_is_watched_at_its_start_until_one_has_worked_and_again_after_one_that_ends_at_once(
    starter: ContainerStarter, dialog: Dialog
) -> None:
    assert starter.probation() == READY_AFTER
    starter.worked()
    assert starter.probation() == 0.0
    starter.ended(dialog, DeathReason.EXIT, ContainerExit(3), explained=False)
    assert starter.probation() == READY_AFTER


def test_failures_are_forgotten_once_an_unused_container_has_lived_for_long(
    starter: ContainerStarter, dialog: Dialog, monkeypatch: pytest.MonkeyPatch
) -> None:
    starter.failed("it was bad")
    assert not starter.is_stable(dialog)
    monkeypatch.setattr(module, "STABLE_SECONDS", 0.0)
    assert starter.is_stable(dialog)
    starter.recovered()
    assert not starter.is_stable(dialog)


def test_no_container_is_started_after_a_close(starter: ContainerStarter) -> None:
    starter.close()
    assert starter.start() is None
    assert list(starter.dialogs()) == []


class BrokenEngine(ProcessEngine):
    """Fails at the first start."""

    def __init__(self) -> None:
        self.starts = 0

    def start(self, handler: Handler, slot: int, closing: threading.Event | None = None) -> ProcessContainer:
        self.starts += 1
        if self.starts == 1:
            raise ZeroDivisionError
        return super().start(handler, slot, closing)


def test_an_internal_error_of_a_start_is_a_failure_that_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "MIN_PAUSE_SECONDS", 0.0)
    starter = ContainerStarter(BrokenEngine(), 0, READY_AFTER, owner())
    dialog = next(starter.dialogs())
    dialog.container.destroy()
    assert sentence(starter) == "internal runner error; see the worker's log"
    assert caplog.messages == ["internal error in slot 0 of cat"]
