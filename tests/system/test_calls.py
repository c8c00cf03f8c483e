"""What docs/should-i-use-it.md shows of other languages and of cron works as it stands there."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from testkit.daemon import Daemon
from testkit.needs import program
from testkit.process import PROJECT

pytestmark = [
    pytest.mark.one_leg("a call over HTTP"),
    pytest.mark.long("compilers of Go and Java", seconds=30),
]

PAGE = (PROJECT / "docs/should-i-use-it.md").read_text()


@pytest.fixture(scope="module")
def daemon(module_deployment: Callable[..., Daemon]) -> Daemon:
    daemon = module_deployment()
    daemon.config.write_text((PROJECT / "handlers.toml").read_text().replace("examples/", f"{PROJECT}/examples/"))
    daemon.up()
    return daemon


@pytest.mark.parametrize(
    ("language", "file", "needs", "command"),
    [
        ("go", "call.go", "go", ["run"]),
        ("java", "Call.java", "javac", []),
        ("ts", "call.mjs", "node", []),
        ("php", "call.php", "php", []),
    ],
)
def test_a_call_prints_the_result(
    daemon: Daemon, tmp_path: Path, language: str, file: str, needs: str, command: list[str]
) -> None:
    (code,) = re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    (tmp_path / file).write_text(code.replace("http://localhost:8080", daemon.base))
    path = program(needs)
    words = [path.removesuffix("c") if needs == "javac" else path, *command, file]
    go = {"GOCACHE": str(tmp_path / "cache"), "GO111MODULE": "off"}
    done = subprocess.run(
        words, cwd=tmp_path, env={**daemon.environment, **go}, capture_output=True, text=True, timeout=300
    )
    assert "completed" in done.stdout and "78498" in done.stdout, done.stdout + done.stderr


def test_crons_line_stores_one_task_a_day(daemon: Daemon) -> None:
    program("curl")
    (line,) = re.findall(r"^30 2 \* \* \* (curl .*)$", PAGE, re.MULTILINE)
    command = line.replace("\\%", "%").replace("http://localhost:8080", daemon.base).replace('"report", "', '"echo", "')
    for _ in range(2):
        subprocess.run(["sh", "-c", command], check=True, timeout=60)
    assert [task["task_type"] for task in daemon.http.get("/api/tasks?type=echo").json()] == ["echo"]
