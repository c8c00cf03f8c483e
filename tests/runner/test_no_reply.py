"""What a running call has written and may take for its reply; texts of handlers, as they are."""

from __future__ import annotations

import pytest

from tasks_app.runner.no_reply import at_time_out, so_far

INDENTED = '{\n  "status": "success",\n  "result": {\n    "a": 1\n  }\n}'


@pytest.mark.parametrize(("stdout", "shown", "why"), [
    (INDENTED + "\n", "{", "a reply is one line"),
    (INDENTED, "{", "a reply is one line"),
    ("page 1\n" + '{"result": 3}\n', '{"result": 3}', "it has no `status`"),
    ("{'status': 'success'}\n", "{'status': 'success'}", "JSON strings have double quotes"),
    ('{"status": "done"}\nbye\n', '{"status": "done"}', 'its `status` is "done"'),
    ("[1, 2]\n", "[1, 2]", "a reply is a JSON object"),
    ("42", "42", "it has no line end"),
    ('p. 1{"status": "success", "result": 1}\n', 'p. 1{"status": "success", "result": 1}', "other text stands before"),
    ('\ufeff{"status": "success"}\n', '\ufeff{"status": "success"}', "it begins with a byte order mark"),
    ('{"level": "info"}\nOK', "OK", "it has no line end"),
    ("> /srv/a.py(5)handle()\n-> breakpoint()\n(Pdb) ", "(Pdb) ", "a debugger waits for a command: take"),
])  # fmt: skip
def test_output_that_may_be_meant_as_a_reply_says_why_it_is_none(stdout: str, shown: str, why: str) -> None:
    fault = so_far(stdout)
    assert fault is not None and (fault.shown, fault.why[: len(why)]) == (shown, why)
    assert shown.strip() in at_time_out(5, 0, stdout, None), "the time-out names it too"


@pytest.mark.parametrize(
    "stdout",
    [
        "",
        "\n",
        "page 1\npage 2\n",
        "sent {}\n",
        'got {"a": 1}\n',
        "if (x) {\n",
        '{"progress": 0.5}\n',
        'x\n{"progress": 1}',
    ],
)
def test_an_ordinary_log_is_not_noted(stdout: str) -> None:
    assert so_far(stdout) is None


REPLY = '{"status": "success", "result": 1}'


@pytest.mark.parametrize(("stdout", "stderr", "said"), [
    ("", f"log\n{REPLY}\n", True), ("page 1\n", REPLY, True), ("", "log\n", False),
    ("", '{"level": "info"}\n', False), ("", f"got {REPLY}\n", False), ('{"status": "ok"}\n', REPLY, False),
])  # fmt: skip
def test_a_reply_on_stderr_is_said_unless_stdout_has_what_may_be_one(stdout: str, stderr: str, said: bool) -> None:
    text = at_time_out(5, 0, stdout, True, stderr)
    assert ("wrote its reply to stderr; write it to stdout" in text) is said
    assert REPLY not in text


def test_a_time_out_says_where_a_breakpoint_stands() -> None:
    text = at_time_out(5, 0, "> /srv/a.py(5)handle()\n-> breakpoint()\n(Pdb) *** SyntaxError\n(Pdb) ", False)
    assert text.startswith("no reply within 5 s: `breakpoint()` stopped the handler at /srv/a.py(5)handle(), and its ")
