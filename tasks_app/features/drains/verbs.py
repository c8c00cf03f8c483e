"""drain_node, undrain_node: a node takes no more tasks, or none of a type, until it may again. It goes on living."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet

from tasks_app.audit import Actor, acting, last_actor, record
from tasks_app.metrics.system_reading import living
from tasks_app.queue.counters import freshness
from tasks_app.queue.current import store
from tasks_app.queue.node_models import Drain, Node


class UnknownNode(Exception):
    """No node has this name, or the one that had it has ended; the message says which."""


class NodeEnded(UnknownNode):
    """The node has stopped or was killed, or is silent: others take over what it ran."""


class NotServed(Exception):
    """The node does not serve the type. `served`: those that it does."""

    def __init__(self, node: str, handler: str, served: list[str]) -> None:
        super().__init__(f'node {node} does not serve "{handler[:100]}"')
        self.handler, self.served = handler, served


class NodeTooOld(Exception):
    """The node runs a version that does not know drains of a type, and would go on."""

    def __init__(self, node: str) -> None:
        super().__init__(
            f"node {node} runs an earlier version, which does not know drains of a type: drain it as a whole, or pause "
            "the type"
        )


class DrainChanged(Exception):
    """It is not what its actor saw any more. `drain`: what there is now, None: it is not drained; `by`: who has
    drained or undrained it."""

    def __init__(self, drain: Drain | None, by: str | None) -> None:
        super().__init__("the drain has changed meanwhile")
        self.drain, self.by = drain, by


def drain_node(
    name: str, actor: Actor, handler: str | None = None, reason: str | None = None, seen: str | None = None
) -> bool:
    """Let a node take no more tasks, or none of the type `handler`: it stops starting them within 2 s of the commit.
    Running ones go on; an attempt whose handler does not have its whole line goes back.

    It lasts until `undrain_node`, or until the process ends: the next one has another name. The drain of the node and
    those of its types are apart: each ends by itself. `reason`: as `reason_of` returns it; blank: none. If it is
    drained already, a reason that is given replaces the reason, and who drained it; otherwise False, and nothing
    changes. `seen`: the revision of the drain that the actor saw, blank if there was none. Raises UnknownNode,
    NotServed, NodeTooOld, DrainChanged and DatabaseError.
    """
    with acting(actor, name):
        node, before = _as_seen(name, handler, seen)
        check_drain(node, handler)
        reason = (before and before.reason if reason is None else reason) or None
        if before is not None and before.reason == reason:
            return False
        drain = Drain(before.at if before else store().moment()[1], actor.name[:150], reason)
        told: dict[str, Any] = {} if reason is None else {"reason": reason}
        _write(node, actor, "drain", handler, drain, told)
    freshness.changed()
    return True


def undrain_node(name: str, actor: Actor, handler: str | None = None, seen: str | None = None) -> bool:
    """Let a drained node take tasks again, or those of the type `handler`, within about a second. What was drained
    apart stays drained. False, and nothing changes, if it is not drained.

    `seen`: as for `drain_node`. Raises UnknownNode, NotServed, DrainChanged and DatabaseError.
    """
    with acting(actor, name):
        node, before = _as_seen(name, handler, seen)
        if before is None:
            check_undrain(node, handler)
            return False
        _write(node, actor, "undrain", handler, None, {})
    freshness.changed()
    return True


def check_drain(node: Node, handler: str | None) -> None:
    """Raise NodeEnded, NotServed or NodeTooOld if the node, or the type on it, cannot be drained."""
    check_undrain(node, handler)
    if handler is not None and "drained" not in node.pools[handler]:
        raise NodeTooOld(node.name)


def check_undrain(node: Node, handler: str | None = None) -> None:
    """Raise NodeEnded, or NotServed for a type that is neither served nor drained."""
    if node.stopped_at is not None:
        raise NodeEnded(f"node {node.name[:100]} has ended")
    if handler is not None and handler not in node.pools:
        raise NotServed(node.name, handler, sorted(node.pools))


def _as_seen(name: str, handler: str | None, seen: str | None) -> tuple[Node, Drain | None]:
    """The node, locked, and its drain. Raises UnknownNode and DrainChanged."""
    node = _living(Node.objects.select_for_update(), name)
    drain = node.drain if handler is None else node.type_drains.get(handler)
    if seen is not None and seen != ("" if drain is None else drain.revision):
        raise DrainChanged(drain, last_actor(name, "undrain", type=handler) if drain is None else drain.by)
    return node, drain


def _write(node: Node, actor: Actor, act: str, handler: str | None, drain: Drain | None, told: dict[str, Any]) -> None:
    if handler is None:
        Node.objects.filter(pk=node.pk).update(
            drain_requested_at=drain and drain.at,
            drain_requested_by=drain and drain.by,
            drain_reason=drain and drain.reason,
        )
        record(actor, act, node.name, type=None, **told)
        return
    types = {name: given for name, given in (node.drained_types or {}).items() if name != handler}
    if drain is not None:
        types[handler] = drain.as_json()
    Node.objects.filter(pk=node.pk).update(drained_types=types or None)
    record(actor, act, node.name, type=handler, **told)


def running_on(name: str, handler: str | None = None) -> int | None:
    """How many tasks a drained node still runs, all or those of a type; None while it may still claim some. Raises
    UnknownNode, NodeEnded once it lives no more, and DatabaseError."""
    _living(Node.objects.all(), name)
    node = next((node for node in living() if node.name == name), None)
    if node is None:
        raise NodeEnded(f"node {name} was killed or is silent, and others take over its tasks")
    drain = node.type_drains.get(handler) if handler is not None else None
    if not node.draining and (drain is None or not drain.noticed):
        return None
    return sum(on == name and handler in (None, task_type) for _, task_type, on in store().running())


def _living(nodes: QuerySet[Node], name: str) -> Node:
    """The one of this name. Raises UnknownNode."""
    node = nodes.filter(pk=name).first()
    if node is None:
        raise UnknownNode(f'no node is named "{name[:100]}"')
    check_undrain(node)
    return node
