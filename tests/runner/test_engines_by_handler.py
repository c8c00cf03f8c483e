"""A handler with an image runs in a container, one without as a child process that needs no Docker SDK."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tasks_app.runner.engine import Owner
from tasks_app.runner.engines import EngineByHandler
from tasks_app.runner.wire import Success
from tests.runner.caller import Caller
from tests.runner.kit import KITS

PROJECT = Path(__file__).parents[2]
WE = Owner("deployment", "node", "domain")


def test_a_handler_with_only_a_command_is_a_child_process() -> None:
    with Caller(KITS["process"].handler(), EngineByHandler(WE)) as caller:
        result = caller.ask("echo")
    assert result.outcome == Success({"do": "echo"})
    assert result.container.startswith("pid-")
    assert result.image == ""


def test_the_docker_sdk_is_not_even_imported_for_child_processes() -> None:
    program = (
        "import sys; from tasks_app.runner.engines import EngineByHandler; from tasks_app.runner.engine import Owner;"
        "from tasks_app.handlers.handlers_toml import Handler; engine = EngineByHandler(Owner('a', 'b', 'c'));"
        "engine.start(Handler(name='cat', command=('cat',)), 0).destroy(); print('docker' in sys.modules)"
    )
    output = subprocess.run([sys.executable, "-c", program], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert output.stdout == "False\n"
