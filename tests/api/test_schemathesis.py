"""Schemathesis with all its checks over the complete document: no 5xx, no undocumented answer."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from tasks_app.conf.weak_secrets import KEY_MARK
from tasks_app.keys.caller import Scope
from testkit.process import Process
from tests.api.system import system

pytestmark = pytest.mark.long("a fuzzer", seconds=60)

FIXTURE = Path(__file__).with_name("openapi.json")

#: To run it for longer: python -m tests.fuzz.openapi --minutes 30
RUN_SECONDS = 7
#: With each key.
KEY_SECONDS = 2


@pytest.mark.database
def test_every_answer_is_as_the_document_says(tmp_path: Path) -> None:
    with system(tmp_path) as daemon:
        how = ("--minutes", str(RUN_SECONDS / 60), "--seed", "20261125", "--no-color")
        fuzz = Process(tmp_path, dict(os.environ), "-m", "tests.fuzz.openapi", "--port", str(daemon.port), *how)
        assert fuzz.ends(110) == 0, fuzz.said()[-8000:]
    operations = FIXTURE.read_text(encoding="utf-8").count('"operationId"')
    assert f"{operations} selected / {operations} total" in fuzz.said()


#: Makes a key of each kind; a start for each would take longer than its run.
MAKE_KEYS = """
from tasks_app.keys.api_keys import create
from tasks_app.keys.caller import Grant, Scope
for scope in Scope:
    print(f"{scope} {create(scope, Grant([scope]))}")
print("tasks:write of one type, 2 a second", create("limited", Grant([Scope.TASKS_WRITE], ["echo"], rate=2.0)))
"""


# Once: what a key may do is decided before the database is asked.
def test_what_a_key_may_not_do_is_answered_as_the_document_says(tmp_path: Path) -> None:
    with system(tmp_path) as daemon:
        made = daemon.manage("shell", "--no-imports", "--verbosity", "0", "-c", MAKE_KEYS)
        assert made.ends() == 0, made.said()
        keys = re.findall(rf"^(.+) ({KEY_MARK}\S+)$", made.said(), re.MULTILINE)
        assert len(keys) == len(Scope) + 1
        for kind, key in keys:
            how = ("--minutes", str(KEY_SECONDS / 60), "--seed", "20261127", "--no-color")
            header = ("--header", f"Authorization: Bearer {key}")
            fuzz = Process(
                tmp_path, dict(os.environ), "-m", "tests.fuzz.openapi", "--port", str(daemon.port), *how, *header
            )
            assert fuzz.ends(110) == 0, (kind, fuzz.said()[-8000:])
