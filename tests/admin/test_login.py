"""The login and its lockout."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from ipaddress import ip_network
from typing import Any

import pytest
from axes.models import AccessAttempt, AccessLog
from django.conf import settings
from django.contrib.auth.models import User
from django.db.models import F
from django.test import Client
from django.utils import timezone

from tasks_app.admin.logins import ADDRESS_FAILURE_LIMIT, KNOWN_FOR, MAX_WAIT_SECONDS, NAME_FAILURE_LIMIT
from tests.admin.rows import HOSTILE

pytestmark = pytest.mark.database

LOGIN = "/admin/login/"


@pytest.fixture(autouse=True)
def ada(db: None) -> User:
    return User.objects.create_superuser("ada", None, "a good password")


def log_in(name: str = "ada", password: str = "wrong", address: str = "10.0.0.1", **headers: str) -> Any:
    """Try to log in once."""
    client = Client(SERVER_NAME="localhost", REMOTE_ADDR=address)
    return client.post(LOGIN, {"username": name, "password": password, "next": "/admin/"}, headers=headers)


def lock_out(**login: str) -> Any:
    """Send wrong passwords until the login is locked."""
    for _ in range(settings.AXES_FAILURE_LIMIT - 1):
        assert log_in(**login).status_code == 200
    return log_in(**login)


def test_a_login_whose_next_leads_to_another_site_ends_at_the_admin() -> None:
    client = Client(SERVER_NAME="localhost", REMOTE_ADDR="10.0.0.1")
    answer = client.post(LOGIN, {"username": "ada", "password": "a good password", "next": "https://evil.example/"})
    assert (answer.status_code, answer.headers["Location"]) == (302, "/admin/")


def test_the_fifth_wrong_password_locks_out_and_says_for_how_long() -> None:
    answer = lock_out()
    assert answer.status_code == 429
    assert 890 <= int(answer.headers["Retry-After"]) <= 900
    assert "are locked for 15 minutes" in answer.text
    assert log_in(password="a good password").status_code == 429


def test_a_program_gets_json() -> None:
    lock_out()
    answer = log_in(accept="application/json")
    assert answer.status_code == 429
    assert "Too many wrong passwords" in answer.json()["error"]


def test_wrong_old_passwords_count_where_a_password_is_changed_and_are_not_kept(ada: User) -> None:
    client = Client(SERVER_NAME="localhost", REMOTE_ADDR="10.0.0.1")
    client.force_login(ada)

    def change(old: str) -> Any:
        new = {"new_password1": "a newer password", "new_password2": "a newer password"}
        return client.post("/admin/password_change/", {"old_password": old, **new})

    for _ in range(settings.AXES_FAILURE_LIMIT - 1):
        assert "old password was entered incorrectly" in change("a wrong password").text
    for old in ("a wrong password", "a good password"):
        assert change(old).status_code == 429
    ada.refresh_from_db()
    assert ada.check_password("a good password")
    [kept] = AccessAttempt.objects.all()
    assert "old_password" in kept.post_data
    assert "a wrong" not in kept.post_data and "a newer" not in kept.post_data
    AccessAttempt.objects.all().delete()
    assert change("a good password").headers["Location"] == "/admin/password_change/done/"


def test_another_address_and_another_user_are_not_locked_out() -> None:
    lock_out()
    User.objects.create_superuser("bob", None, "another good one")
    assert log_in(password="a good password", address="10.0.0.2").status_code == 302
    assert log_in(name="bob", password="another good one").status_code == 302


def test_an_address_that_tries_many_users_is_locked_out_for_any_user() -> None:
    for number in range(ADDRESS_FAILURE_LIMIT - 1):
        assert log_in(name=f"user {number}").status_code == 200
    answer = log_in(name="the last one")
    assert answer.status_code == 429
    assert "Logins from there are locked for 15 minutes" in answer.text
    assert log_in(password="a good password").status_code == 429
    assert log_in(password="a good password", address="10.0.0.2").status_code == 302


def test_a_right_password_does_not_reset_the_addresss_count() -> None:
    for number in range(ADDRESS_FAILURE_LIMIT - 1):
        assert log_in(name=f"user {number}").status_code == 200
    assert log_in(password="a good password").status_code == 302
    assert log_in(name="the last one").status_code == 429


def test_an_address_is_unlocked_at_the_time_that_the_response_named() -> None:
    for number in range(ADDRESS_FAILURE_LIMIT):
        log_in(name=f"user {number}")
    almost = timezone.now() - settings.AXES_COOLOFF_TIME + timedelta(seconds=30)
    AccessAttempt.objects.filter(username="user 0").update(attempt_time=almost)
    answer = log_in()
    assert answer.status_code == 429
    assert int(answer.headers["Retry-After"]) <= 30
    AccessAttempt.objects.filter(username="user 0").update(attempt_time=almost - timedelta(seconds=31))
    assert log_in(password="a good password").status_code == 302


def test_clients_of_a_trusted_proxy_are_locked_out_one_by_one(listen: Callable[..., None]) -> None:
    listen(proxies=(ip_network("10.0.0.1"),))
    tries = [
        log_in(name=f"user {number}", **{"x-forwarded-for": f"10.9.9.{number}, 203.0.113.1"})
        for number in range(ADDRESS_FAILURE_LIMIT)
    ]
    assert tries[-1].status_code == 429
    good = {"password": "a good password"}
    assert log_in(**good, **{"x-forwarded-for": "203.0.113.1"}).status_code == 429
    assert log_in(**good, **{"x-forwarded-for": "203.0.113.2"}).status_code == 302
    assert set(AccessAttempt.objects.values_list("ip_address", flat=True)) == {"203.0.113.1"}


def test_all_addresses_of_one_ipv6_network_are_one() -> None:
    for number in range(ADDRESS_FAILURE_LIMIT):
        log_in(name=f"user {number}", address=f"2001:db8:1:2:{number}::1")
    assert log_in(password="a good password", address="2001:db8:1:2::1").status_code == 429
    for address in ("2001:db8:1:3::1", "::1"):
        assert log_in(password="a good password", address=address).status_code == 302
    assert set(AccessAttempt.objects.values_list("ip_address", flat=True)) == {"2001:db8:1:2::"}
    assert set(AccessLog.objects.values_list("ip_address", flat=True)) == {"2001:db8:1:3::", "::1"}


def test_another_browser_or_a_forwarding_header_does_not_unlock() -> None:
    lock_out()
    good = {"password": "a good password"}
    assert log_in(**good, **{"user-agent": "another"}).status_code == 429
    assert log_in(**good, **{"x-forwarded-for": "10.9.9.9"}).status_code == 429


def test_the_lockout_ends_after_the_named_time_despite_further_attempts() -> None:
    lock_out()
    AccessAttempt.objects.update(attempt_time=timezone.now() - settings.AXES_COOLOFF_TIME + timedelta(seconds=30))
    answer = log_in()
    assert answer.status_code == 429
    assert int(answer.headers["Retry-After"]) <= 30
    AccessAttempt.objects.update(attempt_time=timezone.now() - settings.AXES_COOLOFF_TIME - timedelta(seconds=1))
    assert log_in(password="a good password").status_code == 302


def attack(failures: int) -> list[int]:
    """As many wrong passwords for one user, each from another address and after the wait of the one before."""
    found = []
    for number in range(failures):
        wait_over()
        found.append(log_in(address=f"198.51.100.{number}").status_code)
    return found


def wait_over() -> None:
    """As if the longest wait had passed since the last wrong password."""
    AccessAttempt.objects.update(attempt_time=F("attempt_time") - timedelta(seconds=MAX_WAIT_SECONDS))


def test_wrong_passwords_from_many_addresses_slow_down_all_logins_of_the_user_but_lock_none_out() -> None:
    good = {"password": "a good password", "address": "10.0.0.2"}
    assert set(attack(NAME_FAILURE_LIMIT - 1)) == {200}
    waits = []
    for number in range(3):
        answer = log_in(address=f"203.0.113.{number}")
        waits.append(int(answer.headers["Retry-After"]))
        assert answer.status_code == 429 and "from several addresses. Try again in" in answer.text
        before = AccessAttempt.objects.count()
        assert log_in(**good).status_code == 429
        assert AccessAttempt.objects.count() == before, "a refused login prolongs nothing"
        assert log_in(name="bob", address=good["address"]).status_code == 200, "another user's login goes on"
        AccessAttempt.objects.filter(username="bob").delete()
        AccessAttempt.objects.update(attempt_time=F("attempt_time") - timedelta(seconds=waits[-1]))
    assert waits == [1, 2, 4]
    assert log_in(**good).status_code == 302


def test_the_wait_is_bounded_and_others_failures_make_nobody_wait_where_the_user_has_logged_in_before() -> None:
    assert log_in(password="a good password", address="10.0.0.2").status_code == 302
    now = timezone.now()
    for number in range(200):
        AccessAttempt.objects.create(
            username="ada", ip_address=f"198.51.100.{number}", failures_since_start=4, attempt_time=now
        )
    assert MAX_WAIT_SECONDS - 5 <= int(log_in(address="10.0.0.3").headers["Retry-After"]) <= MAX_WAIT_SECONDS
    assert log_in(address="10.0.0.2").status_code == 200, "a wrong password is no lockout there"
    assert log_in(password="a good password", address="10.0.0.2").status_code == 302
    AccessLog.objects.update(attempt_time=now - KNOWN_FOR)
    assert log_in(password="a good password", address="10.0.0.2").status_code == 429


def test_a_log_line_of_a_wrong_password_has_the_address_and_neither_name_nor_password(
    caplog: pytest.LogCaptureFixture,
) -> None:
    log_in(name="my password", password="my other password", address="203.0.113.9")
    (said,) = [record.getMessage() for record in caplog.records if "New login failure" in record.getMessage()]
    assert 'ip_address: "203.0.113.9"' in said
    assert "my " not in said


def test_a_right_password_resets_the_count() -> None:
    for _ in range(3):
        for _ in range(settings.AXES_FAILURE_LIMIT - 1):
            assert log_in().status_code == 200
        assert log_in(password="a good password").status_code == 302


def test_an_unknown_user_is_locked_out_with_the_same_words() -> None:
    assert lock_out(name="nobody").text.replace("nobody", "ada") == lock_out(name="ada").text


@pytest.mark.parametrize("name", [HOSTILE, "x" * 10_000, "\u202e", "' OR 1=1 --"])
def test_a_hostile_name_is_text(name: str) -> None:
    for _ in range(settings.AXES_FAILURE_LIMIT + 1):
        answer = log_in(name=name, accept="text/html," + "x" * 2000, **{"user-agent": "y" * 2000})
        assert answer.status_code in (200, 429)
        assert "<script>alert" not in answer.text


def test_no_password_is_stored() -> None:
    log_in(password="my other password")
    assert "my other" not in str(list(AccessAttempt.objects.values()))
