"""A whole deployment whose Docker engine is down at its start, ends, is killed, and stands still."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator

import pytest

from tasks_app.runner.docker.remover import DEPLOYMENT
from testkit.daemon import Daemon
from testkit.process import until
from testkit.receiver import Receiver
from tests.docker.engines import BUSYBOX
from tests.docker.second_engine import SecondEngine, second_engine
from tests.faults.dashboard import problems
from tests.system.checker import faults

pytestmark = [
    pytest.mark.docker,
    pytest.mark.long("an engine that is killed", seconds=40),
    pytest.mark.waiting,
    pytest.mark.one_leg("what becomes of an engine"),
]

#: Sleeps where it is told to, but not in a second attempt.
SHELL = (
    "while read -r line; do case $line in *sleep*attempt*1*) sleep 600;; esac; "
    'echo \'{"status":"success","result":"from a container"}\'; done'
)


@pytest.fixture
def engine() -> Iterator[SecondEngine]:
    """An engine of the test's own, with one image; it does not run."""
    with second_engine(BUSYBOX) as engine:
        engine.stop()
        yield engine


def box(daemon: Daemon, name: str, image: str) -> None:
    lines = [f"[handlers.{name}]", f'image = "{image}"', f"command = {json.dumps(['/bin/sh', '-c', SHELL])}"]
    with daemon.config.open("a") as file:
        file.write("\n".join([*lines, "timeout = 3", "start_timeout = 1", "instances = 1", ""]))


def test_whatever_becomes_of_the_engine_tasks_wait_the_reason_is_shown_and_other_handlers_never_notice(
    engine: SecondEngine, deployment: Callable[..., Daemon], receiver: Receiver
) -> None:
    daemon = deployment(**engine.environment, DAEMON_ALERT_URL=receiver.url, DAEMON_ALERT_HOLD="3")
    daemon.handler("act")
    box(daemon, "box", BUSYBOX)
    box(daemon, "lacking", "taskdaemon.invalid/nothing:1")
    web, node = daemon.web(), daemon.worker()
    accepted: list[str] = []

    def posted(kind: str, **data: object) -> str:
        accepted.append(daemon.post(kind, data))
        return accepted[-1]

    def waits(*words: str) -> str:
        """A task waits, /health and its own reason say why, and all else goes on."""
        task = posted("box")
        until(lambda: all(word in problems(daemon) for word in words), what=lambda: f"{words} in {problems(daemon)}")
        assert daemon.until_final(posted("act"))["status"] == "completed"
        found = daemon.task(task)
        assert (found["status"], found["attempts"]) == ("pending", 0), problems(daemon)
        assert why(task).startswith("its containers cannot start: "), why(task)
        return task

    def why(task: str) -> str:
        [reason] = daemon.http.get(f"/api/tasks/{task}/why").json()["reasons"]
        assert reason["reason"] == "cannot_start", reason
        return str(reason["sentence"])

    def until_told(state: str) -> None:
        until(
            lambda: receiver.told("engine_unreachable")[-1:] == [(state, None)],
            60,
            what=lambda: f"{state} of {receiver.messages}",
        )

    def runs(task: str, attempts: int = 1) -> None:
        found = daemon.until_final(task, timeout=60)
        assert (found["status"], found["result"], found["attempts"]) == ("completed", "from a container", attempts)

    # Down at the start, and one image that does not exist.
    task = waits("handler 'box' cannot be started: the Docker engine cannot be reached")
    lacking = daemon.post("lacking")
    engine.start()
    runs(task)
    until(lambda: "nothing:1 is missing and cannot be pulled" in problems(daemon), what="the image that is missing")
    assert "nothing:1 is missing and cannot be pulled" in why(lacking)
    assert "'box'" not in problems(daemon)

    # It ends in order, and takes its containers with it.
    engine.stop()
    task = waits("handler 'box' cannot be started: the Docker engine cannot be reached")
    until_told("firing")
    engine.start()
    runs(task)
    until_told("resolved")
    until(lambda: receiver.told("cannot_start"), 60, what=lambda: f"the missing image in {receiver.messages}")

    # It is killed while a task runs.
    busy = posted("box", do="sleep")
    daemon.until_status(busy, "processing")
    engine.stop(signal.SIGKILL)
    until(lambda: daemon.attempts(busy), what="the end of the attempt")
    engine.start()
    runs(busy, 2)
    assert daemon.attempts(busy)[0]["outcome"] in ("crash", "timeout")

    # It stands still while a task runs: no call waits for it, the task's deadline holds.
    busy = posted("box", do="sleep")
    daemon.until_status(busy, "processing")
    engine.freeze()
    try:
        until(lambda: daemon.attempts(busy), what="the end of the attempt")
        task = waits("handler 'box' cannot be started", "does not answer")
    finally:
        engine.thaw()
    runs(busy, 2)
    runs(task)

    found = daemon.task(lacking)
    assert (found["status"], found["attempts"]) == ("pending", 0)
    assert daemon.http.delete(f"/api/tasks/{lacking}").status_code == 204
    assert faults_of_rows(daemon, accepted) == []
    told = [state for state, _ in receiver.told("engine_unreachable")]
    assert told == (["firing", "resolved"] * len(told))[: len(told)], receiver.messages
    assert receiver.told("cannot_start") == [("firing", "lacking")], receiver.messages
    assert node.stop() == web.stop() == 0
    ours = {"label": f"{DEPLOYMENT}={daemon.identity}"}
    until(lambda: not engine.client().containers(all=True, filters=ours), what="the end of the containers")
    assert len(node.err.read_text().splitlines()) < 100, "no storm of log lines"


def faults_of_rows(daemon: Daemon, accepted: list[str]) -> list[str]:
    """As `faults`; these handlers record no executions, so those are not compared."""
    return [fault for fault in faults(daemon, accepted) if "which no handler ended" not in fault]
