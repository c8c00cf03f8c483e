"""What running tasks write, as a deployment stores and shows it before they end."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from testkit.browser import NARROW, WIDE, chromium, log_in, overflow, window
from testkit.daemon import ACTOR, Daemon
from testkit.process import of_home, until
from tests.system.nodes import Nodes

pytestmark = [
    pytest.mark.long("kills, and a browser", seconds=30),
    pytest.mark.one_leg("pages, and processes; the rows: node/test_live_log.py and queue/store/test_live_events.py"),
]

SPEAKER = ACTOR.with_name("speaker.py")
#: Bytes that a node may ever have had. It is under 80 MB at rest.
MOST_MEMORY = 200 * 1024 * 1024
PASSWORD = "a good password"
MARKUP = "<img src=x onerror=alert(1)><b>bold</b>"


@pytest.fixture(scope="module")
def speaking(module_deployment: Callable[..., Daemon]) -> Daemon:
    """One `up` for the tests that harm no process."""
    daemon = with_handlers(module_deployment)
    daemon.up()
    return daemon


@pytest.fixture(scope="module")
def apart(module_deployment: Callable[..., Daemon]) -> Daemon:
    """A deployment with a web server, whose nodes the tests start."""
    daemon = with_handlers(module_deployment)
    daemon.web()
    return daemon


@pytest.fixture(scope="module")
def nodes(apart: Daemon) -> Nodes:
    """Its nodes."""
    return Nodes(apart)


def with_handlers(make: Callable[..., Daemon]) -> Daemon:
    """A deployment with the handlers `speak` and `markup`."""
    daemon = make(DAEMON_ADMIN_PASSWORD=PASSWORD)
    markup = ["sh", "-c", f"read line; echo {shlex.quote(MARKUP)}; cat"]
    for name, command in (("speak", ["python", str(SPEAKER)]), ("markup", markup)):
        with daemon.config.open("a") as file:
            file.write(f"[handlers.{name}]\ncommand = {json.dumps(command)}\ntimeout = 120\n")
    return daemon


#: Opens the page of a task.
Open = Callable[[str], Page]
Operator = Callable[..., AbstractContextManager[Open]]


@pytest.fixture(scope="module")
def operator(speaking: Daemon) -> Iterator[Operator]:
    """An operator who has logged in to the admin, and opens the page of a task: `with operator(NARROW) as opens`."""
    with chromium() as browser:
        with window(browser) as page:
            log_in(page, speaking.base, "admin", PASSWORD)
            cookies = page.context.cookies()

        @contextmanager
        def at(size: tuple[int, int] = WIDE) -> Iterator[Open]:
            with window(browser, size) as page:
                for one in cookies:
                    page.context.add_cookies([{"name": one["name"], "value": one["value"], "url": speaking.base}])

                def opened(task: str) -> Page:
                    page.goto(f"{speaking.base}/admin/tasks_app/task/{task}/change/")
                    return page

                yield opened

        yield at


def events(daemon: Daemon, task: str, attempt: int = 1) -> list[tuple[str, dict[str, Any]]]:
    """Kind and body of an attempt's events, in their order and without a gap."""
    rows = daemon.rows(
        "SELECT sequence, kind, body FROM taskdaemon_live_event WHERE task_id = ? AND attempt = ? ORDER BY sequence",
        task.replace("-", ""), attempt,
    )  # fmt: skip
    assert [row["sequence"] for row in rows] == [*range(1, len(rows) + 1)]
    return [(row["kind"], json.loads(row["body"]) if isinstance(row["body"], str) else row["body"]) for row in rows]


def text(found: list[tuple[str, dict[str, Any]]], stream: str) -> str:
    return "".join(body.get("text", "") for _, body in found if body.get("stream") == stream)


def lines(attempt: int, word: str, count: int) -> str:
    return "".join(f"{attempt}: {word} {number}\n" for number in range(1, count + 1))


