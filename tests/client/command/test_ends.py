"""How a command ends: each exit code, a pipe that closes early, Ctrl-C, a platform that goes away and comes back."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

import testkit.handlers
from taskdaemon_client import Client
from testkit.daemon import TDCTL, Daemon, open_gate
from testkit.http_server import http_server
from testkit.ports import free_port
from testkit.process import PROJECT, inherited, until
from testkit.proxies import LossyProxy
from tests.client.command.conftest import tdctl

pytestmark = pytest.mark.one_leg("the command knows the API alone")


def another_server(
    status: int, kind: str, body: bytes, *headers: tuple[str, str]
) -> Callable[[BaseHTTPRequestHandler], None]:
    """What answers every request with this."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        request.rfile.read(int(request.headers.get("Content-Length", 0)))
        request.send_response(status)
        for name, value in (("Content-Type", kind), *headers):
            request.send_header(name, value)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)

    return answer


@pytest.fixture
def parts(module_deployment: Callable[..., Daemon], settings: Path, monkeypatch: pytest.MonkeyPatch) -> Daemon:
    """A platform whose web server can be killed apart; its node runs."""
    daemon = module_deployment()
    daemon.handler("act")
    daemon.worker()
    monkeypatch.setenv("TASKDAEMON_URL", daemon.base)
    return daemon


def test_0_done_and_1_the_task_failed(here: Daemon) -> None:
    assert tdctl("submit", "act", "--wait").code == 0
    ran = tdctl("submit", "act", '{"do": "error"}', "--wait")
    assert (ran.code, ran.out) == (1, "") and "failed (handler_error): it did not work" in ran.err
    id = ran.err.split()[1]
    assert ran.err.endswith(f"\nwhat its handler has written: tdctl logs {id}\n")
    assert tdctl("logs", id).code == 0


@pytest.mark.parametrize(
    "words",
    [
        ("no-such-command",),
        ("get",),
        ("get", "ID", "--json", "id,no_such_field"),
        ("list", "--limit", "0"),
        ("submit", "act", "{"),
        ("submit", "act", "[]"),
        ("submit", "act", '{"a": NaN}'),
        ("submit", "act", "@/no/such/file"),
        ("submit", "act", "--delay", "soon"),
        ("submit-many", "/no/such/file"),
        ("submit", "act", '{"a": "\\ud800"}'),
        ("submit", "act", '{"a": ' + "[" * 100_000),
        ("get", "\udcff"),
        ("get", ""),
        ("handlers", ""),
        ("top", "--interval", "0"),
    ],
    ids=lambda words: ascii(" ".join(words))[:40],
)
def test_2_a_word_that_it_does_not_understand(here: Daemon, words: tuple[str, ...]) -> None:
    ran = tdctl(*words)
    assert (ran.code, ran.out) == (2, "") and "Error: " in ran.err and "Traceback" not in ran.err


