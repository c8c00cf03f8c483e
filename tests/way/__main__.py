"""Which files of tasks_app a plain POST passes until its row is settled: `python -m tests.way`.

On PostgreSQL and Redis of this machine, with a web server and a node that are both ready. What runs by the clock
meanwhile (a beat, a side job) is left out by its thread, and readings by tasks that go before.
"""

from __future__ import annotations

import os
import secrets
import sys
import tempfile
from contextlib import closing
from pathlib import Path

from testkit.daemon import Daemon
from testkit.process import until

RECORDED = Path(__file__).parent / "recorded"
#: Names of threads that run by the clock.
BY_THE_CLOCK = ("heartbeat", "leases", "sweeper", "retention", "operation", "flusher", "alerts")


def main() -> int:
    """Print the files, in the order of their names, and how many they are."""
    os.environ.setdefault("DATABASE_URL", "postgres://postgres@127.0.0.1:5432/way")
    os.environ.setdefault("TEST_BROKER_URL", "redis://127.0.0.1:6379/0")
    os.environ.setdefault("DAEMON_SECRET_KEY", secrets.token_urlsafe(48))
    with tempfile.TemporaryDirectory(prefix="td-", dir="/tmp") as home, tempfile.TemporaryDirectory() as notes:
        with closing(Daemon(Path(home), PYTHONPATH=str(RECORDED), WAY_FOLDER=notes)) as daemon:
            record(daemon, Path(notes))
        lines = [line for path in Path(notes).glob("*.files") for line in path.read_text().splitlines()]
    files = {name for thread, name in (line.split("\t") for line in lines) if not thread.startswith(BY_THE_CLOCK)}
    print("\n".join(sorted(files)))
    print(f"{len(files)} files", file=sys.stderr)
    return 0


def record(daemon: Daemon, notes: Path) -> None:
    """Let the processes note what one task passes."""
    daemon.handler("echo", instances=1)
    migrate = daemon.manage("migrate", "--verbosity", "0")
    assert migrate.ends(100) == 0, migrate.said()
    web, node = daemon.web(), daemon.worker()
    daemon.until_warm()
    for _ in range(2):
        daemon.until_final(daemon.post("echo", {"do": "echo"}))
    (notes / "go").touch()
    task = daemon.http.post("/queue", json={"type": "echo", "data": {"do": "echo"}}).json()["task_id"]
    until(lambda: daemon.rows("SELECT 1 FROM taskdaemon_task WHERE id = ? AND status = 'completed'", task))
    (notes / "go").unlink()
    node.stop()
    web.stop()


if __name__ == "__main__":
    sys.exit(main())
