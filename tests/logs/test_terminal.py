"""The log on a terminal."""

from __future__ import annotations

import os
import pty
import subprocess
import sys

PROGRAM = """
import logging
from tasks_app.logs.config import configure_logging
configure_logging("info")
try:
    local = "a secret that a local variable " + "has"
    1 / 0
except ZeroDivisionError:
    logging.getLogger("test").exception("failed")
"""


def test_an_exception_on_a_terminal_shows_its_traceback_without_the_values_of_variables() -> None:
    ours, theirs = pty.openpty()
    subprocess.run([sys.executable, "-c", PROGRAM], stderr=theirs, check=True, timeout=60)
    os.close(theirs)
    text = os.read(ours, 65536).decode()
    os.close(ours)
    assert "failed" in text and "ZeroDivisionError" in text
    assert "a secret that a local variable has" not in text
