"""When logins are locked out, and the response to them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from axes.handlers.database import AxesDatabaseHandler
from axes.models import AccessAttempt
from django.conf import settings
from django.db.models import QuerySet, Sum
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.utils import timezone

from tasks_app.admin.text import line

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
