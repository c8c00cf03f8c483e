"""An act that was sent after its session had ended, in a form from before the last login, or while the database was
away: it is offered again.

Until the login nothing is stored: the browser keeps the act, signed, in the form in which its user logs in. Then it is
in the session of that user; a page shows in words what it would do, and sends it after a click, with a new CSRF token.
Only the user who had opened the form is offered the act: what it has may be a payload. What has a password is not kept.
"""

from __future__ import annotations

import re
from dataclasses import astuple, dataclass
from typing import Any
from urllib.parse import urlencode, urlsplit

from django.conf import settings
from django.contrib import admin, messages
from django.contrib.admin.forms import AdminAuthenticationForm
from django.core import signing
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.middleware.csrf import CSRF_TOKEN_LENGTH, _unmask_cipher_token, get_token  # type: ignore[attr-defined]
from django.urls import reverse
from django.utils.cache import add_never_cache_headers
from django.utils.crypto import salted_hmac

from tasks_app.admin import pages
from tasks_app.admin.act_in_words import as_sent, in_words

#: The field of the login's form that has the act, and the seconds that it is good for.
KEPT, MAX_AGE_SECONDS = "kept", 12 * 3600
#: Of an act's fields. The form of the login has them once more.
MAX_CHARS = 256 * 1024
#: The users who have logged in with this browser: their ids, each with a digest of the CSRF secret of their forms. It
#: outlives the session.
USER_COOKIE, USER_SECONDS = "taskdaemon_user", 365 * 86400
_SALT = "tasks_app.admin.unfinished"
OTHERS = "Another user had opened the form, and their session had ended. Nothing was changed."
_SECRET = re.compile("password|secret|token", re.IGNORECASE)
#: Where a session has the act, and the button that declines it.
_SESSION, DECLINED = "unfinished", "unfinished_declined"
#: The newest logins in a browser, whose forms may still be open.
MAX_LOGINS = 8


@dataclass(frozen=True)
class Act:
    """A form as it was sent. `user`: who had opened it; `back`: the page that has the form."""

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
    if request.path_info == reverse("admin-unfinished"):
        return None  # its fields are those of another form
    user = _author(request)
    fields = [(name, values) for name, values in request.POST.lists() if name != "csrfmiddlewaretoken"]
    size = sum(len(name) + sum(map(len, values)) for name, values in fields)
    if not user or size > MAX_CHARS or request.FILES or any(_SECRET.search(name) for name, _ in fields):
        return None
    return Act(user, request.get_full_path(), _page_before(request), fields)


def _author(request: HttpRequest) -> str:
    """The user who had opened the form; "" if it is not known. Each login has other CSRF tokens."""
    token = request.POST.get("csrfmiddlewaretoken", "")
    if len(token) != CSRF_TOKEN_LENGTH or not token.isalnum() or not token.isascii():
        return ""
    return dict(reversed(_logins(request))).get(_digest_of(_unmask_cipher_token(token)), "")


def _logins(request: HttpRequest) -> list[tuple[str, str]]:
    """The logins that the browser's cookie has, newest first: (digest of the CSRF secret, user)."""
    cookie = request.get_signed_cookie(USER_COOKIE, default="", salt=_SALT) or ""
    pairs = [login.split("-") for login in cookie.split(".")]
    return [(pair[0], pair[1]) for pair in pairs if len(pair) == 2]


def _digest_of(secret: str) -> str:
    return salted_hmac(_SALT, secret).hexdigest()[:16]


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
            response = _offer(request, kept)
        else:
            messages.warning(request, OTHERS)
    secret = _unmask_cipher_token(get_token(request))
    logins = [(_digest_of(secret), user), *_logins(request)][:MAX_LOGINS]
    response.set_signed_cookie(
        USER_COOKIE, ".".join("-".join(login) for login in logins), salt=_SALT, max_age=USER_SECONDS, path="/admin/",
        httponly=True, samesite="Lax",
        secure=settings.SESSION_COOKIE_SECURE,
    )  # fmt: skip
    return response


def csrf_failure(request: HttpRequest) -> HttpResponse:
    """A form without a valid CSRF token: offered again if a page of ours sent it and its user has logged in since."""
    if not _from_here(request) or request.path_info == reverse("admin:login"):
        return pages.csrf_failure(request)
    if not admin.site.has_permission(request):
        return ask_to_log_in(request)
    if request.path_info == reverse("admin-unfinished"):
        return HttpResponseRedirect(request.path)  # a page from before the last login: what there is now
    act = sent(request)
    if act is None:
        return pages.csrf_failure(request)
    return _offer(request, act.signed()) if act.user == str(request.user.pk) else pages.refused(request, OTHERS, 403)


def _from_here(request: HttpRequest) -> bool:
    """Whether the browser says that a page of this host has sent it."""
    return request.headers.get("Origin") == f"{request.scheme}://{request.get_host()}"


def send_again(request: HttpRequest, sentence: str) -> str | None:
    """The act in a page that sends it again and needs no database; None if it is not to be kept."""
    act = sent(request) if _from_here(request) else None
    if act is None:
        return None
    said = as_sent(act.address, act.fields)
    context = {"act": act, "said": said, "sentence": sentence, "csrf_token": get_token(request), "to": act.address}
    return pages.bare("taskdaemon/unfinished.html", "Not available now", yes="Send it again", **context)


def _offer(request: HttpRequest, text: str) -> HttpResponse:
    """To the page that shows an act and does it after a click. The act is in the session of its user, so that the page
    can be loaded again."""
    request.session[_SESSION] = text
    return HttpResponseRedirect(reverse("admin-unfinished"))


def unfinished_view(request: HttpRequest) -> HttpResponse:
    """GET: show the act. POST: send the browser to do it, or to the page that has its form."""
    text = request.session.get(_SESSION, "")
    act, number = Act.of(text), salted_hmac(_SALT, text).hexdigest()[:16]
    if act is None or act.user != str(request.user.pk):
        messages.info(request, "Nothing is left to be confirmed: it was sent, declined, or is too old.")
        return HttpResponseRedirect(reverse("admin:index"))
    if request.method == "POST":
        if request.GET.get("act") != number:
            messages.warning(request, "Not done: this has been offered since. Look again, and confirm it.")
            return HttpResponseRedirect(request.path)
        del request.session[_SESSION]
        # 307: the browser sends the same fields there.
        return HttpResponseRedirect(act.back) if DECLINED in request.POST else _SendThere(act.address)
    said = in_words(request, act.address, act.fields)
    context: dict[str, Any] = {
        "act": act, "said": said, "yes": "Do it now", "declined": DECLINED,
        "to": f"{request.path}?{urlencode({'act': number})}",
        "sentence": "Not done: your session had ended when you sent this, so nothing was changed.",
    }  # fmt: skip
    title = "Not done" if said.why else "Not done yet"
    return pages.page(request, "taskdaemon/unfinished.html", title, **context)


class _SendThere(HttpResponseRedirect):
    status_code = 307
