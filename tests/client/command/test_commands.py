"""Each command against a running platform: what it does, what it writes, and its --json by the schema of the API."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from testkit.daemon import Daemon
from testkit.ports import free_port
from testkit.process import until
from tests.client.command.conftest import tdctl

pytestmark = pytest.mark.one_leg("the command knows the API alone")

SCHEDULE = {"type": "act", "every": "1h", "data": {"by": "schedule"}}


@pytest.fixture(scope="module")
def described(platform: Daemon) -> dict[str, Any]:
    """The document of the API."""
    return dict(platform.http.get("/openapi.json").json())


@pytest.fixture
def fits(described: dict[str, Any]) -> Callable[[Any, str], None]:
    """Checks a value by a schema of the document."""

    def check(value: Any, name: str) -> None:
        schema = {"$ref": f"#/components/schemas/{name}", "components": described["components"]}
        jsonschema.Draft202012Validator(schema).validate(value)

    return check


@pytest.fixture
def failed(here: Daemon) -> str:
    """A task that failed."""
    id = here.post("act", {"do": "error"})
    here.until_final(id)
    return id


@pytest.fixture
def running(here: Daemon) -> Iterator[str]:
    """A task that runs until the test is over."""
    gate = here.gate()
    id = here.post("act", {"do": "wait", "gate": str(gate)})
    here.until_starts(id)
    yield id
    if tdctl("cancel", id).code != 5:
        here.until_final(id)


@pytest.fixture
def schedule(here: Daemon) -> Iterator[str]:
    """A schedule."""
    here.http.put("/api/schedules/hourly", json=SCHEDULE).raise_for_status()
    yield "hourly"
    here.http.delete("/api/schedules/hourly")


def node(daemon: Daemon) -> str:
    """The platform's node."""
    (only,) = daemon.http.get("/api/nodes").json()
    return str(only["name"])


# Tasks.


def test_submit_writes_the_id_of_a_task_that_has_all_options(here: Daemon, fits: Callable[[Any, str], None]) -> None:
    options = ["--priority", "75", "--delay", "1h", "--expires-in", "2h", "--timeout", "1.5", "--max-retries", "0"]
    options += ["--tag", "a", "--tag", "b:1", "--metadata", '{"order": 7}', "--unique-key", "once"]
    ran = tdctl("submit", "act", '{"x": 1}', *options)
    task = here.task(ran.out.strip())
    assert (task["task_data"], task["priority"], task["timeout"], task["max_retries"]) == ({"x": 1}, 75, 1.5, 0)
    assert (task["tags"], task["metadata"], task["unique_key"]) == (["a", "b:1"], {"order": 7}, "once")
    assert task["due_at"] and task["expires_at"]
    again = tdctl("submit", "act", "--unique-key", "once", "--json")
    assert again.json == {"task_id": task["id"], "existing": True} and "has not ended" in again.err
    fits(again.json, "Queued")
    tdctl("cancel", task["id"])


def test_submit_takes_data_from_stdin_a_file_or_nowhere(here: Daemon, tmp_path: Path) -> None:
    (tmp_path / "data.json").write_text('{"from": "file"}')
    assert tdctl("submit", "act", "-", "--wait", stdin='{"from": "stdin"}').json == {"from": "stdin"}
    assert tdctl("submit", "act", f"@{tmp_path}/data.json", "--wait").json == {"from": "file"}
    assert tdctl("submit", "act", "--wait").json == {}


def test_submit_with_wait_writes_the_result_or_the_task(here: Daemon, fits: Callable[[Any, str], None]) -> None:
    ran = tdctl("submit", "--wait", "act", '{"text": "caf\\u00e9 \\u009b31m \\u202e"}')
    assert ran.json == {"text": "café \x9b31m \u202e"} and "\x9b" not in ran.out and "\u202e" not in ran.out
    task = tdctl("submit", "--wait", "20", "act", "--json").json
    fits(task, "TaskObject")
    assert tdctl("submit", "--wait=20", "act", "--json=id,status").json.keys() == {"id", "status"}


