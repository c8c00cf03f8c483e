"""What a finished call means for its task."""

from __future__ import annotations

import pytest

from tasks_app.lifecycle import Claimed, Policy
from tasks_app.models import OutcomeKind
from tasks_app.node.heartbeat import LEASE_LOST, TAKEN_AWAY
from tasks_app.node.node import DRAINED, ERROR_TEXT, ended_of
from tasks_app.runner.call import Call, Done, Outcome
from tasks_app.runner.errors import BadReply, CallTimeout, Crashed, Killed, OutOfMemory, Unavailable
from tasks_app.runner.wire import Failure, Success

TASK = Claimed("a", "echo", "{}", 1, 50, 1, 0, 0.0, Policy(30.0, 3, 1.0, frozenset()))


def done(outcome: Outcome, container: str = "c", image: str = "", oom: bool = False) -> Done:
    return Done(Call(b"", 30.0, TASK), outcome, container, 3, 0.5, 0, "out", "err", image, oom)


@pytest.mark.parametrize(
    ("outcome", "kind"),
    [
        (Success(1, "1"), OutcomeKind.SUCCESS),
        (Failure("no", False), OutcomeKind.ERROR),
        (CallTimeout("slow"), OutcomeKind.TIMEOUT),
        (Crashed("gone"), OutcomeKind.CRASH),
        (OutOfMemory("full"), OutcomeKind.OOM),
        (BadReply("odd"), OutcomeKind.BAD_REPLY),
        (Killed(DRAINED), OutcomeKind.RELEASED),
        (Killed(LEASE_LOST), OutcomeKind.RELEASED),
        (Killed("the node is closing"), OutcomeKind.RELEASED),
        (Unavailable("no image"), OutcomeKind.RELEASED),
    ],
)
def test_each_outcome_has_its_word(outcome: Outcome, kind: OutcomeKind) -> None:
    ended = ended_of(done(outcome))
    assert ended is not None
    assert (ended.kind, ended.exit_code, ended.seconds, ended.stdout_tail, ended.stderr_tail) == (
        kind,
        3,
        0.5,
        "out",
        "err",
    )


@pytest.mark.parametrize(
    ("image", "oom", "told"),
    [("sha256:5", True, ("sha256:5", True)), ("sha256:5", False, ("sha256:5", False)), ("", False, (None, None))],
)
def test_without_an_image_there_is_no_engine_that_could_tell_of_memory(
    image: str, oom: bool, told: tuple[str | None, bool | None]
) -> None:
    ended = ended_of(done(Success(1, "1"), image=image, oom=oom))
    assert ended is not None and (ended.image, ended.oom) == told


def test_what_was_taken_away_is_not_settled_by_us() -> None:
    assert ended_of(done(Killed(TAKEN_AWAY))) is None


def test_a_falsy_result_stays_what_it_is() -> None:
    ended = ended_of(done(Success(0, "0")))
    assert ended is not None and ended.result == "0"


@pytest.mark.parametrize("retryable", [True, False])
def test_the_handler_says_whether_its_error_may_be_retried(retryable: bool) -> None:
    ended = ended_of(done(Failure("no", retryable)))
    assert ended is not None and ended.retryable is retryable


def test_an_error_is_kept_so_that_every_database_takes_it() -> None:
    ended = ended_of(done(Failure("a\0b\ud800" + "x" * 10_000, False), container="c" * 500))
    assert ended is not None and ended.error is not None
    assert "\0" not in ended.error and len(ended.error) == ERROR_TEXT and len(ended.container) == 100
    ended.error.encode()
