"""Pauses in the admin: the list, and the pages that pause and resume a type."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from tasks_app.admin.lists import ReadOnlyAdmin
from tasks_app.admin.pages import actor
from tasks_app.admin.text import ago, line
from tasks_app.audit.record import Actor
from tasks_app.feature import Link
from tasks_app.features.pauses.verbs import PauseEnded, UnknownHandler, pause, resume
from tasks_app.handlers.words import moment_text
from tasks_app.metrics.system_reading import current_reading
from tasks_app.queue.node_models import HandlerPause
from tasks_app.rights import OPERATE, SEE_TASKS, may

PAUSED = "none of its tasks starts later than 2 seconds from now. Running ones go on."


class PauseForm(forms.Form):
    """When the pause ends by itself."""

    until = forms.DateTimeField(
        label="Until",
        required=False,
        widget=forms.DateTimeInput({"type": "datetime-local"}),
        help_text="UTC. Empty: until it is resumed.",
    )


def pause_address(handler: str, verb: str = "pause") -> str:
    """The page that pauses or resumes a type, whatever characters its name has."""
    return f"{reverse(f'admin:tasks_app_handlerpause_{verb}')}?{urlencode({'handler': handler})}"


def handler_links(handlers: Sequence[str]) -> dict[str, Link]:
    """Pause a handler; one that is paused: resume it."""
    paused = HandlerPause.objects.by_type()
    return {
        name: Link(pause_address(name, "resume"), "Resume…") if name in paused else Link(pause_address(name), "Pause…")
        for name in handlers
    }


@admin.register(HandlerPause)
class HandlerPauseAdmin(ReadOnlyAdmin):
    """Only the pauses in force. Who may redrive tasks may pause their types."""

    seen_by = (SEE_TASKS,)
    list_display = ("shown_handler", "by", "since", "ends", "resume_link")
    list_display_links = None
    ordering = ("handler",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[HandlerPause]:
        return HandlerPause.objects.in_force()

    def get_list_display(self, request: HttpRequest) -> Any:
        return self.list_display if may(request, OPERATE) else self.list_display[:-1]

    def get_urls(self) -> list[URLPattern]:
        own = [
            path(f"{name}/", self.admin_site.admin_view(view), name=f"tasks_app_handlerpause_{name}")
            for name, view in (("pause", self.pause_view), ("resume", self.resume_view))
        ]
        return own + super().get_urls()

    def pause_view(self, request: HttpRequest) -> HttpResponse:
        """GET: ask for confirmation, and until when. POST: pause."""
        handler, actor = self._asked(request)
        form = PauseForm(request.POST if request.method == "POST" else None)
        if form.is_valid():
            try:
                pause(handler, actor, form.cleaned_data["until"])
                self.message_user(request, f"Paused {line(handler)}: {PAUSED}", messages.SUCCESS)
                return HttpResponseRedirect(reverse("admin:index"))
            except PauseEnded as ended:
                form.add_error("until", str(ended))
            except UnknownHandler as unknown:
                return self._unknown(request, unknown)
        context = {
            "question": f"Pause {line(handler)}?",
            "explained": "Its tasks are accepted and wait; no worker starts one. Running ones go on, nothing is lost.",
            "yes": "Yes, pause it",
        }
        return self._page(request, handler, context, form=form)

    def resume_view(self, request: HttpRequest) -> HttpResponse:
        """GET: ask for confirmation. POST: resume."""
        handler, actor = self._asked(request)
        if request.method == "POST":
            try:
                done = resume(handler, actor)
            except UnknownHandler as unknown:
                return self._unknown(request, unknown)
            said = f"Resumed {line(handler)}: its tasks start." if done else f"Not paused: {line(handler)}."
            self.message_user(request, said, messages.SUCCESS if done else messages.WARNING)
            return HttpResponseRedirect(reverse("admin:index"))
        context = {
            "question": f"Resume {line(handler)}?",
            "explained": "Its waiting tasks start at once, as many as it has slots.",
            "yes": "Yes, resume it",
        }
        return self._page(request, handler, context)

    def _asked(self, request: HttpRequest) -> tuple[str, Actor]:
        """The type that the address names, and the user. Raises PermissionDenied."""
        if not may(request, OPERATE):
            raise PermissionDenied
        return request.GET.get("handler", ""), actor(request)

    def _page(self, request: HttpRequest, handler: str, texts: dict[str, Any], **more: Any) -> HttpResponse:
        one = current_reading().handlers.get(handler)
        context = {
            **self.admin_site.each_context(request),
            "title": texts["question"],
            "state": "" if one is None else f"{one.ready:,} of its tasks wait, {one.running:,} run.",
            "paused": HandlerPause.objects.of(handler),
            "media": self.media,
            **texts,
            **more,
        }
        return TemplateResponse(request, "pauses/pause.html", context)

    def _unknown(self, request: HttpRequest, unknown: UnknownHandler) -> HttpResponse:
        self.message_user(request, f"{line(str(unknown))}: nothing was done.", messages.WARNING)
        return HttpResponseRedirect(reverse("admin:index"))

    @admin.display(description="handler")
    def shown_handler(self, row: HandlerPause) -> str:
        """The type."""
        return line(row.handler)

    @admin.display(description="paused by")
    def by(self, row: HandlerPause) -> str:
        """Who paused it."""
        return line(row.paused_by)

    @admin.display(description="since")
    def since(self, row: HandlerPause) -> str:
        """Since when."""
        return f"{moment_text(row.paused_at)} ({ago(row.paused_at, timezone.now())})"

    @admin.display(description="until")
    def ends(self, row: HandlerPause) -> str:
        """When it ends by itself."""
        return moment_text(row.until) if row.until else "it is resumed"

    @admin.display(description="")
    def resume_link(self, row: HandlerPause) -> SafeString:
        """To the page that resumes it."""
        return format_html('<a href="{}">Resume…</a>', pause_address(row.handler, "resume"))