def test_a_call_with_an_idempotency_key_queues_one_task(here: Daemon) -> None:
    first, second = (tdctl("submit", "act", "--idempotency-key", "a call") for _ in range(2))
    assert first.out == second.out


def test_submit_many_writes_ids_in_the_order_of_the_lines(here: Daemon, tmp_path: Path) -> None:
    file = tmp_path / "tasks.jsonl"
    lines = [json.dumps({"type": "act", "data": {"n": n}, "tags": ["many"]}) for n in range(1234)]
    file.write_text("\n\n".join(lines) + "\n")
    ids = tdctl("submit-many", str(file)).out.split()
    assert [here.task(id)["task_data"]["n"] for id in (ids[0], ids[999], ids[1000], ids[1233])] == [0, 999, 1000, 1233]
    waited = tdctl("wait", "-", stdin="\n".join(ids))
    assert sorted(id for id, _, _ in waited.rows) == sorted(ids) and {row[1] for row in waited.rows} == {"completed"}
    assert len(tdctl("list", "--tag", "many", "--all").rows) == 1234


def test_a_file_that_is_queued_again_with_its_key_adds_only_what_is_missing(here: Daemon, tmp_path: Path) -> None:
    file = tmp_path / "tasks.jsonl"
    line = '{"type": "act", "tags": ["again"]}\n'
    file.write_text(line * 1500 + "{broken\n")
    broken = tdctl("submit-many", str(file), "--idempotency-key", "file")
    assert broken.code == 2 and len(broken.out.split()) == 1000
    assert "line 1501 is not JSON" in broken.err and "the first 1,000 tasks are queued" in broken.err
    file.write_text(line * 1501)
    whole = tdctl("submit-many", str(file), "--idempotency-key", "file")
    assert whole.out.split()[:1000] == broken.out.split()
    assert len(tdctl("list", "--tag", "again", "--all").rows) == 1501


def test_submit_many_names_the_lines_that_are_refused(here: Daemon, tmp_path: Path) -> None:
    file = tmp_path / "tasks.jsonl"
    file.write_text('{"type": "act"}\n\n{"type": "act", "priority": 101}\n')
    ran = tdctl("submit-many", str(file), "--json")
    assert (ran.code, ran.out) == (2, "") and "line 3.priority" in ran.err and "no task is queued" in ran.err
    assert tdctl("submit-many", "-", "--json", stdin='{"type": "act"}').json["existing"] is False


def test_get_shows_a_task(here: Daemon, failed: str, fits: Callable[[Any, str], None]) -> None:
    assert ["status", "failed"] in tdctl("get", failed).rows
    fits(tdctl("get", failed, "--json").json, "TaskObject")
    assert tdctl("get", "--json", "status,tags", failed).json == {"status": "failed", "tags": None}


def test_wait_writes_one_result_or_a_line_for_each_task(here: Daemon, failed: str) -> None:
    done = tdctl("submit", "act", '{"a": 1}').out.strip()
    assert tdctl("wait", done).json == {"a": 1}
    ran = tdctl("wait", done, failed.upper())
    assert ran.code == 1
    assert sorted(ran.out.splitlines()) == sorted(
        [f'{done}\tcompleted\t{{"a": 1}}', f"{failed}\tfailed\thandler_error: it did not work"]
    )
    lines = [json.loads(line) for line in tdctl("wait", done, failed, "--json", "status").out.splitlines()]
    assert sorted(line["status"] for line in lines) == ["completed", "failed"]


def test_wait_says_why_a_task_waits(here: Daemon) -> None:
    id = tdctl("submit", "act", "--delay", "1h").out.strip()
    ran = tdctl("wait", id, "--timeout", "2.5")
    assert ran.code == 124 and "the task waits: it is scheduled" in ran.err, ran
    tdctl("cancel", id)


def test_logs_are_what_the_handler_has_written(here: Daemon, fits: Callable[[Any, str], None]) -> None:
    id = here.post("act", {"do": "print", "says": "\x1b[2J\x1b[31mred\x07\u202e\r\tgone"})
    here.until_final(id)
    shown = "\\x1b[2J\\x1b[31mred\\x07\\u202e\\x0d\tgone\nto stdout\nto stderr\n"
    ran = tdctl("logs", id)
    assert ran.out == shown and "attempt 1: success" in ran.err
    assert tdctl("logs", "-f", id).out == shown
    (attempt,) = tdctl("logs", id, "--json").json
    fits(attempt, "AttemptObject")
    assert tdctl("logs", id, "--json", "number,outcome").json == [{"number": 1, "outcome": "success"}]


