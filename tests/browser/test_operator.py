"""What somebody on call does at night, in Chromium: read, edit, redrive, abort, pause."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, Page, expect

from testkit.browser import log_in, window
from testkit.daemon import Daemon
from testkit.process import Process, children, until
from tests.browser.deployed import PASSWORD
from tests.browser.pages import LIST, select_all

pytestmark = [
    pytest.mark.long("a browser", seconds=60),
    pytest.mark.one_leg("what pages offer; what becomes of it: system/test_operations.py"),
]

TASKS = LIST.format("task")
#: How many a bulk redrive has, and how many it moves a second until it is aborted.
MANY, RATE = 1000, 100
#: Tasks of a type, in a row of the test's own making: failed after one attempt.
FAILED = """UPDATE taskdaemon_task SET status = 'failed', failure_reason = 'timeout', due = NULL, due_at = NULL,
 attempts = 1, completed_at = created_at WHERE task_type = 'bulk'"""


@pytest.fixture(scope="module")
def night(module_deployment: Callable[..., Daemon]) -> tuple[Daemon, Process]:
    """A deployment, and the process of its `up`."""
    daemon = module_deployment(DAEMON_ADMIN_PASSWORD=PASSWORD)
    for name in ("act", "bulk", "held"):
        daemon.handler(name, max_retries=0)
    return daemon, daemon.up()


@contextmanager
def logged_in(chromium: Browser, daemon: Daemon) -> Iterator[Page]:
    with window(chromium) as page:
        log_in(page, daemon.base, "admin", PASSWORD)
        yield page


def operation(daemon: Daemon, page: Page) -> dict[str, object]:
    """The operation whose page is open."""
    page.wait_for_url("**/operation/*/change/")
    found: dict[str, object] = daemon.http.get(f"/api/operations/{page.url.split('/')[-3]}").json()
    return found


def test_a_failed_task_is_read_edited_and_redriven_and_the_others_after_a_canary(
    chromium: Browser, night: tuple[Daemon, Process]
) -> None:
    daemon, _ = night
    first = daemon.post("act", {"do": "crash", "code": 7})
    others = [daemon.post("act", {"do": "crash", "code": 7, "until": 2}) for _ in range(5)]
    for task in (first, *others):
        assert daemon.until_final(task)["status"] == "failed"
    with logged_in(chromium, daemon) as page:
        page.goto(f"{daemon.base}{TASKS}{first}/change/")
        expect(page.locator(".td-attempt")).to_contain_text("Exit code 7")
        expect(page.locator(".td-attempt .td-pre").last).to_have_text("going down\n", use_inner_text=False)
        page.click("text=Edit and redrive…")
        page.fill("textarea", '{"do": "echo", "of": "the night"}')
        page.fill("input[name=priority]", "7")
        page.click("text=Save and redrive")
        expect(page.locator(".messagelist")).to_contain_text("redriven")
        done = daemon.until_final(first)
        assert (done["status"], done["attempts"], done["result"]["of"]) == ("completed", 2, "the night")
        page.goto(f"{daemon.base}{TASKS}{first}/change/")
        expect(page.locator(".td-timeline")).to_contain_text("admin")
        expect(page.locator(".td-attempt")).to_have_count(2)

        select_all(page, f"{daemon.base}{TASKS}?status=failed&type=act", "redrive_selected")
        expect(page.locator("#content")).to_contain_text("5: 5 crash")
        page.fill("input[name=canary]", "1")
        page.click("text=Yes, redrive")
        operation(daemon, page)
        expect(page.locator("#content")).to_contain_text("5 redriven", timeout=30_000)
        expect(page.locator(".td-badge").first).to_have_text("completed")
    for task in others:
        assert (daemon.until_final(task)["status"], daemon.task(task)["attempts"]) == ("completed", 2)


def test_a_bulk_redrive_survives_its_node_is_aborted_and_the_rest_goes_on(
    chromium: Browser, night: tuple[Daemon, Process]
) -> None:
    daemon, up = night
    for _ in range(MANY // 1000):
        tasks = [{"type": "bulk", "data": {}, "delay": 86400}] * 1000
        assert daemon.http.post("/queue/batch", json={"tasks": tasks}).status_code == 200
    daemon.execute(FAILED)
    # Paused, none of them runs: what is pending was moved, and only once.
    assert daemon.http.post("/api/handlers/bulk/pause", json={}).status_code == 200
    before = daemon.counted("redriven|%")
    matching = f"{daemon.base}{TASKS}?status=failed&type=bulk"
    with logged_in(chromium, daemon) as page:
        select_all(page, matching, "redrive_selected")
        expect(page.locator("#content")).to_contain_text(f"{MANY:,}: {MANY:,} timeout")
        page.fill("input[name=rate]", str(RATE))
        page.click("text=Yes, redrive")
        until(lambda: int(str(operation(daemon, page)["done"])) > MANY / 10, what=lambda: f"{operation(daemon, page)}")
        _, worker = children(up.pid)
        os.kill(worker, signal.SIGKILL)
        up.until_says(r"^  worker was killed by SIGKILL")
        moved = int(str(operation(daemon, page)["done"]))
        until(lambda: int(str(operation(daemon, page)["done"])) > moved, what=lambda: f"{operation(daemon, page)}")
        page.click("text=Abort")
        expect(page.locator(".td-badge").first).to_have_text("aborted")
        moved = int(str(operation(daemon, page)["done"]))
        assert 0 < moved < MANY and _pending(daemon) == moved == daemon.counted("redriven|%") - before

        select_all(page, matching, "redrive_selected")
        expect(page.locator("#content")).to_contain_text(f"{MANY - moved:,}: {MANY - moved:,} timeout")
        page.click("text=Yes, redrive")
        expect(page.locator("#content")).to_contain_text(f"{MANY - moved:,} redriven", timeout=60_000)
    assert _pending(daemon) == MANY == daemon.counted("redriven|%") - before
    assert daemon.http.post("/api/handlers/bulk/resume", json={}).status_code == 200
    until(daemon.all_final, 60, what=lambda: f"{_pending(daemon)} pending")
    ended = "SELECT status, attempts, count(*) AS n FROM taskdaemon_task WHERE task_type = 'bulk' GROUP BY 1, 2"
    assert daemon.rows(ended) == [{"status": "completed", "attempts": 2, "n": MANY}]


def test_the_end_of_a_pause_is_entered_in_the_viewers_zone_and_shown_in_utc(
    chromium: Browser, night: tuple[Daemon, Process]
) -> None:
    daemon, _ = night
    with window(chromium, zone="Asia/Kolkata") as page:
        log_in(page, daemon.base, "admin", PASSWORD)
        page.goto(f"{daemon.base}/admin/tasks_app/handlerpause/pause/?handler=held")
        expect(page.locator("label[for=id_until]")).to_contain_text("Time (Asia/")
        page.fill("#id_until", "2100-01-31T10:30")
        expect(page.locator("#id_until_helptext")).to_have_text("= 2100-01-31 05:00 UTC")
        expect(page.get_by_label("at a time")).to_be_checked()
        page.fill("[name=reason]", "a bad model")
        page.click("text=Yes, pause it")
        expect(page.locator(".messagelist")).to_contain_text("Paused held")
    paused = daemon.http.get("/api/handlers/held").json()["paused"]
    assert (paused["until"], paused["reason"]) == ("2100-01-31T05:00:00.000000Z", "a bad model")
    assert daemon.http.post("/api/handlers/held/resume").status_code == 200


def _pending(daemon: Daemon) -> int:
    (row,) = daemon.rows("SELECT count(*) AS n FROM taskdaemon_task WHERE task_type = 'bulk' AND status = 'pending'")
    return int(row["n"])
