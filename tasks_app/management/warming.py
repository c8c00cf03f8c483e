"""The handlers' progress at a start: printed while they start, and awaited before `ready`."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from typing import Any

from tasks_app.handlers.handlers_toml import Handler
from tasks_app.logs.log_once import LogOnce
from tasks_app.management.opener import open_directly

POLL_SECONDS = 0.1


class Warming:
    """Polls /api/metrics."""

    def __init__(self, base: str, handlers: Mapping[str, Handler], say: Callable[[str], None], key: str = "") -> None:
        """`key`: the API key for the requests."""
        self._request = urllib.request.Request(f"{base}/api/metrics", headers={"Authorization": f"Bearer {key}"})
        self._instances = {name: handler.instances for name, handler in handlers.items()}
        self._images = [name for name, handler in handlers.items() if handler.image]
        self._problems: dict[str, str] = {}
        self._say = say
        self._print_once = LogOnce()
        self._poll_at = 0.0
        self._finished = not handlers

    def broken(self) -> Mapping[str, str]:
        """The handlers without a container, each with its reason; valid once `finished`."""
        return self._problems

    def working(self) -> list[str]:
        """The handlers with a container."""
        return [name for name in self._instances if name not in self._problems]

    def finished(self) -> bool:
        """Whether every slot is warm or has a known problem. Prints what is new."""
        now = time.monotonic()
        if not self._finished and now >= self._poll_at:
            self._poll_at = now + POLL_SECONDS
            metrics = self._handler_metrics()
            self._finished = metrics is None or self._update(metrics)
        return self._finished

    def _update(self, metrics: Mapping[str, Any]) -> bool:
        seen = {name: metrics.get(name) or {} for name in self._instances}
        warm = {name: one.get("idle", 0) + one.get("active", 0) for name, one in seen.items()}
        if self._images:
            line = "  warming   " + ", ".join(f"{name} {warm[name]}/{self._instances[name]}" for name in self._images)
            if self._print_once.is_due(line):
                self._say(line)
        self._problems = {
            name: one["problems"][0] for name, one in seen.items() if one.get("problems") and not warm[name]
        }
        return all(warm[name] >= all_ or seen[name].get("problems") for name, all_ in self._instances.items())

    def _handler_metrics(self) -> Mapping[str, Any] | None:
        """The metrics of each handler; None if the request is refused."""
        try:
            with open_directly(self._request, timeout=2) as answer:
                return dict(json.load(answer)["handlers"])
        except urllib.error.HTTPError as error:
            return None if error.code < 500 else {}
        except (OSError, ValueError, KeyError):
            return {}
