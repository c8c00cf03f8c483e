"""Real rows, without the rivals: their packages are only in the environment of `make bench`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bench import record
from bench.__main__ import read
from testkit.needs import program

pytestmark = pytest.mark.long("load", seconds=30)

TOP = Path(__file__).resolve().parents[2]


def test_a_drain_of_ours_runs_and_leaves_only_its_figures(tmp_path: Path):
    kept = tmp_path / "figures.json"
    words = ["drain", "--quick", "--only", "ours: SQLite", "--json", str(kept)]
    done = subprocess.run([sys.executable, "-m", "bench", *words], cwd=TOP, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    entry = record.load(kept)["rows"]["drain"]
    assert entry["faults"] == {} and entry["quick"]
    assert list(entry["systems"]) == ["ours: SQLite, no broker"]
    assert entry["systems"]["ours: SQLite, no broker"]["values"]["rate"][0] > 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["figures.json", "figures.svg"]


def test_a_row_of_ours_on_postgresql_runs(tmp_path: Path):
    for name in ("initdb", "pg_ctl", "redis-server"):
        program(name)
    kept = tmp_path / "figures.json"
    words = ["nodes", "--quick", "--only", "1 node", "--json", str(kept)]
    done = subprocess.run([sys.executable, "-m", "bench", *words], cwd=TOP, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    systems = record.load(kept)["rows"]["nodes"]["systems"]
    assert all(system["values"]["backends"][0] > 0 and system["values"]["rate"][0] > 0 for system in systems.values())


def test_an_unknown_row_is_reported_with_the_known_ones(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        read(["drian"])
    assert "there is no row drian; there are drain, pickup" in capsys.readouterr().err
