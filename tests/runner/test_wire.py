from __future__ import annotations

import json
import json.encoder
import re

import pytest

from tasks_app.runner.call import MARK_BYTES, Tail
from tasks_app.runner.wire import (
    MAX_DEPTH,
    MAX_ERROR_BYTES,
    MAX_REPLY_BYTES,
    BadReply,
    Failure,
    Lines,
    Success,
    encode,
    parse_reply,
    request_line,
    stored_size,
)


def success(result: str) -> bytes:
    return b'{"status": "success", "result": ' + result.encode() + b"}\n"


def test_a_request_has_exactly_four_keys_and_one_line() -> None:
    line = request_line("0191", "re-size", '{"a":\n [1,\r\n 2], "text": "x\\ny ä"}', 3)
    assert line.endswith(b"}\n")
    assert line.count(b"\n") == 1
    assert json.loads(line) == {
        "task_id": "0191", "task_type": "re-size", "task_data": {"a": [1, 2], "text": "x\ny ä"}, "attempt": 3,
    }  # fmt: skip


@pytest.mark.parametrize("line", [
    b"", b"\n", b"ready\n", b"[1]\n", b'"status"\n', b"null\n", b"{}\n", b"{\n", b"\xff{}\n",
    b'{"status": "starting"}\n',
    b'{"status": true}\n', b'{"level": "info", "loss": NaN}\n', b"{'status': 'success', 'result': 1}\n",
    b"{" * 100_000 + b"\n", b'{"a": ' * 100_000 + b"\n", b"one\ntwo\n", b"{one}\n{two}\n",
])  # fmt: skip
def test_other_lines_are_not_replies(line: bytes) -> None:
    assert parse_reply(line) is None


@pytest.mark.parametrize(
    "result", ["0", '""', "[]", "{}", "false", "null", "1", "1.5", '"ä€𝄞"', '{"a":[1,{"b":null}]}']
)
def test_any_json_value_is_a_result(result: str) -> None:
    reply = parse_reply(success(result))
    assert isinstance(reply, Success)
    assert reply.result == json.loads(result)
    assert reply.json == result


def test_a_reply_may_have_spaces_crlf_and_further_keys() -> None:
    assert parse_reply(b' { "result" : 1, "took": 3, "status":"success" } \r\n') == Success(1)


def test_escaped_pairs_and_escaped_backslashes_are_text() -> None:
    reply = parse_reply(success('"\\ud834\\udd1e \\\\u0000"'))
    assert reply == Success("𝄞 \\u0000")


@pytest.mark.parametrize(("result", "says"), [
    ("NaN", "not a JSON value"), ("[Infinity]", "not a JSON value"), ('{"a": -Infinity}', "not a JSON value"),
    ("1e400", "not a JSON value"),
    ('"\\u0000"', "NUL"), ('{"a\\u0000": 1}', "NUL"), ('"\\\\\\u0000"', "NUL"), ('"\\ud800"', "surrogate"),
    ('{"\\udc00": 1}', "surrogate"), ("9" * 5000, "cannot be parsed"), ("", "cannot be parsed"),
    ("1} {", "cannot be parsed"),
    ("[" * 600 + "]" * 600, "deeper than"), ("[" * 100_000 + "]" * 100_000, "nested"), ('"a\tb"', "cannot be parsed"),
])  # fmt: skip
def test_a_result_that_is_not_json_or_cannot_be_stored_is_a_bad_reply(result: str, says: str) -> None:
    with pytest.raises(BadReply, match=says):
        parse_reply(success(result))


@pytest.mark.parametrize("text", ["", " ", "\\n"])
def test_an_empty_error_text_is_replaced(text: str) -> None:
    line = f'{{"status":"error","error":"{text}","retryable":true}}\n'
    assert parse_reply(line.encode()) == Failure("the handler reported an error and gave no reason", True)


