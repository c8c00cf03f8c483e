"""The bar on each page of the admin: its sections, all other pages, and the search of tasks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any, NamedTuple

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.urls import reverse
from django.utils.http import urlencode
from django.utils.text import capfirst

from tasks_app.admin.search import MAX_SEARCH_CHARS, only_task
from tasks_app.admin.text import task_link
from tasks_app.feature import registered
from tasks_app.rights import SEE_NODES, SEE_PAYLOADS, SEE_TASKS, Right, may


class Section(NamedTuple):
    """A link in the bar, for whoever has all of these rights.

    `page`: the name of its address; the pages below it belong to it, as do those of the addresses named in `others`.
    `place`: the sections are in its order.
    """

    text: str
    page: str
    place: int
    rights: tuple[Right, ...]
    others: tuple[str, ...] = ()


#: Those of the engine. Between them is room for those of features.
SECTIONS = (
    Section("Dashboard", "admin:index", 0, ()),
    Section("Tasks", "admin:tasks_app_task_changelist", 20, (SEE_TASKS,)),
    Section("Handlers", "admin-handlers", 40, (SEE_TASKS,), ("admin-handler",)),
    Section("Nodes", "admin:tasks_app_node_changelist", 50, (SEE_NODES,)),
)


@dataclass(frozen=True)
class Entry:
    """A link. `current`: the value of aria-current: `page`, `true` for a page below it, or "" for no such page.

    `add`: the address of the form that adds one, and `adds`: what it adds; "" without one.
    """

    text: str
    address: str
    current: str
    add: str = ""
    adds: str = ""


def bar(request: HttpRequest, apps: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The bar's contents. `apps`: Django's list of the pages that the user may see. Sends no statement of its own."""
    sections = sorted(chain(SECTIONS, *registered("sections")), key=lambda section: section.place)
    shown = [_entry(request.path, one) for one in sections if all(may(request, right) for right in one.rights)]
    others = [
        Entry(
            str(capfirst(model["name"])),
            model["admin_url"],
            _current(request.path, model["admin_url"]),
            model["add_url"] or "",
            str(model["model"]._meta.verbose_name),
        )
        for app in apps
        for model in app["models"]
        if model["admin_url"] and model["admin_url"] not in {one.address for one in shown}
    ]
    errors = may(request, SEE_PAYLOADS)
    return {
        "sections": shown,
        "others": others,
        "in_others": any(one.current for one in others),
        "searches": may(request, SEE_TASKS),
        "max_chars": MAX_SEARCH_CHARS,
        "finds": "Id, tag:NAME, or words of an error" if errors else "Id or tag:NAME",
    }


def _entry(path: str, section: Section) -> Entry:
    address = reverse(section.page)
    if section.page == "admin:index":  # every page is below it
        return Entry(section.text, address, "page" if path == address else "")
    inside = any(path.startswith(reverse(name)) for name in section.others)
    return Entry(section.text, address, _current(path, address) or ("true" if inside else ""))


def _current(path: str, address: str) -> str:
    return "page" if path == address else "true" if path.startswith(address) else ""


def search_view(request: HttpRequest) -> HttpResponse:
    """GET: the page of the task whose id, or the beginning of it, is `q`; if there are more or none, the list of what
    matches."""
    if request.method not in ("GET", "HEAD"):
        return HttpResponseNotAllowed(["GET", "HEAD"])
    if not may(request, SEE_TASKS):
        raise PermissionDenied
    texts = request.GET.getlist("q")
    task = only_task(texts[0]) if len(texts) == 1 else None
    if task is not None:
        return HttpResponseRedirect(task_link(task))
    # Texts that are not understood too: the list says why.
    wanted = {"q": [text for text in texts if text]}
    return HttpResponseRedirect(f"{reverse('admin:tasks_app_task_changelist')}?{urlencode(wanted, doseq=True)}")
