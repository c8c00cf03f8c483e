"""Pages in Chromium, from a live server with rows of every kind."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Literal

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone
from playwright.sync_api import Browser, Page

from tasks_app.features.history.history import key, present_minute
from tasks_app.features.history.models import HistoryRow
from tasks_app.metrics import system_reading
from testkit import browser
from testkit.needs import program
from testkit.rows import node
from tests.admin.rows import HOSTILE, attempt, task

HERE = Path(__file__).parent
#: Narrow and wide.
WIDTHS = (browser.NARROW[0], browser.WIDE[0])
Theme = Literal["light", "dark"]
THEMES: tuple[Theme, ...] = ("light", "dark")
#: What axe-core finds to be serious or worse, and how many of its rules hold. All else that it finds is long.
SERIOUS = """async ([where, options]) => {
  const found = await axe.run(where, {resultTypes: ["violations"], ...options});
  const serious = found.violations.filter(one => ["serious", "critical"].includes(one.impact));
  const said = one => ({id: one.id, html: one.nodes.slice(0, 3).map(node => node.html.slice(0, 200))});
  return {serious: serious.map(said), passes: found.passes.length};
}"""


@dataclass
class Opened:
    """A page in a tab. `console`: what the browser complains about; `asked`: the requests, by path."""

    page: Page
    base: str
    console: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def go(self, path: str) -> None:
        """Load a page; its pictures are drawn, if it has some."""
        self.page.goto(f"{self.base}{path}")
        if self.page.locator("[data-picture]").count():
            self.page.locator("[data-picture=outcomes] canvas").first.wait_for()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """A Chromium for a module's tests."""
    # Playwright runs an event loop in this thread, in which Django refuses queries.
    with pytest.MonkeyPatch.context() as patch, browser.chromium() as started:
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
        yield started


@pytest.fixture
def address(chromium: Browser, live_server: object) -> str:
    """The address of a live server."""
    system_reading._last = None
    return str(live_server).replace("127.0.0.1", "localhost")


@pytest.fixture
def rows(address: str) -> dict[str, str]:
    """Handlers, nodes, a history of a week, runs of every outcome, and the ids of a running and a failed task."""
    node(
        "one",
        pools={"echo": {"slots": 4, "warm": 3, "problem": None}, "prime": {"slots": 2, "warm": 2, "problem": None}},
    )
    node("two", pools={"echo": {"slots": 3, "warm": 0, "problem": f"no image {HOSTILE}\u202e"}})
    node("quiet", seen_before=300, pools={"prime": {"slots": 2, "warm": 2, "problem": None}})
    runs = str(task("processing", node="one", last_error=HOSTILE).pk)
    failed = task("failed", last_error=HOSTILE * 20, failure_reason="crash")
    outcomes = ("success", "error", "timeout", "crash", "oom", "bad_reply", "worker_lost", "released", "cancelled")
    now = timezone.now()
    for number, outcome in enumerate(outcomes, 1):
        ended = now - timedelta(minutes=5 * number)
        attempt(failed, number, outcome, ended_at=ended, started_at=ended, seconds=0.02 * 3**number)
    minute = present_minute()
    steps = sorted({*range(61), *range(minute % 5, 1500, 5), *range(minute % 15, 10_200, 15)})
    HistoryRow.objects.bulk_create(_row(minute - back, 10_200 - back, back) for back in steps)
    return {"running": runs, "failed": str(failed.pk)}


def _row(minute: int, age: int, back: int) -> HistoryRow:
    busy = 1 + (back // 60) % 5
    of = {
        "received": 40 * age, "completed": 30 * age + 7 * (age // 50), "retried": age, "ready": 10 * busy + back % 7,
        "failed": {"crash": 2 * age, "timeout": age, "handler_error": 3 * age, "oom": age // 2}, "waiting": back % 3,
        "wait": [0, 5 * age, 9 * age, 3 * age, age], "run": [0, 0, 0, 2 * age, 20 * age, 10 * age, age],
        "running": busy, "oldest": 1.5 * busy, "slots": 9, "warm": 5, "states": [busy, 5 - busy, 2, 2],
    }  # fmt: skip
    return HistoryRow(minute=minute, totals=of, handlers={key("echo"): of, key("prime"): of}, last_attempt=0)


Open = Callable[..., Opened]


@pytest.fixture
def opened(chromium: Browser, address: str, rows: dict[str, str]) -> Iterator[Open]:
    """Opens tabs with an administrator's session, in which nothing may be wrong until the test ends."""
    client = Client()
    client.force_login(User.objects.create_superuser("ada"))
    session = client.cookies["taskdaemon_session"].value

    with ExitStack() as stack:

        def new(width: int = 1440, theme: Theme = "light", script: bool = True) -> Opened:
            console: list[str] = []
            page = stack.enter_context(browser.window(chromium, (width, 900), theme == "dark", script, console))
            page.context.add_cookies([{"name": "taskdaemon_session", "value": session, "url": address}])
            tab = Opened(page, address, console)
            page.on("request", lambda request: tab.asked.append(request.url.removeprefix(address)))
            return tab

        yield new


@pytest.fixture(scope="session")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The source of axe-core."""
    npm, folder = program("npm"), tmp_path_factory.mktemp("axe")
    for name in ("package.json", "package-lock.json"):
        shutil.copy(HERE / name, folder)
    words = ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--cache", str(folder / "cache")]
    subprocess.run([npm, *words], cwd=folder, check=True, capture_output=True, timeout=110)
    return (folder / "node_modules/axe-core/axe.min.js").read_text(encoding="utf-8")
