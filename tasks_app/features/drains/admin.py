"""Drains in the admin: a button on a node's page, and the pages that drain and undrain it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import cast

from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import path, reverse
from django.utils.html import format_html

from tasks_app.admin.nodes import NodeAdmin
from tasks_app.admin.pages import actor
from tasks_app.admin.text import line, node_link
from tasks_app.audit.record import Actor
from tasks_app.features.drains.verbs import UnknownNode, drain_node, undrain_node
from tasks_app.handlers.words import plural
from tasks_app.metrics.system_reading import current_reading
from tasks_app.queue.node_models import Node
from tasks_app.rights import OPERATE, may


def button(request: HttpRequest, node: Node) -> str:
    """Drain a node, or undrain it; blank if it has ended, or if the user may not."""
    if node.stopped_at is not None or not may(request, OPERATE):
        return ""
    verb = "undrain" if node.drain_requested else "drain"
    address = reverse(f"tasks_app_node_{verb}", args=(node.pk,))
    return format_html('<a class="button td-button" href="{}">{}…</a>', address, verb.capitalize())


panels = {"node.buttons": button}


def _view(
    request: HttpRequest, object_id: str, name: str, explained: str, verb: Callable[[str, Actor], bool]
) -> HttpResponse:
    """GET: ask for confirmation. POST: drain or undrain the node."""
    if not may(request, OPERATE):
        raise PermissionDenied
    nodes, node = cast(NodeAdmin, admin.site.get_model_admin(Node)), unquote(object_id)
    if nodes.get_object(request, node) is None:
        return nodes.to_list(request, f"There is no node {line(node)}: nothing was done.")
    if request.method == "POST":
        try:
            done = verb(node, actor(request))
        except UnknownNode as unknown:
            return nodes.to_list(request, f"{line(str(unknown))}: nothing was done.")
        said = f"{name}ed {line(node)}." if done else f"Nothing changed: {line(node)} was {name.lower()}ed before."
        messages.add_message(request, messages.SUCCESS if done else messages.WARNING, said)
        return HttpResponseRedirect(node_link(node))
    count = current_reading().running_on(node)
    return nodes.page(
        request,
        "taskdaemon/confirm.html",
        f"{name} {line(node)}?",
        explained=explained,
        state=f"{count:,} {plural(count, 'task runs', 'tasks run')} on it.",
        yes=f"Yes, {name.lower()} it",
        back=node_link(node),
    )


urlpatterns = [
    path(
        f"tasks_app/node/<path:object_id>/{name.lower()}/",
        admin.site.admin_view(partial(_view, name=name, explained=explained, verb=verb)),
        name=f"tasks_app_node_{name.lower()}",
    )
    for name, explained, verb in (
        (
            "Drain",
            "It takes no more tasks; running ones go on. It lasts until you undrain it or the process ends.",
            drain_node,
        ),
        ("Undrain", "It takes tasks again at once.", undrain_node),
    )
]
