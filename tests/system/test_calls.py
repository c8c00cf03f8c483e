"""What docs/should-i-use-it.md shows of other languages works as it stands there."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from testkit.daemon import Daemon
from testkit.kept import GO, JAVA
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
    environment = {**daemon.environment, **GO, **JAVA}
    done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert "completed" in done.stdout and "78498" in done.stdout, done.stdout + done.stderr
