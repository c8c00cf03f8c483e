"""What holds only for child processes."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tasks_app.handlers.handlers_toml import Handler
from tasks_app.runner import parent_death
from tasks_app.runner.endings import OutcomeKind
from tasks_app.runner.engine import Unavailable
from tasks_app.runner.process_engine import ProcessEngine
from tasks_app.runner.wire import Success
from tests.runner.caller import Caller
from tests.runner.kit import KITS

ROOT = Path(__file__).resolve().parents[2]


def test_a_handler_gets_a_minimal_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgres://secret")
    monkeypatch.setenv("DAEMON_SECRET_KEY", "secret")
    monkeypatch.setenv("API_KEY", "wanted")
    handler = KITS["process"].handler(
        "an argument", cwd=tmp_path, env={"LEVEL": "debug", "HOME": "/home/of/it"}, env_from=("API_KEY",)
    )
    with Caller(handler, ProcessEngine()) as caller:
        outcome = caller.ask("environment").outcome
    assert isinstance(outcome, Success)
    environment = outcome.result["env"]
    assert environment.pop("PATH")
    environment.pop("LC_CTYPE", None)  # Python's own
    assert environment.pop("TASKDAEMON_CHILD")
    assert environment == {
        "LANG": "C.UTF-8", "HOME": "/home/of/it", "PYTHONUNBUFFERED": "1", "LEVEL": "debug", "API_KEY": "wanted",
    }  # fmt: skip
    assert outcome.result["cwd"] == str(tmp_path.resolve())
    assert outcome.result["argv"] == ["an argument"]


def test_what_a_handler_leaves_in_its_group_ends_with_it_and_what_left_the_group_is_named(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with Caller(KITS["process"].handler(), ProcessEngine()) as caller:
        result = caller.ask("leaves_behind")
        assert isinstance(result.outcome, Success)
        inside, outside = result.outcome.result
        caller.until(lambda: any(f"still runs: {outside} (" in record.getMessage() for record in caplog.records))
        (said,) = [record.getMessage() for record in caplog.records if "still runs" in record.getMessage()]
        assert "handler 'actor' has ended" in said and "time.sleep(600))" in said and str(inside) not in said
        caller.until(lambda: KITS["process"].is_gone("", inside))
        assert not KITS["process"].is_gone("", outside)
        os.kill(outside, signal.SIGKILL)


def test_a_missing_variable_of_env_from_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("API_KEY", raising=False)
    with pytest.raises(Unavailable, match=r"`env_from` names API_KEY, which is not set"):
        ProcessEngine().start(KITS["process"].handler(env_from=("API_KEY",)), 0)


def test_a_relative_program_is_found_beside_handlers_toml(tmp_path: Path) -> None:
    program = tmp_path / "handler.sh"
    program.write_text('#!/bin/sh\nread -r line; echo \'{"status":"success","result":"here"}\'; read -r line\n')
    program.chmod(0o700)
    handler = Handler(name="shell", command=("./handler.sh",), cwd=tmp_path, instances=1)
    with Caller(handler, ProcessEngine()) as caller:
        assert caller.ask("anything").outcome == Success("here")


def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    handler = KITS["process"].handler(cwd=tmp_path / "gone")
    with pytest.raises(Unavailable, match=r"its directory .*gone: No such file"):
        ProcessEngine().start(handler, 0)


@pytest.mark.parametrize(
    ("mode", "why"),
    [(None, "there is no program .*/handler.sh; "), (0o600, ".*/handler.sh cannot be executed; type: chmod")],
)
def test_a_program_that_cannot_be_run_is_named(tmp_path: Path, mode: int | None, why: str) -> None:
    program = tmp_path / "handler.sh"
    if mode is not None:
        program.write_text("#!/bin/sh\n")
        program.chmod(mode)
    handler = Handler(name="shell", command=("./handler.sh",), cwd=tmp_path, instances=1)
    with pytest.raises(Unavailable, match=rf"'shell' cannot be started: {why}"):
        ProcessEngine().start(handler, 0)


def test_a_program_is_searched_in_the_handlers_path(tmp_path: Path) -> None:
    program = tmp_path / "bin" / "handler"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\nread -r line; echo \'{"status":"success","result":"here"}\'; read -r line\n')
    program.chmod(0o700)
    path = f"bin:{os.environ['PATH']}"  # relative to its directory
    handler = Handler(name="shell", command=("handler",), cwd=tmp_path, instances=1, env={"PATH": path})
    with Caller(handler, ProcessEngine()) as caller:
        assert caller.ask("anything").outcome == Success("here")


def tied(*command: str, cwd: Path = ROOT, **variables: Any) -> list[str] | None:
    return parent_death.tied_command(command, cwd, {"PATH": os.environ["PATH"], **variables}, 1)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has setpriv")
def test_a_command_that_a_shell_would_start_differently_is_started_without_one(tmp_path: Path) -> None:
    def file(name: str, content: bytes) -> str:
        path = tmp_path / name
        path.write_bytes(content)
        path.chmod(0o755)
        return f"./{name}"

    cat = Path("/bin/cat").read_bytes()
    foreign = cat[:18] + b"\xff\xff" + cat[20:]
    assert tied("cat", PLAIN="1", http_proxy="2") is not None
    assert tied(file("script", b"#! /bin/sh -e\n"), cwd=tmp_path) is not None
    for name in ("a.b", "my-var", "LD_PRELOAD", "BASH_ENV", "PWD", "IFS", "_", "1A", "\u00e4"):
        variables: dict[str, Any] = {name: "1"}
        assert tied("cat", **variables) is None, name
    for command in (
        "no-such-program", "-program", file("no_shebang", b"echo\n"), file("gone", b"#!/no/such/interpreter\n"),
        file("foreign", foreign), file("foreign_script", f"#!{tmp_path}/foreign\n".encode()), file("empty", b""),
        file("bare", b"#!\n"), ".",
    ):  # fmt: skip
        assert tied(command, cwd=tmp_path) is None, command


def test_a_variable_whose_name_a_shell_rejects_reaches_the_handler() -> None:
    handler = KITS["process"].handler(env={"spring.profiles.active": "prod"})
    with Caller(handler, ProcessEngine()) as caller:
        outcome = caller.ask("environment").outcome
    assert isinstance(outcome, Success) and outcome.result["env"]["spring.profiles.active"] == "prod"


def test_a_script_without_its_interpreter_is_named(tmp_path: Path) -> None:
    program = tmp_path / "handler.sh"
    program.write_text("#!/no/such/interpreter\n")
    program.chmod(0o700)
    handler = Handler(name="shell", command=("./handler.sh",), cwd=tmp_path, instances=1)
    with pytest.raises(
        Unavailable, match=r"'shell' cannot be started: .*/handler.sh begins with #!/no/such/interpreter, which"
    ):
        ProcessEngine().start(handler, 0)


@pytest.fixture(params=[pytest.param(True, id="with setpriv"), pytest.param(False, id="without setpriv")])
def tool(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Runs the test with and without a usable setpriv."""
    there_is: bool = request.param
    if not there_is:
        other = tmp_path / "other" / "setpriv"
        other.parent.mkdir()
        other.write_text("#!/bin/sh\necho unknown option >&2\nexit 1\n")
        other.chmod(0o755)
        monkeypatch.setenv("PATH", f"{other.parent}:{os.environ['PATH']}")
    parent_death.find_setpriv.cache_clear()
    assert (tied("cat") is not None) == there_is
    yield
    parent_death.find_setpriv.cache_clear()


