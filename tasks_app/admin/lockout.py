"""The answer to a login that is not looked at any more."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from axes.models import AccessAttempt
from django.conf import settings
from django.db.models import Max
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.utils import timezone

from tasks_app.admin.text import line


def tried_name(request: HttpRequest, credentials: Any = None) -> str:
    """The name that a login tried, as far as its column takes it: Django's form lets any length through."""
    return str((credentials or {}).get("username") or request.POST.get("username", ""))[:255].replace("\0", "")


def locked_out(request: HttpRequest, response: HttpResponse | None = None, credentials: Any = None) -> HttpResponse:
    """429 with Retry-After, as JSON for whoever prefers it, else as a page. Says nothing of whether the user exists."""
    username = tried_name(request, credentials)
    seconds = _left(username, request.META.get("REMOTE_ADDR", ""))
    minutes = max(1, -(-seconds // 60))
    wait = "1 minute" if minutes == 1 else f"{minutes} minutes"
    text = (
        f"Too many wrong passwords for {line(username, 60)!r} from your address. "
        f"No login of this user from there is tried for {wait}."
    )
    headers = {"Retry-After": str(seconds), "Cache-Control": "no-store"}
    if request.accepts("text/html"):
        context = {"text": text, "title": "Locked out", "site_header": "Tasks"}
        page = render(request, "taskdaemon/locked.html", context, status=429)
        for name, value in headers.items():
            page[name] = value
        return page
    return JsonResponse({"error": text}, status=429, headers=headers)


def _left(username: str, address: str) -> int:
    """Seconds until the lock opens."""
    cool: timedelta = settings.AXES_COOLOFF_TIME
    known = AccessAttempt.objects.filter(username=username, ip_address=address)
    last: datetime | None = known.aggregate(last=Max("attempt_time"))["last"]
    left = (last or timezone.now()) + cool - timezone.now()
    return max(1, round(left.total_seconds()))
