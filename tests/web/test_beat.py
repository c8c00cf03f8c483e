"""A web process has a row, whether or not keys have rates: what it uses of handlers.toml, and what it is asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks_app import conf
from tasks_app.conf.watching import Watcher
from tasks_app.keys.caller import Keys
from tasks_app.metrics.local_counters import LocalCounters
from tasks_app.metrics.system_reading import current_reading
from tasks_app.queue.node_models import WebProcess
from tasks_app.queue.reloads import ask_reload
from tasks_app.web import beat
from tasks_app.web.beat import LONE_BEAT_SECONDS, WebBeat
from testkit.process import until

pytestmark = [pytest.mark.database, pytest.mark.django_db]


class Beating:
    """A web process whose keys have no rates."""

    def __init__(self, home: Path) -> None:
        self.now, self.watcher = 1000.0, Watcher()
        self.web = WebBeat(home, Keys(), self.watcher, lambda: self.now)

    def beat(self, seconds: float = 1.0) -> None:
        self.now += seconds
        self.web.beat()

    def answer(self) -> None:
        """As the thread of the watcher does."""
        self.watcher.reload(self.watcher._asked.get_nowait())


@pytest.fixture
def beating(tmp_path: Path) -> Beating:
    return Beating(tmp_path)


def test_its_row_says_what_it_uses_until_it_ends(beating: Beating) -> None:
    beating.beat()
    row = WebProcess.objects.get()
    assert row.revision == {
        "revision": conf.handlers().revision, "digest": conf.handlers().digest, "reload": 0, "fault": None,
        "waits_for": None,
    }  # fmt: skip
    beating.beat()
    assert WebProcess.objects.get().seen_at == row.seen_at, "it writes each second only if something has changed"
    beating.beat(LONE_BEAT_SECONDS)
    again = WebProcess.objects.get()
    assert again.seen_at > row.seen_at
    assert again.revision_at == row.revision_at
    beating.web.end()
    assert not WebProcess.objects.exists()


def test_what_is_asked_is_read_at_the_next_beat_and_answered_at_the_one_after_it(beating: Beating) -> None:
    replaced: list[str] = []
    beating.watcher._replace = replaced.extend
    ask_reload("before it started")
    beating.beat()
    beating.answer()
    numbers = [ask_reload("echo"), ask_reload(), ask_reload("prime")]
    beating.beat()
    beating.answer()
    assert replaced == ["echo", "prime"]
    beating.beat()
    row = WebProcess.objects.get()
    assert row.revision is not None and row.revision["reload"] == numbers[-1]


def test_a_row_that_was_removed_is_written_anew(beating: Beating) -> None:
    beating.beat()
    WebProcess.objects.all().delete()
    beating.beat(LONE_BEAT_SECONDS)
    assert WebProcess.objects.get().revision_at is not None


@pytest.mark.django_db(transaction=True)  # its thread commits
def test_its_thread_writes_the_counts_by_itself_and_once_more_at_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    local, web = LocalCounters(), WebBeat(tmp_path, Keys(), Watcher())
    monkeypatch.setattr(beat, "process", local)
    web.start()
    local.add("bells_heard|echo")
    until(lambda: current_reading(refresh=True).totals.sum("bells_heard") >= 1)
    local.add("bells_heard|echo")
    web.close()
    assert current_reading(refresh=True).totals.sum("bells_heard") == 2
    assert not WebProcess.objects.exists()
    web.close()


@pytest.mark.django_db(transaction=True)  # its thread commits
def test_its_row_is_written_before_the_first_pause_is_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beat, "BEAT_SECONDS", 3600.0)
    monkeypatch.setattr(beat, "process", LocalCounters())
    web = WebBeat(tmp_path, Keys(), Watcher())
    web.start()
    until(WebProcess.objects.exists, what="the row of the process")
    web.close()
    assert not WebProcess.objects.exists()
