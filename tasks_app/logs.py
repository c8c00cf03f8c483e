"""Logs: readable on a terminal, one JSON object a line elsewhere; what a handler printed is data, never format.

What says the same again and again is left out, and counted (`LimitedHandler`).
"""

from __future__ import annotations

import logging.config
import sys
from typing import Any

# structlog's coloured tracebacks, which are not used here, load rich wherever it is installed: 0.1 s of each start.
_rich = sys.modules.get("rich")
sys.modules["rich"] = None  # type: ignore[assignment]
import structlog  # noqa: E402

del sys.modules["rich"]
if _rich is not None:
    sys.modules["rich"] = _rich

_SHARED: list[Any] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.stdlib.ExtraAdder(),
    structlog.processors.TimeStamper(fmt="iso", utc=True),
]


def logging_settings(level: str) -> None:
    """Configure logging of this process: ours and the libraries', to standard error."""
    terminal = sys.stderr.isatty()
    last: list[Any] = (
        [structlog.dev.ConsoleRenderer()]
        if terminal
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    )
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *_SHARED,
            structlog.processors.StackInfoRenderer(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {
                "ours": {
                    "()": structlog.stdlib.ProcessorFormatter,
                    "processors": [structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
                    "foreign_pre_chain": _SHARED,
                }
            },
            "handlers": {"stderr": {"class": "tasks_app.log_limit.LimitedHandler", "formatter": "ours"}},
            "root": {"handlers": ["stderr"], "level": level.upper()},
            "loggers": {
                # A line a reconnect attempt, forever, while a broker is down: our own words say it once.
                "celery.worker.consumer.connection": {"level": "CRITICAL"},
                "kombu": {"level": "ERROR"},
                "celery": {"level": "WARNING"},
                "amqp": {"level": "WARNING"},
                # What we answer with 5xx is said where it is answered.
                "django.request": {"level": "CRITICAL"},
                "django.security.DisallowedHost": {"level": "CRITICAL"},
                "_granian": {"level": "WARNING"},
                "granian": {"level": "WARNING"},
            },
        }
    )
