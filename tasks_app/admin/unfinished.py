"""An act that was sent after its session had ended, in a form from before the last login, or while the database was
away: it is offered again.

Until the login nothing is stored: the browser keeps the act, signed, in the form in which its user logs in. Then it is
in the session of that user; a page shows in words what it would do, and sends it after a click, with a new CSRF token.
Only the user who had opened the form is offered the act: what it has may be a payload. What has a password is not kept.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import astuple, dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.contrib.admin.forms import AdminAuthenticationForm
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.core import signing
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect, QueryDict
from django.middleware.csrf import CSRF_TOKEN_LENGTH, _unmask_cipher_token, get_token  # type: ignore[attr-defined]
from django.template.response import TemplateResponse
from django.urls import ResolverMatch, resolve, reverse
from django.utils.cache import add_never_cache_headers
from django.utils.crypto import salted_hmac
from django.utils.text import capfirst

from tasks_app.admin import pages
from tasks_app.admin.holds import SEEN
from tasks_app.admin.lists import all_that_match
from tasks_app.admin.text import line

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

Fields = list[tuple[str, list[str]]]


@dataclass(frozen=True)
class Act:
    """A form as it was sent. `user`: who had opened it; `back`: the page that has the form."""

    user: str
    address: str
    back: str
    fields: Fields

    @property
    def match(self) -> ResolverMatch:
        """What its address leads to."""
        return resolve(urlsplit(self.address).path)

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
    said = as_sent(act)
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
    said = in_words(request, act)
    context: dict[str, Any] = {
        "act": act, "said": said, "yes": "Do it now", "declined": DECLINED,
        "to": f"{request.path}?{urlencode({'act': number})}",
        "sentence": "Not done: your session had ended when you sent this, so nothing was changed.",
    }  # fmt: skip
    title = "Not done" if said.why else "Not done yet"
    return pages.page(request, "taskdaemon/unfinished.html", title, **context)


class _SendThere(HttpResponseRedirect):
    status_code = 307


# What it would do, in the words of its page: the title, the labels, the names of what is chosen. What no page has in
# words is not offered (`Words.why`).

#: The field in which a form may say what it does, if its address and its other fields do not.
IN_WORDS = "act"
#: Names of rows, and characters of a text, that are shown.
MAX_NAMES, MAX_SHOWN = 20, 500
_VERBS = {"changelist": "act on the list of", "handler": "send a test task to its handler"}
#: Fields that a page has for itself.
_OWN = {
    IN_WORDS, SEEN, "chosen", "post", "index", "action", "select_across", ACTION_CHECKBOX_NAME, "_save", "_continue",
    "_addanother",
}  # fmt: skip


@dataclass
class Words:
    """`rows`: (label, value). `warnings`: those of its page. `why`: it is not offered, and what was sent is shown as it
    is; blank: the words say all that it would do."""

    rows: list[tuple[str, str]]
    warnings: Sequence[str] = ()
    why: str = ""
    fields: set[str] = field(default_factory=set)


def as_sent(act: Act, why: str = "") -> Words:
    """Its fields as they are, for whom has just seen their page, or to copy them from."""
    rows, query = [("Act", _verb(act)), *_row(act.match)], parse_qsl(urlsplit(act.address).query)
    rows += [(name, line(value, MAX_SHOWN)) for name, value in query if name not in _OWN]
    for name, values in act.fields:
        if name not in _OWN:
            rows.append(
                (name.strip("_").replace("_", " "), ", ".join(line(value, MAX_SHOWN) or "-" for value in values))
            )
    return Words(rows, why=why)


def in_words(request: HttpRequest, act: Act) -> Words:
    """What its page says of it now."""
    try:
        page = _page(request, act.address, act.match)
    except PermissionDenied:
        return as_sent(act, "Your user may not do it any more.")
    except Http404:
        return as_sent(act, "Its page is gone.")
    said = Words([("Act", _verb(act)), *_row(act.match)])
    if isinstance(page, TemplateResponse):
        said = _of_page(request, page.context_data or {}, act)
    elif not isinstance(page, HttpResponseNotAllowed) or "POST" not in page["Allow"]:
        return as_sent(act, "It cannot be done as it was sent.")
    # Django's two-column selector sends what is marked in its left column too: it chooses nothing.
    unsaid = {name for name, _ in act.fields} - said.fields - {f"{name}_old" for name in said.fields} - _OWN
    if not said.why and unsaid and IN_WORDS not in dict(act.fields):
        said.why = "It is to be done on its page, which says what it does."
    return as_sent(act, said.why) if said.why else said


def _page(request: HttpRequest, address: str, match: ResolverMatch) -> Any:
    """The page, asked for as the browser would, with its query, by HEAD: an export begins at a GET. Its context has
    what its user saw: a form, or a list with acts."""
    asked, query = HttpRequest(), urlsplit(address).query
    asked.method, asked.path, asked.path_info = "HEAD", urlsplit(address).path, urlsplit(address).path
    asked.META = {**request.META, "REQUEST_METHOD": "HEAD", "QUERY_STRING": query}
    asked.GET, asked.COOKIES, asked.resolver_match = QueryDict(query), request.COOKIES, match
    asked.user, asked.session = request.user, request.session
    vars(asked)["_messages"] = vars(request).get("_messages")
    return match.func(asked, *match.args, **match.kwargs)


def _of_page(request: HttpRequest, page: dict[str, Any], act: Act) -> Words:
    said, fields = Words([], page.get("warnings") or ()), dict(act.fields)
    if (shown := page.get("cl")) is not None:
        _say_list(said, request, shown, act.address, fields)
        return said
    title = fields.get(IN_WORDS, [str(page.get("title", ""))])[0]
    said.rows.append(("Act", line(title, MAX_SHOWN).removesuffix(": are you sure?").removesuffix("?")))
    original = page.get("original") or page.get("object") or page.get("task")
    said.rows += _row(act.match, original)
    form = page["adminform"].form if "adminform" in page else page.get("form")
    if isinstance(form, forms.BaseForm):
        _say_form(said, form, act.fields, changes=original is not None)
    for name, label in page.get("labels", {}).items():
        said.rows += [(label, line(value, MAX_SHOWN) or "-") for value in fields.get(name, ())]
        said.fields.add(name)
    return said


def _say_form(said: Words, form: Any, fields: Fields, changes: bool) -> None:
    """Each field with its label; if the form changes something, also what a changed field is now."""
    data = QueryDict(mutable=True)
    for name, values in fields:
        data.setlist(name, values)
    own = form.in_words(data) if hasattr(form, "in_words") else {}
    for bound in form:
        said.fields |= {bound.html_name}
        if bound.is_hidden or bound.field.disabled:
            continue
        new = own.get(bound.name)
        if new is None:
            new = _value(bound.field, bound.field.widget.value_from_datadict(data, {}, bound.html_name))
        now = _value(bound.field, bound.field.prepare_value(bound.initial))
        said.rows.append((str(bound.label), f"{new} (now: {now})" if changes and new != now else new))


def _value(of: forms.Field, value: Any) -> str:
    if isinstance(of, forms.BooleanField):
        return "yes" if value else "no"
    values = value if isinstance(value, list | tuple) else [value]
    if (choices := getattr(of, "choices", None)) is not None:
        names = {str(key): str(label) for key, label in choices}
        return ", ".join(sorted(line(names.get(str(each), str(each)), 120) for each in values)) or "none"
    return ", ".join(line(str(each), MAX_SHOWN) for each in values if each is not None) or "-"


def _say_list(said: Words, request: HttpRequest, shown: Any, address: str, fields: dict[str, list[str]]) -> None:
    """An act on rows of a list: its name, and theirs."""
    acts = {name: text for _, name, text in shown.model_admin.get_actions(request).values()}
    named = acts.get(fields.get("action", [""])[0])
    if named is None:
        said.why = "It is to be done on its page, which says what it does."
        return
    nouns = {"verbose_name": shown.opts.verbose_name, "verbose_name_plural": shown.opts.verbose_name_plural}
    said.rows.append(("Act", str(named) % nouns))
    if all_that_match(fields.get("select_across", [""])[-1]):
        chosen = [f"{name}: {value}" for name, value in parse_qsl(urlsplit(address).query)]
        said.rows.append(("On", f"all that match {line(', '.join(chosen), MAX_SHOWN)}" if chosen else "all: no filter"))
        return
    ids = fields.get(ACTION_CHECKBOX_NAME, [])
    try:
        rows = shown.model_admin.get_queryset(request).in_bulk(ids[:MAX_NAMES])
    except (ValueError, ValidationError):
        rows = {}
    names = [line(str(row), 120) for row in rows.values()]
    if gone := len(ids[:MAX_NAMES]) - len(names):
        names.append(f"{gone} that are gone")
    more = f" and {len(ids) - MAX_NAMES} more" if len(ids) > MAX_NAMES else ""
    said.rows.append(("On", ", ".join(names) + more))


def _verb(act: Act) -> str:
    """What an address does, as far as its name tells: `Redrive task`."""
    rows_name, _, verb = (act.match.url_name or "").replace("-", "_").rpartition("_")
    said = dict(act.fields).get(IN_WORDS, [f"{_VERBS.get(verb, verb)} {_noun(rows_name)}"])
    return capfirst(line(said[0], MAX_SHOWN))


def _row(match: ResolverMatch, original: Any = None) -> list[tuple[str, str]]:
    """The row that an address names."""
    if "object_id" not in match.kwargs:
        return []
    noun = _noun((match.url_name or "").replace("-", "_").rpartition("_")[0])
    return [(capfirst(noun) or "Row", line(str(original or match.kwargs["object_id"]), MAX_SHOWN))]


def _noun(rows_name: str) -> str:
    models = (model._meta for model in admin.site._registry)
    return next((str(each.verbose_name) for each in models if f"{each.app_label}_{each.model_name}" == rows_name), "")
