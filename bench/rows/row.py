"""A row of the table: several systems measured in the same way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from bench.rivals import NAMES
from bench.servers import Servers
from tests.images import docker

Better = Literal["more", "less"]


@dataclass(frozen=True)
class Figure:
    """One number of a row, with its unit. `better`: which way."""

    label: str
    unit: str
    better: Better


@dataclass(frozen=True)
class Contestant:
    """One system, set up in one way. `measure` does the whole of one measurement; raises BadRun if it is no result."""

    name: str
    says: str
    measure: Callable[[], dict[str, float]]


@dataclass
class Scene:
    """What all rows of a run share. `only`: parts of names; empty: all systems. `quick`: a tenth of everything."""

    servers: Servers
    quick: bool = False
    only: Sequence[str] = ()

    def scaled(self, count: int) -> int:
        """Of a full run's count, what this run takes."""
        return max(count // 8, 50) if self.quick else count

    @property
    def rivals(self) -> tuple[str, ...]:
        """The modules of `bench.rivals` to measure."""
        return tuple(name for name in NAMES if self.wants(name.replace("_", " on ")))

    def wants(self, name: str) -> bool:
        """Whether a system is to be measured."""
        return not self.only or any(part.lower() in name.lower() for part in self.only)

    @cached_property
    def no_docker(self) -> str | None:
        """Why nothing can be run in containers, or None."""
        return docker.fault()


@dataclass(frozen=True)
class Row:
    """`measures`: keys of the dicts that `measure` answers. `repeats`: the most, whatever is asked for."""

    name: str
    title: str
    measures: dict[str, Figure]
    contestants: Callable[[Scene], list[Contestant]]
    repeats: int = 100
