"""Schemathesis, with all its checks, against a running server, for as long as you like.

    python -m tests.fuzz.openapi --minutes 30 --port 8080

Reads the server's own /openapi.json. Wants a whole system (`make run`): without a worker /health is 503, and rightly.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

#: A NUL in a string is valid JSON that we refuse, and no JSON schema can say so of any depth.
OPTIONS = ("--checks", "all", "--generation-allow-x00", "false", "--continue-on-failure")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--minutes", type=float, default=30.0)
    given, more = parser.parse_known_args()
    # It looks for its settings, and leaves its examples, where it is started: not among the sources.
    place = Path(os.environ.get("TMPDIR", "/tmp"))
    program = Path(sysconfig.get_path("scripts")) / "schemathesis"
    address = f"http://{given.host}:{given.port}/openapi.json"
    time = ("--max-time", str(int(given.minutes * 60)))
    return subprocess.call([str(program), "run", address, *OPTIONS, *time, *more], cwd=place)


if __name__ == "__main__":
    sys.exit(main())
