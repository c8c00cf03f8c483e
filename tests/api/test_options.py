"""What a request may ask of a task: which values are taken, and what is said of others."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tasks_app.api.errors import Invalid
from tasks_app.api.new_tasks import TASK_FIELDS, new_task, new_tasks
from tasks_app.handlers.handlers_toml import Handler
from tasks_app.queue.strict_json import loads
from tasks_app.queue.submission import NewTask, TaskOptions

HANDLERS = {"echo": Handler("echo", timeout_limit=60.0, retries_limit=10), "prime": Handler("prime", max_retries=0)}
LIMIT = 1024 * 1024
START, END = "2026-01-31T09:00:00Z", "2026-01-31T09:00:01+01:00"
HALF_PAST = datetime(2026, 1, 31, 9, 30, 0, 123456, UTC)
RANGE = "must be a number of seconds from 0 to 31,536,000, not"
MOMENT = 'must be a time with an offset such as "2026-01-31T09:00:00Z", not'


def task(**fields: Any) -> NewTask:
    return new_task(loads(json.dumps({"type": "echo", **fields}).encode()), HANDLERS, LIMIT)


def faults(**fields: Any) -> list[tuple[str, str]]:
    with pytest.raises(Invalid) as caught:
        task(**fields)
    return caught.value.faults


def ahead(seconds: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


@pytest.mark.parametrize(
    ("fields", "options"),
    [
        ({"delay": 0}, TaskOptions(delay=0.0)),
        ({"delay": 31_536_000}, TaskOptions(delay=31_536_000.0)),
        ({"delay": 1.5, "expires_in": 1.6}, TaskOptions(delay=1.5, expires_in=1.6)),
        ({"run_at": START}, TaskOptions(run_at=datetime(2026, 1, 31, 9, tzinfo=UTC))),
        ({"run_at": "2026-01-31t09:00:00.123456789-00:30"}, TaskOptions(run_at=HALF_PAST)),
        ({"run_at": "0001-01-01T00:00:00Z"}, TaskOptions(run_at=datetime(1, 1, 1, tzinfo=UTC))),
        ({"expires_in": 0.001}, TaskOptions(expires_in=0.001)),
        # Refused by no clock: a repeated request must get the first one's answer.
        ({"delay": 9, "expires_at": START}, TaskOptions(delay=9.0, expires_at=datetime(2026, 1, 31, 9, tzinfo=UTC))),
        ({"timeout": 60}, TaskOptions(timeout=60.0)),
        ({"timeout": 0.001, "max_retries": 0}, TaskOptions(timeout=0.001, max_retries=0)),
        ({"max_retries": 10}, TaskOptions(max_retries=10)),
        ({"tags": ["b", "a", "b", "A"]}, TaskOptions(tags=("b", "a", "A"))),
        ({"tags": ["x" * 64, "aZ09_.:/=@-"]}, TaskOptions(tags=("x" * 64, "aZ09_.:/=@-"))),
        ({"tags": ["t"] * 10}, TaskOptions(tags=("t",))),
        ({"metadata": {}}, TaskOptions(metadata={})),
        ({"metadata": {"a": "ü" * 2044}}, TaskOptions(metadata={"a": "ü" * 2044})),
        ({"unique_key": "ü " * 127 + "x"}, TaskOptions(unique_key="ü " * 127 + "x")),
        ({}, None),
        (dict.fromkeys(sorted(TASK_FIELDS.keys() - {"type", "data", "priority"})), None),
        ({"tags": []}, None),
    ],
    ids=str,
)  # fmt: skip
def test_a_good_value_is_taken(fields: dict[str, Any], options: TaskOptions | None) -> None:
    assert task(**fields) == NewTask("echo", {}, 50, options)


@pytest.mark.parametrize(
    ("fields", "name", "said"),
    [
        ({"delay": -0.001}, "delay", f"delay {RANGE} -0.001"),
        ({"delay": 31_536_001}, "delay", f"delay {RANGE} 31536001"),
        ({"delay": True}, "delay", f"delay {RANGE} true"),
        ({"delay": "5"}, "delay", f'delay {RANGE} a string ("5")'),
        ({"expires_in": [5]}, "expires_in", "more than 0 and at most 31,536,000, not an array"),
        ({"run_at": 5}, "run_at", f"run_at {MOMENT} 5; did you mean delay?"),
        ({"expires_at": 5}, "expires_at", f"expires_at {MOMENT} 5; did you mean expires_in?"),
        ({"run_at": "2026-01-31T09:00:00"}, "run_at", "the offset is missing: write Z for UTC, or one such as +01:00"),
        ({"run_at": "2026-01-31"}, "run_at", "the offset is missing"),
        ({"run_at": "2026-02-30T09:00:00Z"}, "run_at", f'run_at {MOMENT} a string ("2026-02-30T09:00:00Z")'),
        ({"run_at": "2026-01-31T09:00:00+24:00"}, "run_at", MOMENT),
        ({"run_at": "0001-01-01T00:00:00+01:00"}, "run_at", MOMENT),
        ({"expires_at": "tomorrow"}, "expires_at", f'expires_at {MOMENT} a string ("tomorrow")'),
        ({"run_at": "9999-12-31T23:59:59Z"}, "run_at", "run_at must be at most 31,536,000 seconds from now"),
        ({"delay": 0, "run_at": START}, "run_at", "delay and run_at are both given; give one of them"),
        ({"expires_in": 1, "expires_at": END}, "expires_at", "expires_in and expires_at are both given"),
        ({"expires_in": 0}, "expires_in", "seconds, more than 0 and at most 31,536,000, not 0"),
        ({"delay": 5, "expires_in": 5}, "expires_in", "expires_in must be more than delay (5), not 5"),
        ({"run_at": START, "expires_at": END}, "expires_at", "expires_at must be after run_at"),
        ({"run_at": START, "expires_at": START}, "expires_at", "expires_at must be after run_at"),
        ({"timeout": 0}, "timeout", "more than 0 and at most 60, the timeout_limit of echo, not 0"),
        ({"timeout": 60.1}, "timeout", "at most 60, the timeout_limit of echo, not 60.1"),
        ({"timeout": False}, "timeout", "not false"),
        ({"max_retries": 11}, "max_retries", "an integer from 0 to 10, the retries_limit of echo, not 11"),
        ({"max_retries": 1.0}, "max_retries", "not 1.0"),
        ({"max_retries": True}, "max_retries", "not true"),
        ({"type": "prime", "max_retries": 1}, "max_retries", "from 0 to 0, the retries_limit of prime"),
        ({"type": "prime", "timeout": 31}, "timeout", "at most 30, the timeout_limit of prime"),
        ({"tags": "a"}, "tags", "tags must be an array of up to 10 strings, not a string"),
        ({"tags": ["a", ""]}, "tags[1]", '1 to 64 of the characters A-Z a-z 0-9 _ . : / = @ -, not a string ("")'),
        ({"tags": [5]}, "tags[0]", "not 5"),
        ({"tags": [["a"]]}, "tags[0]", "not an array"),
        ({"tags": ["a\n"]}, "tags[0]", "not a string"),
        ({"tags": ["ü"]}, "tags[0]", "not a string"),
        ({"tags": ["x" * 65]}, "tags[0]", "a tag must be 1 to 64"),
        ({"tags": ["t"] * 11}, "tags", "tags must have at most 10 tags, not 11"),
        ({"metadata": []}, "metadata", "metadata must be a JSON object, not an array"),
        ({"metadata": {"a": "ü" * 2045}}, "metadata", "metadata must have at most 4,096 bytes as JSON, not 4,098"),
        ({"unique_key": ""}, "unique_key", 'a string of 1 to 255 characters without a NUL, not a string ("")'),
        ({"unique_key": "x" * 256}, "unique_key", "not one of 256"),
        ({"unique_key": 5}, "unique_key", "not 5"),
    ],
    ids=lambda value: str(value)[:40],
)  # fmt: skip
def test_a_wrong_value_is_refused_and_the_good_ones_are_named(fields: dict[str, Any], name: str, said: str) -> None:
    [(field, sentence)] = faults(**fields)
    assert field == name
    assert said in sentence


def test_a_moment_is_at_most_a_year_ahead() -> None:
    for name in ("run_at", "expires_at"):
        assert task(**{name: ahead(31_535_900)}).options is not None
        [(field, sentence)] = faults(**{name: ahead(31_536_100)})
        assert (field, sentence.partition(", not")[0]) == (name, f"{name} must be at most 31,536,000 seconds from now")


def test_every_fault_is_reported_at_once() -> None:
    found = faults(
        type="ecko", priority=101, delay=-1, run_at=START, expires_at="x", timeout="5", max_retries=-1, tags=["", 5],
        metadata=0, unique_key="", expires=5,
    )  # fmt: skip
    assert [field for field, _ in found] == [
        "expires", "type", "priority", "delay", "expires_at", "run_at", "timeout", "max_retries", "tags[0]", "tags[1]",
        "metadata", "unique_key",
    ]  # fmt: skip
    assert found[0][1].startswith(
        f'unknown field "expires"; the fields are {", ".join(TASK_FIELDS)}; did you mean "expires_'
    )


@pytest.mark.parametrize("name", ["delays", "runAt", "expire_in", "maxRetries", "tag", "meta_data", "uniqueKey"])
def test_a_misspelt_field_is_refused_with_the_one_that_was_meant(name: str) -> None:
    [(field, sentence)] = faults(**{name: None})
    assert field == name
    assert "; did you mean" in sentence


def test_of_an_unknown_type_no_limit_is_named() -> None:
    assert [field for field, _ in faults(type="nobody", timeout=10**6, max_retries=10**6)] == ["type"]
    sentences = dict(faults(type="nobody", timeout=0, max_retries=-1))
    assert sentences["timeout"] == "timeout must be a number of seconds, more than 0, not 0"
    assert sentences["max_retries"] == "max_retries must be an integer of at least 0, not -1"


def test_a_number_of_any_size_is_refused_with_a_sentence() -> None:
    for text in ("9" * 4000, "1e308", "-0.0", "1e-320"):
        body = f'{{"type": "echo", "delay": {text}, "expires_in": {text}, "timeout": {text}, "max_retries": {text}}}'
        with pytest.raises(Invalid):
            new_task(loads(body.encode()), HANDLERS, LIMIT)


def test_of_many_wrong_tags_ten_are_named() -> None:
    found = faults(tags=["?"] * 1000)
    assert [field for field, _ in found] == [*(f"tags[{n}]" for n in range(10)), "tags", "tags"]
    assert [sentence for _, sentence in found[10:]] == [
        "and 990 more wrong tags",
        "tags must have at most 10 tags, not 1,000",
    ]


def test_in_a_batch_a_fault_has_its_path() -> None:
    tasks = [{"type": "echo", "unique_key": "a"}, {"type": "echo", "tags": ["a", "?"], "delay": -1}]
    with pytest.raises(Invalid) as caught:
        new_tasks({"tasks": tasks}, HANDLERS, LIMIT)
    assert [field for field, _ in caught.value.faults] == ["tasks[1].delay", "tasks[1].tags[1]"]
    assert new_tasks({"tasks": tasks[:1]}, HANDLERS, LIMIT) == [NewTask("echo", options=TaskOptions(unique_key="a"))]


def test_a_plain_task_is_not_asked_for_options(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("tasks_app.api.new_tasks.options_of")
    assert task(data={"n": 1}, priority=5) == NewTask("echo", {"n": 1}, 5)
    with pytest.raises(NameError):
        task(delay=5)
