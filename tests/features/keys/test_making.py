"""Keys with limits are made by a command and in the admin, which show each once."""

from __future__ import annotations

import getpass
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import CommandError
from django.test import Client
from django.utils import timezone

from tasks_app.audit import AuditEntry
from tasks_app.keys.api_keys import ApiKey, digest
from tests.admin.rows import HOSTILE
from tests.keys.rows import EVERY_SCOPE
from tests.keys.test_keys import run

pytestmark = [pytest.mark.django_db, pytest.mark.database]

ADD = "/admin/tasks_app/apikey/add/"
LIST = "/admin/tasks_app/apikey/"
KEY = re.compile(r"tpk_[0-9a-f]{8}_[A-Za-z0-9_-]{43}")


def test_the_command_makes_a_key_with_limits() -> None:
    words = ("--scope", "tasks:write", "--scope", "tasks:read", "--type", "echo", "--expires", "90d", "--rate", "2.5")
    out, _ = run("create", "ci", *words)
    made = ApiKey.objects.get(digest=digest(out.strip()))
    assert (made.scopes, made.types, made.rate) == (["tasks:read", "tasks:write"], ["echo"], 2.5)
    assert made.expires_at is not None
    assert timedelta(days=89) < made.expires_at - timezone.now() <= timedelta(days=90)
    row = run("list")[0].splitlines()[1].split()
    assert row[2:5] == ["tasks:read,tasks:write", "echo", "2.5"]
    run("revoke", "ci")
    logged = AuditEntry.objects.order_by("id").values_list("via", "actor", "action", "target")
    assert list(logged) == [("command", getpass.getuser(), verb, "ci") for verb in ("create_key", "revoke_key")]


def test_the_command_makes_a_key_without_limits() -> None:
    run("create", "ci")
    made = ApiKey.objects.get()
    assert (made.scopes, made.types, made.rate, made.expires_at) == (None, None, None, None)
    assert run("list")[0].splitlines()[1].split()[2:5] == ["all", "all", "-"]


@pytest.mark.parametrize("when", ["12h", "30m", "2100-01-31T09:00:00Z", "2100-01-31T09:00:00+01:00"])
def test_an_expiry_is_a_span_or_a_moment(when: str) -> None:
    run("create", "ci", "--expires", when)
    assert (ApiKey.objects.get().expires_at or timezone.now()) > timezone.now()


@pytest.mark.parametrize(
    ("option", "value", "says"),
    [
        ("--expires", "never", "not 'never'"), ("--expires", "0d", "in the future"), ("--expires", "-1d", "expires"),
        ("--expires", "2100-01-31", "not '2100-01-31'"), ("--expires", "2020-01-01T00:00:00Z", "in the future"),
        ("--scope", "tasks", "the scopes are tasks:read, tasks:write, operate, metrics:read"), ("--rate", "0", "rate"),
        ("--type", "a b", "the name of a handler"), ("--rate", "x", "rate"),
    ],
)  # fmt: skip
def test_the_command_refuses_what_no_key_can_have(option: str, value: str, says: str) -> None:
    with pytest.raises(CommandError, match=re.escape(says)):
        run("create", "ci", f"{option}={value}")
    assert not ApiKey.objects.exists()


def test_the_command_says_which_type_has_no_handler() -> None:
    _, err = run("create", "ci", "--type", "ecoh", "--type", "echo")
    assert 'No handler is named "ecoh"; did you mean "echo"?' in err
    assert "'echo'\n" not in err.replace("mean 'echo'?", "")


def test_the_command_makes_a_key_with_a_secret_for_callbacks_and_gives_one_a_new_secret() -> None:
    out, _ = run("create", "ci", "--callback-secret")
    key, first = out.split()
    made = ApiKey.objects.get(digest=digest(key))
    assert first.startswith("whsec_") and made.callback_secret == first
    out, _ = run("secret", "ci")
    assert out.strip() != first and ApiKey.objects.get().callback_secret == out.strip()
    assert "callbacks" in run("list")[0].splitlines()[1].split()
    logged = AuditEntry.objects.order_by("id").values_list("action", "target", "details")
    assert list(logged) == [("create_key", "ci", {"signs": True}), ("callback_secret", "ci", {})]
    run("revoke", "ci")
    with pytest.raises(CommandError, match="no key in force is named 'ci'"):
        run("secret", "ci")


def test_the_admin_makes_a_key_with_a_secret_for_callbacks_and_shows_it_once(admin: Client) -> None:
    page = admin.post(ADD, form(callback_secret="on"))
    made = ApiKey.objects.get()
    assert made.callback_secret is not None and made.callback_secret in page.text
    for address in (LIST, f"{LIST}{made.pk}/change/", ADD, "/admin/", f"{LIST}{made.pk}/history/"):
        assert made.callback_secret not in admin.get(address).text
    assert "its own secret" in admin.get(LIST).text
    assert made.callback_secret not in str(AuditEntry.objects.values().get())


def form(**fields: Any) -> dict[str, Any]:
    return {"name": "ci", "scopes": EVERY_SCOPE, **fields}


