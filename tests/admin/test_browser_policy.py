"""The pages' Content-Security-Policy, and the files that they load."""

from __future__ import annotations

import re

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
