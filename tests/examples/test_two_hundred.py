"""The example client, through a network that loses calls."""

from __future__ import annotations

import subprocess
import sys
from ast import literal_eval
from pathlib import Path

import pytest

from testkit.proxies import Loss, LossyProxy
from tests.api.system import system

pytestmark = pytest.mark.long("a network that loses answers", seconds=12)

CLIENT = Path(__file__).resolve().parents[2] / "examples" / "two_hundred.py"


def two_of_three(call: int) -> Loss | None:
    return (Loss.BEFORE, Loss.AFTER, None)[call % 3]


def test_200_tasks_are_200_tasks_whatever_the_network_loses_and_if_the_client_runs_again(tmp_path: Path) -> None:
    with system(tmp_path) as daemon, LossyProxy(daemon.port, two_of_three) as proxy:
        for _ in range(2):
            command = [sys.executable, str(CLIENT), f"http://127.0.0.1:{proxy.port}", "nightly"]
            ran = subprocess.run(command, capture_output=True, text=True, timeout=110, check=False)
            assert ran.returncode == 0, ran.stderr[-2000:]
            results = [literal_eval(line) for line in ran.stdout.splitlines()]
            assert [result["limit"] for result in results] == list(range(1000, 1200))
        assert set(proxy.calls) == {Loss.BEFORE, Loss.AFTER, None}
        assert len(daemon.rows("SELECT id FROM taskdaemon_task")) == 200
