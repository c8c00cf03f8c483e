"""Whether the promises held: each rule a function, each broken promise a sentence, with the task's whole history."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from tests.chaos.books import books
from tests.chaos.evidence import FINAL, Evidence, Story
from tests.chaos.lives import Lives, lives_of

#: Seconds before a crash of the database in which a claim may have been lost by it: claims alone are committed without
#: waiting for the disk, and PostgreSQL writes its log at least every 3 x 200 ms.
LOST_CLAIM = 1.0
#: Seconds that a handler's start may be told after it was sent: the machine is busy.
LATE = 1.0


@dataclass(frozen=True)
class Violation:
    """A broken promise. `history` is of the task that it is about, if it is about one."""

    rule: str
    what: str
    history: str = ""

    def __str__(self) -> str:
        return f"{self.rule}: {self.what}" + (f"\n{self.history}" if self.history else "")


def violations(evidence: Evidence) -> list[Violation]:
    """Every broken promise; empty when all held."""
    found = [Violation("api", line["saw"]) for line in evidence.said("odd")]
    found += [Violation("left", what) for what in evidence.left]
    lives: dict[str, Lives] = {}
    for story in evidence.stories.values():
        row = story.row
        if row is not None:
            data, name = row["task_data"], row["task_type"]
            lives[story.task] = lives_of(story.attempts, evidence.budget.get(name, 0), data.get("do") == "refuse")
        sentences = list(_about(story, lives.get(story.task), evidence))
        found += [Violation(rule, f"{story.task} {what}", story.history()) for rule, what in sentences]
    found += [Violation("posts", what) for what in _posts(evidence)]
    found += [Violation("books", what) for what in books(evidence, lives)]
    return found


def _about(story: Story, lives: Lives | None, evidence: Evidence) -> Iterator[tuple[str, str]]:
    row = story.row
    if row is None or lives is None:
        if story.has("accepted") and not story.has("delete"):
            yield "lost", "was accepted and is not in the database"
        if not story.has("accepted"):
            yield "strangers", "ran and is not in the database"
        return
    if story.has("deleted"):
        yield "deleted", "is in the database, and its deletion was answered with 204"
    if row["status"] not in FINAL:
        yield "lost", f"is still {row['status']}"
    yield from (("attempts", what) for what in _attempts(story))
    yield from (("settled", what) for what in _settled(story, lives))
    yield from (("seen", what) for what in _seen(story))
    yield from (("executions", what) for what in _executions(story, lives, evidence))


def _attempts(story: Story) -> Iterator[str]:
    """1, 2, 3 ... without a gap, one after the other."""
    assert story.row is not None
    numbers = [one["number"] for one in story.attempts]
    # One that runs has no row yet.
    ended = story.row["attempts"] - (story.row["status"] == "processing")
    if numbers != list(range(1, ended + 1)):
        yield f"has the attempts {numbers} of {story.row['attempts']}"
    for before, after in zip(story.attempts, story.attempts[1:], strict=False):
        if after["started_at"] < before["ended_at"] - 0.1:
            yield f"had attempt {after['number']} claimed before attempt {before['number']} was over"


def _settled(story: Story, lives: Lives) -> Iterator[str]:
    """One final state a life, and the one that its last attempt led to."""
    row = story.row
    assert row is not None
    if lives.fault:
        yield lives.fault
    said = (row["status"], row["failure_reason"], row["retries"])
    must = (lives.status, lives.reason, lives.retries)
    if row["status"] in FINAL and said != must:
        yield f"is {said} (status, reason, retries spent) where its attempts lead to {must}"
    if not story.count("redriven") <= lives.redrives <= story.count("redrive"):
        yield (
            f"ended {len(lives.ends)} times and had {story.count('redriven')} redrives"
            f" ({story.count('redrive')} asked for)"
        )
    last = lives.ends[-1][1] if lives.ends else None
    if row["status"] in FINAL and last is not None and abs(row["completed_at"] - last) > 0.1:
        yield "has an end at another moment than its last attempt"


def _seen(story: Story) -> Iterator[str]:
    """A final state that a client has seen stays what it was, unless it was redriven."""
    row = story.row
    assert row is not None
    for line in story.lines:
        if line["what"] != "seen":
            continue
        saw = line["saw"]
        now = {"status": row["status"], "attempts": row["attempts"], "result": row["result"]}
        again = any(other["what"] == "redrive" for other in story.lines)
        if saw["status"] == "failed" and again:
            if row["attempts"] < saw["attempts"]:
                yield f"was seen with {saw['attempts']} attempts and has {row['attempts']}"
        elif {key: saw[key] for key in now} != now:
            yield f"was seen as {saw} and is {now}"


def _executions(story: Story, lives: Lives, evidence: Evidence) -> Iterator[str]:
    """What the witness saw is what the attempts say."""
    row = story.row
    assert row is not None
    starts = story.starts
    for attempt, times in Counter(told.attempt for told in starts).items():
        if attempt > row["attempts"]:
            yield f"was begun as attempt {attempt} and had {row['attempts']}"
        excused = sum(_lost_claim(told.at, evidence) for told in starts if told.attempt == attempt)
        if times - excused > 1:
            yield f"was begun {times} times as attempt {attempt}"
    for number, at in lives.ends:
        late = [told for told in starts if told.attempt <= number and told.at > at + LATE]
        for told in late:
            yield f"was begun as attempt {told.attempt} {told.at - at:.3f} s after attempt {number} was its end"
    if row["status"] == "completed":
        ended = {told.attempt for told in story.told if told.what == "end"}
        if row["attempts"] not in ended:
            yield f"is completed by attempt {row['attempts']}, which no handler ended"
        if row["result"] != {"n": row["task_data"].get("n"), "attempt": row["attempts"]}:
            yield f"has the result {row['result']} of another task or attempt"


def _lost_claim(at: float, evidence: Evidence) -> bool:
    """Whether a claim whose task was begun at `at` may have been lost in a crash of the database."""
    return any(asked - LOST_CLAIM < at < over + LATE for asked, over in evidence.crashes)


def _posts(evidence: Evidence) -> Iterator[str]:
    """A post is one task, or none if it was refused."""
    of: dict[int, list[str]] = {}
    for task, row in evidence.tasks.items():
        of.setdefault(row["task_data"].get("n", -1), []).append(task)
    refused = {line["n"] for line in evidence.said("refused")}
    for n, tasks in of.items():
        if n not in evidence.posts:
            yield f"nobody sent {tasks} (number {n})"
        if len(tasks) > 1:
            yield f"post {n} became {len(tasks)} tasks: {tasks}"
        if n in refused:
            yield f"post {n} was refused and is {tasks}"
    for line in evidence.said("accepted"):
        if line["task"] in evidence.tasks and evidence.tasks[line["task"]]["task_data"].get("n") != line["n"]:
            yield f"post {line['n']} was told the id of another task, {line['task']}"
