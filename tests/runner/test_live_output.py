"""The pieces of a call's output: whole lines, each once, in a bounded number of bytes."""

from __future__ import annotations

import random
import threading
from typing import Any

import pytest

from tasks_app.queue.models import logs_of
from tasks_app.runner.call import (
    MARK_BYTES,
    MAX_LINE_BYTES,
    MAX_LOG_BYTES,
    MAX_NOTES,
    LiveOutput,
    LogPiece,
    Stream,
    Tail,
)
from tasks_app.runner.no_reply import Fault


def output(out: bytes = b"", err: bytes = b"") -> LiveOutput:
    """Of a call that has written this so far."""
    tails = []
    for data in (out, err):
        tail = Tail()
        tail.add(data)
        tails.append(tail if data else None)
    return LiveOutput(*tails)


def news(live: LiveOutput, over: bool = False) -> list[LogPiece]:
    """What is new, which counts as read from then on."""
    first, pieces = live.unread(over)
    live.read(first + len(pieces) - 1)
    return pieces


def log(stream: Stream, text: str) -> LogPiece:
    return LogPiece("log", {"stream": stream, "text": text})


def cut(stream: Stream, size: int) -> LogPiece:
    return LogPiece("log", {"stream": stream, "cut": size})


def progress(share: float, **more: Any) -> LogPiece:
    return LogPiece("progress", {"progress": share, **more})


def begun() -> LiveOutput:
    """Of a call that has written nothing yet, which is known."""
    live = output()
    assert news(live) == [log("stdout", "")]
    return live


def test_what_was_written_before_is_read_first_and_then_what_is_new() -> None:
    live = output(b"one\n", b"a warning\n")
    assert live.unread() == (1, [log("stderr", "a warning\n"), log("stdout", "one\n")])
    live.read(2)
    live.add("stdout", b"two\n")
    live.add("stdout", b"three\n")
    assert live.unread() == (3, [log("stdout", "two\nthree\n")])


def test_pieces_are_given_again_until_they_are_read_and_keep_their_numbers() -> None:
    live = begun()
    live.add("stdout", b"two\n")
    assert live.unread() == (2, [log("stdout", "two\n")])
    live.add("stdout", b"three\n")
    assert live.unread() == (2, [log("stdout", "two\n")]), "what follows waits"
    assert live.unread(over=True) == (2, [log("stdout", "two\n"), log("stdout", "three\n")])
    live.read(2)
    assert live.unread() == (3, [log("stdout", "three\n")])
    live.read(1)  # a reader that was late
    assert live.unread() == (3, [log("stdout", "three\n")])


def test_a_line_without_an_end_waits_for_it_unless_it_is_long_or_the_call_is_over() -> None:
    live = begun()
    live.add("stderr", b"half")
    assert news(live) == []
    live.add("stderr", b" a line\nand ")
    assert news(live) == [log("stderr", "half a line\n")]
    live.add("stderr", b"10 %\r20 %")
    assert news(live) == [log("stderr", "and 10 %\r")]
    live.add("stderr", b"x" * MAX_LINE_BYTES)
    assert news(live) == [log("stderr", "20 %" + "x" * MAX_LINE_BYTES)]
    live.add("stderr", b"the end")
    assert news(live, over=True) == [log("stderr", "the end")]


def test_text_is_what_any_database_stores_and_characters_are_not_torn() -> None:
    live = begun()
    live.add("stderr", b"x" * MAX_LINE_BYTES + "é".encode()[:1])
    assert news(live) == [log("stderr", "x" * MAX_LINE_BYTES)]
    live.add("stderr", "é".encode()[1:] + b"\0\xff\xed\xa0\x80\n")
    assert news(live) == [log("stderr", "é" + "\ufffd" * 5 + "\n")]


def test_of_progress_the_newest_counts_and_the_same_is_not_said_twice() -> None:
    live = begun()
    for share in ("0.1", "0.2", "7", "true"):
        live.add("stdout", b'{"progress": %b}\n' % share.encode())
    assert news(live) == [log("stdout", '{"progress": 7}\n{"progress": true}\n'), progress(0.2)]
    live.add("stdout", b'{"progress": 0.2}\n')
    assert news(live) == []
    live.add("stdout", b'{"progress": 0.2, "message": "still"}\n')
    live.add("stderr", b'{"progress": 0.9}\n')
    assert news(live) == [log("stderr", '{"progress": 0.9}\n'), progress(0.2, message="still")]


