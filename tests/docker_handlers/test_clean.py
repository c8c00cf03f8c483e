"""`manage.py clean`: what killed nodes have left is shown, then removed; living nodes and others' things stay."""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from testkit.brokers import REDIS
from testkit.images.recipes import BUSYBOX
from testkit.process import until
from tests.docker_handlers.conftest import Deployment

pytestmark = pytest.mark.long("deployments with containers", seconds=60)

REPLY = 'while read -r line; do echo "{\\"status\\":\\"success\\",\\"result\\":1}"; done'
CHILD = f"[handlers.child]\ncommand = {json.dumps(['/bin/sh', '-c', REPLY])}\n"
HANDLERS = f'[handlers.boxed]\nimage = "{BUSYBOX}"\ncommand = {json.dumps(["/bin/sh", "-c", REPLY])}\ninstances = 2\n'


def clean(daemon: Deployment, *words: str, code: int = 0) -> str:
    process = daemon.manage("clean", *words)
    assert process.ends() == code, process.said()
    return process.said()


@pytest.fixture
def killed(deploy: Callable[..., Deployment]) -> Deployment:
    """A deployment whose only node was killed."""
    daemon = deploy(HANDLERS)
    worker = daemon.worker()
    until(lambda: len(daemon.containers("status=running")) == 2 and len(list(pipes(daemon))) == 2, what="containers")
    worker.kill()
    for each in pipes(daemon):
        os.utime(each, (0, 0))  # a younger one may belong to a process that is just making it
    return daemon


def pipes(daemon: Deployment) -> Iterator[Path]:
    return (daemon.home / "pipes").glob("*")


def test_containers_and_fifos_of_a_killed_node_are_shown_first_and_removed_with_yes(killed: Deployment) -> None:
    left = killed.containers()
    said = clean(killed)
    for each in left:
        assert f"left      container {each[:12]} of handler 'boxed', node " in said
    assert said.count("left      FIFOs ") == 2
    assert "Nothing was removed. To remove what is left: " in said and "manage.py clean --yes" in said
    assert killed.containers() == left and len(list(pipes(killed))) == 2, "nothing was removed"

    said = clean(killed, "--yes")
    assert said.count("removed   container ") == 2 and said.count("removed   FIFOs ") == 2
    assert killed.containers() == set() and not list(pipes(killed))
    assert clean(killed, "--yes") == "nothing is left\n"


def test_nothing_of_a_living_node_is_removed(deploy: Callable[..., Deployment]) -> None:
    daemon = deploy(HANDLERS)
    daemon.up()
    containers = daemon.containers()
    said = clean(daemon, "--yes")
    assert said.count(": the node lives") == len(containers) == 2 and said.endswith("nothing is left\n")
    (lock,) = (daemon.home / "nodes").glob("*.lock")
    lock.unlink()
    said = clean(daemon, "--yes")
    assert said.count("the database does not say that the node has stopped") == 2
    assert daemon.containers("status=running") == containers


def test_nothing_of_another_daemon_home_is_removed(killed: Deployment, deploy: Callable[..., Deployment]) -> None:
    other = deploy(HANDLERS)
    assert clean(other, "--yes") == "nothing is left\n"
    shutil.copy(killed.home / "deployments", other.home / "deployments")
    assert clean(other, "--yes") == "nothing is left\n", "its lock domain is another one"
    assert len(killed.containers()) == 2


def test_what_deployments_of_earlier_databases_have_left_is_removed_too(killed: Deployment) -> None:
    left = killed.containers()
    for file in killed.home.glob("*.sqlite3*"):
        file.unlink()
    assert killed.manage("prepare").ends() == 0
    assert clean(killed, "--yes").count("removed   container ") == len(left)
    assert not list(pipes(killed))


def test_without_an_engine_it_says_so_and_removes_the_rest(killed: Deployment) -> None:
    killed.environment["DOCKER_HOST"] = "unix:///nowhere.sock"
    said = clean(killed, "--yes", code=1)
    del killed.environment["DOCKER_HOST"]
    assert "fault     containers were not looked for: " in said and "/nowhere.sock" in said
    assert said.count("removed   FIFOs ") == 2
    assert len(killed.containers()) == 2


@pytest.mark.redis
def test_with_broker_the_keys_of_ended_deployments_are_removed_and_no_others(
    deploy: Callable[..., Deployment],
) -> None:
    server = redis.Redis.from_url(REDIS)
    daemon = deploy(CHILD, DAEMON_BROKER_URL=REDIS)
    foreign = f"taskdaemon.{uuid.uuid4().hex}.boxed"
    server.set(foreign, "x", ex=600)
    worker, web = daemon.worker(), daemon.web()
    worker.kill()
    until(lambda: daemon.rows("SELECT 1 FROM taskdaemon_web_process"), what="the row of the web process")
    daemon.post("child")
    mine, words = f"*{daemon.identity}*", f"keys taskdaemon.{daemon.identity}* on Redis"
    until(lambda: server.keys(mine), what="a notification that nobody reads")
    assert ": this deployment lives" in clean(daemon, "--yes", "--broker")
    assert server.keys(mine)
    assert web.stop() == 0
    count = len(server.keys(mine))
    said = clean(daemon, "--broker")
    assert f"left      {count} {words}" in said and len(server.keys(mine)) == count
    assert "keys" not in clean(daemon), "only with --broker"
    assert f"removed   {count} {words}" in clean(daemon, "--yes", "--broker")
    assert server.keys(mine) == [], "bindings too"
    assert server.get(foreign) == b"x"
    daemon.environment["DAEMON_BROKER_URL"] = "redis://127.0.0.1:1/0"
    assert "fault     keys on Redis were not looked for: " in clean(daemon, "--yes", "--broker", code=1)


@pytest.mark.redis
def test_without_its_database_no_keys_are_removed(deploy: Callable[..., Deployment]) -> None:
    daemon = deploy(CHILD, DAEMON_BROKER_URL=REDIS)
    key = f"taskdaemon.{daemon.identity}.child"
    (daemon.home / "deployments").write_text(f"{daemon.identity}\n")
    server = redis.Redis.from_url(REDIS)
    server.set(key, "x", ex=600)
    daemon.environment["DATABASE_URL"] = "postgres://postgres@127.0.0.1:1/none"
    assert "keys on Redis were not looked for: the database does not answer" in clean(
        daemon, "--yes", "--broker", code=1
    )
    assert server.get(key) == b"x"
    server.delete(key)
