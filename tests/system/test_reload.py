"""handlers.toml is reloaded by a whole deployment: at SIGHUP, by the command, by itself; and what differs is named."""

from __future__ import annotations

import re
import signal
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from testkit.daemon import Daemon
from testkit.no_tls import NO_TLS
from testkit.ports import free_port
from testkit.process import Process, until
from tests.system import hosts

pytestmark = [
    pytest.mark.long("starts and reloads", seconds=30),
    pytest.mark.one_leg("what processes read; the rows of their revisions: tests/api, tests/metrics"),
]

#: What a task of the handler `named` answers, if this file is its source.
ANSWERS = """
import json, sys
for line in sys.stdin:
    print(json.dumps({{"task_id": json.loads(line)["task_id"], "status": "success", "result": {result}}}), flush=True)
"""


def problems(daemon: Daemon) -> str:
    return " | ".join(daemon.http.get("/health").json().get("problems", ()))


def timeout(base: str) -> float:
    answer = httpx.get(f"{base}/api/handlers/act", timeout=30, verify=NO_TLS)
    return float(answer.json()["limits"]["timeout"])


def revisions(daemon: Daemon) -> dict[str, Any]:
    """Of the API: by kind and name of each process."""
    said = daemon.http.get("/api/handlers/act").json()["revisions"]
    return {f"{each['kind']} {each['process']}": each["revision"] for each in said}


def reloads(daemon: Daemon, *words: str) -> tuple[int, str]:
    """The exit code of `manage.py reload`, and what it has said."""
    command = daemon.manage("reload", *words)
    return command.ends(), command.said()


def change(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def test_up_reloads_by_itself_at_sighup_and_by_the_command_and_never_a_file_with_a_fault(daemon: Daemon) -> None:
    (daemon.home / "named.py").write_text(ANSWERS.format(result=1))
    change(daemon.config, "[handlers.act]\n", "[handlers.act]\ntimeout = 20\n")
    with daemon.config.open("a") as file:
        file.write(f'\n[handlers.named]\ncommand = ["{sys.executable}", "named.py"]\n')
    up = daemon.up()
    until(lambda: len(revisions(daemon)) == 2, what="the row of the web server")
    first = revisions(daemon)
    assert len(set(first.values())) == 1, first

    change(daemon.config, "timeout = 20", "timeout = 21")
    up.signal(signal.SIGHUP)
    until(lambda: timeout(daemon.base) == 21, what="the new timeout")
    until(lambda: set(revisions(daemon).values()).isdisjoint(first.values()), what="new revisions")

    change(daemon.config, "timeout = 21", "timeout = 'soon'")
    until(lambda: problems(daemon).count("handlers.toml:2: [handlers.act] timeout: 'soon'") == 1, what="the problem")
    code, said = reloads(daemon)
    assert code == 1
    assert len(re.findall(r"^(?:node|web server) \S+: [0-9a-f]{12}: .*handlers.toml:2: ", said, re.M)) == 2, said
    assert timeout(daemon.base) == 21
    assert daemon.until_final(daemon.post("act"))["status"] == "completed"

    change(daemon.config, "timeout = 'soon'", "timeout = 22")
    code, said = reloads(daemon, "--handler", "act")
    assert code == 0, said
    assert (timeout(daemon.base), problems(daemon)) == (22, "")

    before, _, named = daemon.config.read_text().partition("[handlers.named]")
    daemon.config.write_text(before)
    assert reloads(daemon)[0] == 0
    refused = daemon.http.post("/queue", json={"type": "named", "data": {}})
    assert (refused.status_code, "handlers.toml has act" in refused.text) == (400, True), refused.text
    daemon.config.write_text(f"{before}[handlers.named]{named}")
    until(lambda: daemon.http.post("/queue", json={"type": "named", "data": {}}).status_code == 200, what="it is back")
    assert reloads(daemon, "--handler", "nobody")[0] == 2
    assert up.popen.poll() is None


def test_a_worker_that_stands_still_is_named_by_the_command(daemon: Daemon) -> None:
    worker = daemon.worker()
    until(lambda: daemon.rows("SELECT 1 FROM taskdaemon_node WHERE revision IS NOT NULL"), what="its row")
    hosts.freeze(daemon, worker)
    try:
        code, said = reloads(daemon)
    finally:
        worker.signal(signal.SIGCONT)
    assert (code, "it has not answered for 20 s" in said) == (1, True), said
    assert reloads(daemon)[0] == 0


def test_web_and_worker_without_up_reload_at_sighup_and_a_process_with_another_file_is_named(daemon: Daemon) -> None:
    web, worker = daemon.web(), daemon.worker()
    other = daemon.home / "other" / "handlers.toml"
    other.parent.mkdir()
    other.write_text(daemon.config.read_text())
    port = str(free_port())
    second = Process(
        daemon.home, daemon.environment | {"DAEMON_PORT": port, "HANDLER_CONFIG": str(other)}, "manage.py", "web"
    )
    until(lambda: len(revisions(daemon)) == 3, what=lambda: str(revisions(daemon)))
    change(daemon.config, "[handlers.act]\n", "[handlers.act]\ntimeout = 7\n")
    for process in (web, worker):
        process.signal(signal.SIGHUP)
    until(lambda: timeout(daemon.base) == 7, what="the new timeout")
    until(lambda: "versions of handlers.toml" in problems(daemon), what="the difference")
    assert all(name.replace("web ", "web server ") in problems(daemon) for name in revisions(daemon))
    other.write_text(daemon.config.read_text())
    second.signal(signal.SIGHUP)
    until(lambda: timeout(f"http://127.0.0.1:{port}") == 7, what="the new timeout on the second one")
    until(lambda: problems(daemon) == "", what=lambda: problems(daemon))
    assert len(set(revisions(daemon).values())) == 1
    counted = r'^handlers_revision_processes{kind="(\w+)",revision="[0-9a-f]{12}"} (\S+)$'
    assert set(re.findall(counted, daemon.http.get("/metrics").text, re.M)) == {("node", "1.0"), ("web", "2.0")}
