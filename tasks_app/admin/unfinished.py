"""An act that was sent after its session had ended, in a form from before the last login, or while the database was
away: it is offered again.

Nothing is stored: the browser keeps the act, signed, in the form in which its user logs in. Then a page shows what was
chosen and sends it after a click, with a new CSRF token. Only the user whose login was the last in this browser is
offered the act, since it may contain a payload. A form with a password is not kept.
"""

from __future__ import annotations

import re
from dataclasses import astuple, dataclass
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from django.conf import settings
from django.contrib import admin, messages
from django.contrib.admin.forms import AdminAuthenticationForm
from django.core import signing
from django.db.models import Model
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.middleware.csrf import get_token
from django.urls import resolve, reverse
from django.utils.cache import add_never_cache_headers
from django.utils.text import capfirst

from tasks_app.admin import pages
from tasks_app.admin.holds import SEEN
from tasks_app.admin.text import line

#: The field of the login's form that has the act, and the seconds that it is good for.
KEPT, MAX_AGE_SECONDS = "kept", 12 * 3600
#: Of an act's fields. The form of the login has them once more.
MAX_CHARS = 256 * 1024
#: The user whose login was the last in this browser. It outlives the session.
USER_COOKIE, USER_SECONDS = "taskdaemon_user", 365 * 86400
_SALT = "tasks_app.admin.unfinished"
_SECRET = re.compile("password|secret|token", re.IGNORECASE)
#: What a page has signed for itself: nobody chose it as text.
_SIGNED = re.compile(r"\.?[\w-]+:[\w-]+:[\w-]{43}")
#: The field in which a form may say what it does, if its address and its other fields do not.
IN_WORDS = "act"
_VERBS = {"changelist": "act on the list of", "handler": "send a test task to its handler"}
_LABELS = {"_selected_action": "selected", "select_across": "all that match"}
#: Values of a field, and characters of each, that are shown.
MAX_VALUES, MAX_SHOWN = 5, 500


@dataclass(frozen=True)
class Act:
    """A form as it was sent. `user`: whose login was the last in the browser; `back`: the page that has the form."""

    user: str
    address: str
    back: str
    fields: list[tuple[str, list[str]]]

    def signed(self) -> str:
        """As the login's form has it."""
        return signing.dumps(astuple(self), salt=_SALT, compress=True)

    @classmethod
    def of(cls, text: str) -> Act | None:
        """The inverse of `signed`; None if the text was changed or is old."""
        try:
            return cls(*signing.loads(text, salt=_SALT, max_age=MAX_AGE_SECONDS))
        except signing.BadSignature:
            return None


def sent(request: HttpRequest) -> Act | None:
    """The act of a request whose form a page of ours has sent; None if it is not to be kept."""
    user = request.get_signed_cookie(USER_COOKIE, default="", salt=_SALT)
    fields = [(name, values) for name, values in request.POST.lists() if name != "csrfmiddlewaretoken"]
    size = sum(len(name) + sum(map(len, values)) for name, values in fields)
    if not user or size > MAX_CHARS or request.FILES or any(_SECRET.search(name) for name, _ in fields):
        return None
    return Act(user, request.get_full_path(), _page_before(request), fields)


def _page_before(request: HttpRequest) -> str:
    """The page that has the form, as a path of this host."""
    before = urlsplit(request.headers.get("Referer", ""))
    if before.netloc == request.get_host() and before.path.startswith("/admin/"):
        return before._replace(scheme="", netloc="", fragment="").geturl()
    return pages.page_of_act(request.path_info)


def ask_to_log_in(request: HttpRequest) -> HttpResponse:
    """Instead of a redirect to the login, which would lose what was sent: the login, with the act in its form."""
    act = sent(request)
    response = pages.page(
        request,
        "taskdaemon/login.html",
        "Log in",
        403,
        form=AdminAuthenticationForm(request),
        app_path=reverse("admin:login"),
        next=_page_before(request),
        kept=act and act.signed(),
        not_done=True,
    ).render()
    add_never_cache_headers(response)
    return response


