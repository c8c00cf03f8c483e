"""What an engine says of a failed start, in short."""

from __future__ import annotations

import pytest
from docker.errors import APIError

from tasks_app.runner.docker.client import describe

BEFORE = (
    "failed to create task for container: failed to create shim task: OCI runtime create failed: runc create failed: "
    "unable to start container process: "
)
NOTHING = 'exec: "/no": stat /no: no such file or directory'
TOO_SMALL = "its `memory_limit` is too small for a container to start in; allow more"


@pytest.mark.parametrize(("message", "short"), [
    (BEFORE + "container init was OOM-killed (memory limit too low?): unknown", TOO_SMALL),
    (BEFORE + "can't get final child's PID from pipe: read init-p: cannot allocate memory: unknown", TOO_SMALL),
    (BEFORE + NOTHING + ": unknown", NOTHING),
    ("network none-such not found", "network none-such not found"),
])  # fmt: skip
def test_the_prefixes_of_the_engines_components_are_left_out(message: str, short: str) -> None:
    assert describe(APIError("500 Server Error", explanation=message)) == short
