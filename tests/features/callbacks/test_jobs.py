"""A node's thread and side job for callbacks: they do nothing, and import nothing, until a beat has found one."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest

from tasks_app import conf
from tasks_app.features.callbacks.jobs import Sending, Telling, woken
from tasks_app.queue.due_work import DueWork
from testkit.callback_receivers import SECRET
from testkit.process import PROJECT
from testkit.receiver import Receiver
from tests.features.callbacks.kit import ended, told, untold
from tests.features.callbacks.senders import deliveries, running, until_ended

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.database]

NOTHING = DueWork(0.0)


@pytest.fixture
def sending(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sending]:
    """The thread of a node, which runs, with this machine's addresses allowed."""
    given = {"callback_secrets": SECRET, "callback_hosts": "127.0.0.1"}
    env = conf.environment().model_copy(update=given)
    monkeypatch.setattr(conf, "environment", lambda: env)
    woken.clear()
    made = Sending("node")
    with running(made.run, made.stop):
        yield made


def test_a_callback_that_a_beat_has_found_due_is_sent(sending: Sending, receiver: Receiver) -> None:
    for _ in range(2):
        rows = deliveries(receiver.url)
        sending.on_beat(NOTHING._replace(features=frozenset(["callbacks"])))
        until_ended(*rows)
    assert len(receiver.messages) == 2


def test_the_thread_ends_without_a_callback(sending: Sending) -> None:
    sending.on_beat(NOTHING)
    assert not woken.is_set()


def test_an_end_that_a_beat_has_found_is_told() -> None:
    [task] = ended()
    job = Telling("node")
    job.run(NOTHING)
    assert untold() == 1
    job.run(NOTHING._replace(features=frozenset({"untold"})))
    assert told() == [(task, "task.completed")]


def test_the_sender_of_this_process_is_woken_after_the_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    monkeypatch.setattr(woken, "set", lambda: seen.append(len(told())))
    job, work = Telling("node"), NOTHING._replace(features=frozenset({"untold"}))
    job.run(work)
    assert seen == []
    ended(2)
    job.run(work)
    assert seen == [2]


def test_a_node_imports_neither_the_api_nor_metrics_nor_what_sends_before_there_is_a_callback() -> None:
    program = (
        "import os, sys; os.environ['DJANGO_SETTINGS_MODULE'] = 'taskdaemon_site.settings'; import django;"
        "django.setup(); from tasks_app.feature import registered;"
        "[make('node') for name in ('side_jobs', 'node_threads') for make in registered(name)];"
        "registered('reads'), registered('problems');"
        "unused = 'httpcore2', 'rest_framework.serializers', 'requests', 'prometheus_client', 'django_prometheus';"
        "print([name for name in unused if name in sys.modules])"
    )
    output = subprocess.run([sys.executable, "-c", program], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert output.stdout == "[]\n"
