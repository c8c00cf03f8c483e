"""What `manage.py reload` asks reaches each process once, also the first time and from two operators at once."""

from __future__ import annotations

import threading
from collections.abc import Collection
from typing import Any

import pytest
from django.db import connection

from tasks_app.queue.current import store, writing
from tasks_app.queue.node_models import Reload
from tasks_app.queue.reloads import AskedReloads, ask_reload, newest_reload


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
