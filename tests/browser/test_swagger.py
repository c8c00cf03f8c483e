"""Swagger UI: "Try it out" and "Execute" work as they stand, with any handlers.toml."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Page

from testkit.browser import chromium
from testkit.daemon import serving

HANDLERS = '[handlers.thumbnail]\ncommand = ["cat"]\ntimeout = 2\n'


def execute(page: Page, call: str) -> tuple[int, str]:
    """The status of a call that is opened and executed, and its address."""
    row = page.locator(f"#operations-tasks-{call}")
    row.locator(".opblock-summary-control").click()
    with page.expect_response(lambda answer: "/queue" in answer.url or "/api/" in answer.url) as answered:
        row.get_by_role("button", name="Execute").click()
    return answered.value.status, answered.value.url.partition("localhost")[2].partition("/")[2]


def test_the_first_call_and_the_list_work_as_they_are_shown(tmp_path: Path) -> None:
    file = tmp_path / "handlers.toml"
    file.write_text(HANDLERS, encoding="utf-8")
    with serving(tmp_path, HANDLER_CONFIG=str(file)) as server, chromium() as browser:
        page = browser.new_page()  # Swagger UI warns of formats that it does not know
        page.goto(f"http://localhost:{server.port}/docs")
        assert execute(page, "queue_task") == (200, "queue")
        assert server.rows("SELECT task_type FROM taskdaemon_task") == [{"task_type": "thumbnail"}]
        assert execute(page, "list_tasks") == (200, "api/tasks?limit=20"), "no filter is filled in"
