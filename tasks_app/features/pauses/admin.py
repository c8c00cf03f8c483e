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
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html

from tasks_app.admin.lists import ReadOnlyAdmin, column
from tasks_app.admin.pages import actor
from tasks_app.admin.text import ago, line
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
        return [
            path(f"{name}/", self.admin_site.admin_view(view), name=f"tasks_app_handlerpause_{name}")
            for name, view in (("pause", self.pause_view), ("resume", self.resume_view))
        ] + super().get_urls()

    def pause_view(self, request: HttpRequest) -> HttpResponse:
        """GET: ask for confirmation, and until when. POST: pause."""
        handler = self._handler(request)
        form = PauseForm(request.POST if request.method == "POST" else None)
        if form.is_valid():
            try:
                pause(handler, actor(request), form.cleaned_data["until"])
                return self._done(request, f"Paused {line(handler)}: {PAUSED}", messages.SUCCESS)
            except PauseEnded as ended:
                form.add_error("until", str(ended))
            except UnknownHandler as unknown:
                return self._done(request, f"{line(str(unknown))}: nothing was done.")
        explained = "Its tasks are accepted and wait; no worker starts one. Running ones go on, nothing is lost."
        return self._ask(request, handler, "Pause", explained, form=form)

    def resume_view(self, request: HttpRequest) -> HttpResponse:
        """GET: ask for confirmation. POST: resume."""
        handler = self._handler(request)
        if request.method == "POST":
            try:
                if resume(handler, actor(request)):
                    return self._done(request, f"Resumed {line(handler)}: its tasks start.", messages.SUCCESS)
                return self._done(request, f"Not paused: {line(handler)}.")
            except UnknownHandler as unknown:
                return self._done(request, f"{line(str(unknown))}: nothing was done.")
        return self._ask(request, handler, "Resume", "Its waiting tasks start at once, as many as it has slots.")

    def _handler(self, request: HttpRequest) -> str:
        """The type that the address names. Raises PermissionDenied."""
        if not may(request, OPERATE):
            raise PermissionDenied
        return request.GET.get("handler", "")

    def _ask(
        self, request: HttpRequest, handler: str, verb: str, explained: str, form: PauseForm | None = None
    ) -> HttpResponse:
        reading = current_reading().handlers.get(handler)
        return self.page(
            request,
            "pauses/pause.html",
            f"{verb} {line(handler)}?",
            explained=explained,
            state="" if reading is None else f"{reading.ready:,} of its tasks wait, {reading.running:,} run.",
            paused=HandlerPause.objects.of(handler),
            yes=f"Yes, {verb.lower()} it",
            form=form,
        )

    def _done(self, request: HttpRequest, said: str, level: int = messages.WARNING) -> HttpResponse:
        self.message_user(request, said, level)
        return HttpResponseRedirect(reverse("admin:index"))

    shown_handler = column("handler", lambda row: line(row.handler))
    by = column("paused by", lambda row: line(row.paused_by))
    since = column("since", lambda row: f"{moment_text(row.paused_at)} ({ago(row.paused_at, timezone.now())})")
    ends = column("until", lambda row: moment_text(row.until) if row.until else "it is resumed")
    resume_link = column("", lambda row: format_html('<a href="{}">Resume…</a>', pause_address(row.handler, "resume")))
