"""Which files of tasks_app a plain POST passes until its row is settled.

With a web server and a node that are both ready. What runs by the clock meanwhile (a beat, a side job) is left out: by
its thread, and because most tasks do not pass it.
"""

from __future__ import annotations

from collections import Counter
from functools import partial
from pathlib import Path

from testkit.daemon import Daemon
from testkit.process import until

RECORDED = Path(__file__).parent / "recorded"
#: Names of threads that run by the clock.
BY_THE_CLOCK = ("heartbeat", "leases", "sweeper", "retention", "operation", "beat", "alerts", "handlers.toml")
TASKS = 9


def environment(notes: Path) -> dict[str, str]:
    """Of a deployment whose processes note in this folder what they pass."""
    return {"PYTHONPATH": str(RECORDED), "WAY_FOLDER": str(notes)}


def passed(daemon: Daemon, notes: Path) -> list[str]:
    """The files that most of some tasks pass, by name. The deployment has the handler `echo`, and no process."""
    current = notes / "task"
    current.write_text("")
    web, node = daemon.web(), daemon.worker()
    daemon.until_warm()
    for _ in range(2):
        daemon.until_final(daemon.post("echo", {"do": "echo"}))
    for number in range(1, TASKS + 1):
        current.write_text(str(number))
        task = daemon.post("echo", {"do": "echo"})
        until(partial(daemon.rows, f"{_COMPLETED} AND id = ?", task))
        current.write_text("")
    node.stop()
    web.stop()
    lines = {line for path in notes.glob("*.files") for line in path.read_text().splitlines()}
    seen = {
        (number, file)
        for number, thread, file in (line.split("\t") for line in lines)
        if not thread.startswith(BY_THE_CLOCK)
    }
    times = Counter(file for _, file in seen)
    return sorted(file for file, count in times.items() if count > TASKS / 2)


_COMPLETED = "SELECT 1 FROM taskdaemon_task WHERE status = 'completed'"
