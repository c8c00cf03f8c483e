"""What an operator has open while something happens: the admin's first page, and /health."""

from __future__ import annotations

import html
from typing import Any

import httpx

from testkit.daemon import Daemon
from testkit.no_tls import NO_TLS

PASSWORD = "a good password of the tests"


def prepare(daemon: Daemon) -> None:
    """Make the user admin, before `up` makes one with a password of its own."""
    daemon.environment["DAEMON_ADMIN_PASSWORD"] = PASSWORD
    prepared = daemon.manage("prepare", "--verbosity", "0")
    assert prepared.ends() == 0, prepared.said()


def open_dashboard(daemon: Daemon) -> httpx.Client:
    """A browser in which that user is logged in. The web server must run."""
    return daemon.log_in(PASSWORD)


def dashboard(browser: httpx.Client) -> str:
    """The page as a person reads it."""
    answer = browser.get("/admin/")
    assert answer.status_code == 200, answer.text
    return html.unescape(answer.text)


def health(daemon: Daemon) -> dict[str, Any]:
    """The body of /health, whatever its status."""
    answer = httpx.get(f"{daemon.base}/health", timeout=30, verify=NO_TLS)
    assert answer.headers["content-type"] == "application/json"
    return dict(answer.json())


def problems(daemon: Daemon) -> str:
    """What /health says is wrong, a sentence a line."""
    return "\n".join(health(daemon).get("problems", []))
