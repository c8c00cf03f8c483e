"""Keys are shown once and stored as hashes."""

from __future__ import annotations

from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client

from tasks_app import conf
from tasks_app.audit import AuditEntry
from tasks_app.keys import caller as module
from tasks_app.keys.api_keys import ApiKey, Grant, KeyRefused, create, ensure, revoke
from tasks_app.keys.caller import Keys, keys

pytestmark = pytest.mark.django_db
KEYS = "/admin/tasks_app/apikey/"
GIVEN = "tpk_0123abcd_" + "k" * 20 + "0123456789abcdefghijk"


def run(*words: str) -> tuple[str, str]:
    out, err = StringIO(), StringIO()
    call_command("apikey", *words, stdout=out, stderr=err)
    return out.getvalue(), err.getvalue()


def test_a_key_is_shown_once_by_itself_and_stored_as_a_hash() -> None:
    out, err = run("create", "ci")
    key = out.strip()
    assert key.startswith("tpk_")
    assert len(key) > 50
    row = ApiKey.objects.values().get()
    assert not any(key in str(value) for value in row.values())
    assert key not in err
    assert "every call needs a key" in err
    assert key not in run("list")[0]


def test_the_list_shows_names_prefixes_and_revocations() -> None:
    prefix = create("ci")[:12]
    create("old")
    run("revoke", "old")
    head, first, second = run("list")[0].splitlines()
    names = ["NAME", "BEGINS", "SCOPES", "TYPES", "RATE", "SIGNS", "CREATED", "EXPIRES", "USED", "REVOKED"]
    assert head.split() == names
    assert first.split()[:2] == ["ci", f"{prefix}..."]
    assert first.endswith("-")
    assert not second.endswith("-")


def test_keys_that_have_not_changed_are_not_put_together_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are read each second. To make 10,000 keys of them each time took 14 % of a processor."""
    monkeypatch.setattr(module, "MAX_READING_AGE_SECONDS", 0.0)
    held, key = Keys(), create("ci", Grant(types=["echo"]))
    before = held.current()
    assert held.match(key, held.current()) is not None
    held.write_uses()
    assert held.current() is before
    ApiKey.objects.update(types=["prime"])
    caller = held.match(key, held.current())
    assert caller is not None and caller.types == frozenset({"prime"})
    revoke("ci")
    assert held.match(key, held.current()) is None
    assert held.current().any_made


def test_a_name_is_in_use_until_its_key_is_revoked() -> None:
    create("ci")
    with pytest.raises(CommandError, match="revoke it first"):
        run("create", "ci")
    run("revoke", "ci")
    run("create", "ci")


def test_a_key_is_revoked_by_its_prefix_too() -> None:
    assert revoke(create("ci")[:12]) == "ci"
    with pytest.raises(CommandError, match=r"manage\.py apikey list"):
        run("revoke", "ci")


def test_a_name_cannot_be_another_keys_prefix() -> None:
    prefix = create("ci")[:12]
    with pytest.raises(KeyRefused, match="tpk_"):
        create(prefix)


def test_a_prefix_of_two_keys_revokes_neither(api: Client, django_user_model: Any) -> None:
    ensure("one", GIVEN)
    ensure("two", GIVEN + "another")
    with pytest.raises(CommandError, match="2 keys in force begin with this; revoke by name"):
        run("revoke", GIVEN[:12])
    assert ApiKey.objects.filter(revoked_at=None).count() == 2
    api.force_login(django_user_model.objects.create_superuser("ada", None, "a good password"))
    row = ApiKey.objects.get(name="two")
    api.post(KEYS, {"action": "revoke", "_selected_action": [row.pk], "post": "yes"})
    assert [key.name for key in ApiKey.objects.filter(revoked_at=None)] == ["one"]


@pytest.mark.parametrize("name", ["", "  ", " ci", "a" * 101, "a\nb", "a\0b", "\x1b[31m", "tpk_me"])
def test_a_name_that_cannot_be_shown_is_refused(name: str) -> None:
    with pytest.raises(KeyRefused):
        create(name)


def test_a_given_key_is_stored_once_and_stays_revoked() -> None:
    assert ensure("first", GIVEN)
    assert not ensure("first", GIVEN)
    assert keys.match(GIVEN, keys.current()) is None or ApiKey.objects.get().name == "first"
    revoke("first")
    assert not ensure("first", GIVEN)
    assert ApiKey.objects.filter(revoked_at=None).count() == 0


@pytest.mark.parametrize(
    "key", ["", "tpk_short", "k" * 60, "tpk_" + "k" * 300, "tpk_" + "\u00e9" * 50, "tpk_" + "k" * 60]
)
def test_a_given_key_that_could_be_guessed_is_refused(key: str) -> None:
    with pytest.raises(KeyRefused):
        ensure("first", key)


def test_prepare_makes_the_administrator_and_the_key_and_may_be_run_again(
    monkeypatch: pytest.MonkeyPatch, django_user_model: Any
) -> None:
    env = conf.environment().model_copy(update={"admin_password": "a good password", "api_key": GIVEN})
    monkeypatch.setattr(conf, "environment", lambda: env)
    for _ in range(2):
        out = StringIO()
        call_command("prepare", stdout=out, skip_checks=True)
        assert GIVEN not in out.getvalue()
        assert "a good password" not in out.getvalue()
    assert django_user_model.objects.get().check_password("a good password")
    assert ApiKey.objects.get().prefix == GIVEN[:12]
    logged = list(AuditEntry.objects.order_by("id").values_list("via", "action", "target"))
    assert logged == [("command", "add_user", "admin"), ("command", "create_key", "DAEMON_API_KEY")]


def test_the_admin_lists_and_revokes_and_shows_no_secret(api: Client, django_user_model: Any) -> None:
    key = create("ci")
    api.force_login(django_user_model.objects.create_superuser("ada", None, "a good password"))
    page = api.get("/admin/tasks_app/apikey/").content.decode()
    assert key[:12] in page
    assert key not in page
    row = ApiKey.objects.get()
    assert row.digest not in page + api.get(f"/admin/tasks_app/apikey/{row.pk}/change/").content.decode()
    api.post(KEYS, {"action": "revoke", "_selected_action": [row.pk], "post": "yes"})
    row.refresh_from_db()
    assert row.revoked_at is not None
    assert [(e.actor, e.action, e.target) for e in AuditEntry.objects.all()] == [("ada", "revoke_key", "ci")]
