"""A client that posts, repeats, reads, waits, deletes, cancels and redrives, one by one and many at once, and records
what it was promised."""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from tests.chaos import load, values
from tests.chaos.call import TIMEOUT_SECONDS, Answer, Caller
from tests.chaos.counts import Counts
from tests.chaos.journal import Journal
from tests.chaos.limits import LIMITED
from tests.chaos.load import Body
from tests.chaos.post import Post
from tests.chaos.scene import TYPES

#: What a run begins with: whatever the faults prevent later, each of these has had its effect.
FIRST_ACTS = ("batch", "limited", "long", "delayed", "repeated", "together", "large", "exponents")
#: How often a client acts on many of its tasks at once, and on how many.
TOGETHER_SHARE, TOGETHER = 0.04, 30
#: Of tasks that many are redriven of: the other ends are for good, as the checker counts.
REDRIVEN = ["handler_error", "retries_exhausted", "timeout", "crash", "oom", "bad_reply", "worker_lost"]
#: The limit of a call whose answer it shall probably lose.
HASTE_SECONDS = (0.0005, 0.02)
#: How often a keyed POST without an answer is repeated, and the pause before.
REPEATS, REPEAT_PAUSE_SECONDS = 8, 0.25
#: Seconds of a wait.
WAITS = (1, 1, 2, 3)


