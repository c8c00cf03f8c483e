"""The revision of a handler: what its containers depend on, and by which they are told apart.

A reload replaces containers of another revision, and no others. What a claim or the pool alone needs (`timeout`,
`instances`, `stop_grace` ...) belongs to no revision.
"""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Final

from tasks_app.handlers.handlers_toml import Handler

#: Keys of which a running container is independent.
_NOT_IN_CONTAINERS = frozenset(
    {
        "description", "instances", "timeout", "timeout_limit", "handler_selection", "max_retries", "retries_limit",
        "retry_backoff", "retry_on", "error_tail", "start_timeout", "stop_grace", "retention_completed",
        "retention_failed", "max_tasks_per_container", "max_container_age", "mount_rules", "further",
    }
)  # fmt: skip
ID_CHARS = 12
MAX_COMMAND_CHARS = 200


class Revision:
    """A handler as a container is started from it. Two revisions with the same `key` have the same containers."""

    def __init__(self, handler: Handler, replaced: int = 0) -> None:
        """`replaced`: how often its containers were to be replaced although nothing in handlers.toml had changed."""
        self.handler: Final = handler
        self.replaced: Final = replaced
        self.key: Final = f"{_hash(handler)}.{replaced}"
        command = handler.command
        #: What is shown of the command; None: the image's own.
        self.command: Final = None if command is None else shlex.join(command)[:MAX_COMMAND_CHARS]

    def id(self, image: str) -> str:
        """Twelve hex digits for what ran in a container of this image (its id; "" without one).

        The same on every node, and again after a roll back.
        """
        specification = self.key.partition(".")[0]
        return hashlib.sha256(f"{specification} {image}".encode()).hexdigest()[:ID_CHARS]


def _hash(handler: Handler) -> str:
    # The folder of handlers.toml matters to child processes alone.
    left_out = _NOT_IN_CONTAINERS if handler.image is None else _NOT_IN_CONTAINERS | {"cwd"}
    values = [(key.name, _plain(getattr(handler, key.name))) for key in fields(handler) if key.name not in left_out]
    return hashlib.sha256(repr(values).encode()).hexdigest()


def _plain(value: Any) -> Any:
    """The same text for equal values, in whatever order their keys were written."""
    return sorted(value.items()) if isinstance(value, Mapping) else value
