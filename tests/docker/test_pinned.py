"""Which image a name means: that of its first start, until it is resolved again."""

from __future__ import annotations

import io
import json
import secrets
from collections.abc import Iterator, Sequence
from contextlib import suppress

import pytest
from docker.errors import NotFound

from tasks_app.handlers.handlers_toml import Handler
from tasks_app.runner.engine import NotYet
from tests.docker.conftest import Intrude
from tests.docker.engines import BUSYBOX, client, kill, owned_engine
from tests.runner.caller import Caller

SHELL = ("/bin/sh", "-c", 'while read -r line; do echo \'{"status":"success","result":1}\'; done')


class Name:
    """A name of images that this test gives to images of its own."""

    def __init__(self) -> None:
        self.name = f"localhost/taskdaemon-test-{secrets.token_hex(4)}:1"
        self.made: list[str] = []

    def means_another(self, command: Sequence[str] = SHELL) -> str:
        """Give it to a new image, which differs from all others in a label and has this command. Returns its id."""
        text = f"FROM {BUSYBOX}\nLABEL which={secrets.token_hex(4)}\nCMD {json.dumps(command)}\n"
        for _ in client().build(fileobj=io.BytesIO(text.encode()), tag=self.name, rm=True):
            pass
        self.made.append(str(client().inspect_image(self.name)["Id"]))
        return self.made[-1]

    def forget(self) -> None:
        for each in (self.name, *self.made):
            with suppress(NotFound):
                client().remove_image(each, force=True)


@pytest.fixture
def name() -> Iterator[Name]:
    one = Name()
    try:
        yield one
    finally:
        one.forget()


def image_of(caller: Caller) -> str:
    return caller.ask("anything").image


def dies(caller: Caller) -> None:
    """Its container dies, and another one is started."""
    starts, [slot] = caller.pool.stats().starts, caller.pool.slots
    assert slot.container is not None
    kill(slot.container.id)
    caller.until(lambda: caller.pool.stats().starts > starts and caller.pool.free())


def test_a_name_means_the_image_of_its_first_start_until_it_is_resolved_again(name: Name, intrude: Intrude) -> None:
    first = name.means_another()
    caller = intrude(name="pinned", image=name.name, command=SHELL)
    assert image_of(caller) == first
    second = name.means_another()
    dies(caller)
    assert image_of(caller) == first
    assert caller.engine.resolve_again([name.name]) == {name.name}
    assert caller.engine.resolve_again([name.name]) == set()
    dies(caller)
    assert image_of(caller) == second


def test_a_name_that_the_engine_no_longer_knows_means_what_it_meant(name: Name, intrude: Intrude) -> None:
    first = name.means_another()
    caller = intrude(name="pinned", image=name.name, command=SHELL)
    assert image_of(caller) == first
    client().tag(first, "localhost/taskdaemon-test-kept", "1")
    try:
        client().remove_image(name.name)
        assert caller.engine.resolve_again([name.name]) == set()
        dies(caller)
        assert image_of(caller) == first
    finally:
        client().remove_image("localhost/taskdaemon-test-kept:1", force=True)


def test_once_its_image_is_gone_the_name_is_resolved_anew_and_the_log_says_so(
    name: Name, caplog: pytest.LogCaptureFixture
) -> None:
    engine, handler = owned_engine(), Handler(name="pinned", image=name.name, command=SHELL)
    first = name.means_another()
    container = engine.start(handler, 0)
    container.destroy()
    second = name.means_another()
    client().remove_image(first)
    with pytest.raises(
        NotYet, match=rf"no longer has what {name.name} meant \({first[:19]}\); the name is resolved anew"
    ):
        engine.start(handler, 0)
    container = engine.start(handler, 0)
    container.destroy()
    assert (container.image, f"the image {first[:19]} of {name.name} is gone" in caplog.text) == (second, True)
    engine.close()
