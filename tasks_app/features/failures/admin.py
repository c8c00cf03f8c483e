"""Failure groups in the admin: the list, a page for each, resolving, and what other pages show of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import Any, cast
from urllib.parse import urlencode

from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.db.models.functions import Now
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.loader import render_to_string
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.views.decorators.http import require_POST

from tasks_app.admin.handlers import handler_acts
from tasks_app.admin.lists import PageAdmin, StrictFilter, badge, column, moment
from tasks_app.admin.navigation import Section
from tasks_app.admin.pages import actor
from tasks_app.admin.task_list import ReasonFilter, TaskAction, TaskListFilter, TypeFilter
from tasks_app.admin.text import ago, handler_link, line, listed
from tasks_app.audit import record
from tasks_app.feature import Link, registered
from tasks_app.features.failures.grouping import hour_of
from tasks_app.features.failures.models import FailureGroup, FailureGroupQuerySet, is_fingerprint
from tasks_app.logs import harmless
from tasks_app.queue.current import writing
from tasks_app.queue.models import FailureReason, Task
from tasks_app.queue.task_filter import ONLY_FAILED, TaskFilter
from tasks_app.queue.task_search import newest_id
from tasks_app.rights import OPERATE, SEE_PAYLOADS, SEE_TASKS, may


class OpenFilter(StrictFilter):
    """Open groups, or resolved ones."""

    title, parameter_name = "state", "state"
    known_values = [("open", "open"), ("resolved", "resolved")]

    def narrow(self, rows: QuerySet[Any], value: str) -> QuerySet[Any]:
        groups = cast(FailureGroupQuerySet, rows)
        return groups.open() if value == "open" else groups.resolved()


class GroupHandlerFilter(TypeFilter):
    """Groups of a handler."""

    title, parameter_name = "handler", "handler"
    narrow = StrictFilter.narrow

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        named = FailureGroup.objects.order_by("handler").values_list("handler", flat=True).distinct()
        known = dict(super().lookups(request, model_admin))
        return [(name, known[name]) for name in named if name in known]


class GroupReasonFilter(ReasonFilter):
    """Groups of a failure reason."""

    narrow = StrictFilter.narrow


#: Hours that the picture shows: in the list, and on a group's page.
LIST_HOURS, PAGE_HOURS = 48, 168
#: The latest tasks of a group that its page names.
MAX_LISTED_TASKS = 20


@admin.register(FailureGroup)
class FailureGroupAdmin(PageAdmin):
    """Who may see tasks and their errors sees groups; who may change tasks too resolves them."""

    seen_by = (SEE_TASKS, SEE_PAYLOADS)
    gone = "There is no such failure group any more: it had no failure for 30 days."
    list_display = ("error_column", "handler_column", "reason_column", "count", "picture", "first", "last", "state")
    list_display_links = ("error_column",)
    list_filter = (OpenFilter, GroupHandlerFilter, GroupReasonFilter)
    list_max_show_all = 1_000
    show_full_result_count = False
    ordering = ("-last_seen", "pk")
    sortable_by = ("count", "first", "last")
    actions = ("resolve_selected",)

    def has_act_permission(self, request: HttpRequest) -> bool:
        """Whether this user may resolve groups."""
        return may(request, OPERATE) and may(request, SEE_PAYLOADS)

    def get_queryset(self, request: HttpRequest) -> QuerySet[FailureGroup]:
        return super().get_queryset(request).defer("sample_error")

    error_column = column(
        "error",
        lambda group: format_html('<span class="td-error">{}</span>', line(group.normalised, 160) or "(no text)"),
    )
    handler_column = column("handler", lambda group: line(group.handler, 40))
    reason_column = column("reason", lambda group: group.reason.replace("_", " "))
    picture = column("last 48 hours", lambda group: bars(group.hours, hour_of(timezone.now()), LIST_HOURS))
    first = column("first seen", lambda group: moment(group.first_seen), ordering="first_seen")
    last = column("last seen", lambda group: moment(group.last_seen), ordering="last_seen")

    @admin.display(description="state")
    def state(self, group: FailureGroup) -> SafeString:
        """Open, open again, or resolved; of cancelled tasks none of these: somebody wanted them to end."""
        if group.reason == FailureReason.CANCELLED:
            return badge("none", "cancelled")
        if not group.is_open:
            return badge("completed", "resolved")
        return badge("failed", "open" if group.resolved_at is None else "open again")

    @admin.action(description="Resolve the selected groups", permissions=["act"])
    def resolve_selected(self, request: HttpRequest, queryset: QuerySet[FailureGroup]) -> None:
        """Resolve them: each opens again with its next failure."""
        count = _resolve(request, list(queryset.values_list("pk", flat=True)), True)
        self.message_user(request, f"{count} groups are resolved until their next failure.", messages.SUCCESS)

    def get_urls(self) -> list[URLPattern]:
        view, name = self.admin_site.admin_view, "tasks_app_failuregroup"
        return [
            path("<path:object_id>/resolve/", view(require_POST(self.resolve_view)), name=f"{name}_resolve"),
            path("<path:object_id>/act/<str:act>/", view(self.act_view), name=f"{name}_act"),
            *super().get_urls(),
        ]

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        return FailureGroup.objects.filter(pk=int(object_id)).first() if is_fingerprint(object_id) else None

    def show(self, request: HttpRequest, group: FailureGroup) -> HttpResponse:
        """Its failures by hour, the latest error, and the newest tasks."""
        now = timezone.now()
        latest = Task.objects.in_group(group.pk).order_by("-pk").only("pk", "completed_at", "last_error")
        hours = [(datetime.fromtimestamp(int(hour) * 3600, UTC), count) for hour, count in group.hours.items()]
        return self.page(
            request,
            "failures/failure_group.html",
            f"{line(group.handler, 60)}: {line(group.normalised, 120)}",
            group=group,
            handler_link=handler_link(group.handler),
            name=line(group.handler, 60),
            reason=group.reason.replace("_", " "),
            normalised=line(group.normalised, 500) or "(no text)",
            sample=harmless(group.sample_error),
            sample_exists=bool(group.sample_task) and Task.objects.filter(pk__in=[group.sample_task]).exists(),
            state=self.state(group),
            picture=bars(group.hours, hour_of(now), PAGE_HOURS),
            hours=sorted(hours, reverse=True),
            first=ago(group.first_seen, now),
            last=ago(group.last_seen, now),
            resolved_by=line(group.resolved_by),
            tasks=[
                (task, line(task.last_error, 200), ago(task.completed_at or now, now))
                for task in latest[:MAX_LISTED_TASKS]
            ],
            all_tasks=listed(group=str(group.pk)),
            acts=[act for act in _acts() if may(request, act.right)],
            of_handler=handler_acts([group.handler], may(request, OPERATE))[group.handler],
            may_act=self.has_act_permission(request) and group.reason != FailureReason.CANCELLED,
        )  # fmt: skip

    def act_view(self, request: HttpRequest, object_id: str, act: str) -> HttpResponse:
        """To the page before an act on the tasks of the group that have failed by now."""
        group = self.seen(request, object_id)
        if group is None:
            return self.missing(request, object_id)
        for offered in _acts():
            if offered.name == act and may(request, offered.right):
                wanted = TaskFilter(statuses=ONLY_FAILED, group=group.pk, last_id=newest_id())
                back = _page(group)
                how = f"They are the failed tasks of the group “{line(group.normalised, 120)}”."
                return HttpResponseRedirect(offered.address(request, wanted, back, how))
        raise PermissionDenied

    def resolve_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """POST: resolve the group; with `reopen`, open it again."""
        if not self.has_act_permission(request):
            raise PermissionDenied
        group = self.get_object(request, unquote(object_id))
        if group is None:
            return self.missing(request, object_id)
        resolved = "reopen" not in request.POST
        _resolve(request, [group.pk], resolved)
        done = "resolved until its next failure" if resolved else "open again"
        return self.back(request, f"The group is {done}.", _page(group), messages.SUCCESS)


def _resolve(request: HttpRequest, groups: list[int], resolved: bool) -> int:
    at, who = (Now(), request.user.get_username()[:150]) if resolved else (None, "")
    with writing():
        rows = FailureGroup.objects.filter(pk__in=groups)
        first = rows.first()
        count = rows.update(resolved_at=at, resolved_by=who)
        if first is not None:
            # Not the error, which only users who may see payloads see.
            target = f"{first.handler}: failure group {first.pk}" if count == 1 else f"{count} failure groups"
            action = "resolve_failures" if resolved else "reopen_failures"
            record(actor(request), action, target, count, groups=[str(one) for one in groups[:20]])
    return count


# What other features offer to do on a group's page.


def _acts() -> list[TaskAction]:
    """To its tasks."""
    return [act for act in chain(*registered("task_actions")) if act.of_failures]


# What the engine's pages show of groups.

#: Open groups that a handler's page names, the latest.
MAX_GROUPS = 10
#: Open groups that the dashboard names: of all, and of each handler that fails; and those that it reads for that.
MAX_NAMED, MAX_NAMED_OF_HANDLER, MAX_READ = 5, 3, 100
#: How long ago a group of a handler that fails has failed.
FAILS_SECONDS = 900


def failure_links(request: HttpRequest, handlers: Sequence[str]) -> dict[str, list[Link]]:
    """Of each handler the open groups that fail now, those with the most failures in this hour and the last one first;
    none for who may not see errors."""
    if not may(request, SEE_PAYLOADS):
        return {}
    now = timezone.now()
    late = FailureGroup.objects.open().filter(
        handler__in=handlers, last_seen__gte=now - timedelta(seconds=FAILS_SECONDS)
    )
    newest = late.order_by("-last_seen").defer("sample_error")[:MAX_READ]
    hours = [str(hour_of(now) - back) for back in (0, 1)]
    found: dict[str, list[Link]] = {}
    for group in sorted(newest, key=lambda group: -sum(group.hours.get(hour, 0) for hour in hours)):
        if len(links := found.setdefault(group.handler, [])) < MAX_NAMED_OF_HANDLER:
            links.append(Link(_page(group), line(group.normalised, 80) or "(no text)"))
    return found


def group_link(fingerprint: int) -> Link | None:
    """To the page of a group, with its handler and its error."""
    group = FailureGroup.objects.filter(pk=fingerprint).only("handler", "normalised").first()
    if group is None:
        return None
    return Link(_page(group), f"{line(group.handler, 60)}: {line(group.normalised, 120) or '(no text)'}")


def _page(group: FailureGroup) -> str:
    return reverse("admin:tasks_app_failuregroup_change", args=(group.pk,))


def _open_groups(request: HttpRequest, _: None) -> str:
    """The open groups that failed last, for who may see errors."""
    if not may(request, SEE_PAYLOADS):
        return ""
    now, groups = timezone.now(), FailureGroup.objects.open().order_by("-last_seen").defer("sample_error", "hours")
    context = {
        "groups": [
            (
                _page(group),
                line(group.normalised, 120) or "(no text)",
                line(group.handler, 40),
                f"{group.count:,}",
                ago(group.last_seen, now),
            )
            for group in groups[:MAX_NAMED]
        ],
        "all_groups": f"{reverse('admin:tasks_app_failuregroup_changelist')}?state=open",
    }
    return render_to_string("failures/latest_groups.html", context)


def _of_handler(request: HttpRequest, handler: str) -> str:
    """The open groups of a handler, for who may see errors."""
    if not may(request, SEE_PAYLOADS):
        return ""
    now, groups = timezone.now(), FailureGroup.objects.open().filter(handler=handler).order_by("-last_seen")
    context = {
        "groups": [
            (
                group,
                line(group.normalised, 160) or "(no text)",
                bars(group.hours, hour_of(now), LIST_HOURS),
                ago(group.last_seen, now),
            )
            for group in groups.defer("sample_error")[:MAX_GROUPS]
        ],
        "all_groups": f"{reverse('admin:tasks_app_failuregroup_changelist')}?{urlencode({'handler': handler})}",
    }
    return render_to_string("failures/open_groups.html", context)


def _of_task(request: HttpRequest, task: Task) -> str:
    """A link to the group of a failed task, for who may see errors."""
    if not task.failure_group or not may(request, SEE_PAYLOADS):
        return ""
    group = FailureGroup.objects.filter(pk=task.failure_group).only("count").first()
    if group is None:
        return ""
    return format_html('<p><a href="{}">Failures with this error</a>: {}</p>', _page(group), group.count)


class GroupFilter(TaskListFilter):
    """Tasks by failure group; shown only while it is set, by a link."""

    title, parameter_name = "failure group", "group"

    def has_output(self) -> bool:
        return self.parameter_name in self.used_parameters

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        given = request.GET.get(str(self.parameter_name), "")
        if not self.understands(given):
            return []
        group = FailureGroup.objects.filter(pk=int(given)).first()
        shown = line(group.normalised, 60) if group and may(request, SEE_PAYLOADS) else given
        return [(given, shown)]

    def understands(self, value: str) -> bool:
        return is_fingerprint(value)

    def condition(self, value: str) -> TaskFilter:
        return TaskFilter(statuses=ONLY_FAILED, group=int(value))


task_filters = [GroupFilter]
sections = [Section("Failures", "admin:tasks_app_failuregroup_changelist", 30, (SEE_TASKS, SEE_PAYLOADS))]
panels = {"dashboard.failures": _open_groups, "handler.end": _of_handler, "task.failure": _of_task}


# Counts by hour as a small picture: SVG without styles or scripts, with the numbers in words for who cannot see it.

#: Of the picture, in its own units.
BAR_WIDTH, HEIGHT = 4, 24


def bars(hours: Mapping[str, int], last: int, count: int) -> SafeString:
    """`count` bars, the last of which is the hour `last` (since 1970)."""
    values = [hours.get(str(hour), 0) for hour in range(last - count + 1, last + 1)]
    most = max(*values, 1)
    # One path of numbers only: a list has many pictures.
    drawn = "".join(
        f"M{number * BAR_WIDTH} {HEIGHT}v-{height}h{BAR_WIDTH - 1}v{height}z"
        for number, value in enumerate(values)
        if value and (height := max(round(value / most * HEIGHT), 2))
    )
    label = f"{sum(values):,} in {count} hours, at most {max(values):,} in one hour, {values[-1]:,} in this one"
    return format_html(
        '<svg class="td-bars" viewBox="0 0 {} {}" width="{}" height="{}" role="img" aria-label="{}"><title>{}</title>'
        '<path class="td-bars-line" d="M0 {}H{}"/><path d="{}"/></svg>',
        count * BAR_WIDTH, HEIGHT + 1, count * BAR_WIDTH, HEIGHT + 1, label, label, HEIGHT + 0.5, count * BAR_WIDTH,
        drawn,
    )  # fmt: skip
