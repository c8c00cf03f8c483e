"""A complete system for a test: `up` on the database of this test run, without a broker, with the shipped handlers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from tasks_app.conf.weak_secrets import new_signing_secret
from testkit.daemon import Daemon


@contextmanager
def system(home: Path) -> Iterator[Daemon]:
    """Run it during the block."""
    callbacks = {"DAEMON_CALLBACK_SECRETS": new_signing_secret(), "DAEMON_CALLBACK_HOSTS": "127.0.0.1"}
    with closing(Daemon(home, DAEMON_BROKER_URL="", HANDLER_CONFIG="", **callbacks)) as daemon:
        up = daemon.up()
        yield daemon
        up.stop()
