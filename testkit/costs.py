"""A plugin of pytest: with TEST_COSTS=FILE each test appends a line to that file, with what it took.

    TEST_COSTS=/tmp/costs make test ARGS=--all; python -m testkit.costs /tmp/costs

Processor time is that of all processes that a test has started, also of those that it has killed: each process of
pytest is in a control group of its own (cpuacct, or cgroup2), which needs root. Servers and engines that ran before
are not in it.
"""

from __future__ import annotations

import os
import sys
import time
from collections import defaultdict
from collections.abc import Generator
from pathlib import Path

import pytest

FILE = "TEST_COSTS"
#: How many of each kind the table has.
MOST = 40


class Group:
    """A control group, in which the process that makes it is, and all that it starts."""

    def __init__(self) -> None:
        folders = (Path("/sys/fs/cgroup/cpuacct"), Path("/sys/fs/cgroup"))
        self._above = next(folder for folder in folders if (folder / "cgroup.procs").exists())
        self._folder = self._above / f"taskdaemon-test-{os.getpid()}"
        self._folder.mkdir()
        (self._folder / "cgroup.procs").write_text("0")

    def used(self) -> float:
        """Seconds of processor time until now."""
        version_1, version_2 = self._folder / "cpuacct.usage", self._folder / "cpu.stat"
        if version_1.exists():
            return int(version_1.read_text()) / 1e9
        return int(version_2.read_text().partition("usage_usec ")[2].split()[0]) / 1e6

    def leave(self) -> None:
        """Remove it, if nothing that this process has started still runs."""
        (self._above / "cgroup.procs").write_text("0")
        try:
            self._folder.rmdir()
        except OSError:
            pass


class Costs:
    """Notes what each test has used since the end of the one before it."""

    def __init__(self, file: Path) -> None:
        self._file, self._group, self._before = file, Group(), 0.0
        self._leg = "bare" if "TEST_WHOLE_PATH" in os.environ else os.environ.get("TEST_BROKER_URL", "embedded")

    def _note(self, what: str, seconds: float) -> None:
        before, self._before = self._before, self._group.used()
        with self._file.open("a") as file:
            file.write(f"{self._before - before:.3f}\t{seconds:.2f}\t{self._leg.partition(':')[0]}\t{what}\n")

    def pytest_collection_finish(self) -> None:
        self._note("(collecting)", 0.0)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        began = time.monotonic()
        try:
            return (yield)
        finally:
            self._note(item.nodeid, time.monotonic() - began)

    def pytest_unconfigure(self) -> None:
        self._note("(ending)", 0.0)
        self._group.leave()


def pytest_configure(config: pytest.Config) -> None:
    """Of processes that xdist starts, not of the one that starts them. A test's own pytest stays in its group."""
    if FILE in os.environ and not config.getoption("numprocesses", None):
        config.pluginmanager.register(Costs(Path(os.environ.pop(FILE))))


def table(lines: list[str]) -> list[str]:
    """Seconds of processor time of the legs, files and tests that used most."""
    sums: tuple[dict[str, float], ...] = tuple(defaultdict(float) for _ in range(3))
    for line in lines:
        used, _, leg, test = line.rstrip("\n").split("\t", 3)
        for kind, what in zip(sums, (leg, test.partition("::")[0], test), strict=True):
            kind[what] += float(used)
    most = (sorted(kind.items(), key=lambda one: -one[1])[:MOST] for kind in sums)
    return [f"{sum(sums[0].values()):9.1f}  all", *(f"{used:9.1f}  {what}" for kind in most for what, used in kind)]


if __name__ == "__main__":
    print(*table(Path(sys.argv[1]).read_text().splitlines()), sep="\n")
