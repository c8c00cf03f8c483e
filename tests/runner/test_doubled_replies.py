"""Handlers in two languages that reply twice: every task gets its own result, and none is lost."""

from __future__ import annotations

import json
import uuid
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

from tasks_app.handlers.handlers_toml import Handler
from tasks_app.runner.call import Call
from tasks_app.runner.wire import Success, request_line
from tests.docker.engines import BUSYBOX, PYTHON
from tests.runner.caller import Caller, not_begun
from tests.runner.kit import KITS, Kit

SOURCES = Path(__file__).with_name("twice")
LANGUAGES = ("python", "shell")
NO_SECOND, GAPS = -1, (0, 1, 5, 30, 100)
"""Milliseconds from a reply to the second one."""
TASKS = 20
TASKS_OF_A_GAP = 8
ORDINARY = 200

DOCKER = [pytest.mark.docker]
if_it_tells = pytest.mark.parametrize("kit", ["process", pytest.param("docker-fifo", marks=DOCKER)], indirect=True)
if_it_does_not_tell = pytest.mark.parametrize(
    "kit", ["socket", pytest.param("docker-attach", marks=DOCKER)], indirect=True
)
on_a_process = pytest.mark.parametrize("kit", ["process"], indirect=True)

OpenTwice = Callable[..., Caller]


@pytest.fixture
def open_twice(kit: Kit) -> Iterator[OpenTwice]:
    """Opens pools of two slots of the handler in a language."""
    with ExitStack() as stack:

        def opened(language: str, instances: int = 2) -> Caller:
            return stack.enter_context(Caller(_handler(kit, language, instances), kit.make_engine()))

        yield opened


def _handler(kit: Kit, language: str, instances: int) -> Handler:
    fields: dict[str, Any] = {"name": "twice", "instances": instances, "start_timeout": 20.0}
    if "image" in kit.base:
        fields["image"] = PYTHON if language == "python" else BUSYBOX
    if language == "python":
        fields["command"] = ("python3", "-S", "-E", "-c", (SOURCES / "handler.py").read_text())
    else:
        fields["command"] = ("/bin/sh", "-c", (SOURCES / "handler.sh").read_text())
    return Handler(**fields)


def line(token: str, task_id: str, gap: int, named: bool) -> bytes:
    data = json.dumps({"token": token, "gap": gap, "named": named}, separators=(",", ":"))
    return request_line(task_id, "twice", data, 1)


def results(caller: Caller, gaps: list[int], named: bool, at_once: bool) -> dict[str, Any]:
    """The outcome of each task by its token. A task that was not begun is run again, as a node does.

    `at_once`: begin the next call as soon as a slot is free; else only when no call is running.
    """
    waiting = deque((f"token-{n}", str(uuid.uuid4()), gap) for n, gap in enumerate(gaps))
    running: dict[int, tuple[str, str, int]] = {}
    outcomes: dict[str, Any] = {}
    seen = len(caller.results)

    def collect() -> None:
        nonlocal seen
        while seen < len(caller.results):
            result = caller.results[seen]
            seen += 1
            task = running.pop(id(result.call))
            if not_begun(result.outcome):
                waiting.appendleft(task)
            else:
                assert task[0] not in outcomes, f"{task[0]} ended twice"
                outcomes[task[0]] = result.outcome

    def advance() -> bool:
        collect()
        while waiting and (at_once or not running) and (slot := caller.pool.take()) is not None:
            token, task_id, gap = task = waiting.popleft()
            call = Call(line(token, task_id, gap, named), 20.0, task, task_id)
            running[id(call)] = task
            kept.append(call)
            slot.run(call)
            collect()
        return not waiting and not running

    kept: list[Call] = []  # keeps the ids of calls unique
    caller.until(advance)
    return outcomes


def own(gaps: list[int]) -> dict[str, Success]:
    return {f"token-{n}": Success(f"token-{n}") for n in range(len(gaps))}


def lost_to_second_replies(caller: Caller) -> int:
    return caller.pool.stats().deaths.get("chatter", 0)


def some_twice(gap: int) -> list[int]:
    """Every other task replies twice; the ones between are ordinary."""
    return [gap if n % 2 == 0 else NO_SECOND for n in range(TASKS_OF_A_GAP)]


@pytest.fixture(params=[True, False], ids=["backlog", "alone"])
def at_once(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_task_has_its_own_result(
    kit: Kit, open_twice: OpenTwice, language: str, at_once: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the container cannot tell when the handler reads, the handler names the tasks."""
    # Disabled because the watch would find most second replies before the mechanism under test does.
    monkeypatch.setattr("tasks_app.runner.slot_owner.WATCH_SECONDS", 0.0)
    named = not kit.tells
    if kit in (KITS["process"], KITS["socket"]):
        callers = [(open_twice(language), some_twice(gap)) for gap in GAPS]
    else:
        # A container starts slowly: one pool has each other gap, and the pool of the other case has those between.
        mixed = [[gap, *[NO_SECOND] * 3] for gap in (GAPS[::2] if at_once else GAPS[1::2])]
        callers = [(open_twice(language), list(chain(*mixed)))]
    for caller, gaps in callers:
        assert results(caller, gaps, named, at_once) == own(gaps)
        caller.until(partial(lost_to_second_replies, caller))


@if_it_tells
def test_a_handler_may_name_its_tasks_without_need(open_twice: OpenTwice, at_once: bool) -> None:
    gaps = [*GAPS, *[NO_SECOND] * (TASKS - len(GAPS))]
    assert results(open_twice("python"), gaps, True, at_once) == own(gaps)


@if_it_does_not_tell
def test_a_handler_that_neither_tells_nor_names_its_tasks_has_a_container_for_each(open_twice: OpenTwice) -> None:
    caller, gaps = open_twice("python"), [NO_SECOND, 0, 300, NO_SECOND, 30, NO_SECOND]
    assert results(caller, gaps, False, at_once=True) == own(gaps)
    caller.until(lambda: sum(caller.pool.stats().deaths.values()) == len(gaps))
    assert set(caller.pool.stats().deaths) <= {"no_task_id", "chatter"}


@on_a_process
def test_a_pool_beside_it_loses_nothing(open_twice: OpenTwice) -> None:
    ordinary, gap = [NO_SECOND] * ORDINARY, 5
    beside, twice = open_twice("shell"), open_twice("python")
    with ThreadPoolExecutor(1) as other:
        doubled = other.submit(results, twice, [gap] * TASKS, False, True)
        assert results(beside, ordinary, False, at_once=True) == own(ordinary)
        assert doubled.result() == own([gap] * TASKS)
    assert beside.pool.stats().deaths == {}
