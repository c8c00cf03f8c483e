"""What a running call has written, on each engine, before it ends."""

from __future__ import annotations

import pytest

from tasks_app.runner.call import Call, LiveOutput, LogPiece
from tasks_app.runner.endings import KillReason, OutcomeKind
from tasks_app.runner.slot import Slot
from tasks_app.runner.wire import Success
from tests.runner.caller import Caller
from tests.runner.conftest import NewCaller

pytestmark = [
    pytest.mark.waiting("what handlers write in time", seconds=30),
    pytest.mark.any_engine("what becomes of output that was received"),
]


class Follower:
    """Reads what a call writes, and keeps it."""

    def __init__(self, live: LiveOutput) -> None:
        self.live = live
        self.pieces: list[LogPiece] = []

    def text(self, stream: str, over: bool = False) -> str:
        """All that a stream has written so far."""
        first, pieces = self.live.unread(over)
        self.live.read(first + len(pieces) - 1)
        self.pieces += pieces
        return "".join(piece.body.get("text", "") for piece in self.pieces if piece.body.get("stream") == stream)


def follow(caller: Caller, slot: Slot, call: Call) -> Follower:
    return Follower(caller.until(lambda: slot.follow(call.token)))


def test_a_running_call_is_followed_and_its_result_has_the_rest(caller: Caller) -> None:
    slot, call = caller.begin({"do": "says", "seconds": 2}, timeout=60.0)
    follower = follow(caller, slot, call)
    assert slot.follow(call.token) is follower.live
    caller.until(lambda: "first" in follower.text("stdout") and "warning" in follower.text("stderr"))
    caller.until(lambda: follower.text("stdout") and any(piece.kind == "progress" for piece in follower.pieces))
    progress = [piece.body for piece in follower.pieces if piece.kind == "progress"]
    assert progress == [{"progress": 0.5, "message": "half"}]
    assert "last" not in follower.text("stdout")
    result = caller.result(call)
    assert result.outcome == Success("said")
    assert result.live is follower.live
    assert (follower.text("stdout", over=True), follower.text("stderr")) == ("first\nlast\n", "a warning\n")
    assert result.stdout_tail == 'first\n{"progress": 0.5, "message": "half"}\nlast\n', "progress is in the log too"


def test_what_is_no_reply_is_noted_after_two_seconds_of_silence(new_caller: NewCaller) -> None:
    raw = '{\n  "status": "success",\n  "result": 1\n}\n'
    caller = new_caller(start_timeout=0.0, stop_grace=0.0)
    slot, call = caller.begin({"do": "hex", "hex": raw.encode().hex()}, timeout=60.0)
    follower = follow(caller, slot, call)

    def notes() -> list[str]:
        slot.follow(call.token)
        follower.text("stdout")
        return [piece.body["text"] for piece in follower.pieces if piece.kind == "note"]

    caller.until(notes)
    (note,) = notes()
    assert note.startswith("this is no reply: ") and note.endswith(
        "{ (a reply is one line: print it without indentation)"
    )
    assert not caller.results, "long before its time is over"
    slot.kill(KillReason.TAKEN_AWAY, call.token)
    caller.result(call)
    assert len(notes()) == 1


def test_the_output_of_a_call_begins_with_that_call(caller: Caller) -> None:
    slot, call = caller.begin({"do": "says", "seconds": 0.2}, timeout=60.0)
    earlier = follow(caller, slot, call)
    caller.result(call)
    slot, call = caller.begin({"do": "says", "seconds": 1}, timeout=60.0)
    follower = follow(caller, slot, call)
    result = caller.result(call)
    assert follower.live is not earlier.live
    assert result.live is follower.live and follower.text("stdout", over=True) == "first\nlast\n"


def test_a_call_that_nobody_follows_has_no_live_output_and_a_call_that_is_over_cannot_be_followed(
    caller: Caller,
) -> None:
    slot, call = caller.begin({"do": "print_first"})
    assert caller.result(call).live is None
    assert slot.follow(call.token) is None
    other, running = caller.begin({"do": "says", "seconds": 1}, timeout=60.0)
    assert other.follow(object()) is None
    assert caller.result(running).live is None


def test_a_call_that_is_killed_or_late_has_what_it_wrote(new_caller: NewCaller) -> None:
    caller = new_caller(start_timeout=0.0)
    caller.ask("echo")
    slot, call = caller.begin({"do": "raw", "raw": "garbage"}, timeout=60.0)
    follower = follow(caller, slot, call)
    caller.until(lambda: "garbage" in follower.text("stdout"))
    slot.kill(KillReason.TAKEN_AWAY, call.token)
    result = caller.result(call)
    assert result.live is follower.live and follower.text("stdout", over=True) == "garbage\n"
    caller.ask("echo")  # the next container has started
    slot, call = caller.begin({"do": "raw", "raw": "garbage"}, timeout=4.0)
    follower = follow(caller, slot, call)
    result = caller.result(call)
    assert result.outcome.kind is OutcomeKind.TIMEOUT
    assert result.live is follower.live and follower.text("stdout", over=True) == "garbage\n"