def ended(daemon: Daemon, task: str, attempt: int = 1) -> list[tuple[str, dict[str, Any]]]:
    """The events of an attempt that has its end."""

    def look() -> list[tuple[str, dict[str, Any]]] | None:
        found = events(daemon, task, attempt)
        return found if found and found[-1][0] == "end" else None

    return until(look, what=lambda: f"the end of {events(daemon, task, attempt)}")


def shown(page: Page, stream: str) -> str:
    """What a page shows of a stream."""
    chunks = page.eval_on_selector_all(
        ".td-live-chunk", "all => all.map(one => [one.firstChild.textContent, one.lastChild.textContent])"
    )
    return "".join(said for name, said in chunks if name == stream)


def fits(page: Page) -> None:
    """Neither a narrow nor a wide window has to be moved sideways."""
    for width, height in (NARROW, WIDE):
        page.set_viewport_size({"width": width, "height": height})
        assert overflow(page) <= 0


def running_attempt(daemon: Daemon, task: str) -> dict[str, Any] | None:
    listed = daemon.http.get(f"/api/tasks/{task}/attempts?running=true").json()
    return listed[-1] if listed and listed[-1]["outcome"] is None else None


def test_a_running_task_shows_its_log_and_progress_and_each_line_once(speaking: Daemon) -> None:
    task = speaking.post("speak", {"lines": 40, "pause": 0.1})
    quick = speaking.post("speak", {"lines": 3})

    def look() -> dict[str, Any] | None:
        found = running_attempt(speaking, task)
        return found if found and found["progress"] and found["stderr_tail"] else None

    runs = until(look)
    assert runs["container"].startswith("pid-") and runs["ended_at"] is None
    assert lines(1, "log", 40).startswith(runs["stderr_tail"]) and lines(1, "out", 40).startswith(runs["stdout_tail"])
    done = runs["progress"]["done"]
    assert runs["progress"] == {"progress": done / 40, "done": done, "total": 40, "message": f"step {done}"}
    assert speaking.until_final(task)["result"] == 40
    found = ended(speaking, task)
    assert text(found, "stderr") == lines(1, "log", 40) and text(found, "stdout") == lines(1, "out", 40)
    shares = [body["progress"] for kind, body in found if kind == "progress"]
    assert shares == sorted(shares) and shares[-1] == 1.0 and 3 <= len(shares) <= 8
    assert found[-1] == ("end", {"outcome": "success"})
    (attempt,) = speaking.attempts(task)
    assert attempt["stderr_tail"] == lines(1, "log", 40) and '"done": 40' in attempt["stdout_tail"]
    assert speaking.until_final(quick)["result"] == 3 and events(speaking, quick) == []


def test_after_the_death_of_its_node_an_attempt_has_an_end_and_the_next_one_goes_on(
    apart: Daemon, nodes: Nodes
) -> None:
    first = nodes.living()
    task = apart.post("speak", {"lines": 60, "pause": 0.1})
    until(lambda: len(events(apart, task)) > 3)
    first.kill()
    nodes.new()
    found = ended(apart, task)
    assert found[-1] == ("end", {"outcome": "worker_lost"})
    assert lines(1, "log", 60).startswith(text(found, "stderr")) and text(found, "stderr")
    assert apart.until_final(task)["attempts"] == 2
    assert text(ended(apart, task, 2), "stderr") == lines(2, "log", 60)
    assert ended(apart, task) == found


def test_a_cancelled_task_has_what_its_handler_said_last(speaking: Daemon) -> None:
    task = speaking.post("speak", {"lines": 2, "waits": True})
    until(lambda: events(speaking, task))
    assert speaking.http.post(f"/api/tasks/{task}/cancel").status_code == 200
    found = ended(speaking, task)
    assert text(found, "stderr") == f"{lines(1, 'log', 2)}cleaning up\n"
    assert found[-1] == ("end", {"outcome": "cancelled"})