def login(request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
    """Django's login; after it, the act that the form has is offered again."""
    kept = request.POST.get(KEPT, "")
    response = admin.AdminSite.login(
        admin.site, request, {"kept": kept, "not_done": bool(kept), **(extra_context or {})}
    )
    if request.method != "POST" or not isinstance(response, HttpResponseRedirect):
        return response
    user = str(request.user.pk)
    if act := Act.of(kept):
        if act.user == user:
            response = _offer(request, act)
        else:
            text = "Not done: another user had sent it, and their session had ended. Nothing was changed."
            messages.warning(request, text)
    response.set_signed_cookie(
        USER_COOKIE, user, salt=_SALT, max_age=USER_SECONDS, path="/admin/", httponly=True, samesite="Lax",
        secure=settings.SESSION_COOKIE_SECURE,
    )  # fmt: skip
    return response


def csrf_failure(request: HttpRequest) -> HttpResponse:
    """A form without a valid CSRF token: offered again if a page of ours sent it and its user has logged in since."""
    if not _from_here(request) or request.path_info == reverse("admin:login"):
        return pages.csrf_failure(request)
    if not admin.site.has_permission(request):
        return ask_to_log_in(request)
    act = sent(request)
    return pages.csrf_failure(request) if act is None or act.user != str(request.user.pk) else _offer(request, act, 403)


def _from_here(request: HttpRequest) -> bool:
    """Whether the browser says that a page of this host has sent it."""
    return request.headers.get("Origin") == f"{request.scheme}://{request.get_host()}"


def send_again(request: HttpRequest, sentence: str) -> str | None:
    """The act in a page that sends it again and needs no database; None if it is not to be kept."""
    act = sent(request) if _from_here(request) else None
    if act is None:
        return None
    context = {"act": act, "shown": _shown(act), "sentence": sentence, "csrf_token": get_token(request)}
    return pages.bare("taskdaemon/unfinished.html", "Not available now", yes="Send it again", **context)


def _offer(request: HttpRequest, act: Act, status: int = 200) -> HttpResponse:
    """The page that shows the act and does it after a click."""
    sentence = "Not done: your session had ended when you sent this, so nothing was changed."
    context = {"act": act, "shown": _shown(act), "sentence": sentence, "yes": "Do it now"}
    response = pages.page(request, "taskdaemon/unfinished.html", "Not done yet", status, **context).render()
    add_never_cache_headers(response)
    return response


def _shown(act: Act) -> list[tuple[str, str]]:
    """What the act is, for people: its verb, what it is done to, and what was chosen."""
    address = urlsplit(act.address)
    match = resolve(address.path)
    rows_name, _, verb = (match.url_name or "").replace("-", "_").rpartition("_")
    noun = next((str(model._meta.verbose_name) for model in admin.site._registry if _name(model) == rows_name), "")
    said = dict(act.fields).get(IN_WORDS, [f"{_VERBS.get(verb, verb)} {noun}"])
    rows = [("Act", capfirst(line(said[0], MAX_SHOWN)))]
    if "object_id" in match.kwargs:
        rows.append((capfirst(noun) or "Row", line(str(match.kwargs["object_id"]), MAX_SHOWN)))
    chosen = parse_qsl(address.query)
    rows += [(name, line(value, MAX_SHOWN)) for name, value in chosen if not _SIGNED.fullmatch(value)]
    for name, values in act.fields:
        if name == IN_WORDS:
            continue
        texts = [line(value, MAX_SHOWN) or "-" for value in values if not _SIGNED.fullmatch(value)]
        more = f" and {len(texts) - MAX_VALUES} more" if len(texts) > MAX_VALUES else ""
        if texts and name != SEEN:
            rows.append((_LABELS.get(name, name.strip("_").replace("_", " ")), ", ".join(texts[:MAX_VALUES]) + more))
    return rows


def _name(model: type[Model]) -> str:
    return f"{model._meta.app_label}_{model._meta.model_name}"