def test_logs_of_all_attempts_begin_with_the_first(here: Daemon) -> None:
    id = here.post("act", {"do": "error", "retryable": True, "until": 3, "says": "hello"})
    here.until_final(id)
    assert tdctl("logs", id).out == "hello\n"
    assert tdctl("logs", id, "--all").out == "hello\n" * 3
    followed = tdctl("logs", id, "--all", "-f")
    assert followed.out == "hello\n" * 3 and "attempt 2 ended: error: it did not work" in followed.err
    waits = here.http.post("/queue", json={"type": "act", "delay": 3600}).json()["task_id"]
    assert tdctl("logs", waits) == (0, "", "")
    tdctl("cancel", waits)


def test_logs_follow_a_task_to_its_end(here: Daemon, failed: str) -> None:
    done = tdctl("submit", "act", '{"do": "print"}').out.strip()
    ran = tdctl("logs", "-f", done)
    assert (ran.code, ran.out) == (0, "to stdout\nto stderr\n")
    assert tdctl("logs", "-f", failed).code == 1
    events = [json.loads(line) for line in tdctl("logs", "--follow", done, "--json").out.splitlines()]
    assert events[-1]["event"] == "end" and events[-1]["data"]["status"] == "completed"


def test_list_filters_and_shows_as_many_as_it_is_told(
    here: Daemon, failed: str, fits: Callable[[Any, str], None]
) -> None:
    tasks = tdctl(
        "list", "--status", "failed", "--type", "act", "--error", "did not work", "--limit", "1", "--json"
    ).json
    assert [task["id"] for task in tasks] == [failed]
    fits(tasks[0], "TaskObject")
    (row,) = tdctl("list", "--ids", failed).rows
    assert row[:3] == [failed, "failed", "act"] and row[-1] == "it did not work"
    (part,) = tdctl("list", "--ids", failed, "--json", "id,progress").json
    assert part == {"id": failed, "progress": None}
    nothing = tdctl("list", "--tag", "nobody-has-it", "--json")
    assert (nothing.json, nothing.err) == ([], "")
    first = tdctl("list", "--order", "oldest", "--limit", "1", "--json").json[0]["created_at"]
    assert all(task["created_at"] >= first for task in tdctl("list", "--limit", "50", "--json", "created_at").json)
    for words in ((), ("--json",), ("--json", "id")):
        more = tdctl("list", "--limit", "1", *words)
        assert more.err == "there are more than 1: --limit N or --all shows them\n" and more.out.count(failed) <= 1, (
            more
        )
    here.until_final(here.post("act"))
    (known,) = tdctl("list", "--ids", failed, "--limit", "1").rows
    assert known[0] == failed and tdctl("list", "--ids", failed, "--limit", "1").err == ""


def test_why_says_why(here: Daemon, failed: str, fits: Callable[[Any, str], None]) -> None:
    (reason,) = tdctl("why", failed, "--json").json
    fits(reason, "ReasonObject")
    assert tdctl("why", failed).rows == [[reason["sentence"]]] and "it did not work" in reason["sentence"]


def test_tasks_are_cancelled_redriven_and_deleted_by_their_ids(
    here: Daemon, running: str, fits: Callable[[Any, str], None]
) -> None:
    fits(json.loads(tdctl("cancel", running, "--json").out), "TaskObject")
    ran = tdctl("redrive", running, "--data", '{"new": true}', "--priority", "9")
    assert (ran.code, ran.out) == (0, "") and "is pending again" in ran.err
    task = here.until_final(running)
    assert (task["result"], task["priority"]) == ({"new": True}, 9)
    assert tdctl("delete", "-", stdin=running).code == 0
    assert tdctl("get", running).code == 5


