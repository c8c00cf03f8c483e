"""What a reload waits for until new containers serve (`Pool.waits_for`)."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import Any

from tasks_app.handlers.handlers_toml import Handler
from tasks_app.runner.process_engine import ProcessEngine
from tasks_app.runner.wire import Success
from tests.runner.test_pool import ReadEngine
from tests.runner.test_reload import ANSWERS, Reloading, deaths, handler


class HeldEngine(ReadEngine):
    """Starts no container while `goes_on` is not set."""

    def __init__(self, engine: Any) -> None:
        super().__init__(engine)
        self.goes_on = threading.Event()
        self.goes_on.set()

    def start(self, handler: Handler, slot: int, closing: threading.Event | None = None) -> Any:
        self.goes_on.wait()
        return super().start(handler, slot, closing)


def test_the_only_slot_has_one_task_at_a_time_while_its_container_is_replaced(tmp_path: Path) -> None:
    go = tmp_path / "go"
    engine: Any = HeldEngine(ProcessEngine())
    with Reloading(handler(instances=1), engine, ready_after=30.0) as caller:
        call = caller.begin({"waits_for": str(go)})[1]
        engine.goes_on.clear()
        caller.pool.adopt(handler("two", instances=1))
        caller.pool.roll()
        assert caller.pool.waits_for() == "its new container is not ready yet; the old one goes on meanwhile"
        engine.goes_on.set()
        caller.until(lambda: caller.pool._roll.spare_ready)
        caller.pool.roll()
        assert (caller.pool.free(), caller.pool.stats().busy, caller.pool.waits_for()) == (0, 1, None)
        go.touch()
        assert caller.result(call).outcome == Success("one")
        caller.settled()
        assert caller.versions(2) == ["two"] * 2
        caller.until(lambda: deaths(caller) == {"recycled": 1})


def test_of_several_a_reload_waits_for_the_first_new_container_and_not_for_tasks(tmp_path: Path) -> None:
    go, waits = tmp_path / "go", "its first new container is not ready yet; the old ones go on meanwhile"
    engine: Any = HeldEngine(ProcessEngine())
    with Reloading(handler(), engine, ready_after=30.0) as caller:
        caller.settled()
        calls = [caller.begin({"waits_for": str(go)})[1] for _ in range(3)]
        engine.goes_on.clear()
        caller.pool.adopt(handler("two"))
        assert caller.pool.waits_for() is None  # all of them run tasks
        go.touch()
        assert [caller.result(call).outcome for call in calls] == [Success("one")] * 3
        caller.until(lambda: caller.pool.free() == 2)
        assert caller.pool.waits_for() == waits
        engine.goes_on.set()
        caller.until(lambda: caller.pool.waits_for() is None)
        caller.settled()
        assert caller.versions(3) == ["two"] * 3


def test_a_reload_waits_for_the_first_new_container_also_where_no_old_one_goes_on(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(ANSWERS)
    command = (sys.executable, "-S", "-E", str(program))
    engine: Any = HeldEngine(ProcessEngine())
    with Reloading(handler(command=command, sources="before"), engine, ready_after=30.0) as caller:
        caller.settled()
        assert caller.pool.waits_for() is None
        engine.goes_on.clear()
        program.write_text("import nope")
        caller.pool.adopt(handler(command=command, sources="saved"))
        caller.until(lambda: not caller.containers())
        assert caller.pool.waits_for() == "its first new container is not ready yet"
        engine.goes_on.set()
        caller.until(lambda: "nope" in str(caller.pool.waits_for()))
        program.write_text(ANSWERS)
        caller.pool.adopt(handler(command=command, sources="mended"))
        caller.settled()
        assert caller.pool.waits_for() is None
