"""A complete system for a test: `up` on the database of this test run, without a broker, with the shipped handlers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from testkit.daemon import Daemon


@contextmanager
def system(home: Path) -> Iterator[Daemon]:
    """Run it during the block."""
    with closing(Daemon(home, DAEMON_BROKER_URL="", HANDLER_CONFIG="")) as daemon:
        up = daemon.up()
        yield daemon
        up.stop()
