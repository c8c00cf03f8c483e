"""`manage.py schedules`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from django.core.management.base import CommandError

from tasks_app.features.schedules.models import Firing, Schedule
from tasks_app.queue.models import Task
from tests.features.commands import audited, run

pytestmark = [pytest.mark.database, pytest.mark.django_db]

DAILY = '{"type": "echo", "cron": "@daily", "timezone": "Europe/Berlin"}'


def test_a_schedule_is_put_shown_paused_run_and_deleted(tmp_path: Path) -> None:
    assert run("schedules", "list") == "there are no schedules\n"
    (tmp_path / "daily.json").write_text(DAILY)
    assert run("schedules", "put", "daily", f"@{tmp_path / 'daily.json'}") == "daily is made\n"
    assert run("schedules", "put", "daily", '{"type": "echo", "every": "15m"}') == "daily is replaced\n"
    assert json.loads(run("schedules", "show", "daily"))["every"] == "15m"
    assert run("schedules", "firings", "daily") == "daily has not fired yet\n"
    assert run("schedules", "pause", "daily") == "daily is paused\n"
    line = run("schedules", "list").splitlines()[1].split("  ")
    assert [word.strip() for word in line if word] == ["daily", "echo", "every 15m", "paused", "api"]
    task = run("schedules", "run", "daily").strip()
    assert str(Task.objects.get().pk) == task and task in run("schedules", "firings", "daily")
    assert run("schedules", "resume", "daily") == "daily is resumed\n"
    assert Schedule.objects.get().next_at is not None
    assert run("schedules", "delete", "daily") == "daily is deleted\n"
    assert Firing.objects.count() == 1 and Task.objects.count() == 1
    verbs = ("put", "put", "pause", "run", "resume", "delete")
    assert audited() == [("command", f"{verb}_schedule", "daily") for verb in verbs]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("show", "daly"), 'no schedule is named "daly"; there are daily; did you mean "daily"?'),
        (("put", "a b", DAILY), "a schedule's name must be"),
        (("put", "a", '{"type": "ecoh", "every": "0s"}'), 'did you mean "echo"?'),
        (("put", "a", '{"type":'), "the definition is not valid"),
        (("put", "a", "[]"), "the definition must be a JSON object"),
        (("put", "a", "@/nowhere"), "the definition cannot be read"),
        (("run", "newer"), "does not understand it"),
    ],
)
def test_refusals_say_why(words: tuple[str, ...], said: str) -> None:
    run("schedules", "put", "daily", DAILY)
    if "newer" in words:
        run("schedules", "put", "newer", DAILY)
        Schedule.objects.filter(pk="newer").update(definition={"type": "echo", "every": "1 moon"})
    with pytest.raises(CommandError) as refused:
        run("schedules", *words)
    assert said in str(refused.value)
