"""The pages' Content-Security-Policy, and the files that they load."""

from __future__ import annotations

import re

import pytest
from django.contrib.auth.models import User
from django.test import Client

from tests.admin.rows import attempt, task


def pages(admin: Client) -> dict[str, str]:
    """The text of every kind of page."""
    one, user = task("failed"), User.objects.get()
    attempt(one, 1, stderr_tail="a log")
    base = "/admin/tasks_app/task/"
    addresses = (
        "/admin/", base, f"{base}{one.pk}/change/", f"{base}{one.pk}/delete/", "/admin/tasks_app/auditentry/",
        "/admin/tasks_app/node/", "/admin/auth/user/", "/admin/auth/user/add/",
        f"/admin/auth/user/{user.pk}/change/", f"/admin/auth/user/{user.pk}/password/", "/admin/auth/group/add/",
        "/admin/axes/accessattempt/",
        "/admin/password_change/", "/admin/tasks_app/apikey/", "/admin/tasks_app/apikey/add/",
    )  # fmt: skip
    found = {address: admin.get(address) for address in addresses}
    found["/admin/login/"] = Client(SERVER_NAME="localhost").get("/admin/login/")
    for address, answer in found.items():
        assert answer.status_code == 200, address
        policy = answer.headers["Content-Security-Policy"]
        assert "script-src 'self';" in policy
        assert "unsafe" not in policy
        assert answer.headers["X-Frame-Options"] == "DENY"
    return {address: answer.text for address, answer in found.items()}


def test_no_page_needs_what_its_policy_forbids(admin: Client) -> None:
    for address, text in pages(admin).items():
        assert not re.search(r"<script(?![^>]*\bsrc=)(?![^>]*application/json)", text), address
        assert not re.search(r"\son[a-z]+=|\sstyle=|<style|javascript:", text), address


def test_every_file_of_a_page_is_served_from_here(admin: Client) -> None:
    parts = set()
    for text in pages(admin).values():
        parts |= set(re.findall(r'<(?:script|link|img)[^>]*?(?:src|href)="([^"]+)"', text))
    assert parts
    for part in parts:
        assert part.startswith("/"), part
        assert not part.startswith("//"), part
        assert admin.get(part).status_code == 200, part


@pytest.mark.django_db
@pytest.mark.parametrize("address", ["/admin/nothing/", "/admin/tasks_app/nothing/", "/admin/tasks_app/task/x/y/z/"])
def test_an_address_that_does_not_exist_is_a_404(admin: Client, address: str) -> None:
    assert admin.get(address).status_code in (302, 404)
