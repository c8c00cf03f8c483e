"""The previous version and this one serve one database side by side: either rescues and retries the other's tasks."""

from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path

import pytest

from testkit.daemon import Daemon
from testkit.process import PROJECT, Process, until

#: A module of the previous version, whose last commit is the parent of the one that removed it (by its hash it would be
#: lost when commits are rewritten). Its modules, classes and metrics have other names than this version's; tables,
#: queues, messages and lock files are shared.
LAST_SEEN = "tasks_app/node/clerk.py"


@pytest.fixture(scope="module")
def previous(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `manage.py` of the previous version, in a checkout of its own."""
    if git("rev-parse", "--is-shallow-repository").strip() != b"false":
        pytest.skip("this copy of the project has no history")
    removed_by = git("log", "-1", "--diff-filter=D", "--format=%H", "--", LAST_SEEN).decode().strip()
    assert removed_by, f"no commit has removed {LAST_SEEN}"
    folder = tmp_path_factory.mktemp("previous")
    with tarfile.open(fileobj=io.BytesIO(git("archive", f"{removed_by}^"))) as files:
        files.extractall(folder, filter="data")
    assert (folder / LAST_SEEN).exists()
    return folder / "manage.py"


def git(*words: str) -> bytes:
    """What git says, in the project. Nothing if this is no checkout."""
    said = subprocess.run(["git", "-c", "safe.directory=*", "-C", str(PROJECT), *words], capture_output=True)
    return said.stdout


class Versions:
    """Starts nodes of both versions on one deployment."""

    def __init__(self, daemon: Daemon, previous: Path) -> None:
        self._daemon, self._programs = daemon, {"previous": str(previous), "this": str(PROJECT / "manage.py")}

    def node(self, version: str) -> Process:
        """A node that has started."""
        self._daemon.program = self._programs[version]
        return self._daemon.worker()

    def web(self, version: str) -> Process:
        """A web server that answers."""
        self._daemon.program = self._programs[version]
        return self._daemon.web()


@pytest.fixture
def versions(daemon: Daemon, previous: Path) -> Versions:
    return Versions(daemon, previous)


#: What passes from one version to the other in rows: the messages are alike for all tests here.
IN_ROWS = pytest.mark.one_broker
BOTH_WAYS = pytest.mark.parametrize(("one", "other"), [("previous", "this"), ("this", "previous")])


@IN_ROWS
@BOTH_WAYS
def test_a_task_of_a_killed_node_is_rescued_and_retried_by_the_other_version(
    daemon: Daemon, versions: Versions, one: str, other: str
) -> None:
    versions.web(other)
    killed = versions.node(one)
    task = daemon.post("act", {"do": "sleep", "seconds": 600, "until": 2})
    daemon.until_starts(task)
    versions.node(other)
    killed.kill()
    found = daemon.until_final(task)
    assert (found["status"], found["attempts"]) == ("completed", 2)
    assert [attempt["outcome"] for attempt in daemon.attempts(task)] == ["worker_lost", "success"]


@IN_ROWS
@BOTH_WAYS
def test_a_retry_of_one_version_is_run_by_the_other(daemon: Daemon, versions: Versions, one: str, other: str) -> None:
    daemon.environment["DAEMON_RETRY_BACKOFF"] = "2"
    web = versions.web(one)
    first = versions.node(one)
    task = daemon.post("act", {"do": "error", "retryable": True, "until": 2})
    until(lambda: daemon.attempts(task), what="a first attempt")
    assert first.stop() == 0 and web.stop() == 0
    versions.web(other)
    versions.node(other)
    found = daemon.until_final(task)
    assert (found["status"], found["attempts"], found["result"]["do"]) == ("completed", 2, "error")


@BOTH_WAYS
def test_a_post_to_one_version_wakes_a_node_of_the_other(
    daemon: Daemon, versions: Versions, one: str, other: str
) -> None:
    versions.web(one)
    versions.node(other)
    tasks = [daemon.post("act") for _ in range(20)]
    assert {daemon.until_final(task)["status"] for task in tasks} == {"completed"}
    # As many as were posted, less those that were merged: none had to be found by polling alone.
    until(lambda: notified(daemon) > 0, what="a notification that a node received")


@IN_ROWS
def test_both_versions_share_the_work_and_count_it_in_the_same_counters(daemon: Daemon, versions: Versions) -> None:
    web = versions.web("previous")
    nodes = [versions.node(version) for version in ("previous", "this")]
    tasks = [daemon.post("act", {"do": "sleep", "seconds": 0.02}) for _ in range(100)]
    until(daemon.all_final, what="the end of all tasks")
    by_node = {row["node"] for task in tasks for row in daemon.attempts(task)}
    assert len(by_node) == 2
    # The previous version does not see what this one has not folded yet; every few seconds it does.
    until(lambda: processed(daemon) == 100, what=lambda: f"100 tasks, not {processed(daemon)}")
    assert web.stop() == 0
    versions.web("this")
    assert processed(daemon) == 100
    assert [node.stop() for node in nodes] == [0, 0]


@IN_ROWS
def test_the_previous_version_goes_on_with_the_counts_of_this_one(daemon: Daemon, versions: Versions) -> None:
    web, node = versions.web("this"), versions.node("this")
    tasks = [daemon.post("act") for _ in range(5)]
    assert {daemon.until_final(task)["status"] for task in tasks} == {"completed"}
    assert node.stop() == 0 and web.stop() == 0
    versions.web("previous")
    assert processed(daemon) == 5


def processed(daemon: Daemon) -> int:
    """Tasks that have ended well, by the counters of whichever web server there is."""
    return int(daemon.http.get("/api/metrics").json()["tasks_processed_success"])


def notified(daemon: Daemon) -> int:
    """Notifications that nodes have received and written down."""
    return daemon.counted("bells_heard|%")