LIMITS = """#!/bin/sh
while read -r line; do echo "{\\"status\\":\\"success\\",\\"result\\":\\"$(ulimit -H -c)\\"}"; done
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only on Linux are child processes started so")
@pytest.mark.usefixtures("tool")
def test_a_handler_leaves_no_core(tmp_path: Path) -> None:
    program = tmp_path / "handler.sh"
    program.write_text(LIMITS)
    program.chmod(0o700)
    with Caller(Handler(name="shell", command=("./handler.sh",), cwd=tmp_path, instances=1), ProcessEngine()) as caller:
        assert caller.ask("anything").outcome == Success("0")


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing tells a child that its parent died")
def test_a_child_whose_parent_died_before_it_could_be_tied_ends_at_once() -> None:
    words = tied("echo", "alive")
    assert words is not None, "install util-linux"
    completed = subprocess.run(words, stdout=subprocess.PIPE)
    assert (completed.returncode, completed.stdout) == (-signal.SIGKILL, b"")


OWNER = """
import json, sys
from tests.runner.caller import Caller
from tests.runner.kit import KITS
from tasks_app.runner.process_engine import ProcessEngine

caller = Caller(KITS["process"].handler(instances=2), ProcessEngine())
caller.until(lambda: caller.pool.free() == 2)
pids = [caller.ask("pid").outcome.result for _ in range(2)]
caller.begin({"do": "stubborn"})
print(json.dumps(pids), flush=True)
sys.stdin.read()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing tells a child that its parent died")
@pytest.mark.usefixtures("tool")
def test_no_child_outlives_a_node_that_was_killed() -> None:
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert owner.stdout is not None
    try:
        pids = json.loads(owner.stdout.readline())
        assert len(set(pids)) == 2
        children = [os.pidfd_open(pid) for pid in pids]
    finally:
        owner.send_signal(signal.SIGKILL)
        owner.communicate()
    for child in children:
        poller = select.poll()
        poller.register(child, select.POLLIN)
        ended = poller.poll(10_000)
        if not ended:
            signal.pidfd_send_signal(child, signal.SIGKILL)
        os.close(child)
        assert ended, "a child lives on"


def test_a_handler_that_closes_its_stdout_has_ended() -> None:
    with Caller(KITS["process"].handler(), ProcessEngine()) as caller:
        result = caller.ask("no_stdout")
        assert result.outcome.kind is OutcomeKind.CRASH
        assert result.exit_code is None
        assert caller.ask("echo").outcome == Success({"do": "echo"})
