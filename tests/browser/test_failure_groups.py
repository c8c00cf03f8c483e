"""What is done about failures: in Chromium, by as few clicks as a failure group and its type need."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from tasks_app.features.failures.grouping import group_failures
from tasks_app.features.operations.models import Operation
from tasks_app.queue.models import Task
from tests.admin.rows import task
from tests.browser.conftest import Open
from tests.features.operations.kit import work

pytestmark = [
    pytest.mark.long("a browser", seconds=20),
    pytest.mark.one_leg("what pages do; what becomes of it: features/operations"),
    pytest.mark.django_db(transaction=True),
]
ERROR = "the handler ended with exit code 139 before it replied"


@pytest.fixture
def failed(address: str) -> list[Task]:
    """Failures of one group, which no other rows have."""
    tasks = [task("failed", last_error=ERROR, failure_reason="crash") for _ in range(30)]
    group_failures()
    return tasks


class Clicks:
    """Counts them."""

    def __init__(self, page: Page) -> None:
        self.page, self.number = page, 0

    def click(self, role: str, name: str) -> None:
        self.page.get_by_role(role, name=name, exact=True).first.click()  # type: ignore[arg-type]
        self.number += 1


def test_a_failure_group_is_redriven_by_three_clicks_and_back_is_no_error(opened: Open, failed: list[Task]) -> None:
    tab = opened()
    page, clicks = tab.page, Clicks(tab.page)
    tab.go("/admin/")
    clicks.click("link", ERROR)
    clicks.click("link", "Redrive…")
    expect(page.get_by_label("Canary")).to_have_value("3")
    expect(page.get_by_label("Stop at % failed again")).to_have_value("50")
    clicks.click("button", "Yes, redrive")
    page.wait_for_url("**/operation/*/change/")
    assert clicks.number == 3
    operation = Operation.objects.get()
    assert (operation.verb, operation.matched, operation.canary, operation.stop_share) == ("redrive", 30, 3, 0.5)
    progress = page.locator(".td-progress")
    expect(progress).to_contain_text("begins ")
    work(operation)
    expect(progress).to_contain_text("3 redriven, of 30: waits for the end of the canary.")
    expect(page.locator("[data-fresh=tasks] tbody tr")).to_have_count(3)
    page.go_back()
    expect(page.locator("#content")).to_contain_text("This form was sent: it has started an operation")
    page.go_back()
    page.wait_for_url("**/failuregroup/*/change/")
    expect(page.locator("h1")).to_contain_text("echo")
    assert Operation.objects.count() == 1


def test_a_selection_that_is_too_long_for_an_address_survives_back_and_a_wrong_option(
    opened: Open, failed: list[Task]
) -> None:
    for _ in range(300):
        task("failed")
    tab = opened()
    page = tab.page
    tab.go("/admin/tasks_app/task/?status=failed&all=")
    page.check("#action-toggle")
    page.select_option("select[name=action] >> nth=0", "redrive_selected")
    page.click("button[name=index] >> nth=0")
    expect(page.locator("#content")).to_contain_text("You selected them one by one.")
    assert len(page.url) < 500
    page.evaluate("document.querySelector('[name=rate]').removeAttribute('max')")
    page.get_by_label("Rate").fill("1000001")
    page.click("text=Yes, redrive")
    expect(page.locator(".errorlist")).to_contain_text("less than or equal to 100000")
    page.get_by_label("Rate").fill("1")
    page.click("text=Yes, redrive")
    page.wait_for_url("**/operation/*/change/")
    assert Operation.objects.get().matched > 300
    page.go_back()
    expect(page.locator("#content")).to_contain_text("it has started an operation")
    page.go_back()
    expect(page.locator("#content")).to_contain_text("it has started an operation")
    page.go_back()
    expect(page.locator("#result_list")).to_be_visible()
