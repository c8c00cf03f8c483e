"""How many processors handlers in containers may have."""

from __future__ import annotations

import importlib
import os

from tasks_app.runner.engine import Unavailable

# Imported when it is first needed: it imports the Docker SDK.
DOCKER_CLIENT_MODULE = "tasks_app.runner.docker.client"


def processors() -> tuple[int, str]:
    """The number, and whose it is: the Docker engine's, or this machine's if there is no engine."""
    connection = importlib.import_module(DOCKER_CLIENT_MODULE).Connection(os.environ)
    try:
        connection.get()
    except Unavailable:
        return os.cpu_count() or 1, "this machine"
    connection.close()
    return int(connection.info["NCPU"]), "the Docker engine"
