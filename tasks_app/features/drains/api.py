"""`POST /api/nodes/{name}/drain` and `.../undrain`: a worker takes no more tasks, or none of a type. It lives on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from drf_spectacular.utils import OpenApiResponse
from rest_framework.request import Request
from rest_framework.response import Response

from tasks_app.api import schema
from tasks_app.api.errors import Conflict, Invalid, NotFound
from tasks_app.api.fields import object_with, optional_body, read_object
from tasks_app.api.handlers import REASON_FIELD
from tasks_app.api.nodes import DRAINED_EXAMPLE, EXAMPLE, NAME, NO_NODE, NodeObject, node_in_path, node_object
from tasks_app.api.view import API, actor_of, both, caller_of, check_type
from tasks_app.features.drains.verbs import NodeEnded, NodeTooOld, NotServed, UnknownNode, drain_node, undrain_node
from tasks_app.field import Faults, Field, Fields, near, refuse, shown
from tasks_app.keys.caller import Forbidden
from tasks_app.rights import OPERATE, needs


def _read_type(name: str, value: Any, faults: Faults) -> str:
    if not isinstance(value, str):
        refuse(faults, name, "a string, a type that the node serves", shown(value))
    return str(value)


TYPE = Field(
    {"type": "string", "description": "Only the tasks of this type, which the node serves; absent: all."},
    _read_type,
    option="only the tasks of this type",
)
DRAIN: Fields = {"type": TYPE, "reason": REASON_FIELD}
UNDRAIN: Fields = {"type": TYPE}
DrainRequest = object_with("NewDrain", "What the node takes no more of, and why.", DRAIN)
UndrainRequest = object_with("NewUndrain", "What the node takes again.", UNDRAIN)

_SERVED = EXAMPLE["handlers"][0]
_OF_TYPE = EXAMPLE | {"handlers": [_SERVED | {"drained": DRAINED_EXAMPLE}]}
_ENDED = schema.failure(
    "The node has ended, or runs a version that does not know drains of a type.",
    ended="node host-4711-0a1b2c3d has ended",
)
_FORBIDDEN = schema.failure(
    "The API key lacks the scope `operate`, is not for the type, or has types and none is given.",
    whole="this API key is for the types prime, so it cannot drain a whole node; give one of them as type",
)


class NodeAct(API):
    """The base of these calls."""

    scopes = needs(POST=OPERATE)

    def act(self, request: Request, name: str, verb: str, act: Callable[..., bool], fields: Fields) -> Response:
        """Do what the body asks, and answer. Raises NotFound, Invalid, Forbidden and Conflict."""
        node, example = node_in_path(request, name), '{"type": "prime"}'
        given = read_object(optional_body(request, example), fields, example)
        caller = caller_of(request)
        if "type" in given:
            check_type(caller, given["type"])
        elif caller.types is not None:
            types = ", ".join(sorted(caller.types))
            raise Forbidden(
                f"this API key is for the types {types}, so it cannot {verb} a whole node; give one of them as type"
            )
        try:
            act(node.name, actor_of(request), given.pop("type", None), **given)
        except NotServed as refused:
            served = [*filter(caller.knows, refused.served)]
            meant = near(refused.handler[:100], served)
            raise Invalid([("type", f"{refused}; it serves {', '.join(served) or 'none'}{meant}")]) from None
        except (NodeEnded, NodeTooOld) as ended:
            raise Conflict(str(ended)) from None
        except UnknownNode as unknown:
            raise NotFound(str(unknown)) from None
        return self.answer(request, node.name)

    def answer(self, request: Request, target: str) -> Response:
        return Response(node_object(request, node_in_path(request, target)))


class DrainView(NodeAct):
    """`POST /api/nodes/{name}/drain`."""

    @schema.call(
        "drain_node",
        "nodes",
        {200: OpenApiResponse(NodeObject, "The node, now drained."), 403: _FORBIDDEN, 404: NO_NODE, 409: _ENDED},
        [NAME],
        request=DrainRequest,
        examples=[
            schema.asked("the node", {"reason": "its machine is restarted"}),
            schema.asked("a type", {"type": "prime", "reason": "new model"}),
            schema.answered("the node", EXAMPLE | {"state": "draining", "drained": DRAINED_EXAMPLE}),
            schema.answered("a type", _OF_TYPE),
        ],
    )
    def post(self, request: Request, name: str) -> Response:
        """Let a worker take no more tasks, or none of a type. The worker stops starting them within 2 s of the answer;
        running ones go on. The drain lasts until `undrain`, or until the process ends. If there is one already, nothing
        changes but the reason, if one is given."""
        return self.act(request, name, "drain", drain_node, DRAIN)


class UndrainView(NodeAct):
    """`POST /api/nodes/{name}/undrain`."""

    @schema.call(
        "undrain_node",
        "nodes",
        {200: OpenApiResponse(NodeObject, "The node."), 403: _FORBIDDEN, 404: NO_NODE, 409: _ENDED},
        [NAME],
        request=UndrainRequest,
        examples=[
            schema.asked("the node", {}),
            schema.asked("a type", {"type": "prime"}),
            schema.answered("undrained", EXAMPLE),
        ],
    )
    def post(self, request: Request, name: str) -> Response:
        """Let a drained worker take tasks again. They start within a second. Without a type, the drain of the whole
        worker ends, with one, that of the type. If there is none, nothing changes."""
        return self.act(request, name, "undrain", undrain_node, UNDRAIN)


urlpatterns = [
    *both("api/nodes/<str:name>/drain", DrainView.as_view(), "drain"),
    *both("api/nodes/<str:name>/undrain", UndrainView.as_view(), "undrain"),
]
