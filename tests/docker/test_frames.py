"""The stream of an attached container, split anywhere."""

from __future__ import annotations

from copy import copy

import pytest

from tasks_app.runner.docker.attached import Frames
from tasks_app.runner.engine import STDERR, STDOUT


def frame(stream: int, data: bytes) -> bytes:
    return bytes([stream, 0, 0, 0]) + len(data).to_bytes(4, "big") + data


STREAM = (
    frame(1, b"one\n") + frame(2, b"a log") + frame(1, b"") + frame(1, b"\x01\0\0\0\0\0\0\x05") + frame(2, b"x" * 300)
)


def joined(pieces: list[tuple[int, bytes]]) -> dict[int, bytes]:
    return {stream: b"".join(data for which, data in pieces if which == stream) for stream in (STDOUT, STDERR)}


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 9, 13, 64, 1000])
def test_frames_may_be_split_anywhere(size: int) -> None:
    frames, pieces = Frames(), []
    for at in range(0, len(STREAM), size):
        pieces += frames.feed(STREAM[at : at + size])
    assert joined(pieces) == {STDOUT: b"one\n\x01\0\0\0\0\0\0\x05", STDERR: b"a log" + b"x" * 300}
    assert all(data for _, data in pieces)


def test_a_message_of_the_engine_is_no_reply() -> None:
    assert Frames().feed(frame(3, b"engine trouble")) == [(STDERR, b"engine trouble")]


def test_an_invalid_header_is_refused() -> None:
    with pytest.raises(ValueError, match="not a frame header"):
        Frames().feed(b'{"status": "success"}\n')


def test_a_copy_looks_ahead_without_side_effects() -> None:
    frames = Frames()
    frames.feed(STREAM[:10])
    assert joined(copy(frames).feed(STREAM[10:])) == joined(frames.feed(STREAM[10:]))
