"""The admin's error pages, as HTML rather than the API's JSON."""

from __future__ import annotations

from collections.abc import Callable

from django.contrib import admin
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import render

# The Content-Security-Policy of the admin: only scripts and styles from here.

#: No inline scripts: markup that escaped escaping still does nothing.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


class PagePolicy:
    """Adds Content-Security-Policy to every page below /admin/."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self._get_response(request)
        if request.path.startswith("/admin/"):
            response.headers.setdefault("Content-Security-Policy", POLICY)
        return response


def page_not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """404 below /admin/, for users who are logged in: the others were redirected to the login."""
    return _page(request, 404, "Page not found", "There is no such page.")


def permission_denied(request: HttpRequest, exception: Exception) -> HttpResponse:
    """403 below /admin/, for a user without the permission."""
    return _page(
        request,
        403,
        "Not allowed",
        "Your user lacks the permission: ask an administrator for it (docs/admin.md).",
    )


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """403 for a form without a valid CSRF token."""
    return _page(
        request, 403, "Not done", "The form is too old, or came from another site: go back, reload the page, try again."
    )


def _page(request: HttpRequest, status: int, title: str, sentence: str) -> HttpResponse:
    context = {**admin.site.each_context(request), "title": title, "sentence": sentence}
    return render(request, "taskdaemon/refusal.html", context, status=status)


def refused(request: HttpRequest, sentence: str, status: int) -> HttpResponse:
    """Another refusal, in a sentence."""
    return _page(request, status, "Not done", sentence)
