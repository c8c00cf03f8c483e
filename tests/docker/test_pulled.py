"""An image that the engine does not have is pulled at the start, in the background."""

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


def test_it_is_pulled_while_others_work_and_then_its_containers_come(
    intrude: Intrude, registry: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    image = f"{registry.host}/far/away:1"
    desk = intrude(name="far", image=image, command=SHELL, instances=4)
    assert registry.asked.wait(30)
    other = intrude()
    assert other.ask("echo").outcome == Success({"do": "echo"})
    assert desk.until(lambda: desk.pool.stats().problem) == (
        f"handler 'far' cannot be started: its image {image} is being pulled"
    )
    assert desk.pool.free() == 0
    registry.gate.set()
    assert desk.ask("anything").outcome == Success(1)
    desk.until(lambda: desk.pool.stats().warm == 4)
    assert desk.pool.stats().problem is None
    said = [record.getMessage() for record in caplog.records]
    assert len([line for line in said if line.startswith(f"image {image} was pulled in ")]) == 1, "once for all slots"
