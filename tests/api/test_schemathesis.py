"""Schemathesis with all its checks over the complete document: no 5xx, no undocumented answer."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tasks_app.conf.weak_secrets import KEY_MARK
from tasks_app.keys.grant import Scope
from testkit.process import Process
from tests.api.system import system

FIXTURE = Path(__file__).with_name("openapi.json")

#: To run it for longer: python -m tests.fuzz.openapi --minutes 30
RUN_SECONDS = 10
#: With each key.
KEY_SECONDS = 3


@pytest.mark.database
def test_every_answer_is_as_the_document_says(tmp_path: Path) -> None:
    with system(tmp_path) as daemon:
        how = ("--minutes", str(RUN_SECONDS / 60), "--seed", "20261125", "--no-color")
        fuzz = Process(tmp_path, dict(os.environ), "-m", "tests.fuzz.openapi", "--port", str(daemon.port), *how)
        assert fuzz.ends(110) == 0, fuzz.said()[-8000:]
    operations = FIXTURE.read_text(encoding="utf-8").count('"operationId"')
    assert f"{operations} selected / {operations} total" in fuzz.said()


# Once: what a key may do is decided before the database is asked.
def test_what_a_key_may_not_do_is_answered_as_the_document_says(tmp_path: Path) -> None:
    kinds = [f"--scope={scope}" for scope in Scope] + ["--scope=tasks:write --type=echo --rate=2"]
    with system(tmp_path) as daemon:
        for number, kind in enumerate(kinds):
            command = daemon.manage("apikey", "create", f"key-{number}", *kind.split())
            key = command.until_says(rf"^({KEY_MARK}\S+)$")[1]
            assert command.ends() == 0
            how = ("--minutes", str(KEY_SECONDS / 60), "--seed", "20261127", "--no-color")
            header = ("--header", f"Authorization: Bearer {key}")
            fuzz = Process(
                tmp_path, dict(os.environ), "-m", "tests.fuzz.openapi", "--port", str(daemon.port), *how, *header
            )
            assert fuzz.ends(110) == 0, (kind, fuzz.said()[-8000:])