@pytest.mark.parametrize(("text", "seconds"), [("0", 0.0), ("1.5", 1.5), ("86400", 86_400.0), ("null", None)])
def test_an_error_may_say_when_it_is_to_be_retried(text: str, seconds: float | None) -> None:
    line = f'{{"status":"error","error":"x","retryable":true,"retry_in":{text}}}\n'
    assert parse_reply(line.encode()) == Failure("x", True, retry_in=seconds)


@pytest.mark.parametrize("text", [
    "-1", "86400.1", "1e400", "NaN", "Infinity", "9" * 300, "true", '"60"', "[60]", "{}",
])  # fmt: skip
def test_a_pause_that_is_no_number_of_seconds_in_a_day_is_ignored_and_the_reply_counts(text: str) -> None:
    line = f'{{"status":"error","error":"x","retryable":true,"retry_in":{text}}}\n'
    assert parse_reply(line.encode()) == Failure("x", True, ignored="it is no number of seconds from 0 to 86,400")


def test_a_pause_of_an_error_that_is_not_retried_is_ignored() -> None:
    for said in ("", '"retryable":false,'):
        line = f'{{"status":"error","error":"x",{said}"retry_in":60}}\n'
        assert parse_reply(line.encode()) == Failure("x", False, ignored="the error is not retryable")


def test_brackets_in_strings_are_not_nesting() -> None:
    text = json.dumps("[" * 2000)
    assert parse_reply(success(text)) == Success("[" * 2000)
    assert isinstance(parse_reply(success("[" * MAX_DEPTH + "]" * MAX_DEPTH)), Success)


@pytest.mark.parametrize("line", [
    b'{"status": "success"}', b'{"status": "error"}', b'{"status": "error", "error": 5}',
    b'{"status": "error", "error": "x", "retryable": "yes"}', b'{"status": "success", "result": "\xff"}',
    b'{"status": "success", "result": 1} {"status": "success", "result": 2}', b'{"status":"error","error":"cut of',
])  # fmt: skip
def test_a_reply_with_a_fault_is_bad(line: bytes) -> None:
    with pytest.raises(BadReply):
        parse_reply(line + b"\n")


def test_an_error_text_is_made_storable() -> None:
    assert parse_reply(b'{"status":"error","error":"a\\u0000b\\ud800c"}') == Failure("a\ufffdb?c", False)
    reply = parse_reply(json.dumps({"status": "error", "error": "€" * 5000, "retryable": True}).encode())
    assert isinstance(reply, Failure)
    assert MAX_ERROR_BYTES - 3 < len(reply.error.encode()) <= MAX_ERROR_BYTES


def test_a_reply_over_the_limit_is_bad() -> None:
    with pytest.raises(BadReply, match="the limit is"):
        parse_reply(success('"' + "x" * MAX_REPLY_BYTES + '"'))


@pytest.mark.parametrize(("numbers", "bad"), [(33_000, False), (35_000, True)])
def test_a_result_whose_exponents_stand_for_more_digits_than_allowed_is_bad(numbers: int, bad: bool) -> None:
    line = success("[" + ",".join(["1e308"] * numbers) + "]")
    if bad:
        with pytest.raises(BadReply, match="takes more than 10485760 bytes once it is stored, because a number with"):
            parse_reply(line)
    else:
        reply = parse_reply(line)
        assert isinstance(reply, Success) and reply.size == numbers * 310 + 1


STREAM = b'one\n{"a": 1}\n\ntwo {\n' + b"x" * 300 + b"\n" + b"{}\n" * 3 + b"rest"


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 1000])
def test_lines_are_cut_wherever_the_stream_is_split(size: int) -> None:
    lines = Lines()
    cut: list[bytes] = []
    for start in range(0, len(STREAM), size):
        cut += lines.feed(STREAM[start : start + size])
    # Lines that cannot be an object may be joined.
    assert b"".join(cut) + lines.unfinished() == STREAM
    assert all(piece.endswith(b"\n") and (piece.count(b"\n") == 1 or b"{" not in piece) for piece in cut)
    assert lines.unfinished() == b"rest"


