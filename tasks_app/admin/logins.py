"""Logins: when they are locked out or slowed down, and axes' own pages of them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from ipaddress import IPv6Address
from math import ceil
from typing import Any

from axes.admin import AccessAttemptAdmin, AccessFailureLogAdmin, AccessLogAdmin
from axes.handlers.database import AxesDatabaseHandler
from axes.models import AccessAttempt, AccessFailureLog, AccessLog
from django.conf import settings
from django.contrib import admin
from django.contrib.auth import authenticate
from django.db.models import Max, QuerySet, Sum
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils import timezone

from tasks_app.admin.lists import DeletedRows, KnownFilters
from tasks_app.admin.pages import actor, bare
from tasks_app.admin.text import line
from tasks_app.audit import record
from tasks_app.handlers.words import plural
from tasks_app.keys.caller import address_of
from tasks_app.logs import harmless

# When logins are locked out, and the response to them.

#: This many wrong passwords from one address, for any users, lock the address out. More than for one user: many people
#: may share an address, and without DAEMON_TRUSTED_PROXIES all behind a proxy do.
ADDRESS_FAILURE_LIMIT = 20
#: From this many wrong passwords for one user on, from all addresses, each one makes the next login of that user wait,
#: for twice as long as the one before. The longest wait is short: whoever attacks a name must not keep its user out.
NAME_FAILURE_LIMIT = 10
FIRST_WAIT_SECONDS, MAX_WAIT_SECONDS = 1.0, 60.0
#: At an address from which the user has logged in within this time, others' failures make no login wait.
KNOWN_FOR = timedelta(days=90)


class LoginLimits(AxesDatabaseHandler):
    """Locks a user out at an address after AXES_FAILURE_LIMIT failures, and an address after its own limit. After
    failures from many addresses it slows a user's logins down."""

    def get_failures(self, request: HttpRequest, credentials: dict[str, Any] | None = None) -> int:
        """The user's failures from this address, or AXES_FAILURE_LIMIT if another limit holds."""
        theirs: int = super().get_failures(request, credentials)
        if theirs >= settings.AXES_FAILURE_LIMIT:
            return theirs
        address = login_address(request)
        failures = _recent(ip_address=address).aggregate(sum=Sum("failures_since_start"))["sum"] or 0
        if failures >= ADDRESS_FAILURE_LIMIT or _seconds_to_wait(tried_name(request, credentials), address):
            return int(settings.AXES_FAILURE_LIMIT)
        return theirs


def login_address(request: HttpRequest) -> str:
    """The address whose logins are counted and kept. Of IPv6 the network of 64 bits: a client has all of it, and other
    addresses there each day."""
    client: str = request.META.get("REMOTE_ADDR", "")
    address = address_of(client)
    if not isinstance(address, IPv6Address) or address.is_loopback:
        return client
    return str(IPv6Address(int(address) >> 64 << 64))


def tried_name(request: HttpRequest, credentials: Any = None) -> str:
    """The name that a login tried, cut to its column's length: Django's form accepts any length."""
    return str((credentials or {}).get("username") or request.POST.get("username", ""))[:255]


