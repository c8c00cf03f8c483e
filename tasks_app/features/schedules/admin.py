"""Schedules in the admin: the list, a page for each with its day, the form, and the acts on one."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import timedelta
from functools import partial
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from tasks_app import conf
from tasks_app.admin.lists import PageAdmin, badge, column, moment
from tasks_app.admin.navigation import Section
from tasks_app.admin.pages import Refusal, actor, only
from tasks_app.admin.text import handler_link, line, listed, task_link
from tasks_app.features.schedules import verbs
from tasks_app.features.schedules.day import TONES, day_of, lines_of, marks, picture
from tasks_app.features.schedules.definition import CATCH_UP, OVERLAP, Definition
from tasks_app.features.schedules.fields import FIELDS, next_ticks, read, when, without_definitions
from tasks_app.features.schedules.models import Firing, Outcome, Schedule, Source
from tasks_app.field import Faults
from tasks_app.handlers.words import utc_text
from tasks_app.logs import harmless, harmless_json
from tasks_app.options.known import given as task_options
from tasks_app.queue.models import Task
from tasks_app.queue.strict_json import BadJSON, loads_data
from tasks_app.rights import OPERATE, SEE_PAYLOADS, SEE_TASKS, may

#: Lines of the ledger on a schedule's page.
MAX_LINES = 100
#: Fields of the form of their own; the others are in its field `options`.
SHOWN = ("type", "cron", "every", "timezone", "data", "overlap", "catch_up", "jitter", "enabled")
OTHERS = [name for name in FIELDS if name not in SHOWN]


def _help(name: str) -> str:
    return str(FIELDS[name].schema["description"]).replace("`", "")


class ScheduleForm(forms.Form):
    """A definition. `seen`: the revision of what its page showed."""

    name = forms.CharField(max_length=100, help_text="Letters, digits, - and _.")
    type = forms.CharField(max_length=100)
    cron = forms.CharField(required=False, widget=forms.TextInput({"class": "td-sentence"}), help_text=_help("cron"))
    every = forms.CharField(required=False, help_text=_help("every"))
    timezone = forms.CharField(required=False, label="Time zone", help_text=_help("timezone"))
    data = forms.CharField(  # type: ignore[assignment]
        required=False, widget=forms.Textarea({"rows": 6}), help_text="A JSON object."
    )
    overlap = forms.ChoiceField(choices=[(word, word) for word in OVERLAP], help_text=_help("overlap"))
    catch_up = forms.ChoiceField(choices=[(word, word) for word in CATCH_UP], help_text=_help("catch_up"))
    jitter = forms.CharField(required=False, label="Jitter, in seconds", help_text=_help("jitter"))
    options = forms.CharField(
        required=False,
        label="Further options",
        widget=forms.Textarea({"rows": 4}),
        help_text=f"A JSON object with any of {', '.join(OTHERS)}.",
    )
    enabled = forms.BooleanField(required=False)
    seen = forms.IntegerField(required=False, widget=forms.HiddenInput)

    def __init__(self, data: Any = None, row: Schedule | None = None) -> None:
        super().__init__(data, initial={"enabled": True} if row is None else _initial(row))
        self.row = row
        if row is not None:
            del self.fields["name"]
        self.fields["type"].help_text = f"One of {', '.join(sorted(conf.handlers()))}."
        self.definition: Definition | None = None

    def clean(self) -> dict[str, Any]:
        """Read the definition, with the sentences that a call gets."""
        given = super().clean() or {}
        body: dict[str, Any] = {name: given.get(name) or None for name in SHOWN if name not in ("data", "jitter")}
        body["enabled"] = bool(given.get("enabled"))
        faults: Faults = []
        for name in ("data", "jitter", "options"):
            try:
                value = loads_data(given[name]) if given.get(name, "").strip() else None
            except BadJSON as error:
                faults.append((name, f"{name}: {error}"))
                continue
            if name != "options":
                body[name] = value
            elif isinstance(value, dict) and value.keys() <= set(OTHERS):
                body |= value
            elif value is not None:
                faults.append((name, f"It must be a JSON object with any of {', '.join(OTHERS)}."))
        self.definition = read(body, faults, name=given.get("name") if self.row is None else None)
        for name, sentence in faults:
            root = name.partition("[")[0]
            self.add_error(root if root in self.fields else "options" if root in OTHERS else None, sentence)
        return given


def _initial(row: Schedule) -> dict[str, Any]:
    given: Mapping[str, Any] = row.definition
    shown = {name: given.get(name, FIELDS[name].default) for name in SHOWN}
    others = {name: given[name] for name in OTHERS if name in given}
    return {
        **shown,
        "timezone": given.get("timezone", ""),
        "data": _json(given.get("data", {})),
        "options": _json(others) if others else "",
        "seen": row.revision,
    }


def _json(value: Any) -> str:
    """As a form shows it: characters that would not be seen are escapes."""
    return "\n".join(map(harmless_json, json.dumps(value, indent=2, ensure_ascii=False).split("\n")))


#: What each act does, for the page before it, and what is said after it.
ACTS: dict[str, tuple[Callable[..., Any], str, str]] = {
    "pause": (verbs.pause, "No tick fires until it is resumed. Its tasks go on.", "is paused"),
    "resume": (verbs.resume, "It fires from now on. What the pause left out is not made up for.", "fires again"),
    "run": (verbs.run, "A task is made now, whatever a pause and other tasks of it say.", "has made a task"),
    "delete": (verbs.remove, "Its tasks, and what became of its ticks, stay.", "is deleted"),
}


@admin.register(Schedule)
class ScheduleAdmin(PageAdmin):
    """Who may see tasks sees schedules; who may operate changes them, and needs to see payloads for the form."""

    seen_by = (SEE_TASKS,)
    gone = "There is no schedule “{id}” any more."
    list_display = ("name", "type_column", "when_column", "state", "next_column", "last_column", "source_column")
    list_display_links = ("name",)
    ordering = ("name",)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return may(request, OPERATE) and may(request, SEE_PAYLOADS)

    type_column = column("type", lambda row: line(row.task_type, 60))
    when_column = column("when", lambda row: line(when(row)))
    next_column = column("next tick (UTC)", lambda row: "" if row.next_at is None else utc_text(row.next_at))
    last_column = column("last", lambda row: _last(row))
    source_column = column("defined in", lambda row: "the API" if row.source == Source.API else row.source)
    state = column("state", lambda row: state_of(row))

    def get_queryset(self, request: HttpRequest) -> QuerySet[Schedule]:
        return without_definitions(super().get_queryset(request))

    def get_urls(self) -> list[URLPattern]:
        view, name = self.admin_site.admin_view, "tasks_app_schedule"
        acts = [
            path(f"<str:object_id>/{verb}/", view(partial(self.act_view, verb=verb)), name=f"{name}_{verb}")
            for verb in ACTS
        ]
        return [path("<str:object_id>/edit/", view(self.edit_view), name=f"{name}_edit"), *acts, *super().get_urls()]

    def show(self, request: HttpRequest, row: Schedule) -> HttpResponse:
        """What it makes and when; a day with what ran and why not."""
        only(request, "day")
        now = timezone.now()
        if (day := day_of(request.GET.get("day", ""), now)) is None:
            raise Refusal(400, f"“{line(request.GET['day'], 40)}” is no day: write it as 2026-01-31")
        not_understood, timing = "", None
        try:
            timing = verbs.definition_of(row).timing
        except verbs.NotChanged as refused:
            not_understood = str(refused)
        shown, lines = marks(row, timing, day, now), lines_of(row, day).reverse()
        more = sum(mark.outcome is not None for mark in shown) - MAX_LINES
        verb_names = ("run", "resume" if row.paused_at is not None else "pause", "delete")
        return self.page(
            request,
            "schedules/schedule.html",
            row.pk,
            row=row,
            state=state_of(row),
            facts=_facts(row, may(request, SEE_PAYLOADS)),
            not_understood=not_understood,
            next=[utc_text(tick) for tick in next_ticks(row)],
            day=day,
            before=day - timedelta(days=1),
            after=day + timedelta(days=1) if day < now.date() + timedelta(days=1) else None,
            picture=picture(shown, day),
            lines=[_line(firing) for firing in lines[:MAX_LINES]],
            more=max(more, 0),
            tasks=listed(),
            may_act=may(request, OPERATE),
            may_edit=self.has_add_permission(request) and row.source == Source.API and not not_understood,
            acts=[name for name in verb_names if name != "delete" or row.source == Source.API],
        )

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        """The form of a new one."""
        return self._edit(request, None)

    def edit_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """The form of one that there is."""
        row = self.seen(request, object_id)
        if row is None:
            return self.missing(request, object_id)
        try:
            verbs.definition_of(row)  # the form would leave out what it does not know
        except verbs.NotChanged as refused:
            return self.back(request, f"Nothing was done: {line(str(refused), 300)}.", page_of(row.pk))
        return self._edit(request, row)

    def _edit(self, request: HttpRequest, row: Schedule | None) -> HttpResponse:
        if not self.has_add_permission(request):
            raise PermissionDenied
        form = ScheduleForm(request.POST if request.method == "POST" else None, row)
        if form.is_valid() and form.definition is not None:
            name = form.cleaned_data["name"] if row is None else row.pk
            try:
                if row is None and Schedule.objects.filter(pk=name).exists():
                    raise verbs.NotChanged("there is a schedule of this name already")
                verbs.put(name, form.definition, actor(request), form.cleaned_data["seen"])
                return self.back(request, f"{name} is saved: it fires from now on.", page_of(name), messages.SUCCESS)
            except verbs.NotChanged as refused:
                form.add_error(None, f"{refused}. Nothing was done.")
        title = "New schedule" if row is None else f"Edit {row.pk}"
        back = reverse("admin:tasks_app_schedule_changelist") if row is None else page_of(row.pk)
        return self.page(request, "schedules/edit.html", title, form=form, back=back)

    def act_view(self, request: HttpRequest, object_id: str, verb: str) -> HttpResponse:
        """GET: ask for confirmation. POST: do it."""
        row = self.seen(request, object_id)
        if row is None:
            return self.missing(request, object_id)
        if not may(request, OPERATE):
            raise PermissionDenied
        if request.method not in ("GET", "HEAD", "POST"):
            return HttpResponseNotAllowed(["GET", "HEAD", "POST"])
        act, explained, done = ACTS[verb]
        if request.method != "POST":
            title, yes = f"{verb.capitalize()} {row.pk}?", f"Yes, {verb} it"
            back = page_of(row.pk)
            return self.page(request, "taskdaemon/confirm.html", title, explained=explained, yes=yes, back=back)
        to = "" if verb == "delete" else page_of(row.pk)
        try:
            made = act(row.pk, actor(request))
        except (verbs.NotChanged, verbs.Refused, verbs.UnknownSchedule) as refused:
            return self.back(request, f"Nothing was done: {line(str(refused), 300)}.", to)
        link = format_html(': <a href="{}">{}</a>', task_link(made), made) if verb == "run" else ""
        return self.back(request, format_html("{} {}{}.", row.pk, done, link), to, messages.SUCCESS)


def page_of(name: str) -> str:
    """The page of a schedule."""
    return reverse("admin:tasks_app_schedule_change", args=(name,))


def state_of(row: Schedule) -> SafeString:
    """Whether it fires."""
    if row.paused_at is not None:
        return badge("pending", "paused")
    return badge("completed", "fires") if row.next_at is not None else badge("none", "not enabled")


def _last(row: Schedule) -> SafeString | str:
    last = Firing.objects.filter(schedule=row.pk).order_by("-scheduled_for").first()
    if last is None:
        return ""
    return format_html("{} {}", badge(TONES[Outcome(last.outcome)], last.outcome), moment(last.at))


def _line(found: Firing) -> tuple[str, SafeString, SafeString | str, str]:
    """A line of the ledger: its tick, its outcome, its task, and why."""
    until = "" if found.until is None else f" to {utc_text(found.until)} ({found.count:,})"
    by = f" by {line(found.by, 60)}" if found.by else ""
    task = format_html('<a class="td-id" href="{0}">{1}</a>', task_link(found.task), found.task) if found.task else ""
    shown = format_html("{}{}", badge(TONES[Outcome(found.outcome)], found.outcome), by)
    return f"{utc_text(found.scheduled_for)}{until}", shown, task, line(found.reason, 300)


def _facts(row: Schedule, payload: bool) -> list[tuple[str, str | SafeString]]:
    given = row.definition
    hidden = set() if payload else {"data", *(name for name, option in task_options().items() if option.payload)}
    options = {name: given[name] for name in given if name not in ("type", "cron", "every", "timezone", *hidden)}
    paused = "" if row.paused_at is None else f"{utc_text(row.paused_at)} by {line(row.paused_by, 60)}"
    return [
        ("Type", format_html('<a href="{}">{}</a>', handler_link(row.task_type), line(row.task_type, 60))),
        ("When", line(when(row))),
        *((name.replace("_", " ").capitalize(), _option(value)) for name, value in options.items()),
        *([("Paused", paused)] if paused else []),
        ("Defined in", "the API, the admin or a command" if row.source == Source.API else str(row.source)),
        ("Changed", f"{utc_text(row.changed_at)} by {line(row.changed_by, 60)}"),
    ]  # fmt: skip


def _option(value: Any) -> str:
    return harmless((value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))[:2000])


def _of_task(request: HttpRequest, task: Task) -> str:
    """The schedule that has made a task."""
    if task.schedule is None or task.scheduled_for is None:
        return ""
    shown = line(task.schedule, 100)
    if Schedule.objects.filter(pk=task.schedule).exists():
        shown = format_html('<a href="{}">{}</a>', page_of(task.schedule), shown)
    return format_html("<p>Made by the schedule {} for {} UTC.</p>", shown, utc_text(task.scheduled_for))


panels = {"task.live": _of_task}
sections = [Section("Schedules", "admin:tasks_app_schedule_changelist", 55, (SEE_TASKS,))]
