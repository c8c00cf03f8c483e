"""Drains in the admin: buttons on a node's page, and the pages that drain and undrain it, or a type on it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import cast
from urllib.parse import urlencode

from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.urls import path, reverse
from django.utils.html import format_html_join

from tasks_app.admin.holds import HoldForm, SeenForm, asked_again, changed_meanwhile, drain_text, gone
from tasks_app.admin.nodes import NodeAdmin
from tasks_app.admin.pages import actor, only
from tasks_app.admin.text import line, node_link
from tasks_app.features.drains.verbs import (
    DrainChanged,
    NodeTooOld,
    NotServed,
    UnknownNode,
    check_drain,
    check_undrain,
    drain_node,
    undrain_node,
)
from tasks_app.handlers.words import plural
from tasks_app.metrics.system_reading import current_reading
from tasks_app.queue.node_models import Node
from tasks_app.rights import OPERATE, may

ACTS: dict[str, tuple[Callable[..., bool], type[SeenForm]]] = {
    "drain": (drain_node, HoldForm),
    "undrain": (undrain_node, SeenForm),
}
EXPLAINED = {
    ("drain", False): "It takes no more tasks; running ones go on. It lasts until you undrain it or the process ends.",
    ("drain", True): "It starts no more tasks of this type; running ones, and other types, go on. It lasts until you "
    "undrain it or the process ends.",
    ("undrain", False): "It takes tasks again at once.",
    ("undrain", True): "It takes tasks of this type again at once.",
}


def address(verb: str, node: str, handler: str | None = None) -> str:
    """The page that drains or undrains a node, or a type on it."""
    query = "" if handler is None else f"?{urlencode({'type': handler})}"
    return reverse(f"tasks_app_node_{verb}", args=(node,)) + query


def buttons(request: HttpRequest, node: Node) -> str:
    """Drain a node, or undrain it and its types; blank if it has ended, or if the user may not."""
    if node.stopped_at is not None or not may(request, OPERATE):
        return ""
    verb = "drain" if node.drain is None else "undrain"
    shown = [(address(verb, node.pk), f"{verb.capitalize()}…")]
    shown += [(address("undrain", node.pk, name), f"Undrain for {line(name, 60)}…") for name in node.type_drains]
    return format_html_join("", '<a class="button td-button" href="{}">{}</a>', shown)


panels = {"node.buttons": buttons}


def _view(request: HttpRequest, object_id: str, verb: str) -> HttpResponse:
    """GET: ask for confirmation, and why. POST: drain or undrain the node, or the type on it that the address names."""
    if not may(request, OPERATE):
        raise PermissionDenied
    only(request, "type")
    nodes, (act, kind) = cast(NodeAdmin, admin.site.get_model_admin(Node)), ACTS[verb]
    name, handler = unquote(object_id), request.GET.get("type")
    node: Node | None = nodes.get_object(request, name)
    if node is None:
        return nodes.back(request, f"There is no node {line(name)}: nothing was done.")
    drain = node.drain if handler is None else node.type_drains.get(handler)
    what = line(name) if handler is None else f"{line(name)} for {line(handler, 60)}"
    initial = {} if drain is None else {"reason": drain.reason, "seen": drain.revision}
    form = kind(request.POST if request.method == "POST" else None, initial=initial)
    warning = "" if verb == "drain" or drain or form.is_bound else f"Nothing changed: {what} is not drained."
    try:
        if verb == "drain" or drain is None:
            (check_drain if verb == "drain" else check_undrain)(node, handler)
        if form.is_valid():
            if act(name, actor(request), handler=handler, **form.cleaned_data):
                return nodes.back(request, f"{verb.capitalize()}ed {what}.", node_link(name), messages.SUCCESS)
            warning = f"Nothing changed: {what} was {verb}ed before."
    except UnknownNode as unknown:
        return nodes.back(request, f"{line(str(unknown))}: nothing was done.")
    except (NotServed, NodeTooOld) as refused:
        warning = f"{line(str(refused), 300)}: nothing was done."
    except DrainChanged as changed:
        drain = changed.drain
        if drain is None and verb == "undrain":
            warning = f"Nothing changed: {gone('undrained', changed.by)}."
        now = "" if drain is None else f"drained {drain_text(drain)}"
        form = kind(asked_again(request.POST, drain))
        form.add_error(None, changed_meanwhile(now, "undrained", changed.by))
    if warning:
        return nodes.back(request, warning, node_link(name))
    types = sorted(node.pools) if verb == "drain" and handler is None and len(node.pools) > 1 else []
    return nodes.page(
        request,
        "drains/drain.html",
        f"{verb.capitalize()} {what}?",
        verb=verb,
        explained=EXPLAINED[verb, handler is not None],
        state=_running(name, handler),
        drained="" if drain is None else drain_text(drain),
        types=[(address(verb, name, each), line(each, 60)) for each in types],
        form=form,
        yes=f"Yes, {verb} it",
        back=node_link(name),
    )


def _running(node: str, handler: str | None) -> str:
    reading = current_reading()
    count = reading.running_on(node) if handler is None else reading.running.get((handler, node), 0)
    return f"{count:,} {plural(count, 'task runs', 'tasks run')} on it."


urlpatterns = [
    path(
        f"tasks_app/node/<path:object_id>/{verb}/",
        admin.site.admin_view(partial(_view, verb=verb)),
        name=f"tasks_app_node_{verb}",
    )
    for verb in ACTS
]
