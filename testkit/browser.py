"""Chromium, driven by Playwright, for walks through the admin of a running daemon or of pytest-django's live server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, ConsoleMessage, Page, sync_playwright

from testkit.needs import program

#: What a page of ours must fit.
NARROW, WIDE = (390, 844), (1440, 900)
#: Root has no sandbox, and a container little shared memory.
OPTIONS = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]
#: How long a page waits for an element or for a page: on a machine with much else to do a click takes half a minute.
MAX_MILLISECONDS = 120_000


@contextmanager
def chromium() -> Iterator[Browser]:
    """A new Chromium without a window: Debian's. Without it the test is left out."""
    executable = program("chromium-headless-shell")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=OPTIONS)
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def window(
    browser: Browser,
    size: tuple[int, int] = WIDE,
    dark: bool = False,
    script: bool = True,
    complaints: list[str] | None = None,
    zone: str | None = None,
) -> Iterator[Page]:
    """A page with cookies of its own. Raises AssertionError at its end if a script failed or warned, or if the
    Content-Security-Policy refused something. `complaints`: where these are noted.
    """
    complaints = [] if complaints is None else complaints
    context = browser.new_context(
        viewport={"width": size[0], "height": size[1]},
        color_scheme="dark" if dark else "light",
        java_script_enabled=script,
        timezone_id=zone,
    )

    def note(said: ConsoleMessage) -> None:
        # A request that failed is the business of the test that made it fail.
        if said.type in ("error", "warning") and "Failed to load resource" not in said.text:
            complaints.append(said.text)

    try:
        context.set_default_timeout(MAX_MILLISECONDS)
        page = context.new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", note)
        yield page
    finally:
        context.close()
    assert not complaints, complaints


def log_in(page: Page, base: str, name: str, password: str) -> None:
    """Log in to the admin at `base`, such as http://127.0.0.1:8080."""
    page.goto(f"{base}/admin/login/?next=/admin/")
    page.fill("input[name=username]", name)
    page.fill("input[name=password]", password)
    page.click("[type=submit]")
    page.wait_for_url(f"{base}/admin/")


def overflow(page: Page) -> int:
    """By how many pixels the page is wider than its window."""
    width: int = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
    return width
