"""Schemathesis over the whole document, with every check it has: no 5xx, no answer that is not documented."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.api.server import TOP
from tests.api.system import system

FIXTURE = Path(__file__).with_name("openapi.json")

#: Seconds. By hand for longer: python -m tests.fuzz.openapi --minutes 30
SECONDS = 20


@pytest.mark.database
def test_every_answer_is_as_the_document_says(tmp_path: Path) -> None:
    with system(tmp_path) as port:
        command = [sys.executable, "-m", "tests.fuzz.openapi", "--port", str(port), "--minutes", str(SECONDS / 60)]
        more = ["--seed", "20261125", "--no-color"]
        done = subprocess.run([*command, *more], cwd=TOP, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    operations = FIXTURE.read_text(encoding="utf-8").count('"operationId"')
    assert f"{operations} selected / {operations} total" in done.stdout