def test_priority_changes_that_of_pending_tasks(here: Daemon) -> None:
    ids = [tdctl("submit", "act", "--delay", "1h", "--tag", "prio").out.strip() for _ in range(2)]
    assert json.loads(tdctl("priority", ids[0], "--to", "7", "--json", "priority").out) == {"priority": 7}
    assert tdctl("priority", "--to", "8", "--tag", "prio", "--wait").code == 0
    assert [here.task(id)["priority"] for id in ids] == [8, 8]
    assert tdctl("cancel", "--tag", "prio", "--wait").code == 0
    assert [here.task(id)["failure_reason"] for id in ids] == ["cancelled"] * 2


def test_all_that_match_are_an_operation(here: Daemon, fits: Callable[[Any, str], None]) -> None:
    ids = [tdctl("submit", "act", '{"do": "error", "until": 2}', "--tag", "op").out.strip() for _ in range(3)]
    tdctl("wait", *ids)
    preview = tdctl("redrive", "--tag", "op", "--dry-run", "--json").json
    fits(preview, "OperationPreview")
    assert preview["matched"] == 3
    operation = tdctl("redrive", "--tag", "op", "--limit", "2", "--rate", "1000", "--stop-share", "1").out.strip()
    assert tdctl("operations", "wait", operation).code == 0
    fits(tdctl("operations", "get", operation, "--json").json, "OperationObject")
    assert tdctl("operations", "--json", "id").json[0] == {"id": operation}
    assert tdctl("operations").rows[0][:3] == [operation, "redrive", "completed"]
    assert tdctl("operations", "abort", operation).code == 6
    tdctl("pause", "act")
    paused = tdctl("redrive", "--tag", "op", "--wait")
    tdctl("resume", "act")
    assert "act is paused by " in paused.err and "until it is resumed" in paused.err
    deleted = tdctl("delete", "--tag", "op", "--wait", "--json").json
    fits(deleted, "OperationObject")
    assert deleted["done"] == 3


def test_ids_and_filters_exclude_each_other(here: Daemon, failed: str) -> None:
    for words in ([], [failed, "--type", "act"], [failed, "--dry-run"], ["--type", "act", "--priority", "3"]):
        assert tdctl("redrive", *words).code == 2, words
    assert here.task(failed)["status"] == "failed"


# Handlers, nodes, schedules.


def test_handlers_are_listed_paused_and_resumed(here: Daemon, fits: Callable[[Any, str], None]) -> None:
    for handler in tdctl("handlers", "--json").json:
        fits(handler, "HandlerObject")
    assert [row[0] for row in tdctl("handlers").rows] == ["act", "other"]
    paused = tdctl("pause", "other", "--for", "2h", "--reason", "why not", "--wait", "20", "--json").json
    fits(paused, "PausedHandler")
    assert paused["paused"]["reason"] == "why not" and paused["paused"]["until"]
    assert tdctl("handlers").rows[1][5] == "paused"
    ran = tdctl("resume", "other")
    assert (ran.code, ran.out) == (0, "") and "is resumed" in ran.err
    assert tdctl("handlers", "other", "--json", "paused").json == {"paused": None}


def test_a_pause_that_waits_in_vain_ends_with_124(here: Daemon, running: str) -> None:
    ran = tdctl("pause", "act", "--wait", "0")
    tdctl("resume", "act")
    assert ran.code == 124 and running in ran.err


def test_nodes_are_listed_drained_and_undrained(here: Daemon, fits: Callable[[Any, str], None]) -> None:
    name = node(here)
    fits(tdctl("nodes", "--json").json[0], "NodeObject")
    assert tdctl("nodes").rows[0][:2] == [name, "alive"]
    drained = tdctl("drain", name, "--type", "other", "--reason", "a test", "--json").json
    fits(drained, "NodeObject")
    until(lambda: tdctl("handlers").rows[1][5] == "drained on 1", what="a fresh reading")
    assert tdctl("undrain", name, "--type", "other").code == 0
    assert tdctl("drain", name).code == 0
    assert tdctl("nodes", name, "--json", "state").json["state"] in ("draining", "drained")
    assert tdctl("undrain", name, "--json").json["drained"] is None


