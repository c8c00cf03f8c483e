"""A missing image is pulled in the background at the start."""

from __future__ import annotations

import os
import threading

import pytest

from tasks_app.runner.docker.engine import DockerEngine
from tasks_app.runner.wire import Success
from tests.docker.conftest import Intrude, intruder
from tests.docker.engines import BUSYBOX, client, owned_engine
from tests.runner.caller import Caller

SHELL = ("/bin/sh", "-c", 'while read -r line; do echo \'{"status":"success","result":1}\'; done')


def test_it_is_pulled_while_other_handlers_work_and_is_used_then(
    intrude: Intrude, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level("INFO")
    name, asked, arrives = f"taskdaemon.invalid/far/away-{os.getpid()}", threading.Event(), threading.Event()
    image = f"{name}:1"

    def pull(_: DockerEngine, wanted: str) -> None:
        """As from a registry that is slow."""
        assert wanted == image
        asked.set()
        assert arrives.wait(60)
        client().tag(BUSYBOX, name, "1")

    monkeypatch.setattr(DockerEngine, "_pull", pull)
    engine = owned_engine()
    try:
        with Caller(intruder(name="far", image=image, command=SHELL, instances=4), engine) as caller:
            assert asked.wait(30)
            assert intrude().ask("echo").outcome == Success({"do": "echo"})
            assert caller.until(lambda: caller.pool.stats().problem) == (
                f"handler 'far' cannot be started: its image {image} is being pulled"
            )
            assert caller.pool.free() == 0
            arrives.set()
            assert caller.ask("anything").outcome == Success(1)
            caller.until(lambda: caller.pool.stats().warm == 4)
            assert caller.pool.stats().problem is None
        said = [line for line in caplog.messages if line.startswith(f"image {image} was pulled in ")]
        assert len(said) == 1, "once for all slots"
    finally:
        engine.close()
        client().remove_image(image, force=True)
