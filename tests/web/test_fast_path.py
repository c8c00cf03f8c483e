"""The fast path of `POST /queue`: which requests take it, and what of them is stored."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from datetime import timedelta
from ipaddress import ip_network
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import django.test
import pytest
from django.db import OperationalError, connection
from django.utils import timezone

from tasks_app import conf
from tasks_app.api import admission, view
from tasks_app.api.admission import backlog
from tasks_app.keys import api_keys, caller, rate
from tasks_app.keys.api_keys import ApiKey, Grant
from tasks_app.keys.rate import TokenBucket
from tasks_app.queue.models import IdempotencyKey, Task
from tasks_app.queue.submission import Submitted
from tasks_app.queue.submit import GroupCommit, group_commit
from tasks_app.web import fast_path
from tasks_app.web.fast_path import FastPath
from tasks_app.web.requests import Request
from testkit.callback_receivers import SECRET
from tests.queue.moves.kit import close

TASK = b'{"type": "echo", "data": {"n": 1}}'


class Client:
    """Passes requests to a FastPath, and keeps the answers."""

    def __init__(self, keys: caller.Keys, group_commit: GroupCommit) -> None:
        self.keys, self.group_commit = keys, group_commit
        self.fast_path = FastPath(lambda request: self.finished.set())
        self.finished = threading.Event()
        self.answers: list[tuple[int, dict[str, str], bytes]] = []

    def takes(self, body: bytes = TASK, /, **headers: str) -> bool:
        given = {"host": "localhost"} | {name.replace("_", "-"): value for name, value in headers.items()}
        line = {"method": "POST", "path": "/queue", "query_string": "", "authority": None}
        scope: Any = SimpleNamespace(**line, headers=given, client="127.0.0.1:4711")
        self.finished.clear()
        self.request = Request(scope, self, body, None, True)  # type: ignore[arg-type]
        return self.fast_path.try_take(self.request)

    def response_bytes(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        connection.close()
        self.answers.append((status, dict(headers), body))

    def posts(self, body: bytes = TASK, /, **headers: str) -> bool:
        return self.takes(body, **headers) and self.finished.wait(30) and self.answers[-1][0] == 200


def read_backlog() -> None:
    """Make the backlog read the database now."""
    backlog._read_due_at = 0.0
    assert backlog.reserve(1_000_000)
    backlog.release()


@pytest.fixture
def posting(transactional_db: None, own_key_rates: None, monkeypatch: pytest.MonkeyPatch) -> Client:
    """A client whose process has just read the keys and the backlog."""
    keys, mine = caller.Keys(), GroupCommit()
    monkeypatch.setattr(caller, "keys", keys)
    for door in (fast_path, view):
        monkeypatch.setattr(door, "keys", keys)
    monkeypatch.setattr(caller, "MAX_READING_AGE_SECONDS", 3600.0)
    monkeypatch.setattr(fast_path, "group_commit", mine)
    keys.current()
    read_backlog()
    return Client(keys, mine)


def test_a_callback_url_beside_a_unique_key_goes_to_the_view_which_may_have_to_read_the_living_task(
    posting: Client, listen: Callable[..., None]
) -> None:
    listen(callback_secrets=SECRET)
    assert posting.posts(b'{"type": "echo", "callback_url": "https://example.org/"}')
    assert not posting.takes(b'{"type": "echo", "callback_url": "https://example.org/", "unique_key": "a"}')


def test_keys_belong_to_the_api_key_of_their_request(posting: Client) -> None:
    one, two = (f"Bearer {api_keys.create(name)}" for name in ("one", "two"))
    read_keys(posting)
    for authorization in (one, two, one):
        assert posting.posts(idempotency_key="abc", authorization=authorization)
    assert posting.answers[0][2] == posting.answers[2][2] != posting.answers[1][2]
    assert {*IdempotencyKey.objects.values_list("owner", flat=True)} == {*ApiKey.objects.values_list("pk", flat=True)}


def test_keys_that_are_contended_are_answered_as_the_view_does(
    posting: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = b'{"type": "echo", "unique_key": "u"}'
    with monkeypatch.context() as contended:
        for module in ("idempotency", "keyed_submit"):
            contended.setattr(f"tasks_app.queue.{module}.MAX_ROUNDS", 0)
        assert posting.takes(body, idempotency_key="abc")
        assert posting.finished.wait(30)
        status, headers, text = posting.answers[0]
        view = django.test.Client(raise_request_exception=False, SERVER_NAME="localhost")
        answer = view.post("/queue", body, "application/json", headers={"idempotency-key": "abc"})
    assert (answer.status_code, answer.content, answer.headers["Retry-After"]) == (status, text, "2")
    assert status == 503
    ours = {name.lower(): value for name, value in headers.items()}
    assert ours == {name.lower(): value for name, value in answer.headers.items()} | {"content-length": str(len(text))}
    close(group_commit)


def test_a_full_queue_takes_no_token_of_the_rate_limit(posting: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "token_bucket", TokenBucket())
    full = conf.environment().model_copy(update={"max_queue": 1, "max_rate": 0.001})
    assert backlog.reserve(1)
    posting.fast_path._env = full
    assert not posting.takes()
    backlog.release()
    posting.fast_path._env = full.model_copy(update={"max_queue": 1000})
    assert posting.posts()
    assert not posting.takes()


def test_admitted_tasks_count_as_waiting(posting: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    read_backlog()
    posting.fast_path._env = conf.environment().model_copy(update={"max_queue": 3})
    waiting: list[Callable[[Submitted | Exception], None]] = []
    with monkeypatch.context() as slow:
        slow.setattr(posting.group_commit, "submit_nowait", lambda _, callback: waiting.append(callback))
        assert [posting.takes() for _ in range(5)] == [True, True, True, False, False]
        waiting.pop()(OperationalError("it is away"))
        assert not posting.takes()  # only the next reading of the backlog tells whether it was stored
        while waiting:
            waiting.pop()(Submitted([uuid4()]))
    backlog._read_due_at = math.inf
    assert not posting.takes()
    read_backlog()
    assert [backlog.reserve(3) for _ in range(4)] == [True, True, True, False]


def test_only_a_valid_key_takes_the_fast_path(posting: Client) -> None:
    key = api_keys.create("ci")
    read_keys(posting)
    assert posting.posts(authorization=f"Bearer {key}")
    refused = (None, "", f"Bearer {key}x", f"Basic {key}", key, "Bearer", f"Bearer {key},{key}")
    for text in refused:
        assert not posting.takes(**({} if text is None else {"authorization": text}))
    assert Task.objects.count() == 1


def read_keys(posting: Client) -> None:
    posting.keys._last = None
    posting.keys.current()


def holder(posting: Client, name: str, **grant: Any) -> str:
    """The header of a new key."""
    text = f"Bearer {api_keys.create(name, Grant(**grant))}"
    read_keys(posting)
    return text


def test_a_key_that_allows_the_task_takes_the_fast_path(posting: Client) -> None:
    enough = {"scopes": ["tasks:write"], "types": ["echo", "prime"], "expires_at": timezone.now() + timedelta(hours=1)}
    assert posting.posts(authorization=holder(posting, "enough", **enough))
    for number, less in enumerate(({"scopes": ["tasks:read", "operate"]}, {"types": ["prime", "Echo"]})):
        assert not posting.takes(authorization=holder(posting, str(number), **enough | less))
    assert Task.objects.count() == 1


def test_an_expired_key_goes_to_the_view(posting: Client) -> None:
    expired = holder(posting, "expired", expires_at=timezone.now() + timedelta(hours=1))
    assert posting.posts(authorization=expired)
    ApiKey.objects.update(expires_at=timezone.now())
    read_keys(posting)
    assert not posting.takes(authorization=expired)


def test_the_fast_path_and_the_view_share_a_keys_rate_and_tell_it_alike(
    posting: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = SimpleNamespace(monotonic=lambda: 1000.0)
    monkeypatch.setattr(rate, "time", now)
    given = {"authorization": holder(posting, "slow", rate=3.0)}
    view = django.test.Client(raise_request_exception=False, SERVER_NAME="localhost")

    def ask() -> Any:
        return view.post("/queue", TASK, "application/json", headers=given)

    assert posting.posts(authorization=given["authorization"])
    assert ask().headers["RateLimit"] == '"key";r=1;t=1'
    assert posting.posts(authorization=given["authorization"])
    assert not posting.takes(authorization=given["authorization"])
    assert [headers["ratelimit"] for _, headers, _ in posting.answers] == ['"key";r=2;t=1', '"key";r=0;t=1']
    assert {headers["ratelimit-policy"] for _, headers, _ in posting.answers} == {'"key";q=3;w=1;qu="tasks"'}
    assert (ask().status_code, ask().headers["RateLimit"]) == (429, '"key";r=0;t=1')
    close(group_commit)


def test_a_full_queue_takes_nothing_of_a_keys_rate(posting: Client) -> None:
    text = holder(posting, "slow", rate=1.0)
    posting.fast_path._env = conf.environment().model_copy(update={"max_queue": 1})
    assert backlog.reserve(1)
    assert not posting.takes(authorization=text)
    backlog.release()
    assert posting.posts(authorization=text)
    assert not posting.takes(authorization=text)


def test_a_post_whose_commit_thread_cannot_start_takes_no_token_of_any_rate(
    posting: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rate, "time", SimpleNamespace(monotonic=lambda: 1000.0))
    monkeypatch.setattr(admission, "token_bucket", TokenBucket())
    text = holder(posting, "slow", rate=1.0)
    posting.fast_path._env = conf.environment().model_copy(update={"max_rate": 1.0})
    ordinary = threading.stack_size(2**47)  # more than there are addresses
    try:
        assert not posting.takes(authorization=text)
    finally:
        threading.stack_size(ordinary)
    assert posting.posts(authorization=text)


def test_beyond_loopback_a_key_is_required_unless_auth_is_off(posting: Client) -> None:
    env = conf.environment()
    posting.fast_path._env = env.model_copy(update={"host": "0.0.0.0"})
    assert not posting.takes()
    posting.fast_path._env = env.model_copy(update={"host": "0.0.0.0", "auth": "off"})
    assert posting.posts()


def test_what_a_proxy_forwards_takes_the_fast_path_with_a_key_alone(posting: Client) -> None:
    assert posting.posts()
    assert not posting.takes(x_forwarded_for="127.0.0.1")
    posting.fast_path._env = conf.environment().model_copy(update={"proxies": (ip_network("127.0.0.0/8"),)})
    assert not posting.takes()
    assert posting.posts(authorization=holder(posting, "ci"), x_forwarded_for="203.0.113.7")
