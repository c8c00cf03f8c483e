"""The way through the admin in Chromium: the bar, its search, a list's filters, and clicks that are counted."""

from __future__ import annotations

import re

import pytest
from axes.models import AccessLog
from django.contrib.auth.models import User
from playwright.sync_api import Locator, expect

from tasks_app.keys.api_keys import Grant, create
from tasks_app.queue.node_models import HandlerPause
from testkit.browser import NARROW, WIDE
from tests.browser.conftest import WIDTHS, Open

pytestmark = [
    pytest.mark.long("a browser", seconds=20),
    pytest.mark.one_leg("what pages offer"),
    pytest.mark.django_db(transaction=True),
]

TASKS = "/admin/tasks_app/task/"
SECTIONS = ("Dashboard", "Activity", "Tasks", "Failures", "Handlers", "Nodes", "Schedules", "Operations", "Audit")


def top(of: Locator) -> float:
    """How far it is below the top of the page."""
    box = of.bounding_box()
    assert box is not None
    return box["y"]


@pytest.mark.parametrize("width", WIDTHS)
def test_the_sections_and_the_search_are_at_the_top_of_a_page_and_the_keyboard_uses_them(
    opened: Open, width: int, rows: dict[str, str]
) -> None:
    tab = opened(width)
    tab.go(TASKS)
    bar = tab.page.get_by_role("navigation", name="Sections")
    for name in SECTIONS:
        assert top(bar.get_by_role("link", name=name, exact=True)) < 260, name
    expect(bar.locator("[aria-current=page]")).to_have_text("Tasks")
    bar.locator("summary").focus()
    tab.page.keyboard.press("Enter")
    expect(bar.get_by_role("link", name="Users")).to_be_visible()
    tab.page.keyboard.press("Tab")
    tab.page.keyboard.press("Escape")
    expect(bar.get_by_role("link", name="Users")).not_to_be_visible()
    expect(bar.locator("summary")).to_be_focused()
    search = tab.page.get_by_role("search", name="All tasks").get_by_role("searchbox")
    assert top(search) < 260
    search.focus()
    tab.page.keyboard.type(f"{rows['failed']}")
    tab.page.keyboard.press("Enter")
    tab.page.wait_for_url(f"**{TASKS}{rows['failed']}/change/")
    expect(bar.locator("[aria-current=true]")).to_have_text("Tasks")


def test_on_a_narrow_screen_the_filters_are_a_closed_panel_above_the_cards(opened: Open) -> None:
    tab = opened(NARROW[0])
    tab.go(TASKS)
    panel, filters = tab.page.locator(".td-filters > summary"), tab.page.locator("#changelist-filter")
    assert top(panel) < top(tab.page.locator("#result_list tbody tr").first)
    expect(filters).not_to_be_visible()
    panel.focus()
    tab.page.keyboard.press("Enter")
    filters.get_by_role("link", name="failed", exact=True).click()
    tab.page.wait_for_url("**?status=failed")
    expect(panel).to_have_text("Filters: status: failed")
    expect(filters).not_to_be_visible()
    panel.focus()
    for key in ("Enter", "Tab", "Escape"):
        tab.page.keyboard.press(key)
    expect(filters).not_to_be_visible()
    expect(panel).to_be_focused()


def test_on_a_narrow_screen_the_cells_of_a_card_say_what_they_are(opened: Open) -> None:
    create("ci", Grant())
    AccessLog.objects.create(username="vera", ip_address="192.0.2.7", user_agent="Lynx", path_info="/admin/login/")
    tab = opened(NARROW[0])
    for path in ("/admin/tasks_app/apikey/", "/admin/axes/accesslog/"):
        tab.go(path)
        labels = tab.page.locator("#result_list tbody tr").first.evaluate(
            "row => [...row.cells].filter(cell => cell.className.startsWith('field-'))"
            ".filter(cell => !cell.querySelector('.td-badge'))"
            ".map(cell => [cell.className, getComputedStyle(cell, '::before').content])"
        )
        unsaid = [name for name, label in labels if label == "none"]
        assert len(unsaid) <= 1, (path, unsaid)  # the head of a card
    expect(tab.page.locator("#result_list .field-attempt_time").first).to_have_text(re.compile(r"^[\d-]{10} [\d:]{8}$"))


def test_after_an_ended_session_the_login_leads_to_the_form_which_has_what_its_user_had_typed(
    opened: Open, address: str, rows: dict[str, str]
) -> None:
    for name in ("vera", "eve"):
        User.objects.create_superuser(name, None, "a good password")
    tab = opened(WIDE[0])
    page, form = tab.page, "/admin/tasks_app/handlerpause/pause/?handler=echo"
    page.context.clear_cookies()
    tab.go("/admin/login/")

    def log_in(name: str = "vera") -> None:
        page.get_by_label("Username").fill(name)
        page.get_by_label("Password").fill("a good password")
        page.get_by_role("button", name="Log in").click()

    log_in()
    page.wait_for_url(f"{address}/admin/")
    tab.go(form)
    page.get_by_label("Reason").fill("a typed reason")
    page.context.clear_cookies(name="taskdaemon_session")
    page.get_by_role("button", name="Yes, pause it").click()
    expect(page.locator(".errornote")).to_contain_text("nothing was changed")
    tab.console.clear()  # the 403 of the ended session
    log_in()
    page.wait_for_url(f"{address}{form}")
    assert not HandlerPause.objects.exists()
    expect(page.get_by_label("Reason")).to_have_value("a typed reason")
    page.get_by_role("button", name="Yes, pause it").click()
    page.wait_for_url(f"{address}/admin/")
    assert HandlerPause.objects.get().reason == "a typed reason"
    tab.go(form)
    page.get_by_label("Reason").fill("another reason")
    page.context.clear_cookies(name="taskdaemon_csrf")
    page.get_by_role("button", name="Yes, pause it").click()
    expect(page.locator(".errornote")).to_contain_text("The form is too old")
    page.go_back()
    page.reload()
    expect(page.get_by_label("Reason")).to_have_value("another reason")
    tab.go("/admin/tasks_app/apikey/add/")
    tab.go(form)
    expect(page.get_by_label("Reason")).to_have_value("a typed reason")  # of the pause that there is
    page.get_by_label("Reason").fill("another one")
    page.context.clear_cookies(name="taskdaemon_session")
    page.get_by_role("button", name="Yes, pause it").click()
    tab.console.clear()
    log_in("eve")
    page.wait_for_url(f"{address}{form}")
    expect(page.get_by_label("Reason")).to_have_value("a typed reason")  # another user sees no text of hers


@pytest.mark.parametrize("path", [TASKS, "/admin/tasks_app/auditentry/", "/admin/auth/user/"])
def test_on_a_wide_screen_the_filters_are_beside_the_list(opened: Open, path: str) -> None:
    tab = opened(WIDE[0])
    tab.go(path)
    expect(tab.page.locator(".td-filters > summary")).not_to_be_visible()
    filters = tab.page.locator("#changelist-filter")
    expect(filters).to_be_visible()
    box, rows = filters.bounding_box(), tab.page.locator("#changelist-form").bounding_box()
    assert box and rows and box["x"] >= rows["x"] + rows["width"] and box["width"] == 240
    tab.page.locator("#changelist-filter").get_by_role("link").first.focus()
