"""The thread of a node that sends deliveries: it takes what is due, lets a loop send it, and writes what became of it.

Who takes a row writes its name into it and moves `next_at` on: if it dies, another node finds the row due again. A
result is written only while the row still has that name.
"""

from __future__ import annotations

import asyncio
import resource
import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any, NamedTuple
from uuid import UUID

import structlog
from django.db import Error
from django.db.models import F
from django.db.models.functions import Now

from tasks_app import conf
from tasks_app.conf import Environment
from tasks_app.features.callbacks.fairness import Hosts, Lane
from tasks_app.features.callbacks.models import SINCE, Delivery, State, pending
from tasks_app.features.callbacks.sending import MAX_RETRY_AFTER_SECONDS, Courier, Message, Outcome
from tasks_app.features.callbacks.verbs import fail_pending
from tasks_app.keys.api_keys import ApiKey
from tasks_app.node.threads import Retrying
from tasks_app.queue.current import store, writing

log = structlog.get_logger(__name__)

#: After the first try, and after each further one that failed; then the delivery has failed.
WAITS_SECONDS = (5.0, 300.0, 1800.0, 7200.0, 18_000.0, 36_000.0, 36_000.0)
#: A delivery that was written, or last sent anew by hand, so long ago has one more try at most. More may wait for a
#: host that never answers than can be tried: when it does not answer a try, all to it that are so old fail, untried
#: ones too. Without such a try none does: perhaps no worker has lived for so long.
MAX_AGE_SECONDS = 7 * 86_400.0
TOO_OLD = f"this callback is older than {MAX_AGE_SECONDS / 86_400:g} days"
#: What another node may send after its sender died; more than a try may take, and the time until it is written.
LEASE_SECONDS = 60.0
#: While something is under way, until the next look. Else a beat wakes the thread: for what another process has
#: written, and for waits that are over.
POLL_SECONDS = 1.0
#: Results that come at about the same time are written together.
TOGETHER_SECONDS = 0.01
#: Rows that a look reads, and looks of a round: a host without room may have any number of them.
ROWS_PER_LOOK, MAX_LOOKS = 200, 10
#: What had no turn waits so long.
NO_TURN_SECONDS = 1.0
#: Rows whose bodies are read at once.
ROWS_PER_LEASE = 32
#: Nothing waits for longer: what does was written while the database's clock was ahead. Looked for so often.
LONGEST_WAIT_SECONDS, CLOCK_LOOK_SECONDS = MAX_RETRY_AFTER_SECONDS + 3600.0, 60.0
#: Files that the node may have open: hosts that are dead, and their look-ups, have up to 700 of the usual 1,024.
MIN_FILES = 4096
#: At the node's end what is under way has so long; then it goes back, and may be sent twice.
END_SECONDS = 3.0
CALL_SECONDS = 5.0


class Result(NamedTuple):
    """What is written of a try. `wait`: the seconds until the next one; None: the delivery has ended. `counted`: false
    if it was no try."""

    status: str
    wait: float | None
    http: int | None = None
    error: str = ""
    counted: bool = True

    @property
    def what(self) -> str:
        """The counter's word."""
        return "again" if self.wait is not None else str(self.status)

    def columns(self) -> dict[str, Any]:
        """What the row says afterwards."""
        next_at = None if self.wait is None else Now() + timedelta(seconds=self.wait)
        if not self.counted:
            return {"sender": None, "next_at": next_at}
        return {
            "status": self.status, "sender": None, "next_at": next_at, "tries": F("tries") + 1, "last_try_at": Now(),
            "last_status": self.http, "last_error": self.error, "ended_at": None if self.wait is not None else Now(),
        }  # fmt: skip


def result_of(outcome: Outcome, tries: int, hurry: float = 1.0, old: bool = False) -> Result:
    """What follows from a try. `tries`: those before it. `hurry`: the waits are divided by it. `old`: it is the last
    one, by MAX_AGE_SECONDS."""
    if not outcome.begun:
        return Result(State.PENDING, NO_TURN_SECONDS, counted=False)
    said = outcome.status, outcome.error
    if not outcome.error:
        return Result(State.DELIVERED, None, *said)
    if outcome.status == 410 or tries >= len(WAITS_SECONDS):
        return Result(State.FAILED, None, *said)
    if old:
        return Result(State.FAILED, None, outcome.status, f"{outcome.error}; not tried again: {TOO_OLD}")
    return Result(State.PENDING, max(WAITS_SECONDS[tries], outcome.retry_after) / hurry, *said)


