"""Pools, as the pages of a handler and of a node show them: the slots of a handler on a node."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tasks_app.admin.text import harmless, line

MAX_PROBLEM_CHARS = 2_000
#: `sha256:` is left out, as `docker images` does.
IMAGE_DIGEST_CHARS = 12


@dataclass(frozen=True)
class PoolRow:
    """One pool. `name`, `link`: of its handler on the page of a node, of its node on the page of a handler.

    `slots`: all of them. `digest`: of the node's handlers.toml; `differs`: from this web server's.
    """

    name: str
    link: str
    busy: int
    warm: int
    slots: int
    images: list[str]
    problem: str
    digest: str = ""
    differs: bool = False
    draining: bool = False


def pool_row(name: str, link: str, state: Mapping[str, Any], busy: int, **more: Any) -> PoolRow:
    """A pool by the state that its node wrote. `more`: the fields from `digest` on."""
    images = [line(str(image).removeprefix("sha256:")[:IMAGE_DIGEST_CHARS]) for image in state.get("images", ())]
    problem = harmless(str(state.get("problem") or "")[:MAX_PROBLEM_CHARS])
    return PoolRow(line(name, 60), link, busy, state.get("warm", 0), state.get("slots", 0), images, problem, **more)
