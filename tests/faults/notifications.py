"""whether notifications arrive, and what a broken broker costs whoever posts."""

from __future__ import annotations

from collections.abc import Callable

import httpx

from testkit.daemon import Daemon
from testkit.process import until

#: Seconds. One is promised; a machine that runs all these tests at once may take longer. Whoever waited for the broker
#: would wait for three at least, which is the shortest of its time-outs.
POST_WITHIN = 2.5
#: More notifications than can have been received and not counted when the counter was read.
NEWS = 3


def heard(daemon: Daemon) -> int:
    """How many notifications its nodes have received, up to a second ago."""
    return daemon.counted("bells_heard|%")


def post(daemon: Daemon, count: int = 1) -> list[str]:
    """Queue tasks one after the other. Each has its 200 in time, or this fails. Answers their ids."""
    with httpx.Client(base_url=daemon.base, timeout=POST_WITHIN) as client:
        answers = [client.post("/queue", json={"type": "act", "data": {}}) for _ in range(count)]
    assert {answer.status_code for answer in answers} == {200}
    return [str(answer.json()["task_id"]) for answer in answers]


def post_until(daemon: Daemon, come_true: Callable[[], object], what: str, timeout: float = 60.0) -> list[str]:
    """Go on queueing tasks, each done before the next, until something has come true. Answers their ids."""
    posted: list[str] = []

    def look() -> bool:
        posted.extend(post(daemon))
        daemon.until_final(posted[-1])
        return bool(come_true())

    until(look, timeout, what=what)
    return posted


def post_until_heard(daemon: Daemon) -> list[str]:
    """Go on queueing tasks until notifications of theirs are received. Answers their ids."""
    # Once this counter moves, all that was heard before is in it.
    before = heard(daemon)
    posted = post_until(daemon, lambda: heard(daemon) > before, "notifications that are received")
    before = heard(daemon)
    return posted + post_until(daemon, lambda: heard(daemon) >= before + NEWS, "notifications that are received")


def problems(daemon: Daemon) -> str:
    """What /health says is wrong, in one text."""
    return "; ".join(daemon.http.get("/health").json().get("problems", []))
