"""What `manage.py reload` asks reaches each process once, also the first time and from two operators at once."""

from __future__ import annotations

import threading
from collections.abc import Collection
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection

from tasks_app.conf.watching import RevisionInForce, Watcher
from tasks_app.management.commands import reload as command
from tasks_app.queue.current import store, writing
from tasks_app.queue.node_models import Node, Reload
from tasks_app.queue.reloads import AskedReloads, RevisionColumns, ask_reload, newest_reload
from testkit.rows import node


class Told:
    """A watcher that keeps what it is asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, list[str], bool]] = []

    def ask(self, number: int, replace: Collection[str], quiet: bool = False) -> None:
        self.asked.append((number, sorted(replace), quiet))


def process() -> tuple[AskedReloads, Told]:
    told: Any = Told()
    return AskedReloads(told), told


@pytest.mark.django_db
def test_the_first_reload_of_all_replaces_containers_too() -> None:
    asked, told = process()
    asked.on_beat(newest_reload())
    number = ask_reload("echo")
    asked.on_beat(newest_reload())
    asked.on_beat(newest_reload())
    assert told.asked == [(number, ["echo"], False)]


@pytest.mark.django_db
def test_a_process_that_starts_answers_the_last_one_and_replaces_nothing() -> None:
    number = ask_reload("echo")
    asked, told = process()
    asked.on_beat(newest_reload())
    assert told.asked == [(number, [], True)]


def reload(capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """The exit code of the command, and what it has said."""
    code = 0
    try:
        call_command("reload")
    except SystemExit as ended:
        code = int(str(ended.code))
    return code, capsys.readouterr().out


def takes(name: str, **used: Any) -> Node:
    """A node that answers at once."""
    return node(name, revision=RevisionInForce("3f2a9c41b07e", "", 10**9, **used)._asdict())


ENGINE = "images are not resolved anew (the engine has not answered for 1 s)"


@pytest.mark.django_db
def test_a_node_that_does_not_use_all_of_its_revision_is_named_after_a_bounded_wait(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "ANSWER_SECONDS", 0.5)
    takes("well"), takes("hangs", waits_for=ENGINE)
    assert reload(capsys) == (1, f"node hangs: 3f2a9c41b07e: {ENGINE}\nnode well: 3f2a9c41b07e\n")


@pytest.mark.django_db
def test_a_row_says_what_its_process_waits_for() -> None:
    reasons: list[str | None] = [ENGINE, None]
    columns = RevisionColumns(Watcher(), lambda: reasons[0])
    assert columns.changed() and columns.values()["revision"]["waits_for"] == ENGINE
    columns.wrote()
    assert not columns.changed()
    reasons.pop(0)
    assert columns.changed() and columns.values()["revision"]["waits_for"] is None


@pytest.mark.django_db(transaction=True)
def test_of_two_at_once_the_one_with_the_higher_number_is_seen_last() -> None:
    if not store().is_server:
        pytest.skip("SQLite has one writer")

    def second() -> None:
        try:
            with writing():
                ask_reload("b")
        finally:
            connection.close()

    thread = threading.Thread(target=second)
    with writing():
        ask_reload("a")
        thread.start()
        thread.join(0.5)
        assert thread.is_alive(), "a process that saw its number would never look for the first one"
    thread.join()
    assert list(Reload.objects.order_by("pk").values_list("handler", flat=True)) == ["a", "b"]