class Client:
    """Once it has asked to cancel a task, or to redrive it without getting an answer, it may delete it, and no more.

    So a cancel is the task's end, and the number of its redrives is known.
    """

    def __init__(
        self, caller: Caller, chance: random.Random, journal: Journal, counts: Counts, numbers: Iterator[int],
        handlers: str, callback_url: str,
    ) -> None:  # fmt: skip
        self._caller, self._chance, self._journal, self._counts = caller, chance, journal, counts
        self._numbers, self._handlers, self._callback_url = numbers, handlers, callback_url
        self._mine: deque[tuple[str, str]] = deque(maxlen=200)
        self._keyed: deque[Post] = deque(maxlen=20)
        self._left_alone: set[str] = set()
        self._cancel_next: list[str] = []

    def act(self, first: str | None = None) -> None:
        """Post a task or a batch; then, by chance, use one that it posted. `first`: do this alone (`_act_first`)."""
        chance = self._chance
        while self._cancel_next:
            self._cancel(self._cancel_next.pop())
        if first is not None:
            self._act_first(first)
            return
        if chance.random() < load.BATCH_SHARE:
            self._post_batch()
        elif chance.random() < load.LARGE_SHARE:
            self._act_first(chance.choice(("large", "exponents")))
        elif chance.random() < load.LIMITED_BATCHES:
            self._act_first("limited")
        else:
            self._post_one()
        if self._mine and chance.random() < 0.5:
            self._use(*chance.choice(self._mine))
        if chance.random() < TOGETHER_SHARE:
            self._act_together(chance.choice(("redrive", "redrive", "cancel")))
        if self._keyed and chance.random() < 0.1:
            self._use_key(chance.choice(self._keyed))

    def _act_first(self, what: str) -> None:
        if what == "batch":
            self._post_batch({"expires_in": 0.05})
        elif what == "long":
            body = self._numbered("slow", {"do": "slow", "seconds": load.LONG_SECONDS[1]}, 100, {})
            self._cancel_next += self._submit(Post("/queue", [body], wait=1))
        elif what == "limited":
            self._submit(Post("/queue/batch", [self._limited() for _ in range(load.LIMITED_TASKS)]))
        elif what == "delayed":
            self._submit(Post("/queue", [self._numbered("quick", {"do": "quick"}, 100, {"delay": 0.5})], wait=3))
            later = Post("/queue", [self._numbered("quick", {"do": "quick"}, 50, {"delay": 5.0})])
            for task in self._submit(later):
                self._cancel(task)
        elif what == "together":
            bodies = [self._numbered("quick", {"do": "quick"}, 50, {"delay": 5.0}) for _ in range(3)]
            self._submit(Post("/queue/batch", bodies))
            self._act_together("cancel")
        elif what == "repeated":
            post = Post("/queue", [self._numbered("quick", {"do": "quick"}, 50, {})], f"first-{next(self._numbers)}")
            if self._submit(post):
                self._send_post(post)
        elif what == "large":
            self._submit_all(values.side_by_side(self._chance))
        elif what == "exponents":
            self._submit_all(values.exponents(self._chance))
            self._submit(Post("/queue", [self._numbered("quick", values.too_large(), 50, {})], too_large=True))
        elif what == "feed":
            self._submit_all([("quick", {"do": "quick"})] * load.FEED_TASKS)
        elif what == "crowd":
            self._post_crowd()

    # ---- posts -----------------------------------------------------------------------------------------------------

    def _post_one(self) -> None:
        chance = self._chance
        if chance.random() < load.LIMITED_SHARE:
            body = self._limited()
        else:
            name, data = load.task(chance, self._handlers)
            body = self._numbered(name, data, chance.choice((0, 50, 50, 50, 100)), load.wishes(chance))
        wait = chance.choice(WAITS) if chance.random() < load.WAIT_SHARE else None
        post = Post("/queue", [body], self._key(), wait)
        tasks = self._submit(post)
        if tasks and chance.random() < load.cancel_share(body):
            if chance.random() < 0.3:
                self._cancel(tasks[0])  # mostly it is pending still
            else:
                self._cancel_next.append(tasks[0])

    def _post_batch(self, wishes: Body | None = None) -> None:
        chance = self._chance
        bodies = [
            self._numbered(name, data, 50, load.batch_wishes(chance) if wishes is None else wishes)
            for name, data in load.backlog(chance, self._handlers)
        ]
        tasks = self._submit(Post("/queue/batch", bodies, self._key()))
        for task in chance.sample(tasks, min(len(tasks), 2)):
            self._cancel(task)

    def _post_crowd(self) -> None:
        """Post tasks with one `run_at` one after another, as long as that is to come."""
        chance = self._chance
        count, (name, data) = chance.randint(*load.CROWD_TASKS[self._handlers]), chance.choice(load.CROWDS)
        priorities = (0, 50, 100) if chance.random() < load.MIXED_CROWDS else (50,)
        crowd, at = next(self._numbers), time.time() + load.CROWD_SECONDS + count * load.CROWD_TASK_SECONDS
        wishes = {"run_at": datetime.fromtimestamp(at, UTC).isoformat()}
        for _ in range(count):
            if time.time() >= at:
                return
            body = self._numbered(name, data, chance.choice(priorities), wishes)
            self._submit(Post("/queue", [body], crowd=crowd))

    def _submit_all(self, tasks: values.Bodies) -> None:
        self._submit(Post("/queue/batch", [self._numbered(name, data, 50, {}) for name, data in tasks]))

    def _numbered(self, name: str, data: Body, priority: int, wishes: Body) -> Body:
        told = {"callback_url": self._callback_url} if self._chance.random() < load.CALLBACK_SHARE else {}
        return {"type": name, "data": data | {"n": next(self._numbers)}, "priority": priority, **wishes, **told}

    def _limited(self) -> Body:
        name, data, wishes = load.limited(self._chance)
        return self._numbered(name, data, self._chance.choice((0, 50, 50, 50, 100)), wishes)

    def _key(self) -> str | None:
        return f"key-{self._chance.getrandbits(64):x}" if self._chance.random() < load.KEY_SHARE else None

    def _submit(self, post: Post) -> list[str]:
        """Post it; with a key, again until there is an answer, and sometimes after one. The tasks that it named."""
        for body in post.bodies:
            self._journal.note("post", **post.noted(body))
            self._counts.add("posted")
        tasks = self._send_post(post)
        if post.key is None:
            return tasks
        while not post.answered and post.tries <= REPEATS:
            time.sleep(REPEAT_PAUSE_SECONDS)
            tasks = self._send_post(post)
        if tasks:
            self._keyed.append(post)
            if self._chance.random() < 0.3:
                self._send_post(post)
        return tasks

    def _send_post(self, post: Post) -> list[str]:
        post.tries += 1
        hasty = post.key is not None and self._chance.random() < load.HASTE_SHARE
        timeout = self._chance.uniform(*HASTE_SECONDS) if hasty else TIMEOUT_SECONDS
        server = 0 if post.tries == 1 else self._chance.randrange(self._caller.servers)
        asked = time.time()
        also = 413 if post.too_large else None
        answer = self._caller.send("POST", post.path, post.content, post.headers, also, server, timeout)
        if post.key is None and answer.status is not None and 400 <= answer.status < 500:
            for body in post.bodies:
                self._journal.note("refused", n=body["data"]["n"], status=answer.status)
        post.answered |= answer.final
        if answer.status != 200:
            return []
        tasks: list[str] = answer.body["task_ids"] if "task_ids" in answer.body else [answer.body["task_id"]]
        for number, (body, task) in enumerate(zip(post.bodies, tasks, strict=True), start=1):
            self._journal.note(
                "accepted", durable=number == len(tasks), n=body["data"]["n"], task=task, **post.said(answer)
            )
            if not post.accepted:
                self._counts.add("accepted")
                self._mine.append((body["type"], task))
        post.accepted = True
        if post.wait is not None:
            self._waited("POST", tasks[0], post.wait, asked, answer.body.get("task"))
        return tasks

    def _use_key(self, post: Post) -> None:
        """Repeat a POST of some time ago, or post something else with its key, which must be refused."""
        if self._chance.random() < 0.7:
            self._send_post(post)
            return
        body = self._numbered(post.bodies[0]["type"], {"do": "quick"}, 50, {})
        other = Post("/queue", [body], post.key)
        self._journal.note("post", **other.noted(body))
        answer = self._caller.send("POST", other.path, other.content, other.headers, also=422)
        if answer.status == 422:
            self._journal.note("refused", n=body["data"]["n"], status=422)
            self._counts.add("keys refused to another request")
        elif answer.status == 200:
            self._journal.note("accepted", n=body["data"]["n"], task=answer.body["task_id"], **other.said(answer))

    # ---- tasks -----------------------------------------------------------------------------------------------------

    def _use(self, name: str, task: str) -> None:
        chance = self._chance
        if chance.random() < {"slow": 0.3, LIMITED: 0.08}.get(name, 0.0):
            self._change("delete", "DELETE", f"/api/tasks/{task}", task, "deleted")
            return
        if name == "slow" and chance.random() < 0.2:
            self._cancel(task)
            return
        wait, asked = chance.choice(WAITS) if chance.random() < load.WAIT_SHARE else None, time.time()
        answer = self._caller.send("GET", f"/api/tasks/{task}" + (f"?wait={wait}" if wait else ""))
        if answer.status != 200:
            return
        found = answer.body
        if wait is not None:
            self._waited("GET", task, wait, asked, found)
        else:
            self._saw(task, found)
        again = found["status"] == "failed" and found["failure_reason"] not in ("cancelled", "expired")
        if again and task not in self._left_alone and chance.random() < 0.5:
            answer = self._change("redrive", "POST", f"/api/tasks/{task}/redrive", task, "redriven")
            if not answer.final:
                self._left_alone.add(task)

    def _act_together(self, verb: str) -> None:
        """Redrive or cancel some of its tasks by one operation, and leave them alone from then on."""
        names = ("rough", LIMITED) if verb == "redrive" else TYPES
        mine = [task for name, task in self._mine if task not in self._left_alone and name in names]
        tasks = self._chance.sample(mine, min(len(mine), 3 if verb == "cancel" else TOGETHER))
        if not tasks:
            return
        self._left_alone.update(tasks)
        for task in tasks:
            self._journal.note(verb, durable=task == tasks[-1], task=task)
        wanted = {"ids": tasks, **({"failure_reason": REDRIVEN} if verb == "redrive" else {})}
        answer = self._caller.send("POST", f"/api/tasks/{verb}", {"filter": wanted}, also=202)
        if answer.status == 202:
            identity = answer.body["operation_id"]
            self._journal.note("operation", durable=True, operation=identity, verb=verb, tasks=tasks)
            self._counts.add(f"operations: {verb}")

    def _cancel(self, task: str) -> None:
        if task in self._left_alone:
            return
        self._left_alone.add(task)
        answer = self._change("cancel", "POST", f"/api/tasks/{task}/cancel", task, "cancelled", also=409)
        if answer.status == 409:
            self._journal.note("uncancelled", durable=True, task=task)
            self._counts.add("uncancelled")
        elif answer.status == 200:
            if (said := (answer.body["status"], answer.body["failure_reason"])) != ("failed", "cancelled"):
                self._journal.note("unexpected", saw=f"a cancel of {task} is answered with {said}")
            self._saw(task, answer.body)

    def _saw(self, task: str, found: Mapping[str, Any]) -> None:
        if found["status"] in ("completed", "failed"):
            saw = {key: values.short(found[key]) for key in ("status", "attempts", "result")}
            self._journal.note("seen", task=task, saw=saw)

    def _waited(self, call: str, task: str, seconds: int, asked: float, found: Mapping[str, Any] | None) -> None:
        """Record the answer of a call that waited. `found`: its task, if it has one."""
        status = None if found is None else found["status"]
        self._journal.note("waited", task=task, call=call, seconds=seconds, asked=asked, status=status)
        self._counts.add("waits")
        if found is not None:
            self._saw(task, found)

    def _change(
        self, what: str, method: str, path: str, task: str, confirmed: str, also: int | None = None
    ) -> Answer:  # fmt: skip
        self._journal.note(what, durable=True, task=task)
        answer = self._caller.send(method, path, also=also)
        if answer.good:
            self._journal.note(confirmed, durable=True, task=task)
            self._counts.add(confirmed)
        return answer
