"""Writes down what the outside sees of this checkout, to compare two of them: `python -m tests.capture FOLDER`.

    python -m tests.capture /tmp/before       # in one checkout
    python -m tests.capture /tmp/after        # in the other
    diff -r /tmp/before /tmp/after            # what a change that moves code only must leave empty

Written are `openapi.json`, `addresses`, `metrics` (families and labels), `settings`, `log_events`, `help/` (of each
command), `pages/` (the admin's, of the same rows at the same moment, for each role), and `statements/` (what the
moves of a task send to each database). Needs Debian's libfaketime and PostgreSQL's programs; it touches no server
but its own.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from testkit.process import inherited

#: At this moment all pages are made.
MOMENT = "2026-11-30 12:00:00"
HANDLERS = """
[handlers.echo]
command = ["cat"]
description = "Says it"
[handlers.prime]
command = ["cat"]
"""
#: Each part, and whether its clock stands still.
PARTS = {"outside": True, "sources": False, "statements": False}


def main() -> int:
    """Run each part in a process of its own. Returns 0 if all ended well."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.capture", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="where to write")
    parser.add_argument("--only", choices=PARTS, action="append", help="some of the parts")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    library = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
    if library is None:
        parser.error("libfaketime is missing; on Debian: apt-get install libfaketime")
    status = 0
    for part in options.only or PARTS:
        with tempfile.TemporaryDirectory(prefix="td-", dir="/tmp") as home:
            config = Path(home) / "handlers.toml"
            config.write_text(HANDLERS)
            environment = inherited() | {
                "DAEMON_HOME": home, "HANDLER_CONFIG": str(config),
                "DJANGO_SETTINGS_MODULE": "taskdaemon_site.settings",
                "DAEMON_SECRET_KEY": "for this alone, " * 4, "PYTHONHASHSEED": "0", "DAEMON_LOG_LEVEL": "error",
            }  # fmt: skip
            if PARTS[part]:
                environment |= {"LD_PRELOAD": str(library), "FAKETIME": MOMENT, "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
            words = [sys.executable, "-m", f"tests.capture.{part}", str(options.folder.resolve())]
            status |= subprocess.call(words, env=environment, cwd=Path(__file__).parents[2])
    return 1 if status else 0


if __name__ == "__main__":
    os.environ.pop("DATABASE_URL", None)
    sys.exit(main())
