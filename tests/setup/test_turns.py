"""How many tests run at a time."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from testkit import running, turns
from testkit.process import PROJECT


def test_a_process_that_has_a_turn_leaves_none_until_it_ends_and_gives_none_to_its_children(tmp_path: Path) -> None:
    fifo = turns.make(tmp_path / "turns", 1)
    os.set_blocking(fifo, False)
    code = """
import os
from testkit import running, turns
with turns.turn():
    assert turns.FIFO not in os.environ
    print("has it", flush=True)
    input()
"""
    other = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=PROJECT,
        env=os.environ | {turns.FIFO: str(tmp_path / "turns")},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert other.stdin and other.stdout and other.stdout.readline() == "has it\n"
        assert _left(fifo) == 0
        other.communicate("\n", timeout=30)
        assert other.returncode == 0
        assert _left(fifo) == 1
    finally:
        other.kill()
        other.wait()
        os.close(fifo)


def _left(fifo: int) -> int:
    """How many turns nobody has. Takes them."""
    try:
        return len(os.read(fifo, 99))
    except BlockingIOError:
        return 0


def test_there_are_more_turns_while_the_processors_are_idle_and_fewer_once_they_are_busy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = iter([0.9, 0.9, 0.9, 0.1, 0.0])
    seen = threading.Event()

    def look() -> float:
        if (idle := next(looks, None)) is None:
            seen.set()
        return 0.1 if idle is None else idle

    monkeypatch.setattr(turns, "idle_share", lambda: look)
    monkeypatch.setattr(turns, "LOOK_SECONDS", 0.01)
    fifo = turns.make(tmp_path / "turns", 1)
    with turns.more_while_idle(fifo, 1, 3):
        assert seen.wait(30)
    assert _left(fifo) == 2, "two more, and one back"
    os.close(fifo)


def test_the_share_of_idle_time_is_a_share() -> None:
    look = turns.idle_share()
    assert 0.0 <= look() <= 1.0


@pytest.mark.parametrize(("marker", "takes"), [("waiting", 0), ("long", 1)])
def test_what_mostly_waits_takes_no_turn(monkeypatch: pytest.MonkeyPatch, marker: str, takes: int) -> None:
    taken: list[str] = []

    @contextmanager
    def turn() -> Iterator[None]:
        taken.append(marker)
        yield

    monkeypatch.setattr(turns, "turn", turn)
    item = SimpleNamespace(get_closest_marker=lambda name: name == marker)
    next(running.pytest_runtest_protocol(item))  # type: ignore[arg-type]
    assert len(taken) == takes
