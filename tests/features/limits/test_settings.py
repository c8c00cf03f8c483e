"""The keys of a handler that limit its tasks, in handlers.toml."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks_app import conf
from tasks_app.conf.watching import _changes
from tasks_app.features.limits.settings import HandlerLimits, interval_of, limits_of
from tasks_app.handlers.handlers_toml import Handlers
from tests.handlers.kit import faults, read

ECHO = '[handlers.echo]\ncommand = ["x"]\n'


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "handlers.toml"


def echo(file: Path, *lines: str) -> Handlers:
    return read(file, ECHO + "\n".join(lines))


def test_a_handler_has_the_limits_of_its_keys_and_none_without(file: Path) -> None:
    lines = (
        "max_running = 3", "max_running_per_key = 1", 'rate = "100/m"', "max_queue = 1000",
        'limit_key_from = "/customer/id"', "fair = true",
    )  # fmt: skip
    limits = limits_of(echo(file, *lines))["echo"]
    assert limits == HandlerLimits(3, 1, "100/m", 1000, "/customer/id", True)
    assert limits.interval == pytest.approx(0.6)
    assert HandlerLimits.of(limits.as_json | {"of_a_newer_version": 1}) == limits
    assert limits_of(echo(file))["echo"] == HandlerLimits()


@pytest.mark.parametrize(("rate", "seconds"), [("50/s", 0.02), ("3000/m", 0.02), ("1/h", 3600.0), ("4/d", 21_600.0)])
def test_a_rate_is_spaced_evenly(file: Path, rate: str, seconds: float) -> None:
    (found,) = {limits.rate for limits in limits_of(echo(file, f'rate = "{rate}"')).values()}
    assert found == rate and interval_of(rate) == pytest.approx(seconds)


FAULTS = {
    "max_running = 0": "0 is out of range; it must be from 1 to 10000",
    'max_running = "3"': "'3' is not an integer; write one from 1 to 10000, without quotes",
    "max_running_per_key = 1001": "1001 is out of range; it must be from 1 to 1000",
    "max_queue = 1.5": "1.5 is not a whole number; write one from 1 to 1000000, such as 2",
    "rate = 100": '100 has no unit; did you mean "100/m"? It is a number and s, m, h or d',
    'rate = "100/min"': "'100/min' is not a rate; did you mean \"100/m\"?",
    'rate = "5 per second"': "'5 per second' is not a rate; did you mean \"5/s\"?",
    'rate = "often"': "'often' is not a rate; write a number of starts and s, m, h or d, such as \"100/m\"",
    'rate = "0/s"': "'0/s' lets no task start; pause the handler to stop it, or write a number of starts and",
    'rate = "51/s"': "'51/s' is out of range; it may be at most \"50/s\" (50 a second), because the database writes",
    'rate = "3001/m"': "'3001/m' is out of range; it may be at most \"3000/m\"",
    'limit_key_from = "customer.id"': 'is not a JSON pointer into a task\'s data; did you mean "/customer/id"?',
    'limit_key_from = "$.customer"': 'did you mean "/customer"?',
    'limit_key_from = "data.customer"': 'did you mean "/customer"?',
    'limit_key_from = "/a~2b"': 'write one such as "/customer/id"',
    f'limit_key_from = "/{"a" * 255}"': "has 256 characters; it may have 255",
    'rate_limit = "1/s"': 'is unknown; did you mean "rate"?',
    "fair = 1": "1 is neither true nor false; write true or false without quotes",
    "max_runing = 2": 'is unknown; did you mean "max_running"?',
    "max_concurrency = 2": 'is unknown; did you mean "max_running"?',
    'limit_key = "/a"': 'is unknown; did you mean "limit_key_from"?',
}


@pytest.mark.parametrize("line", FAULTS)
def test_a_fault_says_the_line_the_key_and_what_is_right(file: Path, line: str) -> None:
    (fault,) = faults(file, ECHO + line)
    key = line.partition(" ")[0]
    assert fault.startswith(f"handlers.toml:3: [handlers.echo] {key}: ") and FAULTS[line] in fault, fault


def test_fair_does_not_go_with_lifo(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    newest_first = conf.environment().model_copy(update={"task_selection": "lifo"})
    monkeypatch.setattr(conf, "environment", lambda: newest_first)
    (fault,) = faults(file, ECHO + "fair = true")
    assert "fair: does not go with DAEMON_TASK_SELECTION=lifo" in fault
    assert echo(file, "fair = false")["echo"].further["fair"] is False


def test_each_fault_of_a_handler_is_said_at_once(file: Path) -> None:
    found = faults(file, ECHO + 'max_running = 0\nrate = "x"\ntimeuot = 3')
    assert [fault.partition(": [")[0] for fault in found] == ["handlers.toml:3", "handlers.toml:4", "handlers.toml:5"]
    assert 'did you mean "timeout"' in found[2]


def test_an_unknown_key_names_all_keys_there_are(file: Path) -> None:
    (fault,) = faults(file, f"{ECHO}xyzzy = 1")
    assert "known are description, " in fault and fault.endswith("limit_key_from, fair")


def test_limits_are_of_the_revision_and_change_nothing_in_what_runs(file: Path) -> None:
    one, other = echo(file, "max_running = 3"), echo(file, "max_running = 4", 'rate = "1/s"')
    assert one.revision != other.revision and one.digest == other.digest
    assert one.revision == echo(file, "# the same", "max_running = 3").revision
    assert _changes(one["echo"], other["echo"]) == ["max_running", "rate"], "as the log names them"