def test_after_64_kib_the_log_is_cut_which_is_said_once_and_summed_up_at_the_end() -> None:
    live = begun()
    line = b"x" * 1023 + b"\n"
    for _ in range(40):
        live.add("stdout", line)
        live.add("stderr", line)
    pieces = news(live)
    texts = {piece.body["stream"]: piece.body.get("text", "") for piece in pieces if "text" in piece.body}
    assert sum(map(len, texts.values())) == 63 * 1024
    assert [piece for piece in pieces if "cut" in piece.body] == [cut("stderr", 9 * 1024), cut("stdout", 8 * 1024)]
    for _ in range(1000):
        live.add("stdout", line)
        assert news(live) == []
    live.add("stdout", b'{"progress": 1}\n')
    assert news(live) == [progress(1.0)], "progress goes on"
    assert news(live, over=True) == [cut("stdout", 1000 * 1024)]


@pytest.mark.parametrize("line", [b"x" * 99 + b"\n", b"\xff\0" * 50 + b"\n", "\u00e9\U0001f600".encode() * 20 + b"\n"])
def test_a_log_with_the_marks_of_its_cuts_is_at_most_64_kib_of_text(line: bytes) -> None:
    live = output(line * 5000, line * 5000)
    pieces = [*news(live), *news(live)]
    for _ in range(3):
        live.add("stdout", line * 100)
        live.add("stderr", line * 100)
        pieces += news(live)
    pieces += news(live, over=True)
    logs = logs_of(piece.body for piece in pieces if piece.kind == "log")
    assert "bytes cut ...]" in logs["stdout"] and "bytes cut ...]" in logs["stderr"]
    assert sum(len(text.encode()) for text in logs.values()) <= MAX_LOG_BYTES


def test_a_flood_before_the_first_reading_is_cut_in_its_middle() -> None:
    live = output(b"y" * 200_000 + b"\nthe last line\n", b"a warning\n")
    pieces = [*news(live), *news(live)]
    assert pieces[:2] == [log("stderr", "a warning\n"), log("stdout", "y" * 16 * 1024)]
    assert pieces[2] == cut("stdout", 200_015 - 64 * 1024 + MARK_BYTES)
    of_stdout = [piece.body for piece in pieces if piece.body["stream"] == "stdout"]
    assert sum(len(body.get("text", "")) + body.get("cut", 0) for body in of_stdout) == 200_015


def test_it_holds_no_more_than_its_bound_whatever_is_written() -> None:
    live = begun()
    for _ in range(2000):
        live.add("stderr", b"x" * 63 * 1024)
    first, pieces = live.unread()
    assert sum(len(piece.body.get("text", "")) for piece in pieces) <= MAX_LOG_BYTES
    assert first == 2 and pieces[1:] == [cut("stderr", 1999 * 63 * 1024)]


@pytest.mark.parametrize("seed", range(20))
def test_nothing_is_lost_and_nothing_comes_twice_however_it_is_written_and_read(seed: int) -> None:
    chance = random.Random(seed)
    written: dict[Stream, bytes] = {"stdout": b"", "stderr": b""}
    live = begun()
    pieces = []
    for n in range(300):
        stream = chance.choice(list(written))
        data = b"".join(b"%d%b" % (n, chance.choice([b"\n", b" ", b"\r", b"\xc3\xa9\n"])) for _ in range(n % 5))
        written[stream] += data
        live.add(stream, data)
        if chance.random() < 0.3:
            first, some = live.unread()
            taken = chance.randint(0, len(some))
            pieces += some[:taken]
            live.read(first + taken - 1)
    pieces += live.unread(over=True).pieces
    for stream, data in written.items():
        assert "".join(piece.body["text"] for piece in pieces if piece.body["stream"] == stream) == data.decode()


def test_two_threads_lose_nothing() -> None:
    live, over, read = begun(), threading.Event(), []

    def reader() -> None:
        while not over.is_set():
            read.extend(news(live))

    thread = threading.Thread(target=reader)
    thread.start()
    for n in range(5000):
        live.add("stdout", b"%d\n" % n)
    over.set()
    thread.join(20)
    read += news(live, over=True)
    assert "".join(piece.body["text"] for piece in read) == "".join(f"{n}\n" for n in range(5000))


def test_each_reason_why_output_is_no_reply_is_told_once_and_a_few_are() -> None:
    live = output(out=b"x\n")
    assert news(live) == [log("stdout", "x\n")]
    for shown, why in [("{", "indented"), ("[", "indented"), *((str(n), f"status {n}") for n in range(MAX_NOTES))]:
        live.note(Fault(shown, why))
    texts = [piece.body["text"] for piece in news(live)]
    assert texts == ["this is no reply: { (indented)", *(f"this is no reply: {n} (status {n})" for n in range(4))]
    live.note(Fault("{", "indented"))
    assert news(live, over=True) == []
