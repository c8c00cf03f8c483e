"""The log on a terminal."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

from testkit.needs import need_terminal

PROGRAM = """
import logging
from tasks_app.conf.logging import configure_logging
configure_logging("info")
try:
    local = "a secret that a local variable " + "has"
    1 / 0
except ZeroDivisionError:
    logging.getLogger("test").exception("failed")
"""


def test_an_exception_on_a_terminal_shows_its_traceback_without_the_values_of_variables() -> None:
    ours, theirs = need_terminal()
    subprocess.run([sys.executable, "-c", PROGRAM], stderr=theirs, check=True, timeout=60)
    os.close(theirs)
    text = os.read(ours, 65536).decode()
    os.close(ours)
    assert "failed" in text and "ZeroDivisionError" in text
    assert "a secret that a local variable has" not in text


LINE = """
import structlog
from tasks_app.conf.logging import configure_logging
configure_logging("info")
structlog.get_logger("a.module").info("web server started", address="127.0.0.1:8080")
"""


def test_a_line_on_a_terminal_has_the_time_the_level_and_the_words() -> None:
    ours, theirs = need_terminal()
    subprocess.run([sys.executable, "-c", LINE], stderr=theirs, check=True, timeout=60)
    os.close(theirs)
    plain = re.sub(r"\x1b\[[0-9;]*m", "", os.read(ours, 65536).decode())
    os.close(ours)
    assert re.fullmatch(r"\d\d:\d\d:\d\d \[info +\] web server started address=127\.0\.0\.1:8080\r\n", plain), plain


def test_a_line_for_a_program_is_json_with_the_moment_and_the_module() -> None:
    done = subprocess.run([sys.executable, "-c", LINE], capture_output=True, check=True, timeout=60)
    line = json.loads(done.stderr)
    assert line.keys() == {"event", "level", "logger", "timestamp", "address"} and line["logger"] == "a.module"
