"""The bar on each page of the admin: its sections, and the search of all tasks."""

from __future__ import annotations

import re
from collections.abc import Callable
from uuid import UUID

import pytest
from django.test import Client

from testkit.clients import logged_in
from testkit.rows import node
from tests.admin.rows import in_role, staff, task

pytestmark = pytest.mark.database

LIST = "/admin/tasks_app/task/"
SECTIONS = [
    "Dashboard", "Activity", "Tasks", "Failures", "Handlers", "Nodes", "Schedules", "Callbacks", "Operations", "Audit"
]  # fmt: skip
BAR = re.compile(r'<div class="td-bar">.*?</div>', re.S)
LINK = re.compile(r'<(?:a href="([^"]*)"|summary)(?: aria-current="(\w+)")?>([^<]*)</')


def links(client: Client, page: str) -> dict[str, tuple[str, str]]:
    """Of the bar on a page: the address and the mark of each link, by its text."""
    [bar] = BAR.findall(client.get(page, follow=True).text)
    return {text: (address, current) for address, current, text in LINK.findall(bar)}


def test_each_section_is_a_link_on_each_page_and_the_present_one_is_marked(admin: Client) -> None:
    shown = links(admin, "/admin/")
    assert list(shown)[: len(SECTIONS)] == SECTIONS
    for name, (address, _) in shown.items():
        if address.startswith("/admin/"):
            marked = {text: mark for text, (_, mark) in links(admin, address).items() if mark}
            assert marked == ({name: "page"} if name in SECTIONS else {"More": "true", name: "page"})


def test_what_is_below_a_section_belongs_to_it(admin: Client) -> None:
    node("one", pools={})
    for page, name in (
        (f"{LIST}{task().pk}/change/", "Tasks"),
        ("/admin/handler/?type=echo", "Handlers"),
        ("/admin/tasks_app/node/one/change/", "Nodes"),
        ("/admin/auth/user/add/", "More"),
        ("/admin/tasks_app/task/nothing/change/", "Tasks"),
    ):
        marked = {text for text, (_, mark) in links(admin, page).items() if mark}
        assert name in marked and not marked & set(SECTIONS) - {name}, page
    assert not any(mark for _, mark in links(admin, "/admin/password_change/").values())


@pytest.mark.parametrize(
    ("user", "sections"),
    [
        (lambda: in_role("admin"), SECTIONS),
        (lambda: in_role("operator"), SECTIONS),
        (lambda: in_role("viewer"), [name for name in SECTIONS if name != "Failures"]),
        (lambda: staff("nina", "view_node"), ["Dashboard", "Nodes"]),
    ],
)
def test_a_section_is_only_for_who_may_see_it(db: None, user: Callable[[], object], sections: list[str]) -> None:
    client = logged_in(user())
    shown = links(client, "/admin/")
    assert [name for name in shown if name in SECTIONS] == sections
    for address, _ in shown.values():
        assert not address.startswith("/admin/") or client.get(address).status_code == 200
    assert ('role="search"' in client.get("/admin/").text) == ("Tasks" in sections)


def searched(client: Client, text: str) -> str:
    """Where the search of a text leads to."""
    answer = client.get("/admin/search/", {"q": text})
    assert answer.status_code == 302
    return answer.headers["Location"]


def test_an_id_or_the_beginning_of_one_opens_its_task(admin: Client) -> None:
    one, _ = task(pk=UUID("01a21069-f69d-743e-9d46-e440da9ef235")), task()
    for text in (str(one.pk), one.pk.hex, str(one.pk).upper(), "01a21069-f69d", " 01a21069 "):
        assert searched(admin, text) == f"{LIST}{one.pk}/change/"
    task(pk=UUID("01a21069-f69d-743e-9d46-e440da9ef236"))
    assert searched(admin, "01a21069") == f"{LIST}?q=01a21069"
    assert searched(admin, "01a21070") == f"{LIST}?q=01a21070"


def test_a_tag_or_a_text_leads_to_the_list_which_says_what_was_searched_for(admin: Client) -> None:
    tagged, failed = task(tags=["nightly"]), task("failed", last_error="Upstream & answered 503")
    for text, rows, says in (
        ("tag:nightly", [tagged.pk], "with the tag “nightly”"),
        ("upstream & 503", [failed.pk], "with “upstream” and “&amp;” and “503” in the error"),
        (
            "tag:a tag:b thing",
            [],
            "for failed tasks with the tags “a” and “b”, and with “thing” in the error.",
        ),
        ("key:a b", [], "Searched for tasks with the unique key “a b”."),
        ("00000000", [], "Searched for ids from 00000000-0000-0000-0000-000000000000 to 00000000-ffff-"),
        ("0" * 32, [], "Searched for the task 00000000-0000-0000-0000-000000000000."),
        ("nightly", [], '<a href="?q=tag%3Anightly">Search for tag:nightly</a>'),
        ("x" * 1001, [], "more than 1,000 characters"),
        ("", [failed.pk, tagged.pk], "2 tasks"),
    ):
        answer = admin.get(searched(admin, text))
        assert [row.pk for row in answer.context["cl"].result_list] == rows, text
        assert says in answer.text, text
    assert "given 2 times" in admin.get("/admin/search/?q=a&q=b", follow=True).text


def test_who_may_not_see_errors_searches_ids_and_tags_alone(db: None) -> None:
    viewer, failed = logged_in(in_role("viewer")), task("failed", tags=["nightly"])
    assert searched(viewer, str(failed.pk)) == f"{LIST}{failed.pk}/change/"
    assert str(failed.pk) in viewer.get(searched(viewer, "tag:nightly")).text
    page = viewer.get(searched(viewer, "work")).text
    assert "To search in errors, a user needs the permission" in page and str(failed.pk) not in page
    assert "error" not in BAR.findall(page)[0]
    nobody = logged_in(staff("nina", "view_node"))
    assert nobody.get("/admin/search/", {"q": str(failed.pk)}).status_code == 403
    assert viewer.post("/admin/search/", {"q": "x"}).status_code == 405
