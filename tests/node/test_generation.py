"""What a node makes of new handlers: which pools get them, and what the dispatcher is told."""

from __future__ import annotations

import threading
from collections.abc import Collection, Set
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from tasks_app.handlers.handlers_toml import Handler
from tasks_app.node import generation as module
from tasks_app.node.generation import Generation, Reload, served
from tasks_app.runner.engine import Engine, Unavailable
from testkit.process import until
from tests.node.test_thread import run

ONE, TWO = Handler(name="one", command=("cat",)), Handler(name="two", image="two:latest")


class FakePool:
    """Records what is asked of it."""

    def __init__(self, handler: Handler) -> None:
        self.done: list[Any] = []
        self.handler = handler
        self.reason: str | None = None

    def start(self) -> None:
        self.done.append("start")

    def adopt(self, handler: Handler, replace: bool = False) -> None:
        self.handler = handler
        self.done.append("replace" if replace else "adopt")

    def retire(self) -> None:
        self.done.append("retire")

    def waits_for(self) -> str | None:
        return self.reason


class Parts:
    """A reload and what it is made of. `moved`: the images that have moved; None: the engine does not answer."""

    def __init__(self, *only: str) -> None:
        self.moved: Set[str] | None = frozenset()
        self.asked: list[set[str]] = []
        self.swapped: list[Generation] = []
        make: Any = FakePool
        first = served({"one": ONE, "two": TWO}, only)
        generation = Generation(first, {name: make(handler) for name, handler in first.items()})
        self.reload = Reload(generation, cast(Engine, self), make, self.swap, frozenset(only))

    def resolve_again(self, images: Collection[str]) -> Set[str]:
        self.asked.append(set(images))
        if self.moved is None:
            raise Unavailable("the engine does not answer")
        return self.moved

    def swap(self, generation: Generation) -> None:
        self.swapped.append(generation)
        generation.in_force.set()

    def done(self, name: str) -> list[Any]:
        pool: Any = self.reload.pools[name]
        return list(pool.done)


def test_a_handler_that_is_removed_keeps_its_pool_for_when_it_comes_back() -> None:
    parts = Parts()
    gone = parts.reload.serve({"one": ONE})
    assert gone is not None and gone.types == {"one"} and set(gone.pools) == {"one"}
    assert parts.reload.pools["two"] in gone.rolling, "its slots end between two rounds of the dispatcher"
    pool = parts.reload.pools["two"]
    parts.reload.serve({"one": ONE})
    back = parts.reload.serve({"one": ONE, "two": TWO, "three": replace(ONE, name="three")})
    assert back is not None and back.pools["two"] is pool
    assert parts.done("two") == ["retire", "adopt"] and parts.done("three") == ["start"]


def test_a_node_that_was_told_its_handlers_serves_no_others_and_these_again_once_they_come_back() -> None:
    parts = Parts("two", "three")
    assert set(parts.reload.pools) == {"two"}
    served = [
        parts.reload.serve({"one": ONE}),
        parts.reload.serve({"one": ONE, "two": TWO, "three": replace(ONE, name="three")}),
    ]
    assert [generation and generation.types for generation in served] == [set(), {"two", "three"}]


def test_the_containers_of_an_image_whose_name_means_another_one_are_replaced() -> None:
    parts = Parts()
    parts.moved = {"two:latest"}
    parts.reload.serve({"one": ONE, "two": TWO})
    assert (parts.done("one"), parts.done("two"), parts.asked) == (["adopt"], ["replace"], [{"two:latest"}])


def test_an_engine_that_does_not_answer_keeps_no_change_from_coming() -> None:
    parts = Parts()
    parts.moved = None
    parts.reload.serve({"one": ONE, "two": replace(TWO, timeout=1.0)})
    assert parts.done("two") == ["adopt"] and parts.swapped[0].policies["two"].timeout == 1.0
    parts.reload.end()


def test_what_a_reload_waits_for_is_said_of_the_engine_and_of_each_handler() -> None:
    parts = Parts()
    assert parts.reload.waits_for() is None
    parts.moved = None
    parts.reload.serve({"one": ONE, "two": TWO})
    pools: Any = parts.reload.pools
    pools["one"].reason, pools["two"].reason = "it is not ready", "handler 'two' ends at once"
    said = str(parts.reload.waits_for())
    assert said.startswith("images are not resolved anew (the engine does not answer): ")
    assert said.endswith("; handler 'one': it is not ready; handler 'two' ends at once")
    parts.reload.end()