def test_a_line_without_an_end_is_a_bad_reply() -> None:
    lines = Lines()
    for _ in range(MAX_REPLY_BYTES // 65536 + 1):
        assert lines.feed(b"x" * 65536) == []
    with pytest.raises(BadReply, match="without a line end"):
        lines.feed(b"x" * 65536)
    assert len(lines.unfinished()) == 65536


@pytest.mark.parametrize("piece", [1000, 16 * 1024, 200_000])
def test_a_tail_keeps_the_first_and_the_last(piece: int) -> None:
    tail = Tail()
    data = b"".join(b"%07d\n" % number for number in range(50_000))
    for start in range(0, len(data), piece):
        tail.add(data[start : start + piece])
    text = tail.text()
    assert text.startswith(data[: 16 * 1024].decode())
    assert text.endswith("\n" + data[-48 * 1024 + MARK_BYTES :].decode())
    assert f"[... {len(data) - 64 * 1024 + MARK_BYTES} bytes cut ...]" in text


@pytest.mark.parametrize("part", [b"x", b"\0", b"a\xff", "\U0001f600".encode(), "\u00e9".encode() + b"\xe2\x82"])
@pytest.mark.parametrize("size", [16 * 1024 + 1, 64 * 1024, 64 * 1024 + 1, 150_000])
def test_a_tail_with_its_mark_is_at_most_64_kib_of_text(part: bytes, size: int) -> None:
    tail = Tail()
    data = (part * size)[:size]
    tail.add(data)
    text = tail.text()
    assert len(text.encode()) <= 64 * 1024
    marks = re.findall(r"\n\[\.\.\. (\d+) bytes cut \.\.\.\]\n", text)
    assert len(marks) == (text != data.decode(errors="replace").replace("\0", "\ufffd"))
    if marks:
        assert len(text.encode()) > 63 * 1024
        kept = [len(data) for data, _ in tail.parts()]
        assert sum(kept) + int(marks[0]) == size


def test_a_short_tail_is_complete_and_storable() -> None:
    tail = Tail()
    tail.add(b"a\0b\xff")
    assert tail.text() == "a\ufffdb\ufffd"


@pytest.mark.parametrize(("text", "size"), [
    ("{}", 2), ('{"ü":"🐢"}', 13), ("1e+308", 309), ("-1e+308", 310), ("1.7976931348623157e+308", 309), ("1e+16", 17),
    ("1.5e+16", 17), ("1.2345678901234567e+16", 17), ("1e-07", 9), ("1.5e-07", 10), ("5e-324", 326), ("-5e-324", 327),
    ("[1e+308,1e-05,12,1.5]", 309 + 7 + 10), ('{"1e+308":"1e+308 \\" 1e+308","a-e-1":1e+20}', 43 + 16),
    ('["550e8400-e29b-41d4-a716-446655440000"]', 40), ('["\\\\",1e+20,"\\\\"]', 17 + 16),
])  # fmt: skip
def test_an_exponent_counts_as_all_its_digits_and_a_string_as_itself(text: str, size: int) -> None:
    assert stored_size(text) == size


@pytest.mark.parametrize("value", [
    {}, [], "", "ä€𝄞\u2028\"\\\n\x01\ud800", 0, -0.0, 1e308, 1e-07, None, True, {1: 2},
    (1, [2, {"a": {"b": [None, "c"]}}]),
])  # fmt: skip
def test_json_is_encoded_as_python_encodes_it(value: object) -> None:
    assert encode(value) == json.dumps(value, ensure_ascii=False, separators=(",", ":"))


@pytest.mark.parametrize("value", [float("nan"), {"a": [float("inf")]}, object(), {"a": object()}, {(1, 2): 3}])
def test_what_is_no_json_is_not_encoded(value: object) -> None:
    with pytest.raises((ValueError, TypeError)):
        encode(value)
    assert encode({"a": 1}) == '{"a":1}'  # the next value is none the worse


def test_above_its_limit_a_size_is_not_counted_to_the_end() -> None:
    numbers = encode([1e308] * 100_000)
    assert stored_size(numbers) == 31_000_001
    assert 1_000_000 < stored_size(numbers, 1_000_000) < 1_000_400
