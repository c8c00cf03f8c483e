"""Who waits for a limit key: in Chromium, from a handler's page to the tasks of a key and to why one of them waits."""

from __future__ import annotations

import os

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Open
from tests.features.limits.test_seen import filled, keyed

pytestmark = [
    pytest.mark.long("a browser", seconds=15),
    pytest.mark.one_leg("what pages show; what is read for them: features/limits/test_seen.py"),
    pytest.mark.django_db(transaction=True),
]


def taken(page: Page, name: str) -> None:
    """For who wants to look at it: a picture of the page, where SHOTS names a folder."""
    if folder := os.environ.get("SHOTS"):
        page.screenshot(path=f"{folder}/{name}.png", full_page=True)


@pytest.mark.parametrize("width", [1440, 390])
def test_a_handlers_page_leads_to_the_tasks_of_a_key_and_why_they_wait(opened: Open, width: int) -> None:
    keyed("customer:42 <b>", 30), keyed("bob", 3), keyed("eve", 1)
    filled(2)
    tab = opened(width)
    page = tab.page
    tab.go("/admin/handler/?type=echo")
    table = page.locator("table", has=page.get_by_role("link", name="bob"))
    expect(table.locator("tbody tr")).to_have_count(3)
    row = table.locator("tbody tr").first
    expect(row.get_by_role("link").first).to_have_text("customer:42 <b>")
    taken(page, f"handler-{width}")
    row.get_by_role("link", name="28").click()
    expect(page.locator("#result_list tbody tr")).to_have_count(30)
    expect(page.get_by_text("the limit key “customer:42 <b>”")).to_be_visible()
    taken(page, f"list-{width}")
    page.locator("#result_list tbody tr a").first.click()
    expect(page.locator(".td-why")).to_contain_text("27 tasks of the key are before it")
    expect(page.get_by_role("link", name="customer:42 <b>")).to_be_visible()
    taken(page, f"task-{width}")
    assert not tab.console
