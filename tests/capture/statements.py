"""What the moves of a task send to each database: POST, claim, settle, release, rescue, cancel, redrive, delete.

PostgreSQL writes its statements into its log; SQLite's are told by a trace that `traced/sitecustomize.py` sets in each
process of ours. Values are left out, so that each statement's text stands once.
"""

from __future__ import annotations

import re
import signal
import sys
import tempfile
from contextlib import closing
from pathlib import Path

from testkit import migrated
from testkit.daemon import Daemon
from testkit.servers.postgresql import Postgres
from testkit.stores import PostgreSQLStore

TRACED = Path(__file__).parent / "traced"
_LITERAL = re.compile(r"X'[0-9A-Fa-f]*'|'(?:[^']|'')*'|\b\d+(?:\.\d+)?(?:e[+-]?\d+)?\b")
_SAVEPOINT = re.compile(r'(SAVEPOINT) "?[\w]+"?')
_LIST = re.compile(r"\(\?(?:, ?\?)+\)|(?:\(\?\), ?)+\(\?\)")


def exercise(daemon: Daemon) -> None:
    """Every move of a task, by two nodes, the first of which is killed."""
    web, first = daemon.web(), daemon.worker()
    daemon.until_warm()
    one = daemon.post("echo", {"do": "echo", "of": 1})
    daemon.until_final(one)
    for body in (
        {"type": "echo", "data": {"do": "echo"}, "delay": 1, "tags": ["a"]},
        {"type": "echo", "data": {"do": "echo"}, "unique_key": "k"},
        {"type": "echo", "data": {"do": "error", "retryable": True}, "max_retries": 1},
        {"type": "echo", "data": {"do": "crash"}, "max_retries": 1},
    ):
        daemon.until_final(str(daemon.http.post("/queue", json=body).json()["task_id"]))
    answer = daemon.http.post("/queue", json={"type": "echo"}, headers={"Idempotency-Key": "x"})
    failed = daemon.post("echo", {"do": "error"})
    daemon.until_final(failed)
    daemon.http.post(f"/api/tasks/{failed}/redrive")
    daemon.until_final(failed)
    daemon.http.post("/queue/batch", json={"tasks": [{"type": "echo"}, {"type": "echo", "priority": 3}]})
    daemon.http.delete(f"/api/tasks/{answer.json()['task_id']}")
    running = daemon.post("echo", {"do": "sleep", "seconds": 600})
    daemon.until_starts(running)
    daemon.http.post(f"/api/tasks/{running}/cancel")
    lost = daemon.post("echo", {"do": "sleep", "seconds": 600})
    daemon.until_starts(lost)
    first.signal(signal.SIGKILL)
    second = daemon.worker()
    daemon.until_starts(lost, 2)
    second.stop()
    web.stop()


def shaped(statements: list[str]) -> str:
    """Each statement once, without values and line breaks, sorted."""
    found = set()
    for text in statements:
        text = _SAVEPOINT.sub(r"\1 s", " ".join(_LITERAL.sub("?", text).split()))
        found.add(_LIST.sub("(?...)", text))
    return "\n".join(sorted(text for text in found if " DATABASE " not in text)) + "\n"


def on_postgresql(folder: Path) -> str:
    server = Postgres(folder / "server", log_statement="all", log_min_messages="log", log_line_prefix="")
    with closing(server):
        home = folder / "home"
        home.mkdir()
        store = PostgreSQLStore(server.url)
        with closing(Daemon(home, **store.environment)) as daemon:
            daemon.store = store
            daemon.handler("echo", instances=2, timeout=20)
            prepared = daemon.manage("migrate", "--verbosity", "0")
            assert prepared.ends(120) == 0, prepared.said()
            (folder / "server" / "server.log").write_text("")
            exercise(daemon)
        lines = (folder / "server" / "server.log").read_text(errors="replace")
    found = re.findall(r"^LOG:  (?:statement|execute [^:]*): (.*(?:\n\t.*)*)", lines, re.MULTILINE)
    return shaped(found)


def on_sqlite(folder: Path) -> str:
    home, trace = folder / "home", folder / "trace"
    home.mkdir()
    trace.mkdir()
    with closing(Daemon(home, PYTHONPATH=str(TRACED), CAPTURE_STATEMENTS=str(trace))) as daemon:
        daemon.handler("echo", instances=2, timeout=20)
        daemon.store.fill(migrated.sqlite())
        exercise(daemon)
    return shaped([text for path in trace.iterdir() for text in path.read_text().split("\0")])


def main(folder: Path) -> None:
    (folder / "statements").mkdir(exist_ok=True)
    for name, run in (("postgresql", on_postgresql), ("sqlite", on_sqlite)):
        with tempfile.TemporaryDirectory(prefix="td-", dir="/tmp", ignore_cleanup_errors=True) as own:
            Path(own).chmod(0o755)
            (folder / "statements" / name).write_text(run(Path(own)))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