def test_the_admin_makes_a_key_and_shows_it_once(admin: Client) -> None:
    assert "tpk_" not in admin.get(ADD).text
    page = admin.post(ADD, form(scopes=["tasks:read"], types=["echo"], rate="2.5", expires_at="2100-01-31T09:00"))
    (key,) = set(KEY.findall(page.text))
    assert "no-store" in page.headers["Cache-Control"]
    made = ApiKey.objects.get(digest=digest(key))
    assert (made.scopes, made.types, made.rate) == (["tasks:read"], ["echo"], 2.5)
    assert f"{made.expires_at:%Y-%m-%d %H:%M %Z}" == "2100-01-31 09:00 UTC"
    for address in (LIST, f"{LIST}{made.pk}/change/", ADD, "/admin/", f"{LIST}{made.pk}/history/"):
        assert key not in admin.get(address).text
    row = admin.get(LIST).text
    for part in ("tasks:read", "echo", "2.5/s", "2100-01-31 09:00", "never"):
        assert part in row, part
    entry = AuditEntry.objects.get()
    assert (entry.actor, entry.via, entry.action, entry.target) == ("ada", "admin", "create_key", "ci")
    assert entry.details == {
        "scopes": ["tasks:read"],
        "types": ["echo"],
        "rate": 2.5,
        "expires_at": "2100-01-31T09:00:00+00:00",
    }
    assert key not in str(AuditEntry.objects.values().get())
    assert key not in str([*admin.session.items(), *admin.cookies.items()])


def test_a_key_of_the_admin_begins_with_least_scopes(admin: Client) -> None:
    ticked = re.findall(r'name="scopes" value="([a-z:]+)"[^>]* checked', admin.get(ADD).text)
    assert ticked == ["tasks:read"]


def test_before_the_first_key_the_page_warns_that_calls_without_one_end(
    admin: Client, listen: Callable[..., None]
) -> None:
    warning, done = "This is the first key", "From now on every call needs a key"
    assert warning in admin.get(ADD).text
    for way in ({"host": "0.0.0.0"}, {"auth": "off"}):
        listen(**way)
        assert warning not in admin.get(ADD).text, "there are no such calls, or they do not end"
    listen(host="127.0.0.1", auth="keys")
    assert warning in admin.post(ADD, form(name="")).text
    page = admin.post(ADD, form()).text
    assert done in page and warning not in page
    assert warning not in admin.get(ADD).text
    assert done not in admin.post(ADD, form(name="second")).text


def test_a_reload_of_the_new_keys_page_makes_no_other(admin: Client) -> None:
    admin.post(ADD, form())
    page = admin.post(ADD, form())
    assert not KEY.search(page.text)
    assert "there is a key named" in page.text
    assert ApiKey.objects.count() == 1


def test_all_scopes_and_no_type_ticked_are_a_key_without_limits(admin: Client) -> None:
    admin.post(ADD, form())
    made = ApiKey.objects.get()
    assert (made.scopes, made.types, made.rate, made.expires_at) == (None, None, None, None)


@pytest.mark.parametrize(
    "fields",
    [
        {"scopes": []}, {"scopes": ["all"]}, {"types": ["nothing"]}, {"types": ["Echo"]}, {"rate": "0"},
        {"rate": "nan"}, {"rate": "x"}, {"expires_at": "2020-01-01T00:00"}, {"expires_at": "soon"}, {"name": ""},
        {"name": "tpk_x"}, {"name": "a\u202eb"}, {"name": "x" * 101},
    ],
)  # fmt: skip
def test_the_admin_refuses_what_no_key_can_have(admin: Client, fields: dict[str, Any]) -> None:
    page = admin.post(ADD, form(**fields))
    assert page.status_code == 200
    assert "errorlist" in page.text
    assert not ApiKey.objects.exists()


def test_a_name_with_markup_is_shown_as_text(admin: Client) -> None:
    assert HOSTILE not in admin.post(ADD, form(name=HOSTILE)).text
    assert HOSTILE not in admin.get(LIST).text
    assert ApiKey.objects.get().name == HOSTILE


def test_a_key_is_revoked_after_a_question_that_names_it(admin: Client) -> None:
    run("create", "ci")
    run("create", "backup")
    run("create", "other")
    asked_about = ApiKey.objects.filter(name__in=["ci", "backup"])
    form = {"action": "revoke", "index": "0", "_selected_action": [key.pk for key in asked_about]}
    page = admin.post(LIST, form)
    assert "Revoke 2 API keys?" in page.text and "Programs with backup, ci get 401" in page.text
    assert not ApiKey.objects.exclude(revoked_at=None).exists()
    hidden = re.findall(r'<input type="hidden" name="(action|post|_selected_action)" value="(\w+)">', page.text)
    sent = {name: [value for other, value in hidden if other == name] for name, _ in hidden}
    assert "2 revoked: refused within two seconds." in admin.post(LIST, sent, follow=True).text
    assert {key.name for key in ApiKey.objects.filter(revoked_at=None)} == {"other"}
    assert "0 revoked" in admin.post(LIST, form, follow=True).text
