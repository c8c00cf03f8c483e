"""Runs Schemathesis with all its checks against a running server.

    python -m tests.fuzz.openapi --minutes 30 --port 8080

It reads the server's /openapi.json. It needs a complete system (`make run`): without a worker /health is 503. Tasks
have callbacks to a port of 127.0.0.1 at which nobody listens, so set DAEMON_CALLBACK_SECRETS, and DAEMON_CALLBACK_HOSTS
to 127.0.0.1.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
#: The daemon refuses NULs in strings, which a JSON schema cannot express for nested values.
OPTIONS = (
    "--checks", "all", "--generation-allow-x00", "false", "--continue-on-failure", "--request-timeout", "60"
)  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument(
        "--examples",
        type=int,
        help="instead of --minutes: so many random cases of each operation, however long that takes. With a --seed they"
        " do not depend on how fast the machine is",
    )
    given, more = parser.parse_known_args()
    # Schemathesis reads settings from, and writes examples to, its current folder: keep it out of the sources.
    folder = Path(os.environ.get("TMPDIR", "/tmp"))
    program = Path(sysconfig.get_path("scripts")) / "schemathesis"
    address = f"http://{given.host}:{given.port}/openapi.json"
    bound = ("--max-time", str(round(given.minutes * 60)))
    if given.examples is not None:
        bound = ("--max-examples", str(given.examples))
    hooks = {"SCHEMATHESIS_HOOKS": "tests.fuzz.document", "PYTHONPATH": str(TOP)}
    command = [str(program), "run", address, *OPTIONS, *bound, *more]
    return subprocess.call(command, cwd=folder, env={**os.environ, **hooks})


if __name__ == "__main__":
    sys.exit(main())
