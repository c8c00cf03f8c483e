"""Fixtures of many rooms."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.test import Client

from tasks_app import conf
from tasks_app.api.admission import backlog
from tasks_app.broker import notification
from tasks_app.features.pauses import verbs as pauses
from tasks_app.keys import caller
from tasks_app.keys.rate import BucketFile
from tasks_app.metrics import system_reading
from testkit.clients import api_client, logged_in
from testkit.daemon import Daemon, deployments, serving
from testkit.migrated import sqlite
from testkit.receiver import Receiver, receiving
from testkit.stores import SQLiteStore, Store

pytest_plugins = ["testkit.running"]
# Tests log in often.
settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture(scope="session")
def migrated() -> Iterator[Store]:
    """A database with its tables on the leg's server, to copy."""
    with TemporaryDirectory(prefix="td-", dir="/tmp") as folder:
        daemon = Daemon(Path(folder))
        if isinstance(daemon.store, SQLiteStore):
            daemon.store.fill(sqlite())
        else:
            daemon.handler("echo")
            assert daemon.manage("migrate", "--verbosity", "0").ends() == 0
        yield daemon.store
        daemon.close()


@pytest.fixture
def own_key_rates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of buckets for the test alone: all processes of a run have one DAEMON_HOME, and ids of keys come again."""
    monkeypatch.setattr(caller, "BucketFile", lambda path: BucketFile(tmp_path / path.name))


@pytest.fixture
def deployment(migrated: Store) -> Iterator[Callable[..., Daemon]]:
    """Makes deployments for a test: `deployment(DAEMON_WORKERS="1")`."""
    with deployments(migrated) as make:
        yield make


@pytest.fixture(scope="module")
def module_deployment(migrated: Store) -> Iterator[Callable[..., Daemon]]:
    """Makes deployments for a module's tests in turn."""
    with deployments(migrated) as make:
        yield make


@pytest.fixture
def daemon(deployment: Callable[..., Daemon]) -> Daemon:
    """A deployment with the handler `act` in two slots."""
    made = deployment()
    made.handler("act")
    return made


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A real server on SQLite, with a body timeout of two seconds."""
    with serving(tmp_path_factory.mktemp("home"), DAEMON_BODY_TIMEOUT="2") as daemon:
        yield daemon


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """Where webhooks can be sent to."""
    with receiving() as one:
        yield one


@pytest.fixture
def api(db: None) -> Client:
    """A client that gets the answer to a bug instead of the exception."""
    return api_client()


@pytest.fixture
def admin(db: None) -> Client:
    """A logged-in administrator called `ada`."""
    return logged_in(User.objects.create_superuser("ada", None, "a good password"))


@pytest.fixture
def listen(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Change how the web server listens."""

    def to(**fields: Any) -> None:
        env = conf.environment().model_copy(update=fields)
        monkeypatch.setattr(conf, "environment", lambda: env)

    return to


@pytest.fixture
def notifications(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """The notifications as (handler, priority). They reach no broker."""
    sent: list[tuple[str, int]] = []
    for module in (notification, pauses):
        monkeypatch.setattr(module, "notify", lambda handler, priority=50: sent.append((handler, priority)))
    return sent


@pytest.fixture(autouse=True)
def nothing_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drop what this process remembers of the last test's database: a reading, the size of the queue, the API keys."""
    system_reading._last = None
    backlog.__init__()  # type: ignore[misc]
    caller.keys.__init__()  # type: ignore[misc]
    monkeypatch.setattr(caller, "MAX_READING_AGE_SECONDS", 0.0)
