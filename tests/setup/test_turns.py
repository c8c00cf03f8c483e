"""How many tests run at a time."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from testkit import turns
from testkit.process import PROJECT


def test_a_process_that_has_a_turn_leaves_none_until_it_ends_and_gives_none_to_its_children(tmp_path: Path) -> None:
    fifo = turns.make(tmp_path / "turns", 1)
    os.set_blocking(fifo, False)
    code = """
import os
from testkit import turns
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
