"""What a form that was sent would do, in the words of its page: the title, the labels, the names of what is chosen.

The page is asked for as the browser would, with its query, by HEAD: an export begins at a GET. What its context has is
what its user saw: a form, or a list with acts. What no page has in words is not offered (`Words.why`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from django import forms
from django.contrib import admin
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import Http404, HttpRequest, HttpResponseNotAllowed, QueryDict
from django.template.response import TemplateResponse
from django.urls import ResolverMatch, resolve
from django.utils.text import capfirst

from tasks_app.admin.holds import SEEN
from tasks_app.admin.lists import all_that_match
from tasks_app.admin.text import line

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
Fields = list[tuple[str, list[str]]]


@dataclass
class Words:
    """`rows`: (label, value). `warnings`: those of its page. `why`: it is not offered, and what was sent is shown as it
    is; blank: the words say all that it would do."""

    rows: list[tuple[str, str]]
    warnings: Sequence[str] = ()
    why: str = ""
    fields: set[str] = field(default_factory=set)


def as_sent(address: str, fields: Fields, why: str = "") -> Words:
    """Its fields as they are, for whom has just seen their page, or to copy them from."""
    match = resolve(urlsplit(address).path)
    rows = [("Act", _verb(match, fields)), *_row(match)]
    rows += [(name, line(value, MAX_SHOWN)) for name, value in parse_qsl(urlsplit(address).query) if name not in _OWN]
    for name, values in fields:
        if name not in _OWN:
            rows.append(
                (name.strip("_").replace("_", " "), ", ".join(line(value, MAX_SHOWN) or "-" for value in values))
            )
    return Words(rows, why=why)


def in_words(request: HttpRequest, address: str, fields: Fields) -> Words:
    """What its page says of it now."""
    match = resolve(urlsplit(address).path)
    try:
        page = _page(request, address, match)
    except PermissionDenied:
        return as_sent(address, fields, "Your user may not do it any more.")
    except Http404:
        return as_sent(address, fields, "Its page is gone.")
    said = Words([("Act", _verb(match, fields))])
    if isinstance(page, TemplateResponse):
        said = _of_page(request, page.context_data or {}, match, address, fields)
    elif not isinstance(page, HttpResponseNotAllowed) or "POST" not in page["Allow"]:
        return as_sent(address, fields, "It cannot be done as it was sent.")
    else:
        said.rows += _row(match)
    # Django's two-column selector sends what is marked in its left column too: it chooses nothing.
    unsaid = {name for name, _ in fields} - said.fields - {f"{name}_old" for name in said.fields} - _OWN
    if not said.why and unsaid and IN_WORDS not in dict(fields):
        said.why = "It is to be done on its page, which says what it does."
    return as_sent(address, fields, said.why) if said.why else said


def _page(request: HttpRequest, address: str, match: ResolverMatch) -> Any:
    asked, query = HttpRequest(), urlsplit(address).query
    asked.method, asked.path, asked.path_info = "HEAD", urlsplit(address).path, urlsplit(address).path
    asked.META = {**request.META, "REQUEST_METHOD": "HEAD", "QUERY_STRING": query}
    asked.GET, asked.COOKIES, asked.resolver_match = QueryDict(query), request.COOKIES, match
    asked.user, asked.session = request.user, request.session
    vars(asked)["_messages"] = vars(request).get("_messages")
    return match.func(asked, *match.args, **match.kwargs)


def _of_page(request: HttpRequest, page: dict[str, Any], match: ResolverMatch, address: str, fields: Fields) -> Words:
    said = Words([], page.get("warnings") or ())
    if (shown := page.get("cl")) is not None:
        _say_list(said, request, shown, address, dict(fields))
        return said
    title = dict(fields).get(IN_WORDS, [str(page.get("title", ""))])[0]
    said.rows.append(("Act", line(title, MAX_SHOWN).removesuffix(": are you sure?").removesuffix("?")))
    original = page.get("original") or page.get("object") or page.get("task")
    said.rows += _row(match, original)
    form = page["adminform"].form if "adminform" in page else page.get("form")
    if isinstance(form, forms.BaseForm):
        _say_form(said, form, fields, changes=original is not None)
    for name, label in page.get("labels", {}).items():
        said.rows += [(label, line(value, MAX_SHOWN) or "-") for value in dict(fields).get(name, ())]
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


def _verb(match: ResolverMatch, fields: Fields) -> str:
    """What an address does, as far as its name tells: `Redrive task`."""
    rows_name, _, verb = (match.url_name or "").replace("-", "_").rpartition("_")
    said = dict(fields).get(IN_WORDS, [f"{_VERBS.get(verb, verb)} {_noun(rows_name)}"])
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
