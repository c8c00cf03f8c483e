"""Below /admin/ every failure is a page: what happened, why, and what to do next. Elsewhere it stays JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import lru_cache
from urllib.parse import urlsplit

from django.contrib.admin.views.main import ERROR_FLAG
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect
from django.urls import reverse
from django.utils.text import capfirst

from tasks_app.admin.pages import ask_to_log_in, bare, is_for_person, page_of_act, refused
from tasks_app.admin.text import line
from tasks_app.api.errors import WITH_A_KEY
from tasks_app.feature import Link

#: By status: the title, and what to do next.
WORDS = {
    400: ("Not understood", "Nothing was done. Go back with your browser and correct it."),
    403: ("Not allowed", "Nothing was done."),
    404: ("Page not found", "Check the address, or begin at the dashboard."),
    405: ("Not done", "Its button is on the page where the act is offered."),
    409: ("Not done", "Nothing was changed."),
    413: ("Too large", "Nothing was done. Go back with your browser: what you typed is still there."),
    429: ("Too many requests", "Wait for a moment, then try again."),
    500: (
        "Internal error",
        "Look whether it took effect before you try again. The log of the web server has the rest.",
    ),
    503: ("Not available now", "Reload the page in a moment. If this stays, the log of the web server says why."),
}
UNKNOWN_FILTER = ("Not understood", "Nothing was filtered, and nothing is shown.")
#: What Django says of a filter that a list forbids.
FORBIDDEN_LOOKUP = "bad request: Filtering by "
UNKNOWN_EFFECT = "Go back with your browser, reload the page, and look whether it took effect before you try again."


class AdminFailures:
    """Makes a page of the JSON with which the middleware inside of it has answered a failure below /admin/, unless the
    client accepts no HTML."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self._get_response(request)
        if not is_for_person(request):
            return response
        if isinstance(response, HttpResponseRedirect):
            answer = _refused_redirect(request, response)
            answer.headers.setdefault("Content-Length", str(len(answer.content)))
            return answer
        # A page keeps its own words. The guard has made JSON of all else.
        if response.status_code >= 400 and response.get("Content-Type", "") == "application/json":
            _make_page(request, response)
        return response


def _refused_redirect(request: HttpRequest, response: HttpResponseRedirect) -> HttpResponse:
    """Redirects by which Django refuses: an act to the login, and a filter that a list does not know to all rows."""
    address = urlsplit(response.url)
    if request.method == "POST" and address.path == reverse("admin:login") and address.query.startswith("next="):
        return ask_to_log_in(request)
    if address.query == f"{ERROR_FLAG}=1" and ERROR_FLAG not in request.GET:
        return refused(request, _unknown(request), 400, *UNKNOWN_FILTER, Link(request.path, "The list without filters"))
    return response


def _unknown(request: HttpRequest) -> str:
    names = ", ".join(f"“{line(name, 60)}”" for name in list(request.GET)[:10])
    return f"The list does not know a filter, or the value of one, in its address: {names}."


def _make_page(request: HttpRequest, response: HttpResponseBase) -> None:
    """In its place: headers such as Retry-After and cookies stay."""
    said = json.loads(response.content)  # type: ignore[attr-defined]
    status = response.status_code
    sentence = str(said.get("error", response.reason_phrase))
    title, after = WORDS.get(status, ("Not done", ""))
    links = []
    if status == 405:
        sentence = "This address is an act, not a page: to open it does nothing."
        links.append(Link(page_of_act(request.path_info), "The page of the act"))
    elif status == 400 and sentence.startswith(FORBIDDEN_LOOKUP):
        sentence, (title, after) = _unknown(request), UNKNOWN_FILTER
        links.append(Link(request.path, "The list without filters"))
    elif status == 500 and "request_id" in said:
        sentence = f"The server met a fault of its own, which its log has under the id {said['request_id']}"
    elif status == 503 and sentence.endswith(WITH_A_KEY):
        sentence, after = sentence.removesuffix(WITH_A_KEY), UNKNOWN_EFFECT
    if status == 503 and request.method == "GET":
        links.append(Link(request.get_full_path(), "Reload the page"))
    page = refused(request, _sentence(sentence), status, title, after, *links).text
    response.content = page  # type: ignore[attr-defined]
    response.headers["Content-Type"] = "text/html; charset=utf-8"
    response.headers["Content-Length"] = str(len(response.content))  # type: ignore[attr-defined]


def _sentence(text: str) -> str:
    return f"{capfirst(text).removesuffix('.')}."


@lru_cache(maxsize=64)
def bare_page(status: int, sentence: str) -> bytes:
    """A page for a refusal before Django, which the event loop sends: each is rendered once."""
    title, after = WORDS.get(status, ("Not done", ""))
    return bare("taskdaemon/refusal.html", title, sentence=_sentence(sentence), after=after).encode()