def test_2_a_file_that_is_no_text_and_a_proxy_that_cannot_be_used(
    here: Daemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tasks").write_bytes(b'{"type": "act"}\n\xff\n')
    ran = tdctl("submit-many", f"{tmp_path}/tasks")
    assert (ran.code, ran.out) == (2, "") and "is not UTF-8" in ran.err and "no task is queued" in ran.err
    monkeypatch.setenv("ALL_PROXY", "gopher://127.0.0.1:9")
    ran = tdctl("list")
    assert ran.code == 2 and "the proxy of the environment" in ran.err


def test_2_what_the_platform_refuses(here: Daemon, tmp_path: Path) -> None:
    ran = tdctl("submit", "atc", "--priority", "101")
    assert ran.code == 2 and 'did you mean "act"' in ran.err and "\n  priority: " in ran.err
    (tmp_path / "large").write_text('{"text": "' + "x" * 2_000_000 + '"}')
    assert tdctl("submit", "act", f"@{tmp_path}/large").code == 2  # 413
    tdctl("submit", "act", "--idempotency-key", "taken")
    assert tdctl("submit", "act", '{"other": 1}', "--idempotency-key", "taken").code == 2  # 422


def test_3_nothing_answers(settings: Path) -> None:
    for words in (("list",), ("cancel", "one", "another")):
        ran = tdctl("--url", f"http://127.0.0.1:{free_port()}", *words)
        assert (ran.code, ran.out) == (3, "") and ran.err.count("TASKDAEMON_URL") == 1


@pytest.mark.parametrize(
    "answer", [(200, "application/json", b'{"message": "hello"}'), (404, "text/html", b"<h1>"), (501, "text/html", b"")]
)
def test_3_another_server_answers(settings: Path, answer: tuple[int, str, bytes]) -> None:
    with http_server(another_server(*answer)) as port:
        url = f"http://127.0.0.1:{port}"
        for words in (("list",), ("wait", "ID"), ("submit", "act"), ("get", "ID", "--json"), ("top", "--once")):
            ran = tdctl("--url", url, *words)
            assert (ran.code, ran.out, ran.err.count("Traceback")) == (3, "", 0), ran
            assert f" {url}/" in ran.err and "; is the address right?" in ran.err
            assert "--url, TASKDAEMON_URL or a profile says where it is" in ran.err


def test_4_a_key_that_is_missing_or_does_not_allow_it(
    parts: Daemon, settings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    created = parts.manage("apikey", "create", "reader", "--scope", "tasks:read")
    assert created.ends() == 0
    key = next(word for word in created.said().split() if word.startswith("tpk_"))
    parts.web()
    assert tdctl("list").code == 4
    monkeypatch.setenv("TASKDAEMON_API_KEY", key)
    assert tdctl("list").code == 0
    ran = tdctl("submit", "act")
    assert ran.code == 4 and "tasks:write" in ran.err
    assert tdctl("top").code == 0, "without the scope metrics:read its columns are empty"


def test_5_there_is_none(here: Daemon) -> None:
    assert [tdctl(*words).code for words in (("get", "nope"), ("wait", "nope"), ("handlers", "nope"))] == [5, 5, 5]
    gone = "0193a5b0-1c2d-7e3f-8a4b-5c6d7e8f9a0b"
    done = tdctl("submit", "act").out.strip()
    ran = tdctl("wait", gone, done)
    assert ran.code == 5 and gone in ran.err and done in ran.out


def test_6_it_is_in_another_state_and_the_others_are_changed_all_the_same(here: Daemon) -> None:
    done = tdctl("submit", "act", "--wait", "--json", "id").json["id"]
    waits = tdctl("submit", "act", "--delay", "1h").out.strip()
    ran = tdctl("cancel", done, "nope", waits)
    assert ran.code == 6 and f"{done}: " in ran.err and "nope: " in ran.err
    assert here.task(waits)["failure_reason"] == "cancelled"


def test_7_the_queue_is_full(module_deployment: Callable[..., Daemon], settings: Path) -> None:
    daemon = module_deployment(DAEMON_MAX_QUEUE="1")
    daemon.handler("act")
    daemon.web()
    codes = [tdctl("--url", daemon.base, "submit", "act").code for _ in range(2)]
    assert codes == [0, 7]


def test_a_wait_that_the_platform_asks_for_is_said(settings: Path) -> None:
    busy = another_server(429, "application/json", b'{"error": "the queue is full"}', ("Retry-After", "1"))
    answers = [busy, another_server(200, "application/json", b'{"task_id": "ID"}')]
    with http_server(lambda request: answers.pop(0)(request)) as port:
        ran = tdctl("--url", f"http://127.0.0.1:{port}", "submit", "act")
    assert (ran.code, ran.out) == (0, "ID\n")
    assert ran.err.endswith("/queue: 429: the queue is full; it is sent again in 1 s\n")


def test_70_a_bug_shows_where_it_is(here: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Client, "get", lambda client, task: 1 / 0)
    ran = tdctl("get", "ID")
    assert (ran.code, ran.out) == (70, "") and "ZeroDivisionError" in ran.err


def test_124_the_time_of_a_wait_is_over(here: Daemon) -> None:
    waits = [tdctl("submit", "act", "--delay", "1h").out.strip() for _ in range(2)]
    assert tdctl("wait", waits[0], "--timeout", "0.2").code == 124
    assert tdctl("wait", *waits, "--timeout", "0.2").code == 124
    ran = tdctl("submit", "act", "--delay", "1h", "--wait", "0", "--json", "status")
    assert (ran.code, ran.out) == (124, '{"status": "pending"}\n') and "the task waits: it is scheduled" in ran.err
    tdctl("cancel", "--status", "pending", "--wait")
    gate = here.gate()
    id = here.post("act", {"do": "wait", "gate": str(gate)})
    here.until_starts(id)
    assert "the task runs: attempt 1 has been running for " in tdctl("wait", id, "--timeout", "0.2").err
    open_gate(gate)
    here.until_final(id)


def test_130_ctrl_c_ends_the_command_and_not_the_task(here: Daemon) -> None:
    gate = here.gate()
    id = here.post("act", {"do": "wait", "gate": str(gate), "says": "hello"})
    process = here.tdctl("logs", "-f", id)
    process.until_says("hello")
    process.signal(signal.SIGINT)
    assert process.ends() == 130 and "Traceback" not in process.said()
    open_gate(gate)
    assert here.until_final(id)["status"] == "completed"


def test_130_ctrl_c_ends_a_wait_which_has_said_what_is_no_reply(here: Daemon) -> None:
    data = json.dumps({"do": "sleep", "seconds": 600, "says": '{"status": "done"}'})
    process = here.tdctl("submit", "act", data, "--timeout", "30", "--wait")
    process.until_says(r'attempt 1: this is no reply: {"status": "done"} \(its `status` is "done"')
    process.signal(signal.SIGINT)
    assert process.ends() == 130 and "Traceback" not in process.said()
    id = process.said().rpartition("the task goes on; to follow it: tdctl logs -f ")[2].split()[0]
    assert here.task(id)["status"] == "processing"
    assert tdctl("cancel", id).code == 0


def test_130_ctrl_c_ends_the_command_and_not_the_operation(here: Daemon) -> None:
    tdctl("submit-many", "-", stdin='{"type": "act", "delay": 3600, "tags": ["slow"]}\n' * 10)
    process = here.tdctl("cancel", "--tag", "slow", "--rate", "0.01", "--wait")
    id = process.until_says(r"^operation (\S+)$")[1]
    process.signal(signal.SIGINT)
    assert process.ends() == 130 and f"to end it: tdctl operations abort {id}" in process.said()
    waits = here.tdctl("operations", "wait", id)
    aborted = tdctl("operations", "abort", id)
    assert aborted.code == 0 and "is aborted: " in aborted.err
    assert waits.ends() == 1, "it did not complete"
    tdctl("cancel", "--tag", "slow", "--wait")


@pytest.mark.parametrize("module", ["httpx2", "click"])
def test_130_ctrl_c_during_the_imports_is_silent(module: str, tmp_path: Path) -> None:
    (tmp_path / f"{module}.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n")
    environment = inherited() | {"PYTHONPATH": f"{tmp_path}:{PROJECT / 'client/src'}"}
    ran = subprocess.run([sys.executable, *TDCTL, "list"], env=environment, capture_output=True, text=True)
    assert (ran.returncode, ran.stdout, ran.stderr) == (130, "", "")


def test_a_pipe_that_closes_early_is_quiet(here: Daemon) -> None:
    tdctl("submit-many", "-", stdin='{"type": "other", "delay": 3600, "tags": ["pipe"]}\n' * 2000)
    for words in (("list", "--all"), ("list", "--all", "--json")):
        with subprocess.Popen(
            [sys.executable, *TDCTL, *words],
            cwd=PROJECT,
            env=here.caller(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as process:
            assert process.stdout and process.stderr
            process.stdout.readline()
            process.stdout.close()
            assert process.stderr.read() == b""
            assert process.wait(60) == -signal.SIGPIPE, "as `cat` ends"


@pytest.mark.parametrize(
    ("words", "redirected", "code"),
    [
        ("get nope", "2>&1 | true", -signal.SIGPIPE),
        ("get nope", "2>&-", 5),
        ("get nope", "2>/dev/full", 5),
        ("no-such-command", "2>/dev/full", 2),
        ("list", ">&-", 0),
    ],
)
def test_where_its_output_goes_does_not_change_how_it_ends(
    here: Daemon, words: str, redirected: str, code: int
) -> None:
    if code == -signal.SIGPIPE:
        reader, writer = os.pipe()
        os.close(reader)
        streams: dict[str, Any] = {"stdout": writer, "stderr": writer}
        ran = subprocess.run([sys.executable, *TDCTL, *words.split()], cwd=PROJECT, env=here.caller(), **streams)
        os.close(writer)
    else:
        line = f"exec {sys.executable} {' '.join(TDCTL)} {words} {redirected}"
        ran = subprocess.run(["sh", "-c", line], cwd=PROJECT, env=here.caller(), stdout=subprocess.PIPE)
    assert ran.returncode == code


def test_a_full_disk_is_said(here: Daemon) -> None:
    with open("/dev/full", "w") as full:
        ran = subprocess.run(
            [sys.executable, *TDCTL, "list", "--json"], cwd=PROJECT, env=here.caller(), stdout=full,
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
    assert ran.returncode == 70 and "No space left on device" in ran.stderr and "Traceback" not in ran.stderr


def test_logs_and_waits_survive_a_restart_of_the_web_server(parts: Daemon) -> None:
    web = parts.web()
    gates = [parts.gate(), parts.gate()]
    ids = [parts.post("act", {"do": "wait", "gate": str(gate), "says": "before"}) for gate in gates]
    commands = [parts.tdctl("logs", "-f", ids[0]), parts.tdctl("wait", *ids), parts.tdctl("wait", ids[1])]
    commands[0].until_says("before")
    for id in ids:
        parts.until_starts(id)
    until(lambda: parts.counted("waits_begun") >= 2, what="both waits")
    web.kill()
    for command in commands:
        command.until_says("trying again")
    for gate in gates:
        open_gate(gate)
    parts.web()
    assert [command.ends() for command in commands] == [0, 0, 0], [command.said() for command in commands]
    assert commands[0].out.read_text() == "before\n"
    assert sorted(line.split("\t")[0] for line in commands[1].out.read_text().splitlines()) == sorted(ids)


def test_a_log_goes_on_where_its_connection_was_lost(parts: Daemon) -> None:
    chatter = Path(next(iter(testkit.handlers.__path__))) / "chatter.py"
    with parts.config.open("a") as file:
        file.write(f'[handlers.chatter]\ncommand = ["python", "{chatter}", "{parts.home / "said"}"]\n')
    web = parts.web()
    parts.worker("--handler", "chatter")
    log = parts.tdctl("logs", "-f", parts.post("chatter", {"seconds": 5, "apart": 0.05}))
    log.until_says("^1:3$")
    web.kill()
    log.until_says("trying again")
    parts.web()
    assert log.ends() == 0, log.said()
    assert log.out.read_text().splitlines() == [f"1:{number}" for number in range(100)]
    assert re.search(r"^progress \d+% ", log.err.read_text(), re.M)


def test_a_result_is_waited_for_rather_than_asked_for_again_and_again(here: Daemon) -> None:
    gate, before = here.gate(), here.counted("waits_begun")
    with LossyProxy(here.port, lambda _: None) as proxy:
        data = json.dumps({"do": "wait", "gate": str(gate)})
        submit = here.tdctl("submit", "act", data, "--wait", "--url", f"http://127.0.0.1:{proxy.port}")
        until(lambda: here.counted("waits_begun") > before, what="a wait")
        open_gate(gate)
        assert submit.ends() == 0, submit.said()
        assert proxy.calls == [None, None]


def test_callbacks_are_given_up_until_none_matches(settings: Path) -> None:
    answers: list[dict[str, Any]] = [
        {"given_up": count, "matched": 0, "matched_exact": True, "by_host": {}, "by_type": {}, "oldest": None}
        for count in (2, 1, 0)
    ]
    bodies = [another_server(200, "application/json", json.dumps(answer).encode()) for answer in answers]
    with http_server(lambda request: bodies.pop(0)(request)) as port:
        words = ("callbacks", "give-up", "--host", "dead.example:443", "--json", "given_up")
        assert tdctl("--url", f"http://127.0.0.1:{port}", *words).json == {"given_up": 3}
    assert not bodies


def test_a_wait_for_a_platform_that_stays_away_ends_when_its_time_is_over(parts: Daemon) -> None:
    web = parts.web()
    id = parts.post("act", {"do": "echo"}, None)
    parts.until_final(id)
    waits = parts.http.post("/queue", json={"type": "act", "delay": 3600}).json()["task_id"]
    command = parts.tdctl("wait", waits, id, "--timeout", "3")
    command.until_says("completed")
    web.kill()
    assert command.ends() == 124
