"""A missing image is pulled in the background at the start."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

import pytest
from docker.errors import NotFound

from tasks_app.runner.wire import Success
from tests.docker.conftest import Intrude
from tests.docker.engines import BUSYBOX, client
from tests.docker.registry import Registry

SHELL = ("/bin/sh", "-c", 'while read -r line; do echo \'{"status":"success","result":1}\'; done')


@pytest.fixture
def registry() -> Iterator[Registry]:
    one = Registry(b"".join(client().get_image(BUSYBOX)))
    try:
        yield one
    finally:
        one.close()
        with suppress(NotFound):
            client().remove_image(f"{one.host}/far/away:1", force=True)


def test_it_is_pulled_while_other_handlers_work_and_is_used_then(
    intrude: Intrude, registry: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    image = f"{registry.host}/far/away:1"
    caller = intrude(name="far", image=image, command=SHELL, instances=4)
    assert registry.asked.wait(30)
    other = intrude()
    assert other.ask("echo").outcome == Success({"do": "echo"})
    assert caller.until(lambda: caller.pool.stats().problem) == (
        f"handler 'far' cannot be started: its image {image} is being pulled"
    )
    assert caller.pool.free() == 0
    registry.release.set()
    assert caller.ask("anything").outcome == Success(1)
    caller.until(lambda: caller.pool.stats().warm == 4)
    assert caller.pool.stats().problem is None
    messages = [record.getMessage() for record in caplog.records]
    assert len([line for line in messages if line.startswith(f"image {image} was pulled in ")]) == 1, (
        "once for all slots"
    )
