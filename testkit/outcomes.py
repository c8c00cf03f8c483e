"""A plugin of pytest (`-p testkit.outcomes`) that writes into the file TEST_OUTCOMES which tests passed and failed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

FILE = "TEST_OUTCOMES"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Called once a run, whatever number of processes it has."""
    for outcome, kinds in (("passed", ("passed",)), ("failed", ("failed", "error"))):
        reports = [report for kind in kinds for report in terminalreporter.stats.get(kind, ())]
        with Path(f"{os.environ[FILE]}.{outcome}").open("w") as file:
            file.writelines(f"{test}\n" for test in dict.fromkeys(report.nodeid for report in reports))


def read(file: Path, outcome: str) -> list[str]:
    """The tests that passed or failed, in order; what failed only in its teardown is in both. Empty without a run."""
    written = Path(f"{file}.{outcome}")
    return written.read_text().splitlines() if written.exists() else []