def test_schedules_are_listed_run_paused_and_resumed(
    here: Daemon, schedule: str, fits: Callable[[Any, str], None]
) -> None:
    for each in tdctl("schedules", "--json").json:
        fits(each, "ScheduleObject")
    assert tdctl("schedules").rows[0][:3] == [schedule, "act", "1h"]
    fits(tdctl("schedules", "get", schedule, "--json").json, "ScheduleObject")
    assert tdctl("schedules", "pause", schedule, "--json", "paused").json["paused"]
    assert tdctl("schedules", "resume", schedule).code == 0
    ran = tdctl("schedules", "run", schedule)
    assert here.until_final(ran.out.strip())["result"] == {"by": "schedule"}
    fits(tdctl("schedules", "firings", schedule, "--json").json[0], "FiringObject")


def test_a_schedule_is_put_replaced_and_deleted(here: Daemon, tmp_path: Path, fits: Callable[[Any, str], None]) -> None:
    definition = {"type": "act", "every": "2h", "data": {"by": "put"}}
    fits(tdctl("schedules", "put", "two", json.dumps(definition), "--json").json, "ScheduleObject")
    (tmp_path / "two.json").write_text(json.dumps(definition | {"every": "3h"}))
    ran = tdctl("schedules", "put", "two", f"@{tmp_path}/two.json")
    assert (ran.code, ran.out) == (0, "") and '"two" is stored' in ran.err
    assert tdctl("schedules", "get", "two", "--json", "every").json == {"every": "3h"}
    refused = tdctl("schedules", "put", "two", '{"type": "act", "every": "3h", "cron": "@daily"}')
    assert refused.code == 2 and "cron" in refused.err, refused
    assert tdctl("schedules", "put", "two", '["act"]').code == 2
    ran = tdctl("schedules", "delete", "two")
    assert (ran.code, ran.out) == (0, "") and '"two" is deleted' in ran.err
    assert tdctl("schedules", "delete", "two").code != 0
    assert here.http.get("/api/schedules/two").status_code == 404


def test_top_without_a_terminal_is_one_reading(here: Daemon, running: str) -> None:
    until(lambda: tdctl("top").rows[0][:4] == ["act", "1", "2", "2"], what="a fresh reading")
    (act, _) = tdctl("top", "--json", "type,busy,oldest_ready_seconds").json
    assert act == {"type": "act", "busy": 1, "oldest_ready_seconds": 0.0}


def test_callbacks_of_a_task_are_listed_and_sent_again(here: Daemon, fits: Callable[[Any, str], None]) -> None:
    url = f"http://127.0.0.1:{free_port()}/told"
    id = tdctl("submit", "act", "--callback-url", url).out.strip()
    until(lambda: tdctl("callbacks", "list", id, "--json", "tries").json not in ([], [{"tries": 0}]), what="a try")
    (callback,) = tdctl("callbacks", "list", id, "--json").json
    fits(callback, "CallbackObject")
    assert (callback["url"], callback["event"]) == (url, "task.completed") and callback["last_error"]
    (row,) = tdctl("callbacks", "retry", id).rows
    assert row[0] == callback["id"]
    other = tdctl("submit", "act").out.strip()
    assert tdctl("callbacks", "retry", other).code == 6
    assert tdctl("callbacks", "retry", "--ids", f"{id},{other}", "--dry-run", "--json", "matched").json["matched"] >= 1
    operation = tdctl("callbacks", "retry", "--ids", id, "--wait", "--json", "verb,state").json
    assert operation == {"verb": "callbacks", "state": "completed"}
    until(lambda: tdctl("callbacks", "list", id, "--json", "tries").json == [{"tries": 1}], what="another try")
    host = url.split("/")[2]
    assert tdctl("callbacks", "give-up", "--host", host, "--dry-run", "--json", "matched").json == {"matched": 1}
    given_up = tdctl("callbacks", "give-up", "--host", host, "--type", "act", "--json").json
    fits(given_up, "GivenUp")
    assert (given_up["given_up"], given_up["matched"]) == (1, 0) and tdctl("callbacks", "give-up").code == 2
    assert tdctl("callbacks", "retry", id, "--type", "act").code == tdctl("callbacks", "retry").code == 2
