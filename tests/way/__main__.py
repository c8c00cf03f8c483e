"""Print the files that a plain POST passes until its row is settled, on PostgreSQL and Redis: `python -m tests.way`."""

from __future__ import annotations

import os
import secrets
import sys
import tempfile
from contextlib import closing
from pathlib import Path

from testkit.daemon import Daemon
from tests.way.recording import environment, passed


def main() -> int:
    """Print the files, in the order of their names, and how many they are."""
    os.environ.setdefault("DATABASE_URL", "postgres://postgres@127.0.0.1:5432/way")
    os.environ.setdefault("TEST_BROKER_URL", "redis://127.0.0.1:6379/0")
    os.environ.setdefault("DAEMON_SECRET_KEY", secrets.token_urlsafe(48))
    with tempfile.TemporaryDirectory(prefix="td-", dir="/tmp") as home, tempfile.TemporaryDirectory() as notes:
        Path(notes, "task").touch()
        with closing(Daemon(Path(home), **environment(Path(notes)))) as daemon:
            daemon.handler("echo", instances=1)
            migrate = daemon.manage("migrate", "--verbosity", "0")
            assert migrate.ends(100) == 0, migrate.said()
            files = passed(daemon, Path(notes))
    print("\n".join(files))
    print(f"{len(files)} files", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
