"""`GET /api/nodes` and `GET /api/nodes/{name}`: the worker processes, what each serves and runs, and its drains."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from drf_spectacular.utils import OpenApiParameter, OpenApiResponse
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from tasks_app.api import pages, schema
from tasks_app.api.errors import NotFound
from tasks_app.api.handlers import Drained, Slots, drained_object
from tasks_app.api.view import API, caller_of
from tasks_app.field import near
from tasks_app.metrics.system_reading import SystemReading, current_reading, living
from tasks_app.queue.node_models import Node
from tasks_app.rights import SEE_NODES, needs


class ServedHandler(serializers.Serializer):
    """What a worker serves of a handler."""

    type = serializers.CharField()
    slots = Slots()
    drained = Drained(
        allow_null=True,
        help_text="The worker is drained for this type: it starts none of its tasks; null: it is not, but may be as a "
        "whole.",
    )
    problem = serializers.CharField(allow_null=True, help_text="Why its containers do not start, in a sentence.")
    images = serializers.ListField(child=serializers.CharField(), help_text="Of its containers.")


class NodeObject(serializers.Serializer):
    """A worker process."""

    name = serializers.CharField()
    # No enumeration: a generated client must also work with later states.
    state = serializers.CharField(
        help_text="`alive`; `draining`: drained, and has not noticed it yet or still runs tasks; `drained`: it runs "
        "none; `stopping`: its process ends; `silent`: no sign of life, so others take over its tasks; `ended`. Expect "
        "further ones."
    )
    version = serializers.CharField(allow_null=True, help_text="Of the platform; null: an earlier one.")
    handlers_digest = serializers.CharField(help_text="Of its handlers.toml.")
    started_at = serializers.DateTimeField()
    seen_at = serializers.DateTimeField(help_text="Its last heartbeat.")
    stopped_at = serializers.DateTimeField(allow_null=True)
    running = serializers.IntegerField(min_value=0, help_text="The tasks that it runs.")
    cap = serializers.IntegerField(allow_null=True, help_text="How many it may run at once; null: as many as slots.")
    drained = Drained(allow_null=True, help_text="It is drained as a whole: it starts no task; null: it is not.")
    handlers = ServedHandler(many=True)
    problems = serializers.ListField(child=serializers.CharField(), help_text="Its own, in sentences.")


NAME = OpenApiParameter(
    "name", {"type": "string"}, OpenApiParameter.PATH, description="The worker's name, as the list of nodes has it."
)
DRAINED_EXAMPLE = {
    "by": "deploy", "since": "2026-01-31T09:00:00.000000Z", "reason": "new model", "noticed": True
}  # fmt: skip
EXAMPLE: dict[str, Any] = {
    "name": "host-4711-0a1b2c3d",
    "state": "alive",
    "version": "0.1.0+3f2a9c41",
    "handlers_digest": "5b1d7c0e",
    "started_at": "2026-01-31T08:00:00.000000Z",
    "seen_at": "2026-01-31T09:00:05.000000Z",
    "stopped_at": None,
    "running": 1,
    "cap": None,
    "drained": None,
    "handlers": [
        {
            "type": "prime", "slots": {"busy": 1, "warm": 2, "all": 2}, "drained": None, "problem": None,
            "images": ["sha256:3b1c6e0f"],
        }
    ],
    "problems": [],
}  # fmt: skip
NO_NODE = schema.failure(
    "No such node.", misspelt='no node is named "host-4711"; those that have not ended are host-4711-0a1b2c3d'
)
_EXAMPLES = [schema.answered("one", EXAMPLE)]
PAGE = pages.paged(pages.NAME_CURSOR, 1000, "The largest number of nodes; all, if it is absent.")


class NodesView(API):
    """`GET /api/nodes`."""

    scopes = needs(GET=SEE_NODES)
    compresses = True

    @pages.listed("list_nodes", "nodes", NodeObject, "The nodes that have not ended, by name.", PAGE, *_EXAMPLES)
    def get(self, request: Request) -> Response:
        """List the worker processes that have not ended. Each has what it serves and runs, and its drains. A key with
        types sees what serves one of them."""
        nodes = [node for node in known_nodes(request) if node.name > self.asked.get("cursor", "")]
        shown = nodes[: self.asked.get("limit")]
        reading, alive = current_reading(), {node.name for node in living()}
        objects = [_object(request, node, reading, node.name in alive) for node in shown]
        more = shown[-1].name if len(shown) < len(nodes) else None
        return Response(objects, headers=pages.next_page(request, more))


class NodeView(API):
    """`GET /api/nodes/{name}`."""

    scopes = needs(GET=SEE_NODES)

    @schema.call(
        "get_node",
        "nodes",
        {200: OpenApiResponse(NodeObject, "The node."), 404: NO_NODE},
        [NAME],
        examples=_EXAMPLES,
    )
    def get(self, request: Request, name: str) -> Response:
        """Read a worker process, also one that has ended in the last 30 days."""
        return Response(node_object(request, node_in_path(request, name)))


def known_nodes(request: Request) -> list[Node]:
    """The nodes that have not ended, without those that serve no type that the caller knows."""
    known = (node for node in Node.objects.filter(stopped_at=None) if _is_known(request, node))
    return sorted(known, key=lambda node: node.name)  # not as the database compares: cursors are compared here


def node_in_path(request: Request, name: str) -> Node:
    """The node of a path, read now. Raises NotFound, also if it serves no type that the caller knows."""
    node = None if "\0" in name else Node.objects.filter(pk=name).first()
    if node is None or not _is_known(request, node):
        names = [node.name for node in known_nodes(request)]
        have, short = ", ".join(names) or "none", name[:100]
        raise NotFound(f'no node is named "{short}"; those that have not ended are {have}{near(short, names)}')
    return node


def _is_known(request: Request, node: Node) -> bool:
    caller = caller_of(request)
    return caller.types is None or any(map(caller.knows, node.pools))


def node_object(request: Request, node: Node) -> dict[str, Any]:
    """The object of a node, as the caller may see it."""
    return _object(request, node, current_reading(), node.name in {alive.name for alive in living()})


def _object(request: Request, node: Node, reading: SystemReading, lives: bool) -> dict[str, Any]:
    names = sorted(filter(caller_of(request).knows, {*node.pools, *node.type_drains}))
    busy = {name: count for (name, on), count in reading.running.items() if on == node.name}
    running = sum(count for name, count in busy.items() if caller_of(request).knows(name))
    return {
        "name": node.name,
        "state": node.state(sum(busy.values()), lives),
        "version": node.version,
        "handlers_digest": node.digest,
        "started_at": node.started_at,
        "seen_at": node.seen_at,
        "stopped_at": node.stopped_at,
        "running": running,
        "cap": next((pool["cap"] for pool in node.pools.values() if "cap" in pool), None),
        "drained": node.drain and drained_object(node.drain),
        "handlers": [_handler(node, name, busy.get(name, 0)) for name in names],
        "problems": node.problems,
    }


def _handler(node: Node, name: str, busy: int) -> dict[str, Any]:
    pool: Mapping[str, Any] = node.pools.get(name, {})
    drain = node.type_drains.get(name)
    return {
        "type": name,
        "slots": {"busy": busy, "warm": pool.get("warm", 0), "all": pool.get("slots", 0)},
        "drained": drain and drained_object(drain),
        "problem": pool.get("problem"),
        "images": pool.get("images", []),
    }
