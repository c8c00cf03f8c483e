"""What a running call has written, on each engine, before it ends."""

from __future__ import annotations

import time

from tasks_app.runner.errors import CallTimeout, KillReason
from tasks_app.runner.live_output import LiveOutput
from tasks_app.runner.wire import Success
from tests.runner.caller import Caller
from tests.runner.conftest import NewCaller


def text(live: LiveOutput, stream: str, over: bool = False) -> str:
    """All of a stream that is not read yet."""
    pieces = live.unread(over).pieces
    return "".join(piece.body.get("text", "") for piece in pieces if piece.body.get("stream") == stream)


def read_all(live: LiveOutput) -> None:
    first, pieces = live.unread()
    live.read(first + len(pieces) - 1)


def test_a_running_call_is_followed_and_its_result_has_the_rest(caller: Caller) -> None:
    slot, call = caller.begin({"do": "says", "seconds": 2}, timeout=60.0)
    live = caller.until(lambda: slot.follow(call.token))
    assert slot.follow(call.token) is live
    caller.until(lambda: "first" in text(live, "stdout") and "warning" in text(live, "stderr"))
    progress = [piece.body for piece in live.unread().pieces if piece.kind == "progress"]
    assert progress == [{"progress": 0.5, "message": "half"}]
    read_all(live)
    result = caller.result(call)
    assert result.outcome == Success("said")
    assert result.live is live
    assert (text(live, "stdout", over=True), text(live, "stderr", over=True)) == ("last\n", "")
    assert result.stdout_tail == 'first\n{"progress": 0.5, "message": "half"}\nlast\n', "progress is in the log too"


def test_the_output_of_a_call_begins_with_that_call(caller: Caller) -> None:
    caller.ask("print_first")
    slot, call = caller.begin({"do": "says", "seconds": 1}, timeout=60.0)
    live = caller.until(lambda: slot.follow(call.token))
    result = caller.result(call)
    assert result.live is live and "two" not in text(live, "stdout", over=True)


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
    live = caller.until(lambda: slot.follow(call.token))
    caller.until(lambda: "garbage" in text(live, "stdout"))
    slot.kill(KillReason.TAKEN_AWAY, call.token)
    result = caller.result(call)
    assert result.live is live and text(live, "stdout", over=True) == "garbage\n"
    late_slot, late = caller.begin({"do": "raw", "raw": "garbage"}, timeout=0.5)
    live = caller.until(lambda: late_slot.follow(late.token))
    result = caller.result(late)
    assert isinstance(result.outcome, CallTimeout)
    assert result.live is live and text(live, "stdout", over=True) == "garbage\n"


def test_a_flood_is_followed_in_bounded_memory_and_the_call_ends_as_without(new_caller: NewCaller) -> None:
    caller = new_caller(start_timeout=0.0)
    caller.ask("echo")
    for do in ("flood_lines", "flood_stderr"):
        slot, call = caller.begin({"do": do}, timeout=1.0)
        live = caller.until(lambda s=slot, c=call: s.follow(c.token))
        begun, size = time.monotonic(), 0
        while time.monotonic() < begun + 0.5:
            size = max(size, sum(len(piece.body.get("text", "")) for piece in live.unread().pieces))
        assert size <= 64 * 1024
        assert isinstance(caller.result(call).outcome, CallTimeout)
        left_out = sum(piece.body.get("cut", 0) for piece in live.unread(over=True).pieces)
        assert left_out > 10 * 64 * 1024
