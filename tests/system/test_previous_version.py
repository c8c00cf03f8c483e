"""The previous version and this one serve one database side by side: either rescues and retries the other's tasks."""

from __future__ import annotations

import io
import re
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from testkit.daemon import Daemon, open_gate
from testkit.ports import free_port
from testkit.process import PROJECT, Process, until

pytestmark = pytest.mark.long("deployments of two versions", seconds=60)

#: The first file that was added after the previous version, 0.1.0, which is the commit before (by its hash it would be
#: lost when commits are rewritten). None: nothing was.
FIRST_ADDED: str | None = None


@pytest.fixture(scope="module")
def previous(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `manage.py` of the previous version, in a checkout of its own."""
    if FIRST_ADDED is None:
        [newest, *_] = re.findall(r"^## (\S+)", (PROJECT / "CHANGELOG.md").read_text(), re.MULTILINE)
        assert newest == "0.1.0", f"CHANGELOG.md has {newest}: name the first file after 0.1.0 in FIRST_ADDED"
        pytest.skip("this waits for the first file that is added after 0.1.0, the previous version")
    return before(FIRST_ADDED, tmp_path_factory.mktemp("previous"))


def before(path: str, folder: Path) -> Path:
    """The `manage.py` of a checkout in the folder, as it was before the last commit that added a file."""
    if git("rev-parse", "--is-shallow-repository").strip() != b"false":
        pytest.skip("this copy of the project has no history")
    added_by = git("log", "-1", "--diff-filter=A", "--format=%H", "--", path).decode().strip()
    assert added_by, f"no commit has added {path}"
    with tarfile.open(fileobj=io.BytesIO(git("archive", f"{added_by}^"))) as files:
        files.extractall(folder, filter="data")
    assert not (folder / path).exists()
    return folder / "manage.py"


def git(*words: str) -> bytes:
    """What git says, in the project. Nothing if this is no checkout."""
    said = subprocess.run(["git", "-c", "safe.directory=*", "-C", str(PROJECT), *words], capture_output=True)
    return said.stdout


#: Which version comes first, and which second.
WAYS = [("previous", "this"), ("this", "previous")]


class Between:
    """A deployment of both versions, for the tests of one way in turn.

    The first version's web server takes the posts, and a node of the second runs them.
    """

    def __init__(self, daemon: Daemon, previous: Path, first: str, second: str) -> None:
        self.daemon, self.first = daemon, first
        self._programs = {"previous": str(previous), "this": str(PROJECT / "manage.py")}
        self.served_by, self.run_by = self.web(first), self.node(second)

    def node(self, version: str) -> Process:
        """A node that has started."""
        self.daemon.program = self._programs[version]
        return self.daemon.worker()

    def web(self, version: str) -> Process:
        """A web server that answers."""
        self.daemon.program = self._programs[version]
        return self.daemon.web()


@pytest.fixture(scope="module", params=WAYS, ids="-".join)
def between(request: pytest.FixtureRequest, module_deployment: Callable[..., Daemon], previous: Path) -> Between:
    daemon = module_deployment(DAEMON_RETRY_BACKOFF="4")
    daemon.handler("act")
    return Between(daemon, previous, *request.param)


#: What passes from one version to the other in rows: the messages are alike for all tests here.
IN_ROWS = pytest.mark.one_broker


def test_a_post_to_one_version_wakes_a_node_of_the_other(between: Between) -> None:
    daemon = between.daemon
    tasks = [daemon.post("act") for _ in range(20)]
    assert {daemon.until_final(task)["status"] for task in tasks} == {"completed"}
    # As many as were posted, less those that were merged: none had to be found by polling alone.
    until(lambda: notified(daemon) > 0, what="a notification that a node received")


@IN_ROWS
@pytest.mark.parametrize("between", [("this", "previous")], ids="-".join, indirect=True)
def test_health_names_a_node_of_the_previous_version(between: Between) -> None:
    between.daemon.until_warm()
    answer = httpx.get(f"{between.daemon.base}/health", timeout=30)
    assert answer.status_code == 200
    [problem] = answer.json()["problems"]
    assert problem.startswith("nodes run another version of the platform (")
    assert f"-{between.run_by.pid}-" in problem


@IN_ROWS
def test_a_retry_and_a_task_of_a_killed_node_of_one_version_are_run_by_the_other(between: Between) -> None:
    daemon = between.daemon
    gates = [daemon.gate() for _ in range(2)]
    for gate in gates:  # the slots of the second version: what follows goes to the first one
        daemon.until_starts(daemon.post("act", {"do": "wait", "gate": str(gate)}))
    killed = between.node(between.first)
    lost = [daemon.post("act", {"do": "sleep", "seconds": 600, "until": 2})]
    daemon.until_starts(lost[0])
    retried = daemon.post("act", {"do": "error", "retryable": True, "until": 2})
    until(lambda: daemon.attempts(retried), what="a first attempt")
    lost += [daemon.post("act", {"do": "sleep", "seconds": 600, "until": 2})]
    daemon.until_starts(lost[1])  # now the first version has no slot for the retry
    for gate in gates:
        open_gate(gate)
    killed.kill()
    for task in lost:
        found = daemon.until_final(task)
        assert (found["status"], found["attempts"]) == ("completed", 2)
        assert [attempt["outcome"] for attempt in daemon.attempts(task)] == ["worker_lost", "success"]
    found = daemon.until_final(retried)
    assert (found["status"], found["attempts"], found["result"]["do"]) == ("completed", 2, "error")
    for task in (*lost, retried):
        first, second = (attempt["node"] for attempt in daemon.attempts(task))
        assert f"-{killed.pid}-" in first and f"-{between.run_by.pid}-" in second


@IN_ROWS
@pytest.mark.parametrize("between", [("previous", "this")], ids="-".join, indirect=True)
def test_both_versions_share_the_work_and_count_it_in_the_same_counters(between: Between) -> None:
    daemon, node = between.daemon, between.node("previous")
    daemon.until_warm()
    tasks = [daemon.post("act", {"do": "sleep", "seconds": 0.05}) for _ in range(60)]
    until(daemon.all_final, what="the end of all tasks")
    by_node = {row["node"] for task in tasks for row in daemon.attempts(task)}
    assert len(by_node) == 2
    (row,) = daemon.rows("SELECT count(*) AS n FROM taskdaemon_task WHERE status = 'completed'")
    ended = int(row["n"])
    until(lambda: processed(daemon) == ended, what=lambda: f"{ended} tasks, not {processed(daemon)}")
    assert between.served_by.stop() == 0
    web = between.web("this")
    assert processed(daemon) == ended
    assert node.stop() == 0
    # The previous version goes on with the counts of this one.
    assert {daemon.until_final(daemon.post("act"))["status"] for _ in range(5)} == {"completed"}
    assert between.run_by.stop() == 0 and web.stop() == 0
    between.web("previous")
    assert processed(daemon) == ended + 5


def processed(daemon: Daemon) -> int:
    """Tasks that have ended well, by the counters of whichever web server there is."""
    return int(daemon.http.get("/api/metrics").json()["tasks_processed_success"])


def notified(daemon: Daemon) -> int:
    """Notifications that nodes have received and written down."""
    return daemon.counted("bells_heard|%")


@IN_ROWS
def test_requests_with_idempotency_keys_are_known_to_both_versions(
    module_deployment: Callable[..., Daemon], previous: Path
) -> None:
    daemon = module_deployment()
    daemon.handler("act")
    daemon.web()
    port = free_port()
    web = Process(daemon.home, daemon.environment | {"DAEMON_PORT": str(port)}, str(previous), "web")
    web.until(lambda: answers(port), "an answer")
    bases = {"this": daemon.base, "previous": f"http://127.0.0.1:{port}"}

    def call(version: str, key: str, path: str, body: object) -> httpx.Response:
        return httpx.post(f"{bases[version]}{path}", json=body, headers={"Idempotency-Key": key}, timeout=30)

    for first, second in (("this", "previous"), ("previous", "this")):
        posted = call(first, first, "/queue", {"type": "act", "data": {"n": 1.0}, "priority": 50})
        again = call(second, first, "/queue", {"type": "act", "data": {"n": 1}})
        assert (again.content, again.headers["Idempotent-Replayed"]) == (posted.content, "true")
        assert call(second, first, "/queue", {"type": "act", "data": {"n": 2}}).status_code == 422
        task = posted.json()["task_id"]
        for act, path in (("cancel", f"/api/tasks/{task}/cancel"), ("pause", "/api/handlers/act/pause")):
            assert call(first, f"{act}-{first}", path, None).status_code == 200
            assert call(second, f"{act}-{first}", path, None).headers["Idempotent-Replayed"] == "true"
            refused = call(second, f"{act}-{first}", "/queue", {"type": "act"})
            assert refused.status_code == 422 and "used for another request" in refused.json()["error"]
    assert len(daemon.rows("SELECT 1 FROM taskdaemon_task")) == 2


def answers(port: int) -> bool:
    """Whether a web server says yes on this port."""
    try:
        return httpx.get(f"http://127.0.0.1:{port}/health/live", timeout=5).status_code == 200
    except httpx.HTTPError:
        return False
