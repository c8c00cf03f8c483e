"""drain_node, undrain_node: a node takes no more tasks, until it may again. It goes on living."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from django.db.models.functions import Now

from tasks_app.audit.record import Actor, record
from tasks_app.metrics.system_reading import living
from tasks_app.queue.counters import freshness
from tasks_app.queue.current import store, writing
from tasks_app.queue.node_models import Node


class UnknownNode(Exception):
    """No node has this name, or the one that had it has ended; the message says which."""


class NodeEnded(UnknownNode):
    """The node has stopped or was killed, or is silent: others take over what it ran."""


def drain_node(name: str, actor: Actor) -> bool:
    """Let a node take no more tasks: it stops starting them within 2 s of the commit. Running ones go on;
    an attempt whose handler does not have its whole line goes back.

    It lasts until `undrain_node`, or until the process ends: the next one has another name. False, and nothing changes,
    if it is drained already. Raises UnknownNode and DatabaseError.
    """
    taking = _living(name).filter(drain_requested_at=None)
    return _change(name, actor, "drain", taking, drain_requested_at=Now(), drain_requested_by=actor.name[:150])


def undrain_node(name: str, actor: Actor) -> bool:
    """Let a drained node take tasks again, within about a second. False, and nothing changes, if it is not drained.

    Raises UnknownNode and DatabaseError.
    """
    drained = _living(name).exclude(drain_requested_at=None)
    return _change(name, actor, "undrain", drained, drain_requested_at=None, drain_requested_by=None)


def _change(name: str, actor: Actor, act: str, nodes: QuerySet[Node], **values: Any) -> bool:
    with writing():
        changed = nodes.update(**values)
        if changed:
            record(actor, act, name)
        else:
            _check(name)
    freshness.changed()
    return bool(changed)


def running_on(name: str) -> int | None:
    """How many tasks a drained node still runs; None while it may still claim some. Raises UnknownNode, NodeEnded once
    it lives no more, and DatabaseError."""
    _check(name)
    node = next((node for node in living() if node.name == name), None)
    if node is None:
        raise NodeEnded(f"node {name} was killed or is silent, and others take over its tasks")
    if not node.draining:
        return None
    return sum(on == name for _, _, on in store().running())


def _living(name: str) -> QuerySet[Node]:
    return Node.objects.filter(pk=name, stopped_at=None)


def _check(name: str) -> None:
    if not _living(name).exists():
        if Node.objects.filter(pk=name).exists():
            raise NodeEnded(f"node {name[:100]} has ended")
        raise UnknownNode(f"no node is named {name[:100]!r}")
