"""A handler with an image runs in a container, one without is a child process; without the first there is no Docker."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tasks_app.runner.engine import Owner
from tasks_app.runner.engines import EngineByHandler
from tasks_app.runner.handlers import Handler
from tasks_app.runner.wire import Success
from tests.runner.desk import Desk
from tests.runner.kit import KITS

PROJECT = Path(__file__).parents[2]
WE = Owner("deployment", "node", "domain")


def test_a_handler_with_a_command_alone_is_a_child_process() -> None:
    with Desk(KITS["process"].handler(), EngineByHandler(WE)) as desk:
        done = desk.ask("echo")
    assert done.outcome == Success({"do": "echo"})
    assert done.container.startswith("pid-")
    assert done.image == ""


def test_a_handler_with_an_image_is_not_refused_and_one_with_nothing_is() -> None:
    engine = EngineByHandler(WE)
    assert engine.refusal(Handler(name="resize", image="resize:1")) is None
    assert engine.refusal(Handler(name="resize")) == "handler 'resize' has no `command`: there is nothing to start"


def test_the_docker_sdk_is_not_even_imported_for_child_processes() -> None:
    program = (
        "import sys; from tasks_app.runner.engines import EngineByHandler; from tasks_app.runner.engine import Owner;"
        "from tasks_app.runner.handlers import Handler; engine = EngineByHandler(Owner('a', 'b', 'c'));"
        "engine.start(Handler(name='cat', command=('cat',)), 0).destroy(); print('docker' in sys.modules)"
    )
    said = subprocess.run([sys.executable, "-c", program], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert said.stdout == "False\n"
