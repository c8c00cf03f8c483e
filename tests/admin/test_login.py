"""The door: five tries, then a quarter of an hour."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from axes.models import AccessAttempt
from django.conf import settings
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from tests.admin.rows import HOSTILE

pytestmark = pytest.mark.database

LOGIN = "/admin/login/"


@pytest.fixture(autouse=True)
def ada(db: None) -> User:
    return User.objects.create_superuser("ada", None, "a good password")


def knock(name: str = "ada", password: str = "wrong", address: str = "10.0.0.1", **headers: str) -> Any:
    """One login."""
    client = Client(SERVER_NAME="localhost", REMOTE_ADDR=address)
    return client.post(LOGIN, {"username": name, "password": password, "next": "/admin/"}, headers=headers)


def lock_out(**who: str) -> Any:
    """As many wrong passwords as it takes."""
    for _ in range(settings.AXES_FAILURE_LIMIT - 1):
        assert knock(**who).status_code == 200
    return knock(**who)


def test_the_fifth_wrong_password_closes_the_door_and_says_for_how_long() -> None:
    answer = lock_out()
    assert answer.status_code == 429
    assert 890 <= int(answer.headers["Retry-After"]) <= 900
    assert "is tried for 15 minutes" in answer.text
    assert knock(password="a good password").status_code == 429


def test_a_program_gets_json() -> None:
    lock_out()
    answer = knock(accept="application/json")
    assert answer.status_code == 429
    assert "Too many wrong passwords" in answer.json()["error"]


def test_another_address_and_another_user_are_not_locked_out() -> None:
    lock_out()
    User.objects.create_superuser("bob", None, "another good one")
    assert knock(password="a good password", address="10.0.0.2").status_code == 302
    assert knock(name="bob", password="another good one").status_code == 302


def test_another_browser_or_a_forwarding_header_does_not_open_the_door() -> None:
    lock_out()
    good = {"password": "a good password"}
    assert knock(**good, **{"user-agent": "another"}).status_code == 429
    assert knock(**good, **{"x-forwarded-for": "10.9.9.9"}).status_code == 429


def test_the_door_opens_after_the_time_it_named_though_somebody_went_on_knocking() -> None:
    lock_out()
    AccessAttempt.objects.update(attempt_time=timezone.now() - settings.AXES_COOLOFF_TIME + timedelta(seconds=30))
    answer = knock()
    assert answer.status_code == 429
    assert int(answer.headers["Retry-After"]) <= 30
    AccessAttempt.objects.update(attempt_time=timezone.now() - settings.AXES_COOLOFF_TIME - timedelta(seconds=1))
    assert knock(password="a good password").status_code == 302


def test_a_right_password_forgets_the_wrong_ones() -> None:
    for _ in range(3):
        for _ in range(settings.AXES_FAILURE_LIMIT - 1):
            assert knock().status_code == 200
        assert knock(password="a good password").status_code == 302


def test_a_user_who_does_not_exist_is_locked_out_in_the_same_words() -> None:
    assert lock_out(name="nobody").text.replace("nobody", "ada") == lock_out(name="ada").text


@pytest.mark.parametrize("name", [HOSTILE, "a\x00b", "x" * 10_000, "\u202e", "' OR 1=1 --"])
def test_a_hostile_name_is_text(name: str) -> None:
    for _ in range(settings.AXES_FAILURE_LIMIT + 1):
        answer = knock(name=name, accept="text/html," + "x" * 2000, **{"user-agent": "y" * 2000})
        assert answer.status_code in (200, 429)
        assert "<script>alert" not in answer.text


def test_no_password_is_kept() -> None:
    knock(password="my other password")
    assert "my other" not in str(list(AccessAttempt.objects.values()))
