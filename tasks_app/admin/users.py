"""Logins and their lockout, users and groups: axes' and Django's own pages, whose acts are also in the audit log."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, TypeVar

from axes.admin import AccessAttemptAdmin, AccessFailureLogAdmin, AccessLogAdmin
from axes.handlers.database import AxesDatabaseHandler
from axes.models import AccessAttempt, AccessFailureLog, AccessLog
from django.conf import settings
from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.contrib.auth.admin import GroupAdmin, UserAdmin
from django.contrib.auth.models import Group, User
from django.db.models import Model, QuerySet, Sum
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.utils import timezone

from tasks_app.admin.pages import actor
from tasks_app.admin.text import harmless, line
from tasks_app.audit.record import record

# When logins are locked out, and the response to them.

#: This many wrong passwords from one address, for any users, lock the address out. More than for one user, because all
#: users behind a proxy share its address.
ADDRESS_FAILURE_LIMIT = 20


class UserAndAddressLockout(AxesDatabaseHandler):
    """Locks a user out at an address after AXES_FAILURE_LIMIT failures, and the whole address after its own limit."""

    def get_failures(self, request: HttpRequest, credentials: dict[str, Any] | None = None) -> int:
        """The user's failures from this address, or AXES_FAILURE_LIMIT if the address is locked."""
        theirs: int = super().get_failures(request, credentials)
        if theirs < settings.AXES_FAILURE_LIMIT and _failures(_recent(request.META.get("REMOTE_ADDR", ""))) >= (
            ADDRESS_FAILURE_LIMIT
        ):
            return int(settings.AXES_FAILURE_LIMIT)
        return theirs


def tried_name(request: HttpRequest, credentials: Any = None) -> str:
    """The name that a login tried, cut to its column's length: Django's form accepts any length."""
    return str((credentials or {}).get("username") or request.POST.get("username", ""))[:255].replace("\0", "")


def locked_out(request: HttpRequest, response: HttpResponse | None = None, credentials: Any = None) -> HttpResponse:
    """429 with Retry-After, as a page or, for clients that do not accept HTML, as JSON. Does not tell whether the user
    exists."""
    username = tried_name(request, credentials)
    tried = _recent(request.META.get("REMOTE_ADDR", ""))
    address_seconds = _seconds_left(tried, ADDRESS_FAILURE_LIMIT)
    seconds = max(1, address_seconds, _seconds_left(tried.filter(username=username), settings.AXES_FAILURE_LIMIT))
    minutes = max(1, -(-seconds // 60))
    wait = "1 minute" if minutes == 1 else f"{minutes} minutes"
    if address_seconds:
        text = f"Too many wrong passwords from your address. Logins from there are locked for {wait}."
    else:
        text = (
            f"Too many wrong passwords for {line(username, 60)!r} from your address. "
            f"Logins of this user from there are locked for {wait}."
        )
    headers = {"Retry-After": str(seconds), "Cache-Control": "no-store"}
    if request.accepts("text/html"):
        context = {"text": text, "title": "Locked out", "site_header": "Tasks", "site_title": "Tasks"}
        page = render(request, "taskdaemon/locked.html", context, status=429)
        for name, value in headers.items():
            page[name] = value
        return page
    return JsonResponse({"error": text}, status=429, headers=headers)


def _recent(address: str) -> QuerySet[AccessAttempt]:
    """The attempts of an address that still count."""
    since = timezone.now() - settings.AXES_COOLOFF_TIME
    found: QuerySet[AccessAttempt] = AccessAttempt.objects.filter(ip_address=address, attempt_time__gte=since)
    return found


def _failures(tried: QuerySet[AccessAttempt]) -> int:
    return tried.aggregate(sum=Sum("failures_since_start"))["sum"] or 0


def _seconds_left(tried: QuerySet[AccessAttempt], limit: int) -> int:
    """Seconds until fewer than `limit` failures of these attempts count; 0 if fewer do already."""
    rows = list(tried.order_by("attempt_time").values_list("attempt_time", "failures_since_start"))
    counting = sum(failures for _, failures in rows)
    opens: datetime | None = None
    for at, failures in rows:
        if counting < limit:
            break
        counting -= failures
        opens = at + settings.AXES_COOLOFF_TIME
    return 0 if opens is None else max(1, round((opens - timezone.now()).total_seconds()))


# The logins that were tried: axes' own pages, on which what anyone may send is harmless text.

#: What a request says of itself.
TEXTS = ("username", "user_agent", "http_accept", "path_info", "get_data", "post_data")

Login = TypeVar("Login", bound=AccessAttempt | AccessLog | AccessFailureLog)


class HarmlessList(ChangeList):
    """A page of them."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        self.result_list = [_shown(each) for each in self.result_list]


class HarmlessLogins(admin.ModelAdmin):
    """Their rows cannot be changed: an object on a page has other text than its row."""

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return HarmlessList

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        found = super().get_object(request, object_id, from_field)
        return None if found is None else _shown(found)

    def get_deleted_objects(self, objs: Iterable[Any], request: HttpRequest) -> Any:
        return super().get_deleted_objects([_shown(each) for each in objs], request)


def _shown(login: Login) -> Login:
    for field in TEXTS:
        if text := getattr(login, field, None):
            setattr(login, field, harmless(text))
    return login


class AttemptedLogins(HarmlessLogins, AccessAttemptAdmin):
    """Wrong passwords that count towards a lock-out."""


class Logins(HarmlessLogins, AccessLogAdmin):
    """Logins, and when their sessions ended."""


class FailedLogins(HarmlessLogins, AccessFailureLogAdmin):
    """All wrong passwords, if axes keeps them."""


class Recorded(admin.ModelAdmin):
    """Records what is added, changed and deleted. Django calls these methods in the transaction of the act.

    Only the names of fields are recorded: a password has no place in a log.
    """

    class Media:
        js = ("taskdaemon/selectors.js",)

    def log_addition(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        record(actor(request), f"add_{self.opts.model_name}", str(obj))
        return super().log_addition(request, obj, message)

    def log_change(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        record(actor(request), f"change_{self.opts.model_name}", str(obj), changed=_changed(message))
        return super().log_change(request, obj, message)

    def log_deletions(self, request: HttpRequest, queryset: QuerySet[Any]) -> Any:
        for one in queryset:
            record(actor(request), f"delete_{self.opts.model_name}", str(one))
        return super().log_deletions(request, queryset)


def _changed(message: Any) -> Any:
    """The names of the changed fields; Django gives a list, or a sentence for a new password."""
    if not isinstance(message, list):
        return str(message)
    return sorted({str(field) for part in message for field in part.get("changed", {}).get("fields", ())})


class RecordedUserAdmin(Recorded, UserAdmin):
    """Users."""

    readonly_fields = ("last_login", "date_joined")


class RecordedGroupAdmin(Recorded, GroupAdmin):
    """Groups."""


PAGES: dict[type[Model], type[admin.ModelAdmin]] = {
    AccessAttempt: AttemptedLogins,
    AccessLog: Logins,
    AccessFailureLog: FailedLogins,
    User: RecordedUserAdmin,
    Group: RecordedGroupAdmin,
}
for model, page in PAGES.items():
    admin.site.unregister(model)
    admin.site.register(model, page)