def test_a_handler_that_prints_100_mb_costs_neither_the_nodes_memory_nor_the_table(speaking: Daemon) -> None:
    task = speaking.post("speak", {"lines": 40, "pause": 0.1, "flood": 100})
    assert speaking.until_final(task, timeout=120.0)["result"] == 40
    found = ended(speaking, task)
    texts = sum(len(body.get("text", "")) for _, body in found)
    cut = sum(body.get("cut", 0) for _, body in found)
    assert texts <= 64 * 1024 and texts + cut >= 100 * 1024 * 1024
    assert len(found) < 40 and found[-1] == ("end", {"outcome": "success"})
    assert [body["progress"] for kind, body in found if kind == "progress"][-1] == 1.0
    most = [Path(f"/proc/{pid}/status").read_text().partition("VmHWM:")[2].split()[0] for pid in of_home(speaking.home)]
    assert max(map(int, most)) * 1024 < MOST_MEMORY


def test_the_admins_page_follows_a_task_to_its_end(speaking: Daemon, operator: Operator) -> None:
    with operator(NARROW) as opens:
        task = speaking.post("speak", {"lines": 80, "pause": 0.1})
        page = opens(task)
        log, title = page.locator(".td-live-log"), page.locator("h1[data-part=title]")
        expect(log).to_contain_text("1: log 10", timeout=30_000)
        expect(page.locator(".td-live-progress")).to_contain_text("of 80 · step")
        until(lambda: page.evaluate("document.querySelector('#td-live progress').value > 0.2"))
        expect(title).to_have_text("speak processing")
        fits(page)
        expect(page.locator(".td-live-state")).to_have_text("The task is completed.", timeout=30_000)
        assert shown(page, "stderr") == lines(1, "log", 80) and shown(page, "stdout") == lines(1, "out", 80)
        expect(title).to_have_text("speak completed")
        expect(page.locator("[data-part=attempts]")).to_contain_text("success")
        expect(page.locator("[data-part=timeline]")).to_contain_text("completed")
        fits(page)


def test_the_page_rests_while_it_is_hidden_and_goes_on_where_it_was(speaking: Daemon, operator: Operator) -> None:
    with operator() as opens:
        task = speaking.post("speak", {"lines": 80, "pause": 0.1})
        page = opens(task)
        expect(page.locator(".td-live-log")).to_contain_text("1: log 1", timeout=30_000)
        hide = "state => { Object.defineProperty(document, 'hidden', {value: state, configurable: true});"
        hide += " document.dispatchEvent(new Event('visibilitychange')); }"
        page.evaluate(hide, True)
        page.wait_for_load_state("networkidle")
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        speaking.until_final(task)
        page.evaluate("0")  # lets it tell of its requests
        assert asked == []
        page.evaluate(hide, False)
        expect(page.locator(".td-live-state")).to_have_text("The task is completed.")
        assert shown(page, "stderr") == lines(1, "log", 80)


def test_the_page_says_that_its_task_was_deleted(speaking: Daemon, operator: Operator) -> None:
    with operator() as opens:
        task = speaking.post("speak", {"lines": 1, "waits": True})
        speaking.until_status(task, "processing")
        page = opens(task)
        expect(page.locator(".td-live-state")).to_have_text("Attempt 1 runs.")
        speaking.http.delete(f"/api/tasks/{task}")
        expect(page.locator(".td-live-state")).to_have_text("The task was deleted.")


def test_markup_in_a_log_is_text(speaking: Daemon, operator: Operator) -> None:
    with operator() as opens:
        task = speaking.post("markup")
        page = opens(task)
        expect(page.locator(".td-live-log")).to_contain_text(MARKUP, timeout=30_000)
        assert page.locator(".td-live-log").locator("img, b").count() == 0
    speaking.http.post(f"/api/tasks/{task}/cancel")


def test_the_page_works_without_scripts(speaking: Daemon, operator: Operator) -> None:
    with operator() as opens:
        task = speaking.post("speak", {"lines": 2, "waits": True})
        speaking.until_status(task, "processing")
        opens(task).route("**/live.js", lambda route: route.abort())
        page = opens(task)
        expect(page.locator("h1[data-part=title]")).to_have_text("speak processing")
        assert not page.locator("#td-live").is_visible()
    speaking.http.post(f"/api/tasks/{task}/cancel")
