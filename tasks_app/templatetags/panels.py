"""The tags of the admin's pages: what features show on them, the bar, and the contents of the dashboard."""

from __future__ import annotations

from typing import Any

from django import template
from django.utils.html import conditional_escape
from django.utils.safestring import SafeString

from tasks_app.admin.dashboard import board
from tasks_app.admin.navigation import bar
from tasks_app.conf import ours
from tasks_app.feature import registered
from tasks_app.rights import OPERATE, SEE_TASKS, may

register = template.Library()
register.simple_tag(ours)


@register.simple_tag(takes_context=True, name="board")
def dashboard(context: template.RequestContext) -> dict[str, Any] | None:
    """The contents of the admin's first page, which Django's own view renders; None if the user may not see them."""
    return board(may(context.request, OPERATE)) if may(context.request, SEE_TASKS) else None


@register.inclusion_tag("taskdaemon/navigation.html", takes_context=True)
def navigation(context: template.RequestContext) -> dict[str, Any]:
    """The bar, for a user of the admin."""
    return bar(context.request, context.get("available_apps") or ())


@register.simple_tag(takes_context=True)
def panels(context: template.RequestContext, place: str, subject: Any = None) -> SafeString:
    """What features show at a place of a page; `Feature.panels` lists the places and their subjects."""
    request = context.request  # of included templates too, in which context processors have not run
    shown = (panel(request, subject) for by_place in registered("panels") if (panel := by_place.get(place)))
    # A file of a template ends with a newline, which no page needs.
    return SafeString("\n".join(conditional_escape(html).removesuffix("\n") for html in shown if html))
