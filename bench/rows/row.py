"""A row of the benchmark: several systems, measured in the same way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from bench.rivals import NAMES
from bench.servers import Servers
from testkit.images import docker
from testkit.images.__main__ import ensure

Better = Literal["more", "less"]


@dataclass(frozen=True)
class Figure:
    """One number of a row, with its unit."""

    label: str
    unit: str
    better: Better


@dataclass(frozen=True)
class Contestant:
    """One configured system. `measure` performs one measurement; raises BadRun if it gives no result."""

    name: str
    says: str
    measure: Callable[[], dict[str, float]]


@dataclass
class Scene:
    """Shared by all rows of a run. `only`: parts of names, empty for all systems; `quick`: smaller counts."""

    servers: Servers
    quick: bool = False
    only: Sequence[str] = ()

    def scaled(self, count: int) -> int:
        """The count for this run, given that of a full one."""
        return max(count // 8, 50) if self.quick else count

    @property
    def rivals(self) -> tuple[str, ...]:
        """The selected modules of `bench.rivals`."""
        return self.selected(NAMES)

    def selected(self, rivals: Sequence[str]) -> tuple[str, ...]:
        """Those of these modules of `bench.rivals` that are selected."""
        return tuple(name for name in rivals if self.wants(name.replace("_", " on ")))

    def wants(self, name: str) -> bool:
        """Whether a system is selected."""
        return not self.only or any(part.lower() in name.lower() for part in self.only)

    @cached_property
    def no_docker(self) -> str | None:
        """Why containers cannot be measured, or None. Builds missing images."""
        if reason := docker.fault():
            return reason
        try:
            ensure()
        except docker.Trouble as trouble:
            return f"the images cannot be made ({' '.join(str(trouble).split())[:300]}); try: python -m testkit.images"
        return None


@dataclass(frozen=True)
class Row:
    """`measures`: the keys that `measure` returns, or some of them. `repeats`: the maximum number of repetitions.

    `finish` adds to a complete entry (see `bench.record`) what follows from several systems. A row that is not `usual`
    is run if it is named, and by `--quick`.
    """

    name: str
    title: str
    measures: dict[str, Figure]
    contestants: Callable[[Scene], list[Contestant]]
    repeats: int = 100
    finish: Callable[[dict[str, Any]], None] = lambda _: None
    usual: bool = True
