"""What all pages of the admin have in common: what they may load, who the user is, how they are rendered, refusals."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.template.response import TemplateResponse

from tasks_app.audit.record import Actor

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


def actor(request: HttpRequest) -> Actor:
    """The user, for the audit log."""
    return Actor("admin", request.user.get_username())


def page(request: HttpRequest, template: str, title: str, status: int = 200, **context: Any) -> HttpResponse:
    """A page with a title, and with what Django's templates need."""
    context = {**admin.site.each_context(request), "title": title, **context}
    return TemplateResponse(request, template, context, status=status)


# Refusals, as HTML rather than the API's JSON.


def refused(request: HttpRequest, sentence: str, status: int, title: str = "Not done") -> HttpResponse:
    """A refusal in a sentence."""
    return page(request, "taskdaemon/refusal.html", title, status, sentence=sentence)


def page_not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """404 below /admin/, for users who are logged in: the others were redirected to the login."""
    return refused(request, "There is no such page.", 404, "Page not found")


def permission_denied(request: HttpRequest, exception: Exception) -> HttpResponse:
    """403 below /admin/, for a user without the permission."""
    sentence = "Your user lacks the permission: ask an administrator for it (docs/admin.md)."
    return refused(request, sentence, 403, "Not allowed")


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """403 for a form without a valid CSRF token."""
    return refused(request, "The form is too old, or came from another site: go back, reload the page, try again.", 403)
