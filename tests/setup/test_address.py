"""The address that `up` prints."""

from __future__ import annotations

import pytest

from tasks_app import conf
from tasks_app.management.commands.up import address


@pytest.mark.parametrize(
    ("host", "base"),
    [
        ("127.0.0.1", "http://localhost:8080"),
        ("0.0.0.0", "http://localhost:8080"),
        ("::", "http://localhost:8080"),
        ("192.0.2.1", "http://192.0.2.1:8080"),
        ("fd00::1", "http://[fd00::1]:8080"),
    ],
)
def test_the_printed_address_can_be_opened_on_this_machine(host: str, base: str) -> None:
    assert address(conf.environment().model_copy(update={"host": host, "port": 8080})) == base
