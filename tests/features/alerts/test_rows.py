"""The state of alerts: each condition and its recovery is told once, whoever looks and whoever dies."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from axes.models import AccessAttempt
from django.conf import settings
from django.contrib.auth.models import User
from django.db.models import F
from django.test import Client
from django.utils import timezone

from tasks_app import conf
from tasks_app.features.alerts import alerts
from tasks_app.features.alerts.alerts import Condition, Judgement, Share, failed_shares, judge
from tasks_app.features.alerts.models import Alert
from tasks_app.features.alerts.watch import Watch
from tasks_app.metrics.reading import HandlerReading, Totals
from tasks_app.metrics.system_reading import SystemReading
from tasks_app.queue.node_models import HandlerPause, Node
from testkit.clients import logged_in
from tests.admin.rows import HOSTILE, attempt, staff
from tests.admin.rows import task as stored
from tests.queue.moves.kit import together

pytestmark = pytest.mark.django_db
HOLD, GAP = 30.0, 35.0
BAD = Condition("cannot_start", "echo", "handler echo cannot start: no image", {"slots": 2})
ALL = frozenset({"no_node", "oldest_age", "failed_share", "cannot_start"})


def see(holds: bool, judged: frozenset[str] = ALL, undecided: frozenset[str] = frozenset()) -> None:
    alerts.observe(Judgement({BAD.key: BAD} if holds else {}, judged, undecided), HOLD, GAP)


def pass_by(seconds: float) -> None:
    """As if everything had been written so many seconds earlier."""
    past = timedelta(seconds=seconds)
    Alert.objects.update(
        differs_since=F("differs_since") - past, seen_at=F("seen_at") - past, since=F("since") - past,
        next_send_at=F("next_send_at") - past,
    )  # fmt: skip


def tell() -> list[tuple[str, bool]]:
    """Send what is due. Returns key and state of each."""
    told = [(row.key, row.firing) for row in alerts.to_send() if alerts.take(row)]
    for row in alerts.to_send() or Alert.objects.filter(told=False):
        alerts.sent(row)
    return told


def test_a_condition_fires_once_it_has_held_and_is_resolved_once_it_has_not() -> None:
    see(True)
    for _ in range(3):
        assert (tell(), alerts.firing()) == ([], [])
        pass_by(10)
        see(True)
    assert tell() == [(BAD.key, True)]
    assert tell() == []
    (row,) = alerts.firing()
    assert (row.sentence, row.details, row.since is not None) == (BAD.sentence, {"slots": 2}, True)
    for _ in range(6):
        see(False)
        pass_by(10)
        assert tell() == []
    see(False)
    assert tell() == [(BAD.key, False)]
    see(False)
    assert (tell(), alerts.firing()) == ([], [])


def observe(condition: Condition) -> None:
    holding, instead = ({condition.key: condition}, {}) if condition.holds else ({}, {condition.key: condition})
    alerts.observe(Judgement(holding, ALL, instead=instead), HOLD, GAP)


def waits(seconds: int) -> Condition:
    """How long the oldest task waits; 20 s are too long."""
    return Condition("oldest_age", "echo", f"it has waited for {seconds} s", {"seconds": seconds}, holds=seconds > 20)


def test_an_alert_says_what_is_so_now_and_in_the_end_how_long_it_lasted() -> None:
    for seconds in (21, 60):
        observe(waits(seconds))
        pass_by(HOLD)
    assert alerts.firing()[0].sentence == "it has waited for 60 s"
    observe(waits(90))
    assert alerts.firing()[0].details == {"seconds": 90}, "it fires already"
    observe(waits(5))
    assert alerts.firing()[0].sentence == "it has waited for 90 s", "the webhook is still to be told that it fires"
    assert tell() == [("oldest_age|echo", True)]
    pass_by(HOLD)
    observe(waits(4))
    assert alerts.firing()[0].sentence == "it has waited for 4 s"
    pass_by(HOLD)
    observe(waits(3))
    row = Alert.objects.get()
    assert (row.firing, row.sentence) == (False, "it has waited for 3 s; the alert lasted 60 s")
    assert (row.details["seconds"], round(row.details["lasted_seconds"])) == (3, 60)
    assert row.since and datetime.fromisoformat(row.details["began_at"]) < row.since


def test_an_alert_of_a_handler_that_is_gone_says_so() -> None:
    Alert.objects.create(key=BAD.key, firing=True, since=timezone.now() - timedelta(hours=3))
    for _ in range(2):
        see(False)
        pass_by(2 * HOLD)
        Alert.objects.update(seen_at=timezone.now())
    assert Alert.objects.get().sentence == "handler echo has no slots and no tasks any more; the alert lasted 3 h"


@pytest.mark.parametrize(
    ("key", "sentence"),
    [
        ("no_node", "2 workers live"),
        ("engine_unreachable", "every handler's engine can be reached"),
        ("oldest_age|echo", "handler echo: the oldest ready task has waited for 4.0 s"),
        ("oldest_age|box", "handler box: no task is ready"),
        ("cannot_start|echo", "handler echo: 2 of 3 slots warm"),
        ("failed_share|echo", "handler echo: 1 of 40 tasks failed in 5 min"),
        ("failed_share|box", "handler box: 0 of 0 tasks failed in 5 min"),
        ("failed_share|gone", "handler gone has no slots and no tasks any more"),
    ],
)
def test_of_a_condition_that_does_not_hold_a_reading_says_what_is_so_instead(key: str, sentence: str) -> None:
    echo = HandlerReading(ready=1, oldest=4.0, slots=3, warm=2)
    found = judge(several([{}, {}], echo=echo, box=HandlerReading()), {"echo": Share(1, 40, 300)}, 300.0, 0.1)
    assert found.denies(key) and found.now(key).sentence == sentence and not found.now(key).holds


def test_what_has_just_fired_can_be_sent() -> None:
    for _ in range(3):
        alerts.observe(Judgement({BAD.key: BAD}, ALL), 0.0, GAP)
    assert tell() == [(BAD.key, True)]


def test_what_comes_and_goes_neither_fires_nor_is_resolved() -> None:
    for _ in range(5):
        see(True)
        pass_by(20)
        see(False)
        pass_by(20)
    assert tell() == []
    Alert.objects.update(firing=True)
    for _ in range(5):
        see(False)
        pass_by(30)
        see(True)
        pass_by(30)
    assert (tell(), len(alerts.firing())) == ([], 1)


def test_a_database_that_stood_still_is_no_time_that_the_condition_held() -> None:
    see(True)
    pass_by(GAP + 60)
    see(True)
    assert tell() == []


def test_alerts_that_are_not_judged_stay_as_they_are() -> None:
    Alert.objects.create(key=BAD.key, firing=True)
    for _ in range(10):
        see(False, frozenset({"no_node"}))
        see(False, undecided=frozenset({BAD.key}))
        pass_by(30)
    assert len(alerts.firing()) == 1


def test_a_recovery_waits_until_the_alert_was_told_but_not_for_ever() -> None:
    see(True)
    pass_by(HOLD)
    see(True)
    for _ in range(4):
        see(False)
        pass_by(30)
    assert len(alerts.firing()) == 1, "the webhook was down all the time"
    assert tell() == [(BAD.key, True)]
    see(False)
    assert tell() == [(BAD.key, False)]
    Alert.objects.update(firing=True, told=False)
    see(False)
    pass_by(alerts.GIVE_UP_SECONDS)
    Alert.objects.update(seen_at=F("since"))
    for _ in range(4):
        see(False)
        pass_by(30)
    assert alerts.firing() == []


def test_one_of_many_processes_sends_and_another_one_if_it_dies() -> None:
    Alert.objects.create(key=BAD.key, firing=True, told=False)
    (row,) = alerts.to_send()
    assert [alerts.take(row) for _ in range(3)] == [True, False, False]
    assert alerts.to_send() == []
    pass_by(alerts.SEND_SECONDS + 1)
    (again,) = alerts.to_send()
    assert alerts.take(again)


def test_an_alert_that_has_changed_since_it_was_read_is_not_taken_as_it_was() -> None:
    Alert.objects.create(key=BAD.key, firing=True, told=False, since=timezone.now() - timedelta(hours=1))
    (fires,) = alerts.to_send()
    Alert.objects.update(firing=False)
    assert not alerts.take(fires), "it was resolved"
    Alert.objects.update(firing=True, since=timezone.now())
    assert not alerts.take(fires), "it fires anew"
    (anew,) = alerts.to_send()
    assert alerts.take(anew)


def test_a_send_that_failed_is_tried_again_after_longer_and_longer() -> None:
    Alert.objects.create(key=BAD.key, firing=True, told=False)
    for pause in (10, 20, 40):
        (row,) = alerts.to_send()
        assert alerts.take(row)
        alerts.not_sent(row, "it answered 500")
        pass_by(pause - 1)
        assert alerts.to_send() == []
        pass_by(2)
    (row,) = alerts.to_send()
    assert (row.failures, row.send_error) == (3, "it answered 500")
    alerts.sent(row)
    assert Alert.objects.get().told


def test_what_was_sent_of_an_earlier_change_does_not_count_for_a_later_one() -> None:
    Alert.objects.create(key=BAD.key, firing=True, told=False)
    (row,) = alerts.to_send()
    Alert.objects.update(firing=False)
    alerts.sent(row)
    assert not Alert.objects.get().told


@pytest.mark.django_db(transaction=True)
def test_of_processes_that_meet_one_has_the_round_and_one_fires() -> None:
    assert sorted(together(*([lambda: alerts.take_round(10)] * 4))) == [False, False, False, True]
    see(True)
    pass_by(HOLD)
    Alert.objects.filter(pk=alerts.ROUND).update(seen_at=None)
    together(*([lambda: see(True)] * 4))
    row = Alert.objects.get(pk=BAD.key)
    assert (row.firing, row.told, row.differs_since) == (True, False, None)
    taken = together(*([lambda: alerts.take(row)] * 4))
    assert sorted(taken) == [False, False, False, True]


def test_a_round_is_free_again_after_its_time_and_after_the_clock_was_set_back() -> None:
    assert [alerts.take_round(10), alerts.take_round(10)] == [True, False]
    pass_by(11)
    assert alerts.take_round(10)
    pass_by(-3600)
    assert alerts.take_round(10)


def reading(nodes: int = 1, **handler: Any) -> SystemReading:
    return several([{} for _ in range(nodes)], echo=HandlerReading(**handler))


def several(pools: list[dict[str, Any]], **handlers: HandlerReading) -> SystemReading:
    """A reading of nodes with these pools."""
    return SystemReading(Totals({}), [Node(name=f"n{n}", pools=each) for n, each in enumerate(pools)], handlers)


def without_engine(*own: str, **figures: Any) -> HandlerReading:
    """A handler whose engine cannot be reached, with problems of its own besides."""
    return HandlerReading(problems=("x", *own), own_problems=own, engine_problems=("no engine",), slots=1, **figures)


@pytest.mark.parametrize(
    ("given", "share", "alerts"),
    [
        (reading(slots=1), None, []),
        (reading(0, ready=3, oldest=900.0), None, ["no_node"]),
        (reading(ready=3, oldest=301.0), None, ["oldest_age|echo"]),
        (reading(ready=3, oldest=299.0), None, []),
        (reading(ready=3, oldest=301.0, paused=HandlerPause(handler="echo")), None, []),
        (reading(slots=1, own_problems=("its image is missing",)), None, ["cannot_start|echo"]),
        (several([{}], echo=without_engine(ready=3, oldest=301.0), box=without_engine()), None, ["engine_unreachable"]),
        (several([{}], echo=without_engine(ready=3, oldest=301.0, warm=1)), None, [
            "engine_unreachable", "oldest_age|echo",
        ]),
        (several([{}], echo=without_engine("its image is missing"), box=without_engine()), None, [
            "engine_unreachable", "cannot_start|echo",
        ]),
        (several([{}], echo=without_engine()), Share(3, 20, 300), ["engine_unreachable", "failed_share|echo"]),
        (reading(), Share(3, 20, 300), ["failed_share|echo"]),
        (reading(), Share(2, 20, 300), []),
        (reading(), Share(19, 19, 300), []),
        (replace(reading(), told={"schedules": ["it did not fire"], "other": []}), None, ["schedules"]),
    ],
)  # fmt: skip
def test_what_a_reading_says(given: SystemReading, share: Share | None, alerts: list[str]) -> None:
    found = judge(given, {"echo": share} if share else {}, 300.0, 0.1)
    assert list(found.holding) == alerts
    assert ("cannot_start" in found.judged) is bool(given.nodes)


def test_hostile_names_and_problems_are_bounded_and_harmless() -> None:
    text = ("\x1b[2J<script>\u202e\x00" * 100_000,)
    one = HandlerReading(own_problems=text, engine_problems=text)
    names = [f"\u202ename{n}" for n in range(200)]
    found = judge(SystemReading(Totals({}), [Node(name="x")], dict.fromkeys(names, one)), {}, 300, 0.1)
    assert len(found.holding) == 201
    for condition in found.holding.values():
        said = condition.sentence + "".join(condition.details.get("handlers", ()))
        assert len(said) < 4_000 and not any(char in said for char in "\x1b\u202e\x00")
    alerts.observe(found, HOLD, GAP)
    assert Alert.objects.count() == 201


def test_the_engine_of_many_handlers_is_one_alert_that_names_them_and_theirs_stay_as_they_are() -> None:
    down = {"slots": 1, "warm": 0, "problem": "x", "engine_problem": "no engine"}
    handlers = {f"box{n:02}": without_engine(ready=1, oldest=900.0) for n in range(20)}
    found = judge(several([{"box00": down}, {"box00": {"problem": "x"}}], **handlers), {}, 300.0, 0.1)
    (condition,) = found.holding.values()
    assert condition.sentence == "20 handlers cannot start: no engine"
    assert condition.details == {"handlers": list(handlers), "nodes": ["n0"]}
    assert not any(found.denies(f"{alert}|box00") for alert in ("cannot_start", "oldest_age"))
    assert found.denies("failed_share|box00") and found.denies("cannot_start|other")
    assert judge(reading(), {}, 300.0, 0.1).denies("engine_unreachable")
    assert not judge(reading(0), {}, 300.0, 0.1).denies("engine_unreachable")
    assert judge(replace(reading(), told={"schedules": []}), {}, 300.0, 0.1).denies("schedules")


def test_the_share_counts_tasks_that_failed_for_good_and_no_cancelled_ones() -> None:
    now = timezone.now()
    for _ in range(3):
        attempt(stored("completed"), 1, "success", ended_at=now)
    attempt(stored("pending"), 1, "error", ended_at=now)
    attempt(stored("failed"), 1, "error", ended_at=now)
    stored("failed", failure_reason="cancelled")
    stored("failed", completed_at=now - timedelta(minutes=6))
    assert failed_shares() == {"echo": Share(1, 4, 300.0)}


def test_many_wrong_passwords_are_a_condition_that_names_addresses_and_users_but_no_other_words() -> None:
    User.objects.create_user("ada")
    for number in range(15):
        name = "ada" if number % 2 else f"a password {HOSTILE}"
        AccessAttempt.objects.create(
            username=name, user_agent=str(number), ip_address=f"203.0.113.{number % 12}", failures_since_start=2
        )
    AccessAttempt.objects.filter(user_agent="1").update(failures_since_start=5)
    (condition,) = alerts.judge_logins(20).holding.values()
    assert condition.sentence == "33 wrong passwords at the login within 15 min, from 12 addresses"
    assert condition.details["users"] == ["ada"]
    assert condition.details["addresses"][0] == "203.0.113.1" and len(condition.details["addresses"]) == 10
    assert not alerts.judge_logins(34).holding
    AccessAttempt.objects.update(attempt_time=timezone.now() - settings.AXES_COOLOFF_TIME - timedelta(minutes=1))
    calm = alerts.judge_logins(1)
    assert calm.denies("failed_logins")
    assert calm.now("failed_logins").sentence == "0 wrong passwords at the login within 15 min, from 0 addresses"


def test_a_process_that_evaluates_notes_wrong_passwords_and_the_dashboard_leads_to_them(admin: Client) -> None:
    AccessAttempt.objects.create(username="x", ip_address="203.0.113.1", failures_since_start=30)
    evaluates = Watch(conf.environment().model_copy(update={"alert_url": "http://127.0.0.1:1/"}), web=False)
    evaluates._evaluate()
    pass_by(HOLD)
    evaluates._evaluate()
    assert ("failed_logins", True) in tell()
    page = admin.get("/admin/").text
    assert "30 wrong passwords at the login" in page and "/admin/axes/accessattempt/" in page
    nodes_only = logged_in(staff("nina", "view_node", "view_task")).get("/admin/").text
    assert "30 wrong passwords" in nodes_only and "/admin/axes/accessattempt/" not in nodes_only
