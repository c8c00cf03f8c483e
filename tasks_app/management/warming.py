"""How far the containers are at a start: told while they come up, and waited for before `ready` is said."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from typing import Any

#: Seconds between looks.
PAUSE = 0.5


class Warming:
    """Asks the daemon's own metrics. Without handlers that have images it asks nobody."""

    def __init__(self, base: str, instances: Mapping[str, int], say: Callable[[str], None], key: str = "") -> None:
        """`instances`: of each handler with an image, how many containers it is to have; `key`: to ask with."""
        self._question = urllib.request.Request(f"{base}/api/metrics", headers={"Authorization": f"Bearer {key}"})
        self._instances = instances
        self._say = say
        self._said: set[str] = set()
        self._look_at = 0.0
        self._over = not instances

    def over(self) -> bool:
        """Whether every container is warm, or it is known why it is not. Says what is new."""
        now = time.monotonic()
        if not self._over and now >= self._look_at:
            self._look_at = now + PAUSE
            figures = self._figures()
            self._over = figures is None or self._tell(figures)
        return self._over

    def _tell(self, figures: Mapping[str, Any]) -> bool:
        seen = {name: figures.get(name) or {} for name in self._instances}
        warm = {name: one.get("idle", 0) + one.get("active", 0) for name, one in seen.items()}
        self._once("  warming   " + ", ".join(f"{name} {warm[name]}/{all_}" for name, all_ in self._instances.items()))
        for one in seen.values():
            for problem in one.get("problems", ()):
                self._once(f"  waiting   {problem}")
        return all(warm[name] >= all_ or seen[name].get("problems") for name, all_ in self._instances.items())

    def _once(self, line: str) -> None:
        if line not in self._said:
            self._said.add(line)
            self._say(line)

    def _figures(self) -> Mapping[str, Any] | None:
        """What the metrics say of each handler; None if one may not ask."""
        try:
            with urllib.request.urlopen(self._question, timeout=2) as answer:
                return dict(json.load(answer)["handlers"])
        except urllib.error.HTTPError as error:
            return None if error.code < 500 else {}
        except (OSError, ValueError, KeyError):
            return {}
