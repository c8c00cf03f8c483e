"""The example client, through a network that loses a quarter of its calls."""

from __future__ import annotations

import re
import subprocess
import sys
from ast import literal_eval
from pathlib import Path

import pytest

from testkit.proxies import Loss, LossyProxy, a_quarter
from tests.api.system import system

pytestmark = pytest.mark.long("a network that loses answers", seconds=12)

CLIENT = Path(__file__).resolve().parents[2] / "examples" / "two_hundred.py"


def test_it_is_short() -> None:
    assert len([line for line in CLIENT.read_text().splitlines() if line]) < 15


def test_200_tasks_are_200_tasks_whatever_the_network_loses_and_if_the_client_runs_again(tmp_path: Path) -> None:
    with system(tmp_path) as daemon, LossyProxy(daemon.port, a_quarter(seed=1)) as proxy:
        for _ in range(2):
            command = [sys.executable, str(CLIENT), f"http://127.0.0.1:{proxy.port}", "nightly"]
            ran = subprocess.run(command, capture_output=True, text=True, timeout=110, check=False)
            assert ran.returncode == 0, ran.stderr[-2000:]
            shown = re.findall(r"^(\d+) of 200: ({.*})$", ran.stdout, re.MULTILINE)
            assert [int(number) for number, _ in shown] == list(range(1, 201))
            assert [literal_eval(result)["limit"] for _, result in shown] == list(range(1000, 1200))
        lost = [proxy.calls.count(loss) / len(proxy.calls) for loss in Loss]
        assert min(lost) > 0.08 and 0.2 < sum(lost) < 0.3, proxy.calls
        assert len(daemon.rows("SELECT id FROM taskdaemon_task")) == 200
