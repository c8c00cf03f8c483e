"""Chromium, driven by Playwright, for walks through the admin of a running daemon or of pytest-django's live server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Page, sync_playwright

from testkit.needs import program

#: What a page of ours must fit.
NARROW, WIDE = (390, 844), (1440, 900)


@contextmanager
def browser_page(size: tuple[int, int] = WIDE, dark: bool = False) -> Iterator[Page]:
    """A page of a new Chromium; without Chromium the test is left out. Raises AssertionError at its end if a script
    failed, or if the Content-Security-Policy refused something.
    """
    executable = program("chromium")
    complaints: list[str] = []
    with sync_playwright() as playwright:
        # Root has no sandbox, and a container little shared memory.
        options = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]
        browser = playwright.chromium.launch(executable_path=executable, args=options)
        try:
            context = browser.new_context(
                viewport={"width": size[0], "height": size[1]}, color_scheme="dark" if dark else "light"
            )
            page = context.new_page()
            page.on("pageerror", lambda error: complaints.append(str(error)))
            page.on("console", lambda said: complaints.append(said.text) if _is_fault(said.type, said.text) else None)
            yield page
        finally:
            browser.close()
    assert not complaints, complaints


def _is_fault(kind: str, text: str) -> bool:
    """A request that failed is the business of the test that made it fail."""
    return kind == "error" and "Failed to load resource" not in text


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
