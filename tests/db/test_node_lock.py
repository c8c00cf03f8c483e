"""A lock file tells whether a node is alive."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from tasks_app.db.node_lock import NodeLock, is_dead, lock_domain, remove_lock, touch

PROJECT = Path(__file__).parents[2]
HOLD = "import sys, pathlib; from tasks_app.db.node_lock import NodeLock; lock = NodeLock(pathlib.Path(sys.argv[1]), 'n'); print('held', flush=True); sys.stdin.read()"  # noqa: E501


def test_a_node_is_dead_once_the_kernel_has_released_its_lock(tmp_path: Path) -> None:
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
    remove_lock(tmp_path, "n")
    assert not is_dead(tmp_path, "n"), "a missing file proves nothing"


def test_a_node_that_stopped_normally_leaves_no_file(tmp_path: Path) -> None:
    lock = NodeLock(tmp_path, "n")
    lock.release()
    assert list((tmp_path / "nodes").iterdir()) == []


def test_a_node_whose_stop_was_not_noted_is_dead_by_its_file(tmp_path: Path) -> None:
    NodeLock(tmp_path, "n").release(noted=False)
    assert is_dead(tmp_path, "n")


def test_a_domain_is_one_folder_whatever_its_path_and_host_name(tmp_path: Path, monkeypatch) -> None:
    home, other, link = tmp_path / "home", tmp_path / "other", tmp_path / "link"
    link.symlink_to(home)
    domain = lock_domain(home)
    # Workers in containers share a volume but not a host name.
    monkeypatch.setattr("socket.gethostname", lambda: "another-container")
    assert lock_domain(link) == domain
    assert lock_domain(other) != domain


def test_a_folder_that_cannot_be_made_is_a_domain_of_this_host(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "file").write_text("")
    domain = lock_domain(tmp_path / "file" / "home")
    monkeypatch.setattr("socket.gethostname", lambda: "another-container")
    assert lock_domain(tmp_path / "file" / "home") != domain


def test_a_heartbeat_sets_the_files_time_and_makes_no_file(tmp_path: Path) -> None:
    lock = NodeLock(tmp_path, "n")
    file = tmp_path / "nodes" / "n.lock"
    os.utime(file, (1, 1))
    touch(tmp_path, "n")
    assert file.stat().st_mtime > 1
    lock.release()
    touch(tmp_path, "n")
    assert not file.exists()
