"""A lock file tells the living from the dead."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from tasks_app.node_lock import NodeLock, forget, is_dead

PROJECT = Path(__file__).parents[2]
HOLD = "import sys, pathlib; from tasks_app.node_lock import NodeLock; lock = NodeLock(pathlib.Path(sys.argv[1]), 'n'); print('held', flush=True); sys.stdin.read()"  # noqa: E501


def test_a_node_is_dead_once_the_kernel_dropped_its_lock_and_not_before(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as node:
        assert node.stdout is not None and node.stdout.readline() == b"held\n"
        assert not is_dead(tmp_path, "n")
        node.send_signal(signal.SIGSTOP)
        assert not is_dead(tmp_path, "n")
        node.kill()
        node.wait()
        assert is_dead(tmp_path, "n")
    forget(tmp_path, "n")
    assert not is_dead(tmp_path, "n"), "a missing file says nothing"


def test_a_node_that_ended_in_order_leaves_no_file(tmp_path: Path) -> None:
    lock = NodeLock(tmp_path, "n")
    lock.release()
    assert list((tmp_path / "nodes").iterdir()) == []
