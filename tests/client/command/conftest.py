"""One platform for the tests of a module, and the command as tests run it."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from taskdaemon_client.command.app import run
from tasks_app.conf.weak_secrets import new_signing_secret
from testkit.daemon import Daemon


class Ran(NamedTuple):
    """What came of a command without a terminal."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Its data."""
        assert self.code == 0, self
        return json.loads(self.out)

    @property
    def rows(self) -> list[list[str]]:
        """The cells of its lines."""
        assert self.code == 0, self
        return [line.split("\t") for line in self.out.splitlines()]


def tdctl(*words: str, stdin: str = "") -> Ran:
    """Run the command in this process."""
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", newline="\n") for _ in range(2))
    before, sys.stdin = sys.stdin, io.StringIO(stdin)
    try:
        with redirect_stdout(out), redirect_stderr(err):
            code = run(words)
    finally:
        sys.stdin = before
    for each in (out, err):
        each.seek(0)
    return Ran(code, out.read(), err.read())


@pytest.fixture(scope="module")
def platform(module_deployment: Callable[..., Daemon]) -> Daemon:
    """A platform with the handlers `act` and `other`, running."""
    daemon = module_deployment(DAEMON_CALLBACK_SECRETS=new_signing_secret(), DAEMON_CALLBACK_HOSTS="127.0.0.1")
    daemon.handler("act", instances=2, stop_grace=0.1)
    daemon.handler("other", instances=1)
    daemon.up()
    return daemon


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of profiles, which is not there; no variable of the command is set."""
    for name in [name for name in os.environ if name.startswith("TASKDAEMON_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    return tmp_path / "taskdaemon" / "config.toml"


@pytest.fixture
def here(platform: Daemon, settings: Path, monkeypatch: pytest.MonkeyPatch) -> Daemon:
    """The platform as the one that the command calls."""
    monkeypatch.setenv("TASKDAEMON_URL", platform.base)
    return platform
