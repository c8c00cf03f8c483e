"""Log configuration: readable text on a terminal, otherwise one JSON object per line.

Text from handlers is always a field's value, never part of the format. `LimitedHandler` limits repeated lines.
"""

from __future__ import annotations

import logging.config
import sys
from typing import Any

import structlog

_SHARED: list[Any] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.ExtraAdder(),
]
#: People on a terminal read the time of their clock; programs get the moment and the module.
_FOR_TERMINAL: list[Any] = [structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False)]
_FOR_PROGRAMS: list[Any] = [
    structlog.stdlib.add_logger_name,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
]


def configure_logging(level: str) -> None:
    """Make this process and its libraries log to standard error."""
    terminal = sys.stderr.isatty()
    shared = _SHARED + (_FOR_TERMINAL if terminal else _FOR_PROGRAMS)
    renderers: list[Any] = (
        # structlog's default, if rich is installed, also prints the values of local variables.
        [structlog.dev.ConsoleRenderer(pad_event_to=0, exception_formatter=structlog.dev.plain_traceback)]
        if terminal
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    )
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
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
                "structured": {
                    "()": structlog.stdlib.ProcessorFormatter,
                    "processors": [structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderers],
                    "foreign_pre_chain": shared,
                }
            },
            "handlers": {"stderr": {"class": "tasks_app.logs.LimitedHandler", "formatter": "structured"}},
            "root": {"handlers": ["stderr"], "level": level.upper()},
            "loggers": {
                # Celery logs each attempt to reconnect; `NotificationConsumer` logs once a minute.
                "celery.worker.consumer.connection": {"level": "CRITICAL"},
                "kombu": {"level": "ERROR"},
                "celery": {"level": "WARNING"},
                "amqp": {"level": "WARNING"},
                # Each 5xx is logged where it is answered, with its reason.
                "django.request": {"level": "CRITICAL"},
                "django.security.DisallowedHost": {"level": "CRITICAL"},
                "_granian": {"level": "WARNING"},
                "granian": {"level": "WARNING"},
            },
        }
    )
