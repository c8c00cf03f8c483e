"""What the first `up` from a wheel writes into its folder: a handlers.toml with an example, and its program."""

from __future__ import annotations

import shutil
from pathlib import Path

from tasks_app.conf.place import CODE, EXAMPLES

PROGRAM = "prime.py"
HANDLERS = f"""\
# One table for each task type: [handlers.NAME]. What changes here is used within seconds, without a restart.
# `command` is run as child processes, without a sandbox, in the folder of this file. `python` is the interpreter that
# runs the platform.

[handlers.prime]
description = "Counts the primes up to a limit."
command = ["python", "{PROGRAM}"]
timeout = 30
"""


def write(config: Path) -> bool:
    """Write both files, and return whether it did. If one of them is there or cannot be written, it writes neither."""
    program = config.with_name(PROGRAM)
    if config.exists() or program.exists():
        return False
    try:
        shutil.copyfile(CODE / EXAMPLES / "handlers/prime/handler.py", program)
        config.write_text(HANDLERS)
    except OSError:  # the checks say what is wrong with the folder
        program.unlink(missing_ok=True)
        return False
    return True
