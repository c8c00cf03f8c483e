"""How `up` ends: told to, told twice, or killed."""

from __future__ import annotations

import signal

import pytest

from testkit.daemon import Daemon, open_gate
from testkit.process import children, of_home, until

pytestmark = [
    pytest.mark.long("starts of workers", seconds=40),
    pytest.mark.one_leg("signals to processes; what becomes of rows: system/test_rolling.py, test_stopping.py"),
]


def nothing_is_left(daemon: Daemon, said: str) -> None:
    assert of_home(daemon.home) == {}
    assert not [path for path in daemon.home.rglob("*") if path.is_socket()]
    assert not list((daemon.home / "nodes").iterdir())
    assert not daemon.rows("SELECT * FROM taskdaemon_node WHERE stopped_at IS NULL")
    assert "Traceback" not in said
    assert "drain time is over" not in said, "it waited for what had ended"


def test_told_to_stop_it_takes_nothing_new_lets_running_tasks_end_and_leaves_nothing(daemon: Daemon) -> None:
    up = daemon.up()
    gates = [daemon.gate() for _ in range(2)]
    running = [daemon.post("act", {"do": "wait", "gate": str(gate)}) for gate in gates]
    for task in running:
        daemon.until_starts(task)
    up.signal(signal.SIGTERM)
    up.until_says("draining")
    late = daemon.http.post("/queue", json={"type": "act"})
    assert (late.status_code, late.headers["Retry-After"]) == (503, "2")
    for gate in gates:
        open_gate(gate)
    assert up.ends() == 0
    found = {row["id"]: (row["status"], row["attempts"]) for row in daemon.rows("SELECT * FROM taskdaemon_task")}
    assert found == {task.replace("-", ""): ("completed", 1) for task in running}
    assert [row["outcome"] for row in daemon.attempts(running[0])] == ["success"]
    assert not (daemon.home / "draining").exists()
    nothing_is_left(daemon, up.said())


def test_at_ctrl_c_without_room_for_a_file_in_its_home_it_drains_all_the_same(daemon: Daemon) -> None:
    up = daemon.up()
    (daemon.home / "draining").symlink_to("missing/file")  # to create it fails, as on a full disk
    gate = daemon.gate()
    running = daemon.post("act", {"do": "wait", "gate": str(gate)})
    daemon.until_starts(running)
    up.signal(signal.SIGINT)
    up.until_says("tasks are accepted meanwhile, and wait for the next start: .*No such file")
    up.until_says('"event": "draining"')
    late = daemon.post("act")
    open_gate(gate)
    assert up.ends() == 0
    found = {row["id"]: (row["status"], row["attempts"]) for row in daemon.rows("SELECT * FROM taskdaemon_task")}
    assert found == {running.replace("-", ""): ("completed", 1), late.replace("-", ""): ("pending", 0)}
    nothing_is_left(daemon, up.said())


def test_a_second_signal_sends_running_tasks_back_without_spending_a_retry(daemon: Daemon) -> None:
    up = daemon.up()
    task = daemon.post("act", {"do": "sleep", "seconds": 600})
    daemon.until_starts(task)
    up.signal(signal.SIGTERM)
    up.until_says("draining")
    up.signal(signal.SIGTERM)
    assert up.ends() == 0
    (row,) = daemon.rows("SELECT status, attempts, retries FROM taskdaemon_task")
    assert row == {"status": "pending", "attempts": 1, "retries": 0}
    assert [attempt["outcome"] for attempt in daemon.attempts(task)] == ["released"]
    assert of_home(daemon.home) == {}


def test_a_web_server_that_is_told_to_stop_while_it_loads_ends_at_once(daemon: Daemon) -> None:
    web = daemon.manage("web")
    web.until(lambda: children(web.pid), "the process that serves")
    web.signal(signal.SIGTERM)
    # What does not end is killed after ten seconds. The server says so too of what has ended a moment ago.
    assert web.ends(timeout=9) in (0, 1)
    assert of_home(daemon.home) == {}


def test_killed_with_9_it_takes_everything_along(daemon: Daemon) -> None:
    up = daemon.up()
    task = daemon.post("act", {"do": "sleep", "seconds": 600})
    daemon.until_starts(task)
    alive = of_home(daemon.home)
    assert len(alive) >= 6, "up, web's two, worker, two handlers"
    assert len(children(up.pid)) == 2
    up.kill()
    until(lambda: not of_home(daemon.home), what=lambda: f"the end of {of_home(daemon.home)}")
