"""What all pages of the admin have in common: what they may load, who the user is, how they are rendered, refusals."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import structlog
from django.contrib import admin
from django.contrib.admin.forms import AdminAuthenticationForm
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.template.loader import render_to_string
from django.template.response import TemplateResponse
from django.urls import NoReverseMatch, resolve, reverse
from django.utils.cache import add_never_cache_headers

from tasks_app.admin.text import line
from tasks_app.audit import Actor
from tasks_app.feature import Link

log = structlog.get_logger(__name__)

#: No inline scripts: markup that escaped escaping still does nothing.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


class Refusal(Exception):
    """What a page refuses, in a sentence: the answer has this status. Nothing was done."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


class PagePolicy:
    """Adds Content-Security-Policy to every page below /admin/."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self._get_response(request)
        if request.path.startswith("/admin/"):
            response.headers.setdefault("Content-Security-Policy", POLICY)
        return response


def is_for_person(request: HttpRequest) -> bool:
    """Whether a failure of this request is a page: below /admin/, unless the client accepts no HTML."""
    return request.path_info.startswith("/admin/") and request.accepts("text/html")


def actor(request: HttpRequest) -> Actor:
    """The user, for the audit log."""
    return Actor("admin", request.user.get_username())


def page(request: HttpRequest, template: str, title: str, status: int = 200, **context: Any) -> TemplateResponse:
    """A page with a title, and with what Django's templates need."""
    context = {**admin.site.each_context(request), "title": title, **context}
    return TemplateResponse(request, template, context, status=status)


def only(request: HttpRequest, known: str) -> None:
    """Raise Refusal if the address has another parameter than its page knows, or has it twice: an act on more, or on
    something else, than was asked for would follow."""
    for name, values in request.GET.lists():
        if name != known:
            raise Refusal(400, f"the address has the parameter “{line(name, 60)}”: this page knows “{known}” only")
        if len(values) > 1:
            raise Refusal(400, f"the address has the parameter “{name}” {len(values)} times")


# Refusals: what happened, why, and what to do next. Whoever accepts no HTML gets the API's JSON.


def refused(
    request: HttpRequest, sentence: str, status: int, title: str = "Not done", after: str = "", *links: Link
) -> HttpResponse:
    """A refusal in a sentence, and what to do after it: in words, and as links beside that to the dashboard."""
    context = {"sentence": sentence, "after": after, "links": links}
    # With the database away there is no user to read.
    if status != 503 and hasattr(request, "user"):
        try:
            return page(request, "taskdaemon/refusal.html", title, status, **context).render()
        except Exception as error:  # whatever it is, the page of a failure is shown
            log.error("a refusal is shown without its user", error=str(error))
    return HttpResponse(bare("taskdaemon/refusal.html", title, **context), status=status)


def bare(template: str, title: str, **context: Any) -> str:
    """A page as HTML that needs no user, no request and no database."""
    site = {"site_title": admin.site.site_title, "site_header": admin.site.site_header}
    return render_to_string(template, {**site, "title": title, **context})


def page_of_act(path: str) -> str:
    """The address of the page that offers an act: a row's, or its list, as far as the act's own address tells."""
    match = resolve(path)
    rows = (match.url_name or "").rpartition("_")[0]
    row = [match.kwargs["object_id"]] if "object_id" in match.kwargs else []
    for name, arguments in ((f"admin:{rows}_change", row), (f"admin:{rows}_changelist", [])):
        try:
            return reverse(name, args=arguments)
        except NoReverseMatch:
            continue
    return reverse("admin:index")


def no_page(request: HttpRequest, **parts: str) -> HttpResponse:
    """Replaces a page of Django's that has no use here."""
    raise Http404


def page_not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """404 below /admin/, for users who are logged in: the others were redirected to the login."""
    after = "Check the address, or begin at the dashboard. A task's page is gone once the task was removed."
    return refused(request, "There is no such page.", 404, "Page not found", after)


def permission_denied(request: HttpRequest, exception: Exception) -> HttpResponse:
    """403 below /admin/, for a user without the permission."""
    sentence = "Your user lacks the permission: ask an administrator for it (docs/admin.md)."
    return refused(request, sentence, 403, "Not allowed", "Nothing was done.")


def csrf_failure(request: HttpRequest) -> HttpResponse:
    """403 for a form without a valid CSRF token: of another site, or from before the last login or logout."""
    if request.path_info != reverse("admin:login") and not admin.site.has_permission(request):
        return ask_to_log_in(request)
    sentence = "The form is too old, or came from another site: nothing was done."
    after = "Go back with your browser, reload the page, and try again: the text that you typed is in it again."
    return refused(
        request, sentence, 403, "Not done", after, Link(page_of_act(request.path_info), "The page of the act")
    )


def ask_to_log_in(request: HttpRequest) -> HttpResponse:
    """403 for a form that was sent after its session had ended: nothing was done, and the login leads back to the form.
    A redirect to the login would say neither."""
    response = page(
        request,
        "taskdaemon/login.html",
        "Log in",
        403,
        form=AdminAuthenticationForm(request),
        app_path=reverse("admin:login"),
        next=_page_before(request),
        not_done=True,
    ).render()
    add_never_cache_headers(response)
    return response


def _page_before(request: HttpRequest) -> str:
    """The page that has the form, as a path of this host."""
    before = urlsplit(request.headers.get("Referer", ""))
    if before.netloc == request.get_host() and before.path.startswith("/admin/"):
        return before._replace(scheme="", netloc="", fragment="").geturl()
    return page_of_act(request.path_info)
