"""`manage.py post`: a caller on the command line; and `manage.py prepare` without a database."""

from __future__ import annotations

import json

from testkit.daemon import Daemon


def test_a_task_is_posted_waited_for_and_shown(daemon: Daemon) -> None:
    daemon.web()
    daemon.worker()
    post = daemon.manage("post", "act", '{"do": "echo"}', "--priority", "70")
    assert post.ends() == 0, post.said()
    shown = json.loads(post.said())
    assert (shown["status"], shown["priority"]) == ("completed", 70)
    assert daemon.task(shown["id"])["result"] == shown["result"]


def test_what_goes_wrong_is_said_and_is_an_exit_code(daemon: Daemon) -> None:
    daemon.web()
    for words, code, says in (
        (("act", "{"), 2, "DATA is not JSON"),
        (("nobody",), 1, "400"),
        (("act", "{}", "--wait", "0.2"), 1, "the task is pending: see GET /health"),  # no worker
        (
            ("act", "--url", "http://127.0.0.1:1"),
            1,
            "nothing answers at http://127.0.0.1:1/queue (Connection refused); start",
        ),
    ):
        post = daemon.manage("post", *words)
        assert post.ends() == code, post.said()
        assert says in post.said() and "Traceback" not in post.said()
        assert "urlopen" not in post.said()


def test_prepare_says_in_a_sentence_that_the_database_cannot_be_reached(daemon: Daemon) -> None:
    away = {"DATABASE_URL": "postgres://one@127.0.0.1:1/none", "DAEMON_SECRET_KEY": "0123456789abcdefghij" * 2}
    prepare = daemon.manage("prepare", **away)
    assert prepare.ends() == 1
    assert "the database cannot be reached" in prepare.said() and "Traceback" not in prepare.said()