def locked_out(request: HttpRequest, response: HttpResponse | None = None, credentials: Any = None) -> HttpResponse:
    """429 with Retry-After, as a page or, for clients that do not accept HTML, as JSON. Does not tell whether the user
    exists."""
    username, address = tried_name(request, credentials), login_address(request)
    tried, shown = _recent(ip_address=address), repr(line(username, 60))
    address_seconds = _seconds_left(tried, ADDRESS_FAILURE_LIMIT)
    pair_seconds = _seconds_left(tried.filter(username=username), settings.AXES_FAILURE_LIMIT)
    seconds = max(1, address_seconds, pair_seconds) if address_seconds or pair_seconds else 0
    minutes = -(-seconds // 60)
    wait = f"{minutes} {plural(minutes, 'minute')}"
    if address_seconds:
        text = f"Too many wrong passwords from your address. Logins from there are locked for {wait}."
    elif pair_seconds:
        text = (
            f"Too many wrong passwords for {shown} from your address. "
            f"Logins of this user from there are locked for {wait}."
        )
    else:
        seconds = max(1, _seconds_to_wait(username, address))
        wait = f"{seconds} {plural(seconds, 'second')}"
        text = f"Too many wrong passwords for {shown}, from several addresses. Try again in {wait}."
    headers = {"Retry-After": str(seconds), "Cache-Control": "no-store"}
    if request.accepts("text/html"):
        return HttpResponse(bare("taskdaemon/locked.html", "Locked out", text=text), status=429, headers=headers)
    return JsonResponse({"error": text}, status=429, headers=headers)


_change_password = admin.site.password_change


def password_change(request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
    """Django's page, on which a wrong old password counts as at a login: who finds a session could try them all."""
    tried = {"username": request.user.get_username(), "password": request.POST.get("old_password", "")}
    if tried["password"] and authenticate(request, **tried) is None and getattr(request, "axes_locked_out", False):
        return locked_out(request, credentials=tried)
    return _change_password(request, extra_context)


def _recent(**whose: str) -> QuerySet[AccessAttempt]:
    """The attempts, of an address or a user, that still count."""
    since = timezone.now() - settings.AXES_COOLOFF_TIME
    found: QuerySet[AccessAttempt] = AccessAttempt.objects.filter(attempt_time__gte=since, **whose)
    return found


def _seconds_to_wait(username: str, address: str) -> int:
    """Seconds until this user may try a password from this address, after failures from many; 0 if at once.

    The time counts from the last password that was tried. A login that is refused tries none, so it prolongs nothing.
    """
    tried = _recent(username=username).aggregate(failures=Sum("failures_since_start"), last=Max("attempt_time"))
    over = (tried["failures"] or 0) - NAME_FAILURE_LIMIT
    if over < 0:
        return 0
    since = timezone.now() - KNOWN_FOR
    if AccessLog.objects.filter(username=username, ip_address=address, attempt_time__gte=since).exists():
        return 0
    wait = min(FIRST_WAIT_SECONDS * 2 ** min(over, 30), MAX_WAIT_SECONDS)
    left: float = wait - (timezone.now() - tried["last"]).total_seconds()
    return max(0, ceil(left))


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


class HarmlessList(KnownFilters):
    """A page of them."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        self.result_list = [_shown(each) for each in self.result_list]


class HarmlessLogins(DeletedRows):
    """Their rows cannot be changed: an object on a page has other text than its row."""

    changelist = HarmlessList

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        found = super().get_object(request, object_id, from_field)
        return None if found is None else _shown(found)

    def get_deleted_objects(self, objs: Iterable[Any], request: HttpRequest) -> Any:
        return super().get_deleted_objects([_shown(each) for each in objs], request)


def _shown(login: Any) -> Any:
    for field in TEXTS:
        if text := getattr(login, field, None):
            setattr(login, field, harmless(text))
    return login


admin.site.unregister([AccessAttempt, AccessLog, AccessFailureLog])


@admin.register(AccessAttempt)
class AttemptedLogins(HarmlessLogins, AccessAttemptAdmin):
    """Wrong passwords that count towards a lock-out. Who deletes them ends it."""

    actions = ()  # axes' own deletes without a line in the audit log, and for who may only look

    def log_deletions(self, request: HttpRequest, queryset: QuerySet[Any]) -> Any:
        for tried in queryset:
            told = {"address": str(tried.ip_address), "failures": tried.failures_since_start}
            record(actor(request), "unlock_login", harmless(tried.username or ""), **told)
        return super().log_deletions(request, queryset)


class KeptLogins(HarmlessLogins):
    """Like the audit log nobody deletes them: they are removed once they are old."""

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(AccessLog)
class Logins(KeptLogins, AccessLogAdmin):
    """Logins, and when their sessions ended."""


@admin.register(AccessFailureLog)
class FailedLogins(KeptLogins, AccessFailureLogAdmin):
    """All wrong passwords, if axes keeps them."""
