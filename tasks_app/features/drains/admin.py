"""Drains in the admin: a button on a node's page, and the pages that drain and undrain it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.html import format_html

from tasks_app.admin.rights import actor, acts_on_tasks
from tasks_app.admin.text import line, node_link
from tasks_app.audit.record import Actor
from tasks_app.features.drains.verbs import UnknownNode, drain_node, undrain_node
from tasks_app.metrics.system_reading import current_reading
from tasks_app.queue.node_models import Node


def button(request: HttpRequest, node: Node) -> str:
    """Drain a node, or undrain it; blank if it has ended, or if the user may not."""
    if node.stopped_at is not None or not acts_on_tasks(request):
        return ""
    verb = "undrain" if node.drained else "drain"
    address = reverse(f"tasks_app_node_{verb}", args=(node.pk,))
    return format_html('<a class="button td-button" href="{}">{}…</a>', address, verb.capitalize())


panels = {"node.buttons": button}


def _view(
    request: HttpRequest, object_id: str, name: str, explained: str, verb: Callable[[str, Actor], bool]
) -> HttpResponse:
    """GET: ask for confirmation. POST: drain or undrain the node."""
    if not acts_on_tasks(request):
        raise PermissionDenied
    nodes, node = admin.site.get_model_admin(Node), unquote(object_id)
    if nodes.get_object(request, node) is None:
        return _nothing(request, f"There is no node {line(node)}")
    if request.method == "POST":
        try:
            done = verb(node, actor(request))
        except UnknownNode as unknown:
            return _nothing(request, line(str(unknown)))
        said = f"{name}ed {line(node)}." if done else f"Nothing changed: {line(node)} was {name.lower()}ed before."
        messages.add_message(request, messages.SUCCESS if done else messages.WARNING, said)
        return HttpResponseRedirect(node_link(node))
    count = current_reading().running_on(node)
    context = {
        **admin.site.each_context(request),
        "title": f"{name} {line(node)}?",
        "explained": explained,
        "state": f"{count:,} task{'s run' if count != 1 else ' runs'} on it.",
        "yes": f"Yes, {name.lower()} it",
        "back": node_link(node),
        "media": nodes.media,
    }
    return TemplateResponse(request, "taskdaemon/confirm.html", context)


def _nothing(request: HttpRequest, why: str) -> HttpResponse:
    messages.warning(request, f"{why}: nothing was done.")
    return HttpResponseRedirect(reverse("admin:tasks_app_node_changelist"))


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