def test_an_engine_that_hangs_delays_no_reload_and_what_it_says_later_is_done_then(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tasks_app.node.generation.RESOLVE_SECONDS", 0.01)
    parts, answers = Parts(), threading.Event()
    resolve = parts.resolve_again
    monkeypatch.setattr(parts, "resolve_again", lambda images: (answers.wait(20), resolve(images))[1])
    parts.moved = {"two:latest"}
    assert parts.reload.serve({"one": ONE, "two": TWO}) is parts.swapped[0]
    assert "has not answered for 0.01 s): containers start" in str(parts.reload.image_names.problem())
    answers.set()
    until(lambda: len(parts.swapped) == 2)
    assert (parts.done("one"), parts.done("two")) == (["adopt"], ["adopt", "replace"])
    assert parts.reload.image_names.problem() is None


def test_an_engine_that_failed_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks_app.node.generation.RETRY_SECONDS", 0.01)
    parts = Parts()
    parts.moved = None
    parts.reload.serve({"one": ONE, "two": TWO})
    assert "(the engine does not answer)" in str(parts.reload.image_names.problem())
    parts.moved = {"two:latest"}
    until(lambda: parts.done("two") == ["adopt", "replace"] and len(parts.swapped) == 2)
    assert parts.reload.image_names.problem() is None


def test_a_replacement_whose_image_has_moved_replaces_the_other_containers_of_that_image() -> None:
    parts = Parts()
    parts.reload.serve({"one": ONE, "two": TWO, "three": replace(TWO, name="three")})
    parts.moved = {"two:latest"}
    parts.reload.replace(["two"])
    assert (parts.done("one")[-1], parts.done("two")[-1], parts.done("three")[-1]) == ("adopt", "replace", "replace")


def test_a_node_that_ends_while_it_reloads_begins_nothing_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SWAP_SECONDS", 0.01)
    parts = Parts()

    def end(_: Any) -> Set[str]:
        parts.reload.end()
        return frozenset()

    monkeypatch.setattr(parts, "resolve_again", end)
    assert parts.reload.serve({"one": ONE, "two": TWO}) is None
    assert (parts.done("one"), parts.done("two"), parts.swapped) == ([], [], []), "the engine answered late"
    parts = Parts()
    monkeypatch.setattr(parts.reload, "_swap", end)
    assert parts.reload.serve({"one": ONE}) is None, "its dispatcher had ended"


def test_a_reload_does_not_wait_for_ever_for_a_dispatcher_that_waits_for_the_database(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "SWAP_SECONDS", 0.01)
    parts = Parts()
    monkeypatch.setattr(parts.reload, "_swap", parts.swapped.append)
    assert parts.reload.serve({"one": ONE}) is parts.swapped[0]


#: A node of child processes, to which a handler with an image comes.
FIRST_IMAGE = """
import os, sys, threading
import django
django.setup()
from pathlib import Path
from tasks_app.handlers.handlers_toml import Defaults, Handler, load
from tasks_app.node.wiring import wire
from tasks_app.runner.process_engine import ProcessEngine

class Engine(ProcessEngine):
    swept = threading.Event()

    def sweep(self, is_gone):
        self.swept.set()
        return 0

home = Path(sys.argv[1])
handlers = load(home / "handlers.toml", Defaults())
node = wire(handlers, lambda *_: Engine(), home=home, order="fifo")
node.start()
assert not Engine.swept.wait(0.5) and node.sweeper.containers_removed("dead")
node.serve({**handlers, "image": Handler(name="image", image="image:1")})
assert Engine.swept.wait(20)
assert not node.sweeper.containers_removed("dead")
os._exit(0)
"""


def test_with_the_first_handler_with_an_image_dead_nodes_containers_are_removed(tmp_path: Path) -> None:
    ended = run(tmp_path, FIRST_IMAGE, str(tmp_path))
    assert ended.returncode == 0, ended.stderr
