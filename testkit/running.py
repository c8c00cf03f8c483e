"""How a run goes, whatever its tests: their legs, their order, how many at a time, and what is said at the end."""

from __future__ import annotations

import gc
import os
from collections import Counter
from collections.abc import Generator
from contextlib import nullcontext, redirect_stdout
from functools import cache
from io import StringIO

import pytest

from testkit import bare, turns
from testkit.emptied import without_flush
from testkit.foreground import as_in_the_foreground
from testkit.images.__main__ import ensure
from testkit.images.docker import Trouble
from testkit.needs import LEFT_OUT
from testkit.static_files import find_once

#: Fixtures that give a test the tests' database, and one behind every deployment of a test's own.
DATABASE, DEPLOYMENT = {"db", "transactional_db", "django_db_setup"}, "migrated"


def pytest_configure(config: pytest.Config) -> None:
    """With TEST_BARE, watch which tests start what a bare machine does not have (bin/test.py)."""
    as_in_the_foreground()
    without_flush()
    find_once()
    starts_others = config.getoption("numprocesses", None)  # xdist's processes, which need the variable
    if bare.FOLDER in os.environ and not config.option.collectonly and not starts_others:
        bare.watch()


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Tests and what they import stay: they are not looked through for garbage, now or later."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What a test asks for says on which legs it runs, so that nobody can forget it."""
    for item in items:
        asks = set(getattr(item, "fixturenames", ()))
        marked = item.get_closest_marker("database") or item.get_closest_marker("system")
        if item.get_closest_marker("one_leg"):
            if marked:
                raise pytest.UsageError(f"{item.nodeid} is marked one_leg, and {marked.name}, which runs on each leg")
            continue
        if asks & DATABASE or item.get_closest_marker("django_db"):
            item.add_marker(pytest.mark.database)
        elif DEPLOYMENT in asks and not marked:
            item.add_marker(pytest.mark.system)
    longest_first(items)


def longest_first(items: list[pytest.Item]) -> None:
    """Sort, so that the end of a run does not wait for one long file alone (xdist keeps the order).

    What waits and what works take turns: the processors have work from the beginning.
    """
    seconds = {item: max((mark.kwargs.get("seconds", 0) for mark in item.iter_markers()), default=0) for item in items}
    places: dict[pytest.Item, int] = {}
    for waits in (True, False):
        kind = [item for item in items if seconds[item] and bool(item.get_closest_marker("waiting")) is waits]
        files = list(dict.fromkeys(item.path for item in sorted(kind, key=lambda item: -seconds[item])))
        places |= {item: files.index(item.path) for item in kind}
    last = len(items)
    items.sort(key=lambda item: places.get(item, last))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Wait for a turn, before the time limit of the test begins."""
    with nullcontext() if item.get_closest_marker("waiting") else turns.turn():
        return (yield)


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("docker") and (reason := docker_fault()):
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(reason)


@cache
def docker_fault() -> str | None:
    """Why there is no Docker engine with the test images, or None. Makes those that it does not have yet."""
    try:
        with redirect_stdout(StringIO()):
            ensure()
    except Trouble as trouble:
        return str(trouble)
    return None


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """One line for all that was left out for want of something, and one for all other reasons to skip."""
    skips = [
        report.longrepr for report in terminalreporter.stats.get("skipped", ()) if isinstance(report.longrepr, tuple)
    ]
    reasons = Counter(" ".join(str(skip[2]).removeprefix("Skipped: ").split()) for skip in skips)
    for name, wants in (("left out", True), ("skipped", False)):
        said = [f"{number} {why}" for why, number in reasons.most_common() if why.startswith(LEFT_OUT) is wants]
        if said:
            terminalreporter.write_line(f"{name}: {'; '.join(said)}")
