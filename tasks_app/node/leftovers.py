"""What ended deployments of a DAEMON_HOME have left: containers, FIFOs, and the keys of their notifications on Redis.

For `manage.py clean`. Nothing is found of a living node, of another DAEMON_HOME, or of a deployment that has never had
a node in this one.
"""

from __future__ import annotations

import importlib
import os
import re
import shutil
import stat
from collections.abc import Callable, Iterator, Set
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from django.db import Error, connection

from tasks_app.broker.left_keys import RedisKeys, Unanswered
from tasks_app.db.node_lock import has_lock, lock_domain
from tasks_app.metrics.system_reading import living, living_processes
from tasks_app.node.record import deployment_id
from tasks_app.node.sweeper import is_gone
from tasks_app.queue.node_models import Deployment, Node
from tasks_app.runner.engine import Unavailable

#: Imported when it is first needed: the Docker SDK takes 0.3 s.
DOCKER_LEFTOVERS_MODULE = "tasks_app.runner.docker.leftovers"
DOCKER_FIFOS_MODULE = "tasks_app.runner.docker.fifos"
#: The file in DAEMON_HOME with the ids of its deployments, one a line.
DEPLOYMENTS = "deployments"
#: Of that file are read: 30,000 ids.
MAX_BYTES = 1024 * 1024
_ID = re.compile(r"[0-9a-f]{32}")


def remember(home: Path, deployment: str) -> None:
    """Note in DAEMON_HOME that this deployment has used it. A disk that is full prevents no start."""
    with suppress(OSError):
        if deployment not in remembered(home):
            with os.fdopen(_opened(home, os.O_WRONLY | os.O_APPEND | os.O_CREAT), "w") as file:
                file.write(f"{deployment}\n")


def remembered(home: Path) -> Set[str]:
    """The ids of the deployments that have used a DAEMON_HOME."""
    try:
        with os.fdopen(_opened(home, os.O_RDONLY), "rb") as file:
            return {line for line in file.read(MAX_BYTES).decode().split() if _ID.fullmatch(line)}
    except (OSError, UnicodeDecodeError):
        return frozenset()


def _opened(home: Path, flags: int) -> int:
    """The file, as a descriptor. Raises OSError, also if it is no regular file: a FIFO waits, and /dev/zero has no
    end."""
    descriptor = os.open(home / DEPLOYMENTS, flags | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(f"{home / DEPLOYMENTS} is no regular file")
    return descriptor


@dataclass(frozen=True)
class Leftover:
    """A thing that is left, in words. `remove` removes it, and returns the reason if it cannot."""

    words: str
    remove: Callable[[], str | None]


@dataclass(frozen=True)
class Kept:
    """A thing that stays, with the reason. `fault`: whether it is left is not known."""

    words: str
    fault: bool = False


def leftovers(home: Path, broker: str | None) -> Iterator[Leftover | Kept]:
    """All that is left. `broker`: the URL of a broker whose keys are looked for as well.

    Remove each before the next one is asked for.
    """
    ids, current = set(remembered(home)), None
    with suppress(Error, Deployment.DoesNotExist):
        current = deployment_id()
        ids.add(current)
    yield from _containers(home, ids)
    fifos = importlib.import_module(DOCKER_FIFOS_MODULE)
    for directory in fifos.left_fifos(fifos.fifos_below(home)):
        yield Leftover(f"FIFOs {directory}", partial(_remove_folder, directory))
    if broker is not None:
        yield from _keys(ids, current, broker)
    connection.close()


def _containers(home: Path, ids: Set[str]) -> Iterator[Leftover | Kept]:
    here = lock_domain(home)
    engine = importlib.import_module(DOCKER_LEFTOVERS_MODULE).NodesOnEngine(os.environ)
    try:
        for each in engine.containers():
            if each.deployment not in ids or _folder(each.domain) != _folder(here):
                continue
            words = f"container {each.id[:12]} of handler '{each.handler}', node {each.node}"
            why = _why_it_stays(home, here, each.node, each.domain)
            yield Kept(f"{words}: {why}") if why else Leftover(words, partial(engine.remove, each))
    except Unavailable as error:
        yield Kept(f"containers were not looked for: {error}", fault=True)
    finally:
        engine.close()


def _folder(domain: str) -> str:
    """The part of a lock domain that is the same after a reboot."""
    return domain.partition(":")[2]


def _why_it_stays(home: Path, here: str, node: str, domain: str) -> str | None:
    """Why a container stays, whose node may live; None if the node has ended."""
    try:
        if is_gone(home, here, node, domain, trusts_silence=lambda: True):
            return None
        if domain == here and has_lock(home, node):
            return "the node lives"
        if Node.objects.filter(pk=node).exists():
            return "the database does not say that the node has stopped"
    except Error:
        return "the database does not answer, and nothing else says whether the node lives"
    # A row that another database had, or that was old: a killed node of this boot would have a lock file.
    return None


def _remove_folder(folder: Path) -> str | None:
    try:
        shutil.rmtree(folder)
    except OSError as error:
        return str(error)
    return None


def _keys(ids: Set[str], current: str | None, broker: str) -> Iterator[Leftover | Kept]:
    if not RedisKeys.are_at(broker):
        yield Kept("the broker is not Redis, so no keys were looked for (RabbitMQ: rabbitmqctl list_queues)")
        return
    if current is None:
        # Which deployment is the present one, and whether it lives, is known to the database alone.
        yield Kept("keys on Redis were not looked for: the database does not answer", fault=True)
        return
    if living_processes(living()):
        yield Kept(f"keys taskdaemon.{current}* on Redis: this deployment lives")
        ids -= {current}
    keys = RedisKeys(broker)
    try:
        for deployment, its in keys.of(sorted(ids)):
            yield Leftover(f"{len(its)} keys taskdaemon.{deployment}* on Redis", partial(keys.delete, its))
    except Unanswered as error:
        yield Kept(f"keys on Redis were not looked for: {error}", fault=True)
    finally:
        keys.close()
