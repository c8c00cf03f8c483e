"""How the command is written: values that may be left out, profiles, completion; and that its options are the API's."""

from __future__ import annotations

import secrets
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest

from taskdaemon_client import Filter, TaskOptions
from taskdaemon_client.command.app import root
from taskdaemon_client.command.options import FILTERS, TASK_OPTIONS
from taskdaemon_client.command.words import OptionalValue
from testkit.daemon import Daemon
from testkit.ports import free_port
from testkit.process import PROJECT
from tests.client.command.conftest import tdctl

pytestmark = pytest.mark.one_leg("the command knows the API alone")


def test_the_command_has_each_option_of_a_task_and_each_filter() -> None:
    assert TASK_OPTIONS.keys() == TaskOptions.__annotations__.keys()
    assert FILTERS.keys() == Filter.__annotations__.keys()


def test_the_name_handler_is_kept_free() -> None:
    assert isinstance(root, click.Group) and "handler" not in root.commands


@pytest.mark.parametrize(
    ("words", "joined"),
    [
        (["--json", "id"], ["--json=id"]),
        (["--json", "id,nope"], ["--json=id,nope"]),
        (["--json", "stauts"], ["--json=stauts"]),
        (["--json", "0193a5b0"], ["--json=", "0193a5b0"]),
        (["--json"], ["--json="]),
        (["--json=id"], ["--json=id"]),
        (["a", "--json", "--wait"], ["a", "--json=", "--wait"]),
        (["--", "--json", "id"], ["--", "--json", "id"]),
    ],
)
def test_a_value_that_may_be_left_out_is_the_next_word_if_that_looks_like_one(
    words: list[str], joined: list[str]
) -> None:
    get = root.commands["get"]
    (option,) = (param for param in get.params if isinstance(param, OptionalValue))
    assert option.join(words) == joined


def test_a_profile_says_where_the_platform_is(here: Daemon, settings: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TASKDAEMON_URL")
    settings.parent.mkdir()
    away = f"http://127.0.0.1:{free_port()}"
    settings.write_text(f'default = "here"\n[profiles.here]\nurl = "{here.base}"\n[profiles.away]\nurl = "{away}"\n')
    assert tdctl("handlers").code == 0
    assert tdctl("handlers", "--profile", "away").code == 3
    assert tdctl("--profile", "away", "handlers", "--profile", "here").code == 0
    assert tdctl("handlers", "--profile", "away", "--url", here.base).code == 0
    unknown = tdctl("handlers", "--profile", "nope")
    assert unknown.code == 2 and "away, here" in unknown.err
    settings.write_text("url = ")
    assert tdctl("handlers").code == 2


def test_a_proxy_of_the_environment_is_not_asked_for_what_is_on_this_machine(
    here: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    for url in (here.base, f"http://localhost:{here.port}"):
        assert tdctl("handlers", "--url", url).code == 0
    assert tdctl("handlers", "--url", "http://platform.example").code == 3


def test_behind_a_proxy_with_tls_it_says_over_http_what_the_proxy_says(
    module_deployment: Callable[..., Daemon], settings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = f"tpk_{secrets.token_hex(32)}"
    daemon = module_deployment(DAEMON_TLS="true", DAEMON_API_KEY=key)
    daemon.handler("act")
    assert daemon.manage("prepare").ends() == 0
    daemon.web()
    monkeypatch.setenv("TASKDAEMON_URL", daemon.base)
    monkeypatch.setenv("TASKDAEMON_API_KEY", key)
    assert tdctl("handlers").code == 3, "it is led to https"
    monkeypatch.setenv("TASKDAEMON_FORWARDED_PROTO", "https")
    assert tdctl("handlers").rows[0][0] == "act"
    assert tdctl("submit", "act").code == 0


@pytest.mark.parametrize(
    "words",
    [
        ("delete", "-"), ("delete", "-", "--type", "act"), ("delete", "", "--type", "act"), ("cancel", "-", "--wait"),
        ("callbacks", "retry", "", "--type", "act"),
    ],
    ids=" ".join,
)  # fmt: skip
def test_an_empty_list_of_ids_never_stands_for_all_tasks_that_match(here: Daemon, words: tuple[str, ...]) -> None:
    before = len(here.http.get("/api/operations").json())
    ran = tdctl(*words)
    assert ran.code == (0 if words == ("delete", "-") else 2), ran
    assert len(here.http.get("/api/operations").json()) == before


def test_a_file_may_begin_with_the_mark_of_windows(here: Daemon, tmp_path: Path) -> None:
    (tmp_path / "one").write_text('{"do": "echo"}', encoding="utf-8-sig")
    (tmp_path / "many").write_text('{"type": "act"}\r\n', encoding="utf-8-sig")
    assert tdctl("submit", "act", f"@{tmp_path}/one").code == 0
    assert len(tdctl("submit-many", f"{tmp_path}/many").rows) == 1


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_a_script_of_the_shell(shell: str) -> None:
    ran = tdctl("completion", shell)
    assert ran.code == 0 and "_TDCTL_COMPLETE" in ran.out


def completed(daemon: Daemon, words: str) -> list[str]:
    """What bash would offer for the last word."""
    environment = daemon.caller(_TDCTL_COMPLETE="bash_complete", COMP_WORDS=words, COMP_CWORD=str(words.count(" ")))
    program = "import sys; sys.argv[0] = 'tdctl'; from taskdaemon_client.command import main; main()"
    ran = subprocess.run(
        [sys.executable, "-c", program], cwd=PROJECT, env=environment, capture_output=True, text=True, check=True
    )
    return [line.partition(",")[2] for line in ran.stdout.splitlines()]


def test_completion_knows_commands_fields_and_what_the_platform_has(here: Daemon) -> None:
    assert completed(here, "tdctl sub") == ["submit", "submit-many"]
    assert completed(here, "tdctl pause o") == ["other"]
    assert sorted(completed(here, "tdctl get ID --json id,sta")) == ["id,started_at", "id,status"]
    (name,) = (each["name"] for each in here.http.get("/api/nodes").json())
    assert completed(here, f"tdctl drain {name[:2]}") == [name]


def test_help_needs_no_platform(settings: Path) -> None:
    for words in (["--help"], *([name, "--help"] for name in root.commands)):
        ran = tdctl(*words)
        assert ran.code == 0 and ran.out.startswith("Usage: tdctl") and ran.err == ""


def test_without_the_extra_it_says_what_to_install(tmp_path: Path) -> None:
    program = "import sys; sys.modules['rich'] = None; import taskdaemon_client.command"
    environment: dict[str, Any] = {"PYTHONPATH": str(PROJECT / "client/src")}
    ran = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert ran.returncode == 70 and "pip install 'taskdaemon-client[cli]'" in ran.stderr
