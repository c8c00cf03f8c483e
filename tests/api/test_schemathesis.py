"""Schemathesis with all its checks over the complete document: no 5xx, no undocumented answer."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from tasks_app.conf.weak_secrets import KEY_MARK
from testkit.daemon import Daemon
from testkit.process import Process
from testkit.sizes import size
from tests.api.system import system

#: A limit of seconds says only that it hangs: how many cases there are does not depend on the machine.
HANGS_SECONDS = 1500.0
pytestmark = [pytest.mark.long("a fuzzer", seconds=60), pytest.mark.timeout(2 * HANGS_SECONDS)]

FIXTURE = Path(__file__).with_name("openapi.json")

#: Random cases of each operation. To run it for longer: python -m tests.fuzz.openapi --minutes 30
EXAMPLES = size(2, large=3)
#: With each key, and then no others than random ones.
KEY_EXAMPLES = size(1, large=2)


# Once: what each database stores and refuses is tested with the parsers of each option.
def test_every_answer_is_as_the_document_says(tmp_path: Path) -> None:
    with system(tmp_path) as daemon:
        fuzz = fuzzer(daemon, "--examples", str(EXAMPLES), "--seed", "20261125")
        assert fuzz.ends(HANGS_SECONDS) == 0, fuzz.said()[-8000:]
    operations = FIXTURE.read_text(encoding="utf-8").count('"operationId"')
    assert f"{operations} selected / {operations} total" in fuzz.said()


#: Makes the keys; a start for each would take longer than its run. Each scope is in one of the first two, and missing
#: in the other. Who writes or operates may not read there, and gets less in the answers.
MAKE_KEYS = """
from tasks_app.keys.api_keys import Grant, Scope, create
kinds = {
    "reader and monitor": [Scope.TASKS_READ, Scope.METRICS_READ],
    "writer and operator": [Scope.TASKS_WRITE, Scope.OPERATE],
}
assert {scope for scopes in kinds.values() for scope in scopes} == {*Scope}
for name, scopes in kinds.items():
    print(name, create(name, Grant(scopes)))
print("tasks:write of one type, 2 a second", create("limited", Grant([Scope.TASKS_WRITE], ["echo"], rate=2.0)))
"""


# Once: what a key may do is decided before the database is asked.
def test_what_a_key_may_not_do_is_answered_as_the_document_says(tmp_path: Path) -> None:
    with system(tmp_path) as daemon:
        made = daemon.manage("shell", "--no-imports", "--verbosity", "0", "-c", MAKE_KEYS)
        assert made.ends() == 0, made.said()
        keys = re.findall(rf"^(.+) ({KEY_MARK}\S+)$", made.said(), re.MULTILINE)
        assert len(keys) == 3
        for kind, key in keys:
            how = ("--examples", str(KEY_EXAMPLES), "--phases", "fuzzing", "--seed", "20261127")
            fuzz = fuzzer(daemon, *how, "--header", f"Authorization: Bearer {key}")
            assert fuzz.ends(HANGS_SECONDS) == 0, (kind, fuzz.said()[-8000:])


def fuzzer(daemon: Daemon, *words: str) -> Process:
    """Start it against a deployment."""
    port = ("--port", str(daemon.port), "--no-color")
    return Process(daemon.home, dict(os.environ), "-m", "tests.fuzz.openapi", *port, *words)
