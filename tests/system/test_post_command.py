"""`manage.py post`: a caller on the command line; and `manage.py prepare` without a database."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from testkit.daemon import Daemon, open_gate
from testkit.process import Process, until
from testkit.proxies import Loss, LossyProxy

pytestmark = [pytest.mark.long("starts of workers", seconds=60), pytest.mark.one_leg("a client of the API")]


@pytest.fixture(scope="module")
def web(module_deployment: Callable[..., Daemon]) -> Daemon:
    """A deployment whose web server is all that runs, until a test asks for `served`."""
    daemon = module_deployment()
    daemon.handler("act")
    daemon.web()
    return daemon


@pytest.fixture
def served(web: Daemon, nodes: list[Process]) -> Daemon:
    """The same with a node, which is there for all tests that follow."""
    if not nodes:
        nodes.append(web.worker())
    return web


@pytest.fixture(scope="module")
def nodes() -> list[Process]:
    return []


def ids(daemon: Daemon) -> set[str]:
    """All tasks that there are."""
    return {row["id"] for row in daemon.rows("SELECT id FROM taskdaemon_task")}


def test_what_goes_wrong_is_said_and_is_an_exit_code(web: Daemon) -> None:
    for words, code, says in (
        (("act", "{"), 2, "DATA is not JSON"),
        (("act", "limit=1"), 2, "write an object in single quotes, as in '{"),
        (("nobody",), 1, "400"),
        (("act", "{}", "--wait", "0.2"), 1, "the task is pending: no worker lives"),
        (
            ("act", "--url", "http://127.0.0.1:1"),
            1,
            "nothing answers at http://127.0.0.1:1/queue (Connection refused); start",
        ),
    ):
        post = web.manage("post", *words)
        assert post.ends() == code, post.said()
        assert says in post.said() and "Traceback" not in post.said()
        assert "urlopen" not in post.said()


def test_a_task_with_the_same_unique_key_is_the_one_that_is_shown(web: Daemon) -> None:
    before = ids(web)
    for says in ("the task is pending", "a task with this unique key has not ended: this is that one"):
        post = web.manage("post", "act", "--unique-key", "k", "--wait", "0")
        assert post.ends() == 1 and says in post.said()
    assert len(ids(web) - before) == 1


def test_moments_are_posted_and_exclude_seconds(web: Daemon) -> None:
    start, end = (datetime.now(UTC).replace(microsecond=0) + timedelta(days=days) for days in (1, 2))
    moments = "--run-at", f"{start:%Y-%m-%dT%H:%M:%SZ}", "--expires-at", f"{end:%Y-%m-%dT%H:%M:%S+00:00}"
    post = web.manage("post", "act", *moments, "--wait", "0")
    assert post.ends() == 1
    for name, moment in (("due_at", start), ("expires_at", end)):
        assert f'"{name}": "{moment:%Y-%m-%dT%H:%M:%S}.000000Z"' in post.said()
    for words, says in (
        (("--delay", "1", "--run-at", "2096-01-31T09:00:00Z"), "not allowed with argument"),
        (("--delay", "soon"), "invalid number value"),
        (("--metadata", "{"), "--metadata is not JSON"),
    ):
        post = web.manage("post", "act", *words)
        assert post.ends() == 2 and says in post.said(), post.said()


def test_a_task_is_posted_waited_for_and_shown(served: Daemon) -> None:
    post = served.manage("post", "act", '{"do": "echo"}', "--priority", "70")
    assert post.ends() == 0, post.said()
    shown = json.loads(post.said())
    assert (shown["status"], shown["priority"]) == ("completed", 70)
    assert served.task(shown["id"])["result"] == shown["result"]


def test_a_task_is_posted_with_all_that_it_may_have(served: Daemon) -> None:
    words = {
        "--delay": "0.2",
        "--expires-in": "3600",
        "--timeout": "20",
        "--max-retries": "1",
        "--metadata": '{"order": 4711}',
        "--unique-key": "order 4711",
        "--idempotency-key": "one",
    }
    options = [word for pair in words.items() for word in pair]
    before = ids(served)
    post = served.manage("post", "act", "--tag", "a", "--tag", "b/c", *options)
    assert post.ends() == 0, post.said()
    shown = json.loads(post.said())
    (row,) = served.rows("SELECT * FROM taskdaemon_task WHERE unique_key = 'order 4711'")
    asked = row["requested_timeout"], row["requested_max_retries"], row["unique_key"]
    assert asked == (20.0, 1, "order 4711")
    assert (shown["tags"], shown["metadata"], shown["status"]) == (["a", "b/c"], {"order": 4711}, "completed")
    assert row["expires_at"] is not None
    again = served.manage("post", "act", "--tag", "a", "--tag", "b/c", *options)
    assert again.ends() == 0 and "an earlier call with this idempotency key posted the task" in again.said()
    assert shown["id"] in again.said()
    assert len(ids(served) - before) == 1


def test_a_task_that_fails_says_why_and_where_its_log_is(served: Daemon) -> None:
    post = served.manage("post", "act", '{"do": "error"}')
    assert post.ends() == 1, post.said()
    identity = json.loads(post.said().partition("CommandError")[0])["id"]
    assert f"manage.py logs {identity}" in post.said()


@pytest.mark.parametrize("loss", Loss)
def test_a_lost_connection_is_tried_again_with_an_idempotency_key_alone(served: Daemon, loss: Loss) -> None:
    before, one, two = ids(served), f"one-{loss.name}", f"two-{loss.name}"
    # The first two calls of the command, and the first time that it waits.
    with LossyProxy(served.port, lambda call: loss if call in (0, 1, 3) else None) as proxy:
        url = f"http://127.0.0.1:{proxy.port}"
        post = served.manage("post", "act", "--url", url, "--idempotency-key", one)
        assert post.ends() == 0, post.said()
        for says in ("sent again with the same idempotency key, 2 of 3", "it is read again, 1 of 3"):
            assert says in post.said()
        assert proxy.calls == [loss, loss, None, loss, None]
    assert len(ids(served) - before) == 1
    with LossyProxy(served.port, lambda _: loss) as proxy:
        url = f"http://127.0.0.1:{proxy.port}"
        for words, calls in ((("--idempotency-key", two), 4), ((), 1)):
            proxy.calls.clear()
            post = served.manage("post", "act", "--url", url, *words)
            assert post.ends() == 1 and "nothing answers" in post.said()
            assert proxy.calls == [loss] * calls


def test_what_is_no_reply_is_said_while_the_task_runs_and_ctrl_c_leaves_the_task_alone(served: Daemon) -> None:
    data = json.dumps({"do": "sleep", "seconds": 600, "says": '{"status": "done"}'})
    post = served.manage("post", "act", data, "--timeout", "30")
    until(lambda: 'this is no reply: {"status": "done"} (its `status` is "done"' in post.said(), what="the note")
    post.signal(signal.SIGINT)
    assert post.ends() == 130 and "Traceback" not in post.said()
    identity = post.said().rpartition("manage.py logs -f ")[2].split()[0]
    assert served.task(identity)["status"] == "processing"
    (attempt,) = served.http.get(f"/api/tasks/{identity}/attempts?running=true").json()
    assert attempt["note"].startswith("this is no reply: ") and attempt["error"] is None
    served.http.post(f"/api/tasks/{identity}/cancel")
    served.until_final(identity)


def test_a_result_is_waited_for_rather_than_asked_for_again_and_again(served: Daemon) -> None:
    gate, before = served.gate(), served.counted("waits_begun")
    with LossyProxy(served.port, lambda _: None) as proxy:
        data = json.dumps({"do": "wait", "gate": str(gate)})
        post = served.manage("post", "act", data, "--url", f"http://127.0.0.1:{proxy.port}")
        until(lambda: served.counted("waits_begun") > before, what="a wait")
        open_gate(gate)
        assert post.ends() == 0, post.said()
        assert proxy.calls == [None, None]
