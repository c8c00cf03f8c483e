"""Error responses: HTML below /admin/, JSON elsewhere."""

from __future__ import annotations

import pytest
from django.test import Client


@pytest.fixture
def strict(db: None) -> Client:
    """A client with CSRF checks."""
    return Client(enforce_csrf_checks=True, SERVER_NAME="localhost")


def test_an_unknown_address_redirects_to_the_login(strict: Client) -> None:
    answer = strict.get("/admin/nope/")
    assert (answer.status_code, answer.headers["Location"]) == (302, "/admin/login/?next=/admin/nope/")
    assert strict.get("/admin").headers["Location"] == "/admin/"


def test_an_unknown_address_is_a_page_for_logged_in_users(admin: Client) -> None:
    for address in ("/admin/nope", "/admin/nope/", "/admin/tasks_app/nope/"):
        answer = admin.get(address)
        assert answer.status_code == 404
        assert answer.headers["Content-Type"].startswith("text/html")
        assert "There is no such page." in answer.text and "To the dashboard" in answer.text
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]


def test_an_unknown_address_of_the_api_is_json_for_logged_in_users_too(admin: Client) -> None:
    answer = admin.get("/api/nope/", headers={"accept": "text/html"})
    assert (answer.status_code, answer.headers["Content-Type"]) == (404, "application/json")


def test_a_form_without_its_token_is_a_page_for_browsers_and_json_for_programs(strict: Client) -> None:
    page = strict.post("/admin/login/", {}, headers={"accept": "text/html,*/*;q=0.8"})
    assert page.status_code == 403
    assert "The form is too old" in page.text
    answer = strict.post("/admin/login/", {})
    assert answer.status_code == 403
    assert "the form is too old" in answer.json()["error"]
