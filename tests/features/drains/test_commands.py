"""What `drain` and `undrain` say; with real nodes: tests/system/test_pauses.py."""

from __future__ import annotations

import pytest
from django.core.management import CommandError

from tasks_app.queue.node_models import Node
from testkit.rows import node, pool
from tests.features.commands import audited, run

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.database]


def test_drain_and_undrain_say_what_they_did() -> None:
    node("one", draining=True)
    assert "one takes no more tasks, until manage.py undrain one or the end of its process" in run("drain", "one")
    assert run("drain", "one", "--wait").endswith("one is empty\n")
    assert run("undrain", "one") == "one takes tasks again\n"
    assert run("undrain", "one") == "one was not drained\n"
    assert audited() == [("command", "drain", "one"), ("command", "undrain", "one")]


def test_a_wait_ends_if_the_node_is_silent() -> None:
    node("one", seen_before=300.0)
    assert "one was killed or is silent, and others take over its tasks: it runs no task" in run(
        "drain", "one", "--wait"
    )
    assert Node.objects.get().drain_requested_at


@pytest.mark.parametrize("verb", ["drain", "undrain"])
def test_an_unknown_node_is_refused_with_those_that_live(verb: str) -> None:
    node("host-1")
    with pytest.raises(
        CommandError, match=r'no node is named "host"; the living nodes are host-1; did you mean "host-1"\?'
    ):
        run(verb, "host")
    assert audited() == []


def test_a_type_is_drained_and_undrained_and_what_is_left_is_said() -> None:
    node("one", pools={"echo": pool(2, 2) | {"drained": True}, "prime": pool(1, 1)})
    said = run("drain", "one", "--handler", "echo", "--reason", "new model", "--wait")
    assert (
        "one takes no more tasks of echo, until manage.py undrain one --handler echo or the end of its process" in said
    )
    assert said.endswith("one runs no task of echo\n")
    drain = Node.objects.get().type_drains["echo"]
    assert drain.reason == "new model" and Node.objects.get().taking
    assert run("undrain", "one") == (
        "one was not drained\nit is drained for echo, until manage.py undrain one --handler echo\n"
    )
    run("drain", "one")
    assert run("undrain", "one", "--handler", "echo") == (
        "one takes tasks of echo again\nit is drained as a whole, until manage.py undrain one\n"
    )
    assert run("undrain", "one", "--handler", "echo").startswith("one was not drained for echo")


@pytest.mark.parametrize(("options", "said"), [
    (["--handler", "ecoh"], r'node one does not serve "ecoh"; it serves echo; did you mean "echo"\?'),
    (["--reason", "x" * 201], "--reason must be a string of at most 200 characters"),
    (["--reason", "\udcff"], "--reason must be text without NUL"),
])  # fmt: skip
def test_what_cannot_be_drained_is_refused(options: list[str], said: str) -> None:
    node("one", pools={"echo": pool(2, 2)})
    with pytest.raises(CommandError, match=said):
        run("drain", "one", *options)
    assert audited() == []
