"""resize: pictures at a URL."""

from __future__ import annotations

import base64
import importlib.util
from types import ModuleType
from urllib.parse import quote_from_bytes

import pytest

from tests.examples.conftest import TOP, Ask, Site
from tests.examples.test_resize import encoded, refused, shown


@pytest.fixture
def fetching() -> ModuleType:
    """The handler's fetch module, imported so that a test can shorten its timeouts."""
    spec = importlib.util.spec_from_file_location("fetch", TOP / "examples/handlers/resize/fetch.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_url_without_a_size_is_enough(ask: Ask, site: Site):
    assert shown(ask("resize", {"url": site.page("/image.jpg", encoded(300, 200, "JPEG"))})).size == (128, 85)


def test_a_redirect_is_followed(ask: Ask, site: Site):
    there = site.page("/there", encoded(10, 20))
    assert shown(ask("resize", {"url": site.page("/here", b"", 302, Location=there)})).size == (10, 20)


@pytest.mark.parametrize(
    "url",
    [
        "data:image/png;base64," + base64.b64encode(encoded(10, 20)).decode(),
        "data:image/png," + quote_from_bytes(encoded(10, 20)),
    ],
    ids=["base64", "percent"],
)
def test_a_data_url_carries_its_picture(ask: Ask, url: str):
    assert shown(ask("resize", {"url": url})).size == (10, 20)


@pytest.mark.parametrize("status", [408, 429, 500, 503])
def test_a_server_that_may_recover_is_worth_a_retry(ask: Ask, site: Site, status: int):
    reply = ask("resize", {"url": site.page("/", b"", status)})
    assert reply == {"status": "error", "error": f"The URL answered with status {status}.", "retryable": True}


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410])
def test_a_client_error_is_permanent(ask: Ask, site: Site, status: int):
    assert refused(ask("resize", {"url": site.page("/", b"", status)})) == f"The URL answered with status {status}."


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/", "http://nowhere.invalid/image.jpg"])
def test_a_server_that_cannot_be_reached_is_worth_a_retry(ask: Ask, url: str):
    reply = ask("resize", {"url": url})
    assert (reply["status"], reply["retryable"]) == ("error", True)
    assert reply["error"].startswith("The URL could not be fetched: ")


def test_an_incomplete_answer_is_worth_a_retry(ask: Ask, site: Site):
    reply = ask("resize", {"url": site.page("/", encoded(64, 64), Content_Length="100000")})
    assert reply == {
        "status": "error",
        "error": "The URL broke off in the middle of the picture.",
        "retryable": True,
    }


def test_a_page_that_is_not_a_picture_is_a_permanent_error(ask: Ask, site: Site):
    assert refused(ask("resize", {"url": site.page("/", b"<html>")})).startswith("This is not a picture")


def test_more_than_twenty_megabytes_are_not_read(ask: Ask, site: Site):
    url = site.page("/", bytes(20 * 1024 * 1024 + 1))
    assert refused(ask("resize", {"url": url})) == "The picture is larger than 20,971,520 bytes."


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "ftp://127.0.0.1/x.png",
        "image.jpg",
        "",
        "http://",
        "http:///x",
        "http://127.0.0.1/a b",
        "http://127.0.0.1/\r\nX: y",
        "http://[::1/",
        "http://127.0.0.1:99999/",
        "data:image/png",
        "data:;base64,###",
    ],
)
def test_a_url_that_can_never_work_is_refused(ask: Ask, url: str):
    assert "data.url" in refused(ask("resize", {"url": url}))


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.0.0.1:1/x", "gopher://127.0.0.1/"])
def test_a_redirect_to_another_scheme_is_not_followed(ask: Ask, site: Site, target: str):
    reply = ask("resize", {"url": site.page("/", b"", 302, Location=target)})
    assert reply["status"] == "error"


@pytest.mark.parametrize("path", ["/silent", "/drips"])
def test_a_slow_server_is_given_up(fetching: ModuleType, site: Site, path: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(fetching, "SILENCE", 0.2)
    monkeypatch.setattr(fetching, "WHOLE", 0.2)
    with pytest.raises(fetching.NotFetched) as caught:
        fetching.fetch(site.url + path)
    assert caught.value.retryable
