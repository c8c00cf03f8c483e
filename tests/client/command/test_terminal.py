"""What is different on a terminal: tables, colours, bars, a live screen."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

from testkit.daemon import TDCTL, Daemon, open_gate
from testkit.process import PROJECT
from testkit.terminal import Terminal

pytestmark = pytest.mark.one_leg("the command knows the API alone")

#: What begins a colour, and what hides the cursor for a bar.
COLOUR, HIDDEN = "\x1b[", "\x1b[?25l"


@pytest.fixture
def terminal(platform: Daemon) -> Iterator[Callable[..., Terminal]]:
    """Starts the command on a terminal."""
    made: list[Terminal] = []

    def start(*words: str, **environment: str) -> Terminal:
        made.append(Terminal(platform.caller(**environment), sys.executable, *TDCTL, *words))
        return made[-1]

    yield start
    for each in made:
        each.popen.wait(60)
        each.close()


def test_a_list_is_a_table_with_headings_and_colours(platform: Daemon, terminal: Callable[..., Terminal]) -> None:
    platform.until_final(platform.post("act"))
    shown = terminal("list", COLUMNS="200")
    shown.until_says("LAST ERROR")
    shown.until_says("\x1b\\[32mcompleted")
    plain = terminal("list", NO_COLOR="1", COLUMNS="200")
    plain.until_says("completed")
    assert "\x1b[32m" not in plain.said


def test_without_a_terminal_there_is_no_colour_no_bar_and_no_heading(platform: Daemon) -> None:
    id = platform.post("act", {"do": "sleep", "seconds": 2.5})
    environment = platform.caller(FORCE_COLOR="1")
    for words in (["wait", id, "--json"], ["list"], ["handlers"], ["top"]):
        ran = subprocess.run(
            [sys.executable, *TDCTL, *words], cwd=PROJECT, env=environment, stdin=subprocess.DEVNULL,
            capture_output=True, text=True,
        )  # fmt: skip
        assert ran.returncode == 0 and "\x1b" not in ran.stdout + ran.stderr, ran
        assert "HANDLER" not in ran.stdout and "STATUS" not in ran.stdout


def test_a_wait_shows_how_far_the_handler_says_it_is(platform: Daemon, terminal: Callable[..., Terminal]) -> None:
    gate = platform.gate()
    id = platform.post("act", {"do": "wait", "gate": str(gate), "says": '{"progress": 0.4, "message": "page 4"}'})
    shown = terminal("wait", id)
    shown.until_says("page 4.* 40%")
    open_gate(gate)
    shown.until_says('"gate"')  # the result
    assert shown.popen.wait(60) == 0


def test_top_is_a_live_screen_that_survives_a_restart_and_ends_with_q(
    module_deployment: Callable[..., Daemon],
) -> None:
    daemon = module_deployment()
    daemon.handler("act")
    daemon.worker()
    web = daemon.web()
    shown = Terminal(daemon.caller(), sys.executable, *TDCTL, "top", "--interval", "0.2")
    shown.until_says("HANDLER.*BUSY")
    web.kill()
    shown.until_says("since .*no answer")
    daemon.web()
    gate = daemon.gate()
    daemon.until_starts(daemon.post("act", {"do": "wait", "gate": str(gate)}))
    shown.until_says(r"act +1 ")
    open_gate(gate)
    shown.type("q")
    shown.until_says(r"\x1b\[\?1049l")  # the screen from before
    assert shown.popen.wait(60) == 0
    shown.close()
