"""What a node does with a message of its queues: it wakes the dispatcher, or drops the message and says so."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable
from typing import Any

from tasks_app.broker.message import NotANotification, handler_of

logger = logging.getLogger(__name__)

#: On Redis: the end of a message. Nothing else may follow, because a key that comes again replaces the first one.
END = re.compile(rb'"delivery_tag": "[0-9a-f-]{36}"}}')
END_BYTES = len(b'"delivery_tag": "00000000-0000-0000-0000-000000000000"}}')
#: Each process that notifies has a message of its own for each handler. A notification has 1,300 at most.
MAX_KNOWN, MAX_KNOWN_BYTES = 1000, 2000


class Receiver:
    """Receives the messages of a node's queues. For one thread."""

    def __init__(self, notify: Callable[[str], object]) -> None:
        """`notify` gets the handler's name of each notification."""
        self._notify = notify
        #: The handler of each message from Redis, without its end.
        self._known: dict[bytes, str] = {}

    def take(self, message: Any) -> str | None:
        """The handler that a message of kombu's is about; None if it is no notification."""
        try:
            handler = handler_of(message)
        except NotANotification as error:
            self.drop(error)
            return None
        self._notify(handler)
        return handler

    def take_item(self, item: bytes, channel: Any, accept: Any) -> None:
        """What was in a queue on Redis, which stores any data. `channel`: kombu's. `accept`: its content types."""
        # All messages of a process about a handler differ in their delivery tag alone.
        end = len(item) - END_BYTES
        same = item[:end] if len(item) <= MAX_KNOWN_BYTES and END.fullmatch(item, end) else None
        if same is not None and (known := self._known.get(same)) is not None:
            self._notify(known)
            return
        try:
            message = channel.Message(json.loads(item), channel=channel, accept=accept)
        except (LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
            self.drop(error)
            return
        if (handler := self.take(message)) is not None and same is not None:
            if len(self._known) >= MAX_KNOWN:
                self._known.clear()
            self._known[same] = handler

    def drop(self, error: Exception) -> None:
        """Say why a message is dropped."""
        what = str(error) if isinstance(error, NotANotification) else f"{type(error).__name__}: {error}"
        logger.warning("dropped a message that is not a notification: %s", " ".join(what.split())[:300])