class Leased(NamedTuple):
    """A delivery that this node sends. `old`: by MAX_AGE_SECONDS."""

    delivery: Delivery
    message: Message
    old: bool


class Sent(NamedTuple):
    """A try that is over."""

    leased: Leased
    lane: Lane
    outcome: Outcome

    @property
    def host(self) -> str:
        """Where it was sent to."""
        return self.leased.delivery.host


class Sender:
    """Sends what is due, fairly among hosts."""

    def __init__(
        self, node: str, woken: threading.Event, env: Environment | None = None, courier: Courier | None = None
    ) -> None:
        """`woken`: set once something may be due; it then looks at once."""
        env = env or conf.environment()
        self._node, self._woken, self._secrets, self._hurry = node, woken, env.signing_secrets, env.callback_hurry
        self._courier = courier or Courier(env.private_hosts)
        self._retrying = Retrying("send callbacks")
        self._loop = asyncio.new_event_loop()
        #: Filled by the loop's thread.
        self._over: deque[Sent] = deque()
        # Everything below belongs to the thread of `run`.
        self._hosts = Hosts()
        self._under_way: set[UUID] = set()
        self._unwritten: list[Sent] = []
        self._clock_look_at = 0.0

    def run(self, stopped: threading.Event) -> None:
        """Send until `stopped` is set; whoever sets it wakes the thread."""
        _allow_files()
        threading.Thread(target=self._loop.run_forever, name="callbacks-loop", daemon=True).start()
        while not stopped.is_set():
            self._woken.wait(self._round(take=True))
            self._woken.clear()
            stopped.wait(TOGETHER_SECONDS)
        self._end()

    def _round(self, take: bool) -> float:
        """Write what is over and take what is due. Returns the seconds until the next round, unless it is woken."""
        self._note_ends()
        try:
            with store().limited(CALL_SECONDS):
                self._write()
                if take and time.monotonic() >= self._clock_look_at:
                    self._bring_back()
                more = take and self._take()
        except Error as error:
            return self._retrying.failed(error)
        self._retrying.succeeded()
        if more:
            return 0.0
        return POLL_SECONDS if self._under_way else CLOCK_LOOK_SECONDS

    def _end(self) -> None:
        until = time.monotonic() + END_SECONDS
        while self._under_way and time.monotonic() < until and not self._retrying.failing:
            self._woken.wait(0.1)
            self._woken.clear()
            self._round(take=False)
        # Before they are given back: another node sends them at once.
        with suppress(TimeoutError):
            asyncio.run_coroutine_threadsafe(self._cancel(), self._loop).result(END_SECONDS)
        self._round(take=False)
        try:
            with store().limited(CALL_SECONDS), writing():
                pending().filter(sender=self._node).update(sender=None, next_at=Now())
        except Error as error:
            self._retrying.failed(error)  # their time runs out
        self._loop.call_soon_threadsafe(self._loop.stop)

    async def _cancel(self) -> None:
        """On the loop's thread: end what is under way."""
        if tasks := asyncio.all_tasks() - {asyncio.current_task()}:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    # What is due.

    def _bring_back(self) -> None:
        self._clock_look_at = time.monotonic() + CLOCK_LOOK_SECONDS
        late = pending().filter(next_at__gt=Now() + timedelta(seconds=LONGEST_WAIT_SECONDS))
        if late.exists():  # a read, which takes no write lock
            with writing():
                late.update(sender=None, next_at=Now())

    def _take(self) -> bool:
        """Begin what is due and has room. True if there may be more of it."""
        begun: dict[UUID, tuple[str, Lane]] = {}
        full = True
        for _ in range(MAX_LOOKS):
            page = self._due()
            for pk, host in page:
                if pk not in self._under_way and pk not in begun and (lane := self._hosts.begin(host)) is not None:
                    begun[pk] = host, lane
            full = len(page) == ROWS_PER_LOOK
            if not full:
                break
        try:
            keys, until = sorted(begun), time.monotonic() + CALL_SECONDS
            for at in range(0, len(keys), ROWS_PER_LEASE):
                if time.monotonic() > until:  # what is sent by now is to be written in its time
                    full = True
                    break
                for leased in self._lease(keys[at : at + ROWS_PER_LEASE]):
                    lane = begun.pop(leased.delivery.pk)[1]
                    self._under_way.add(leased.delivery.pk)
                    asyncio.run_coroutine_threadsafe(self._send(leased, lane), self._loop)
        finally:
            for host, lane in begun.values():  # another node has taken them, or the database has failed
                self._hosts.end(host, lane, None)
        return full

    def _due(self) -> Sequence[tuple[UUID, str]]:
        rows = pending().filter(next_at__lte=Now()).exclude(host__in=self._hosts.without_room())
        if (only := self._hosts.only()) is not None:
            rows = rows.filter(host__in=only)
        return list(rows.order_by("next_at").values_list("pk", "host")[:ROWS_PER_LOOK])

    def _lease(self, keys: Sequence[UUID]) -> list[Leased]:
        """Take these rows, but for those that another node takes. Returns them, their bodies as what is sent."""
        with writing():
            free = pending().filter(pk__in=keys, next_at__lte=Now()).select_for_update(skip_locked=True)
            taken = list(free.values_list("pk", flat=True))
            lease = Now() + timedelta(seconds=LEASE_SECONDS)
            Delivery.objects.filter(pk__in=taken).update(sender=self._node, next_at=lease)
        # After the commit: they may be large, and other writers wait.
        rows = list(pending().filter(pk__in=taken, sender=self._node).annotate(now=Now()))
        wall = time.time()
        keys_of_tasks = {row.key for row in rows if row.key is not None}  # without one Django asks nothing
        secrets = dict(ApiKey.objects.filter(pk__in=keys_of_tasks).values_list("pk", "callback_secret"))
        leased = list[Leased]()
        for row in rows:
            secret = None if row.key is None else secrets.get(row.key)
            signing, ahead = [secret] if secret else self._secrets, row.now.timestamp() - wall
            message = Message(str(row.pk), row.url, row.body.encode(), signing, row.tries, ahead)
            old = (row.now - (row.again_at or row.created_at)).total_seconds() >= MAX_AGE_SECONDS
            leased.append(Leased(row, message, old))
            row.body = ""  # as text it may have four times as many bytes
        return leased

    async def _send(self, leased: Leased, lane: Lane) -> None:
        """On the loop's thread."""
        try:
            outcome = await self._courier.send(leased.message, reserve=not lane.quick)
        except Exception as error:
            log.error("a callback could not be sent", delivery=leased.message.id, exc_info=error)
            outcome = Outcome(error=f"the platform could not send it ({type(error).__name__})", ours=True)
        self._over.append(Sent(leased, lane, outcome))
        # What no host has answered can wait for the next look: hosts that are dead cost a look a second in all.
        if outcome.status is not None:
            self._woken.set()

    # What became of it.

    def _note_ends(self) -> None:
        while self._over:
            sent = self._over.popleft()
            outcome = sent.outcome
            answered = outcome.status is not None if outcome.begun else None
            self._hosts.end(sent.host, sent.lane, answered, outcome.seconds)
            self._unwritten.append(sent)

    def _write(self) -> None:
        """Write what became of tries, those with the same result by one statement."""
        if not (over := self._unwritten):
            return
        same = defaultdict[Result, list[UUID]](list)
        for (delivery, _, old), _, outcome in over:
            same[result_of(outcome, delivery.tries, self._hurry, old)].append(delivery.pk)
        unanswered = [sent for sent in over if sent.outcome.begun and sent.outcome.status is None]
        silent = sorted({sent.host for sent in unanswered if not sent.outcome.ours})
        counted, given_up = Counter[str](), 0
        with writing():
            for result, keys in same.items():
                rows = pending().filter(pk__in=sorted(keys), sender=self._node).update(**result.columns())
                counted[f"callback_tries|{result.what}"] += rows if result.counted else 0
            if silent:
                counted["callbacks_given_up|age"] = given_up = self._give_up(silent)
            store().add_counts(counted)
        self._unwritten = []
        self._under_way -= {sent.leased.delivery.pk for sent in over}
        for result, keys in same.items():
            if result.status == State.FAILED:
                log.warning("callbacks have failed, and are not tried again", count=len(keys), error=result.error)
        if given_up:
            log.warning("callbacks are given up: they are too old, and their hosts do not answer", count=given_up)

    @staticmethod
    def _give_up(hosts: Sequence[str]) -> int:
        """Fail the first ones to these hosts that are too old, in the caller's transaction. Returns how many."""
        waiting = pending().filter(host__in=hosts, sender=None).alias(since=SINCE)
        old = waiting.filter(since__lte=Now() - timedelta(seconds=MAX_AGE_SECONDS))
        return fail_pending(old, f"its host did not answer another callback, and {TOO_OLD}")


def _allow_files() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MIN_FILES if hard == resource.RLIM_INFINITY else min(MIN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
