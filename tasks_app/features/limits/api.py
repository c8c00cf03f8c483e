"""`GET /api/handlers/{type}/limit-keys`: the busiest keys of a handler."""

from __future__ import annotations

from drf_spectacular.utils import OpenApiResponse
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from tasks_app.api import pages, schema
from tasks_app.api.handlers import NO_HANDLER, TYPE, handler_in_path
from tasks_app.api.view import API, both
from tasks_app.features.limits.busiest import MAX_HELD, busiest
from tasks_app.rights import SEE_TASKS, needs

DEFAULT_LIMIT, MAX_LIMIT = 20, 100


class LimitKeyObject(serializers.Serializer):
    """A `limit_key` of a handler that has tasks which have not ended."""

    limit_key = serializers.CharField()
    running = serializers.IntegerField(min_value=0)
    ready = serializers.IntegerField(
        min_value=0,
        max_value=MAX_HELD,
        help_text=f"Its tasks that have a permit and wait for a slot, up to {MAX_HELD:,}.",
    )
    held = serializers.IntegerField(
        min_value=0, max_value=MAX_HELD, help_text=f"Its tasks that wait for a permit; {MAX_HELD:,}: so many or more."
    )
    oldest = serializers.DateTimeField(
        allow_null=True, help_text="When the first of its held tasks was created; null: none is held."
    )


_EXAMPLE = {
    "limit_key": "customer:42", "running": 1, "ready": 0, "held": 812, "oldest": "2026-01-31T09:00:00.123000Z"
}  # fmt: skip
PAGE = pages.paged(pages.NUMBER_CURSOR, MAX_LIMIT, "The largest number of keys.", DEFAULT_LIMIT)


class LimitKeysView(API):
    """`GET /api/handlers/{type}/limit-keys`."""

    scopes = needs(GET=SEE_TASKS)

    @schema.call(
        "list_limit_keys",
        "handlers",
        {200: OpenApiResponse(LimitKeyObject(many=True), "The keys of the page."), 404: NO_HANDLER},
        [TYPE, *pages.NEXT],
        examples=[schema.answered("a customer", _EXAMPLE)],
        query=PAGE,
    )
    def get(self, request: Request, type: str) -> Response:
        """List the limit keys of a handler that have held tasks, or tasks that are ready or running: those with the
        most held tasks first."""
        handler = handler_in_path(request, type)
        begin = self.asked.get("cursor", 0)
        found = busiest(handler.name, begin, self.asked["limit"])
        keys = [LimitKeyObject(key).data for key in found.keys]
        return Response(keys, headers=pages.next_page(request, begin + len(keys) if found.more else None))


urlpatterns = [
    *both("api/handlers/<one:type>/limit-keys", LimitKeysView.as_view(), "limit-keys"),
]
