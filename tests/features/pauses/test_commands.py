"""What `pause` and `resume` say; with real nodes: tests/system/test_pauses.py."""

from __future__ import annotations

import time
from types import SimpleNamespace

import pytest
from django.core.management import CommandError

from tasks_app.audit import AuditEntry, system_account
from tasks_app.features.pauses.management.commands import pause as module
from tasks_app.queue.current import store
from tasks_app.queue.node_models import HandlerPause
from testkit.rows import node
from tests.features.commands import audited, run

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.database]


def test_pause_and_resume_say_what_they_did_and_record_it_as_the_system_account() -> None:
    assert "echo is paused until 2" in run("pause", "echo", "--for", "2h")
    until = HandlerPause.objects.get().until
    assert until is not None and 7100 < (until - store().moment()[1]).total_seconds() <= 7200
    until_resumed = "echo is paused until manage.py resume echo: workers stop starting its tasks within 2 s"
    assert until_resumed in run("pause", "echo")
    assert run("resume", "echo") == "echo is resumed\n"
    assert run("resume", "echo") == "echo was not paused\n"
    assert audited() == [("command", "pause", "echo"), ("command", "pause", "echo"), ("command", "resume", "echo")]
    assert set(AuditEntry.objects.values_list("actor", flat=True)) == {system_account().name}


def test_a_pause_may_last_until_a_moment_and_has_a_reason() -> None:
    said = run("pause", "echo", "--until", "2100-01-31T10:00:00+01:00", "--reason", "a bad  model")
    assert "echo is paused until 2100-01-31 09:00:00 UTC" in said
    assert HandlerPause.objects.get().reason == "a bad model"


@pytest.mark.parametrize(("options", "said"), [
    (["--until", "tomorrow"], "'tomorrow' must be a time with an offset such as 2026-01-31T09:00:00Z"),
    (["--until", "2020-01-31T09:00:00Z"], "--until must be in the future: 2020-01-31 09:00:00 UTC has passed"),
    (["--until", "2100-01-31T09:00:00Z", "--for", "2h"], "not allowed with argument"),
    (["--reason", "x" * 201], "--reason must be a string of at most 200 characters"),
])  # fmt: skip
def test_a_bad_end_or_reason_is_refused(options: list[str], said: str) -> None:
    with pytest.raises(CommandError, match=said):
        run("pause", "echo", *options)
    assert not HandlerPause.objects.exists()


@pytest.mark.parametrize("length", ["2", "2x", "0s", "-1h", "366d", "2h30m", "", "٣h"])
def test_a_bad_length_is_refused(length: str) -> None:
    with pytest.raises(CommandError, match="must be a number and s, m, h, d or w, as in 2h"):
        run("pause", "echo", f"--for={length}")
    assert not HandlerPause.objects.exists()


@pytest.mark.parametrize("verb", ["pause", "resume"])
def test_an_unknown_type_is_refused_with_those_that_exist(verb: str) -> None:
    with pytest.raises(CommandError, match=r'no handler is named "ecoh"; there are .*; did you mean "echo"\?'):
        run(verb, "ecoh")
    assert audited() == []


def test_a_wait_ends_if_the_type_is_resumed(monkeypatch: pytest.MonkeyPatch) -> None:
    node("one")
    resumed = SimpleNamespace(monotonic=time.monotonic, sleep=lambda _: run("resume", "echo"))
    monkeypatch.setattr(module, "time", resumed)
    with pytest.raises(CommandError, match="echo is not paused any more") as ended:
        run("pause", "echo", "--wait")
    assert ended.value.returncode == 1


def test_a_timeout_without_a_wait_is_refused() -> None:
    with pytest.raises(CommandError, match="--timeout is for --wait"):
        run("pause", "echo", "--timeout", "5m")
    assert not HandlerPause.objects.exists()
