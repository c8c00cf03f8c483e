"""Whose request it is: behind trusted proxies, behind others, and with made-up headers."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from tasks_app import conf
from tasks_app.conf import Environment
from tasks_app.keys.caller import FORWARDING_HEADERS, client_address, is_direct


def behind(*proxies: str) -> Environment:
    return conf.environment().model_copy(update={"proxies": tuple(map(ip_network, proxies))})


@pytest.mark.parametrize(
    ("proxies", "peer", "header", "client"),
    [
        ((), "10.0.0.1", "203.0.113.1", "10.0.0.1"),
        (("10.0.0.1",), "10.0.0.2", "203.0.113.1", "10.0.0.2"),
        (("10.0.0.1",), "10.0.0.1", "203.0.113.1", "203.0.113.1"),
        (("10.0.0.1",), "10.0.0.1", None, "10.0.0.1"),
        (("10.0.0.1",), "10.0.0.1", "", "10.0.0.1"),
        # What a client made up is left of what the proxies appended.
        (("10.0.0.1",), "10.0.0.1", "127.0.0.1, 10.0.0.1, 203.0.113.1", "203.0.113.1"),
        (("10.0.0.0/8",), "10.0.0.1", "127.0.0.1, 203.0.113.1, 10.0.0.2 ,10.0.0.3", "203.0.113.1"),
        (("10.0.0.0/8",), "10.0.0.1", "10.0.0.9, 10.0.0.2", "10.0.0.9"),
        (("10.0.0.0/8",), "10.0.0.1", "203.0.113.1, unknown, 10.0.0.2", "10.0.0.2"),
        (("10.0.0.1",), "10.0.0.1", "203.0.113.1, nonsense", "10.0.0.1"),
        (("10.0.0.1",), "10.0.0.1", "x" * 60_000 + ",203.0.113.1", "203.0.113.1"),
        (("10.0.0.1",), "10.0.0.1", "203.0.113.1:4711", "203.0.113.1"),
        (("10.0.0.1", "fd00::/8"), "fd00::1", "[2001:db8::1]:4711, FD00::2", "2001:db8::1"),
        (("10.0.0.1",), "::ffff:10.0.0.1", "::ffff:203.0.113.1", "203.0.113.1"),
        ((), "fe80::1%4", None, "fe80::1"),
        (("fe80::1",), "fe80::1%4", "fe80::2%eth0", "fe80::2"),
    ],
)
def test_the_client_is_the_last_address_that_is_no_trusted_proxys(
    proxies: tuple[str, ...], peer: str, header: str | None, client: str
) -> None:
    assert client_address(behind(*proxies), peer, header) == client


def test_a_request_is_this_machines_only_if_nothing_says_that_it_was_forwarded() -> None:
    assert is_direct(behind(), "127.0.0.1", {"host"})
    assert is_direct(behind("10.0.0.1"), "127.0.0.1", {"host"})
    assert not is_direct(behind("127.0.0.1"), "127.0.0.1", {"host"})
    for header in FORWARDING_HEADERS:
        assert not is_direct(behind(), "127.0.0.1", {"host", header})
