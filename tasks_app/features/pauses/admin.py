"""Pauses in the admin: the list, and the pages that pause and resume a type."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from urllib.parse import urlencode

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html

from tasks_app.admin.holds import HoldForm, SeenForm, asked_again, changed_meanwhile, gone, pause_text
from tasks_app.admin.lists import ReadOnlyAdmin, column
from tasks_app.admin.pages import Refusal, actor, only
from tasks_app.admin.text import ago, line
from tasks_app.feature import Link
from tasks_app.features.pauses.verbs import (
    PauseChanged,
    PauseEnded,
    UnknownHandler,
    check_handler,
    pause,
    resume,
)
from tasks_app.handlers.words import moment_text, span
from tasks_app.metrics.system_reading import current_reading
from tasks_app.queue.node_models import HandlerPause
from tasks_app.rights import OPERATE, SEE_TASKS, may

PAUSED = "workers stop starting its tasks within 2 s. Running ones go on."


#: After so many seconds a pause ends by itself, as the form offers it.
PRESETS = (1800, 7200)
KEEP, AT = "keep", "at"


class PauseForm(HoldForm):
    """When the pause ends by itself, and why it is."""

    end = forms.ChoiceField(label="It ends", required=False, widget=forms.RadioSelect)
    until = forms.DateTimeField(
        label="Time",
        required=False,
        widget=forms.DateTimeInput({"type": "datetime-local"}),
        help_text="UTC",  # pause.js takes the viewer's zone, and shows UTC here
    )
    #: How many minutes the zone of `until` is ahead of UTC.
    offset = forms.IntegerField(required=False, min_value=-1080, max_value=1080, widget=forms.HiddenInput)
    field_order = ("end", "until", "reason")

    def __init__(self, paused: HandlerPause | None, data: Any = None) -> None:
        """`paused`: the pause that a new one would replace."""
        self._until = None if paused is None else paused.until
        initial = {} if paused is None else {"reason": paused.reason, "seen": paused.revision}
        super().__init__(data, initial={"end": KEEP if self._until else "", **initial})
        as_now = [(KEEP, f"as now, at {moment_text(self._until)}")] if self._until else []
        if data is not None and data.get("end") == KEEP:
            as_now = as_now or [(KEEP, "as it did")]  # a page that is out of date
        ends: Any = self.fields["end"]
        ends.choices = [
            *as_now,
            ("", "when it is resumed"),
            *((str(seconds), f"in {span(seconds)}") for seconds in PRESETS),
            (AT, "at a time"),
        ]

    def clean(self) -> dict[str, Any]:
        given: dict[str, Any] = super().clean() or self.cleaned_data
        end, until = given.get("end"), given.get("until")
        if until is not None:
            try:
                given["until"] = until = until - timedelta(minutes=given.get("offset") or 0)
            except OverflowError:
                self.add_error("until", "There is no such time in UTC.")
        if end == KEEP and self._until is None and not given.get("seen"):
            self.add_error("end", "It has no end: choose one.")
        if until is not None and end not in ("", AT):
            self.add_error("until", "Choose that it ends at a time, or leave this blank.")
        elif until is None and end == AT and "until" not in self.errors:
            self.add_error("until", "Give a time, or choose another end.")
        return given

    def ends_at(self) -> datetime | timedelta | None:
        """When, or after how long, the pause of a valid form ends by itself."""
        end, until = self.cleaned_data["end"], self.cleaned_data["until"]
        if end == KEEP:
            return self._until
        if until is not None:
            return until  # type: ignore[no-any-return]
        return timedelta(seconds=float(end)) if end else None


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
    list_display = ("shown_handler", "by", "since", "ends", "why", "resume_link")
    list_display_links = None
    ordering = ("handler",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[HandlerPause]:
        return HandlerPause.objects.in_force()

    def get_list_display(self, request: HttpRequest) -> Any:
        return self.list_display if may(request, OPERATE) else self.list_display[:-1]

    def get_urls(self) -> list[URLPattern]:
        return [
            path(f"{name}/", self.admin_site.admin_view(partial(_act, view)), name=f"tasks_app_handlerpause_{name}")
            for name, view in (("pause", self.pause_view), ("resume", self.resume_view))
        ] + super().get_urls()

    def pause_view(self, request: HttpRequest, handler: str) -> HttpResponse:
        """GET: ask for confirmation, until when, and why. POST: pause."""
        paused = HandlerPause.objects.of(handler)
        form = PauseForm(paused, request.POST if request.method == "POST" else None)
        if form.is_valid():
            given = form.cleaned_data
            try:
                pause(handler, actor(request), form.ends_at(), given["reason"], given["seen"])
                return self._done(request, f"Paused {line(handler)}: {PAUSED}", messages.SUCCESS)
            except PauseEnded as ended:
                form.add_error("until", str(ended))
            except PauseChanged as changed:
                paused, end = changed.pause, given["end"]
                if end == KEEP and (paused is None or paused.until is None):
                    end = ""
                again = asked_again(request.POST, paused, end=end)
                form = PauseForm(paused, again)
                form.add_error(None, _changed(changed))
        explained = "Its tasks are accepted and wait; no worker starts one. Running ones go on, nothing is lost."
        return self._ask(request, handler, "Pause", explained, paused, form)

    def resume_view(self, request: HttpRequest, handler: str) -> HttpResponse:
        """GET: ask for confirmation. POST: resume."""
        paused = HandlerPause.objects.of(handler)
        if paused is None and request.method != "POST":
            return self._done(request, f"Not paused: {line(handler)}.")
        seen = {"seen": "" if paused is None else paused.revision}
        form = SeenForm(request.POST if request.method == "POST" else None, initial=seen)
        if form.is_valid():
            try:
                if resume(handler, actor(request), form.cleaned_data["seen"]):
                    return self._done(request, f"Resumed {line(handler)}: its tasks start.", messages.SUCCESS)
                return self._done(request, f"Not paused: {line(handler)}.")
            except PauseChanged as changed:
                paused = changed.pause
                if paused is None:
                    return self._done(request, f"Not paused: {line(handler)}: {gone('resumed', changed.by)}.")
                form = SeenForm(asked_again(request.POST, paused))
                form.add_error(None, _changed(changed))
        explained = "Its waiting tasks start at once, as many as it has slots."
        return self._ask(request, handler, "Resume", explained, paused, form)

    def _ask(
        self, request: HttpRequest, handler: str, verb: str, explained: str, paused: HandlerPause | None, form: SeenForm
    ) -> HttpResponse:
        reading = current_reading().handlers.get(handler)
        return self.page(
            request,
            "pauses/pause.html",
            f"{verb} {line(handler)}?",
            explained=explained,
            state="" if reading is None else f"{reading.ready:,} of its tasks wait, {reading.running:,} run.",
            paused="" if paused is None else pause_text(paused),
            is_paused_anew=verb == "Pause",
            yes=f"Yes, {verb.lower()} it",
            form=form,
        )

    def _done(self, request: HttpRequest, said: str, level: int = messages.WARNING) -> HttpResponse:
        return self.back(request, said, reverse("admin:index"), level)

    shown_handler = column("handler", lambda row: line(row.handler))
    by = column("paused by", lambda row: line(row.paused_by))
    since = column("since", lambda row: f"{moment_text(row.paused_at)} ({ago(row.paused_at, timezone.now())})")
    ends = column("until", lambda row: moment_text(row.until) if row.until else "it is resumed")
    why = column("reason", lambda row: line(row.reason, 200))
    resume_link = column("", lambda row: format_html('<a href="{}">Resume…</a>', pause_address(row.handler, "resume")))


def _act(view: Callable[[HttpRequest, str], HttpResponse], request: HttpRequest) -> HttpResponse:
    """A page about the type that its address names; 404 if nothing here knows that type."""
    if not may(request, OPERATE):
        raise PermissionDenied
    only(request, "handler")
    handler = request.GET.get("handler", "")
    try:
        check_handler(handler)
        return view(request, handler)
    except UnknownHandler as unknown:
        raise Refusal(404, str(unknown)) from None


def _changed(changed: PauseChanged) -> str:
    now = "" if changed.pause is None else f"paused {pause_text(changed.pause)}"
    return changed_meanwhile(now, "resumed", changed.by)
