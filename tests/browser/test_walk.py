"""Every page of the admin in Chromium, with hostile text in all that a caller or a handler writes."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, Page, Response, ViewportSize, expect

from testkit.browser import NARROW, WIDE, log_in, overflow, window
from testkit.daemon import Daemon
from testkit.sizes import LARGE
from tests.browser.conftest import SERIOUS, Theme
from tests.browser.deployed import CALLBACKS, PASSWORD, deployed, task_of_each_kind
from tests.browser.pages import FORMS, LIST, REFUSED, pages

pytestmark = [pytest.mark.long("a browser", seconds=80), pytest.mark.one_leg("what pages look like")]

#: What hostile text would do if it were markup.
HARM = "document.querySelectorAll('#content script:not([src]), #content img[onerror], #content b, [src=x]').length"
#: Characters that must be shown as text. `<` is text by itself.
RAW = "/[\\u0000\\u001b\\u202e]/.test(document.documentElement.outerHTML)"

#: Each page is loaded once, and seen in both.
LOOKS: tuple[tuple[ViewportSize, Theme], ...] = (
    ({"width": NARROW[0], "height": NARROW[1]}, "light"),
    ({"width": WIDE[0], "height": WIDE[1]}, "dark"),
)


@pytest.fixture(scope="module")
def filled(module_deployment: Callable[..., Daemon]) -> tuple[Daemon, dict[str, str]]:
    """An `up` with a row on every page, and the addresses of the pages."""
    daemon = deployed(module_deployment(DAEMON_ADMIN_PASSWORD=PASSWORD, **CALLBACKS))
    of = task_of_each_kind(daemon)
    for _ in range(3):
        daemon.post("held")  # a paused type
    return daemon, pages(daemon, of)


# What fits depends on the width alone, and contrast, axe-core's slowest rule, on the theme alone. axe-core sees each
# page in one look, and the next page in the other one; with TEST_LARGE=1 in both.
def test_every_page_fits_and_is_accessible_and_harmless_narrow_and_light_wide_and_dark(
    chromium: Browser, filled: tuple[Daemon, dict[str, str]], axe: str
) -> None:
    daemon, addresses = filled
    wrong: list[str] = []
    with window(chromium, NARROW) as page:
        page.add_init_script(axe)
        page.on("response", lambda answer: _note(wrong, answer))
        page.on("dialog", lambda dialog: wrong.append(f"dialog: {dialog.message}"))
        refused = {f"refused, {status}": address for status, address in REFUSED.items()}
        for name, address in {"login": "/admin/login/", **addresses, **refused}.items():
            if name != "login" and page.url.endswith("/admin/login/"):
                log_in(page, daemon.base, "admin", PASSWORD)
            page.goto(f"{daemon.base}{address}")
            wrong.extend(_seen(page, name))
        for name, opens in FORMS.items():
            opens(page, daemon.base)
            wrong.extend(_seen(page, name))
    assert not wrong, "\n".join(wrong)


def _note(wrong: list[str], answer: Response) -> None:
    # A lock-out, a form after its session has ended, and what is refused on purpose.
    expected = answer.status == 429 or (answer.status == 403 and answer.request.method == "POST")
    if answer.status >= 400 and not expected and not answer.url.endswith(REFUSED.get(answer.status, "-")):
        wrong.append(f"{answer.status} {answer.url}")


def _seen(page: Page, name: str) -> list[str]:
    """What is wrong with the page as it is, and then in the other look."""
    found: list[str] = []
    looks = sorted(LOOKS, key=lambda look: look[0] != page.viewport_size)
    for look in looks:
        size, theme = look
        page.set_viewport_size(size)
        page.emulate_media(color_scheme=theme)
        # The colours of another theme come little by little.
        page.evaluate("document.getAnimations().forEach(one => one.finish())")
        faults = [f"{pixels} pixels too wide"] if (pixels := overflow(page)) > 0 else []
        if look is looks[0]:
            faults += _faults(page, name)
        if look is looks[0] or LARGE:
            faults += _serious(page)
        found.extend(f"{name}, {size['width']} pixels, {theme}: {fault}" for fault in faults)
    return found


def _faults(page: Page, name: str) -> Iterator[str]:
    """What is wrong with the page in any look, in sentences."""
    crumbs = page.locator(".breadcrumbs")
    if name not in ("login", "session ended", "locked out") and (
        crumbs.count() != 1 or not crumbs.inner_text().startswith("Dashboard")
    ):
        yield f"breadcrumbs: {crumbs.all_inner_texts()}"
    if not page.title().endswith("| Tasks") or page.title().startswith("Select"):
        yield f"title: {page.title()}"
    if page.locator("link[rel=icon]").count() != 1:
        yield "no icon"
    if page.evaluate(HARM) or page.evaluate(RAW):
        yield "hostile text is not shown as text"


def _serious(page: Page) -> Iterator[str]:
    """What axe-core finds to be serious or worse."""
    # Without a preload: that asks for stylesheets again and inserts them, which the policy refuses.
    options = {"preload": False}
    for one in page.evaluate(SERIOUS, ["html", options])["serious"]:
        yield f"{one['id']}: {one['html']}"


def test_a_page_with_ten_megabytes_shows_their_beginning(
    chromium: Browser, filled: tuple[Daemon, dict[str, str]]
) -> None:
    daemon, addresses = filled
    with window(chromium) as page:
        log_in(page, daemon.base, "admin", PASSWORD)
        answer = page.goto(f"{daemon.base}{addresses['task, large']}")
        assert answer is not None and len(answer.body()) < 300_000
        assert "<script>alert(1)</script>" in page.locator("[data-part=result] pre").inner_text()


#: An act by keyboard: the page where it begins, what is reached and activated, or reached and typed into, and what is
#: said then.
Act = tuple[str, tuple[str | tuple[str, str], ...], str]
#: What folds out, what is one of several, and what chooses among rows.
FILTERS, MENU = (".td-filters > summary", " "), (".td-more > summary", " ")
PASSWORDS = (("[name=password1]", PASSWORD), ("[name=password2]", PASSWORD))
ENDS, ALL, ACTION = "[name=end]:checked", "#action-toggle", "select[name=action]"
ROW, YES = ("tbody [name=_selected_action]", " "), "Yes, change the priority"


def _narrow(of: dict[str, str]) -> list[Act]:
    tasks, search = LIST.format("task"), "[role=search] input"
    failed = of["task, failed"].split("/")[-3]
    return [
        ("/admin/", (MENU, "Access attempts"), "Access attempts"),
        ("/admin/", ((search, failed), "Search"), failed),
        (tasks, (FILTERS, "failed"), "Filters: status: failed"),
        (f"{tasks}?status=pending", (ROW, (ACTION, "Change"), "Go", ("[name=priority]", "7"), YES), "another priority"),
        (of["failuregroup"], ("Redrive…", ("[name=canary]", "1"), "Yes, redrive"), "canary"),
        (of["failuregroup"], ("Pause hostile…", (ENDS, "ArrowDown"), "Yes, pause it"), ", until "),
        (of["handler, hostile"], ("Resume…", "Yes, resume it"), "Resumed hostile"),
        (of["node"], ("Drain…", "act", ("[name=reason]", "a new image"), "Yes, drain it"), "Drained"),
        (of["node"], ("Undrain for act…", "Yes, undrain it"), "Undrained"),
        ("/admin/auth/user/add/", (("[name=username]", "olga"), *PASSWORDS, "Save"), "was added"),
    ]


def _wide(of: dict[str, str]) -> list[Act]:
    return [
        (of["task, failed"], ("Redrive",), "redriven"),
        (of["task, running"], ("Cancel…", "Yes, cancel it"), "cancelled"),
        (of["task, later"], ("Priority…", ("[name=priority]", "7"), "Save"), "priority"),
        (of["task, hostile"], ("Edit and redrive…", ("[name=priority]", "7"), "Save and redrive"), "redriven"),
        (of["task, completed"], ("Delete…", "Yes, delete it"), "deleted"),
        (of["failuregroup"], ("Resolve",), "esolved"),
        (of["handler"], ("Queue it",), "queued"),
        (of["handler"], ("Pause…", "Yes, pause it"), "Paused act"),
        (of["handler"], ("Resume…", "Yes, resume it"), "Resumed act"),
        (of["node"], ("Drain…", "Yes, drain it"), "Drained"),
        (of["node"], ("Undrain…", "Yes, undrain it"), "Undrained"),
        (
            f"{LIST.format('task')}?type=held",
            (
                *((ALL, " "), (ACTION, "Cancel"), "Go"),
                *(("[name=rate]", "0.01"), "Yes, cancel", "Abort"),
            ),
            "aborted",
        ),
        (of["new key"], (("[name=name]", "by keys"), "Make the key"), "is made"),
        (LIST.format("apikey"), ((ALL, " "), (ACTION, "Revoke"), "Go", "Yes, revoke"), "evoked"),
        (of["new group"], (("[name=name]", "by keys"), "Save"), "added successfully"),
    ]  # fmt: skip


@pytest.mark.parametrize("size", [NARROW, WIDE], ids=["narrow", "wide"])
def test_each_act_is_done_by_keyboard_alone(
    chromium: Browser, filled: tuple[Daemon, dict[str, str]], size: tuple[int, int]
) -> None:
    daemon, of = filled
    with window(chromium, size) as page:
        log_in(page, daemon.base, "admin", PASSWORD)
        for address, steps, said in _narrow(of) if size == NARROW else _wide(of):
            page.goto(f"{daemon.base}{address}")
            for step in steps:
                where, keys = (step, "") if isinstance(step, str) else step
                _reach(page, where)
                if keys.startswith("Arrow"):
                    page.keyboard.press(keys)
                elif keys:
                    page.keyboard.type(keys)
                else:
                    with page.expect_navigation():
                        page.keyboard.press("Enter")
            expect(page.locator("#content-start")).to_contain_text(said)


#: The element that has the focus: what it is called, and whether a selector matches it.
FOCUSED = """selector => {
  const at = document.activeElement, name = (at.innerText || at.value || "").trim();
  let matches = false;
  try { matches = at.matches(selector); } catch {}
  return [name, matches];
}"""


def _reach(page: Page, where: str) -> None:
    """Press Tab until a button, a link or a field has the focus: its text, or a selector."""
    for _ in range(150):
        page.keyboard.press("Tab")
        name, matches = page.evaluate(FOCUSED, where)
        if matches or name == where:
            return
    raise AssertionError(f"Tab does not reach {where!r} on {page.url}")
