"""Random tasks: a type, what its handler shall do, and what its caller asks beside that."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.chaos.limits import KEYS, LIMITED
from tests.chaos.scene import TIMEOUTS

Body = dict[str, Any]

DOUBLES = ("twice", "early", "late")
#: Seconds from a reply to the second one. The last exceeds the time for which a container is watched after a reply.
GAPS = (0.0, 0.001, 0.005, 0.03, 0.1, 0.3)
KINDS = ("quick", "error", "refuse", "crash", "mute", "hang", *DOUBLES)
#: Weights of the kinds. Replacing a container costs half a second of a core, a child process 30 ms.
WEIGHTS = {"process": (54, 18, 7, 6, 2, 4, 5, 2, 2), "docker": (63, 20, 8, 2, 1, 1, 3, 1, 1)}

#: The share of quick tasks that have a large result, and the sizes of these: 10 MiB are allowed.
LARGE, SIZES = 0.01, (100_000, 1_000_000, 1_000_000, 9_000_000)
#: Seconds of a slow task that nearly always is cancelled.
LONG_SECONDS = (5.0, 9.0)

#: The share of posts that are batches; of posts and reads that wait; of posts with an idempotency key, and of those
#: that the client hardly waits for.
BATCH_SHARE, WAIT_SHARE, KEY_SHARE, HASTE_SHARE = 0.01, 0.06, 0.15, 0.3
#: The share of tasks with a `callback_url`.
CALLBACK_SHARE = 0.3
#: The share of posts of the type with limits, of acts that post a batch of it, tasks of such a batch, and how its tasks
#: differ.
LIMITED_SHARE, LIMITED_BATCHES, LIMITED_TASKS = 0.15, 0.01, 12
LIMITED_KINDS, LIMITED_WEIGHTS = ("quick", "slow", "error", "refuse", "crash"), (40, 45, 7, 5, 3)
#: The share of acts that post large values; tasks of each batch of a feed.
LARGE_SHARE, FEED_TASKS = 0.001, 25
#: The share of tasks that are delayed, that expire, and both.
DELAYED, EXPIRING, DELAYED_AND_EXPIRING = 0.08, 0.04, 0.02

#: Tasks of a crowd, at least and at most. From its first post to its `run_at`: seconds, and more for each task.
CROWD_TASKS, CROWD_SECONDS, CROWD_TASK_SECONDS = {"process": (30, 200), "docker": (30, 60)}, 1.5, 0.02
#: What a crowd consists of, and the share of crowds whose tasks differ in priority.
CROWDS, MIXED_CROWDS = (("quick", {"do": "quick"}), ("slow", {"do": "slow", "seconds": 0.05})), 0.3

#: Tasks of a batch, more than there are slots. One in DOUBLED_ONE_IN of them gets two replies.
BATCH_TASKS, DOUBLED_ONE_IN = {"process": 40, "docker": 24}, 5


def task(chance: random.Random, handlers: str) -> tuple[str, Body]:
    """A task: mostly quick, some slow, a few of every kind of failure."""
    kind = chance.random()
    if kind < 0.60:
        share = chance.random()
        if share < LARGE:
            return "quick", {"do": "large", "bytes": chance.choice(SIZES)}
        return "quick", {"do": "flood"} if share < LARGE + 0.01 else {"do": "quick"}
    if kind < 0.625:
        return "slow", {"do": "slow", "seconds": round(chance.uniform(*LONG_SECONDS), 2)}
    if kind < 0.70:
        return "slow", {"do": "slow", "seconds": round(chance.uniform(0.1, 3.0), 2)}
    what = chance.choices(KINDS, weights=WEIGHTS[handlers])[0]
    data = {"do": what, **_seconds(chance, what)}
    if what == "error" and chance.random() < 0.5:
        data["retry_in"] = round(chance.uniform(0.0, 3.0), 2)
    if (what not in ("quick", "refuse", *DOUBLES) and chance.random() < 0.9) or what == "late":
        data["until"] = chance.randint(2, 4)
    return "rough", data


def limited(chance: random.Random) -> tuple[str, Body, Body]:
    """A task of the type with limits, and its wishes: its key is an option, or in its data."""
    what, key = chance.choices(LIMITED_KINDS, weights=LIMITED_WEIGHTS)[0], chance.choice(KEYS)
    data: Body = {"do": what, **({"seconds": round(chance.uniform(0.1, 0.8), 2)} if what == "slow" else {})}
    if what in ("error", "crash"):
        data["until"] = chance.randint(2, 3)
    asked: Body = {"expires_in": round(chance.uniform(0.05, 3.0), 2)} if chance.random() < 0.1 else {}
    if key is not None and chance.random() < 0.5:
        return LIMITED, data, asked | {"limit_key": key}
    return LIMITED, data | ({} if key is None else {"customer": key}), asked


def backlog(chance: random.Random, handlers: str) -> list[tuple[str, Body]]:
    """Queued tasks of one type: second replies come while the next task is sent or runs."""
    whats = [
        chance.choice(DOUBLES[:2]) if chance.randrange(DOUBLED_ONE_IN) == 0 else "quick"
        for _ in range(BATCH_TASKS[handlers])
    ]
    return [("rough", {"do": what, **_seconds(chance, what)}) for what in whats]


def wishes(chance: random.Random) -> Body:
    """Fields of a task beside its type, data and priority. Mostly none."""
    kind = chance.random()
    if kind < DELAYED:
        delay = round(chance.uniform(0.1, 6.0), 2)
        if chance.random() < 0.7:
            return {"delay": delay}
        return {"run_at": (datetime.now(UTC) + timedelta(seconds=delay)).isoformat()}
    if kind < DELAYED + EXPIRING:
        return {"expires_in": round(chance.uniform(0.05, 3.0), 2)}
    if kind < DELAYED + EXPIRING + DELAYED_AND_EXPIRING:
        # It may start, and expires soon after, or a little before a node notices that it may start.
        delay = round(chance.uniform(0.2, 3.0), 2)
        return {"delay": delay, "expires_in": round(delay + chance.uniform(0.01, 0.5), 2)}
    return {}


def batch_wishes(chance: random.Random) -> Body:
    """The same for a task of a batch: while it queues, it may expire."""
    return {"expires_in": round(chance.uniform(0.05, 2.0), 2)} if chance.random() < 0.2 else {}


def cancel_share(body: Body) -> float:
    """How often a task with this body is cancelled as soon as it is posted."""
    if body["data"].get("seconds", 0) >= LONG_SECONDS[0]:
        return 0.9
    if body["type"] == "slow":
        return 0.5
    if body["type"] == LIMITED:
        return 0.1
    return 0.25 if "delay" in body else 0.02


def _seconds(chance: random.Random, what: str) -> Body:
    if what == "twice":
        return {"gap": chance.choice(GAPS)}
    return {"seconds": round(TIMEOUTS["rough"] + chance.uniform(-0.2, 0.1), 3)} if what == "late" else {}
