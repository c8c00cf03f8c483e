"""Where callbacks may go: what is refused when a task is posted, and what at a try."""

from __future__ import annotations

import socket

import pytest

from tasks_app.features.callbacks.addresses import endpoint, literal_fault, refused

#: Hosts that are an address of this machine, of its network or of its cloud, in forms that resolvers take.
PRIVATE = [
    "127.0.0.1", "127.1", "127.0.1", "127.255.255.254", "2130706433", "0x7f000001", "0x7f.1", "0X7F.0x0.0x0.0x1",
    "0177.0.0.1", "017700000001", "0177.0x1", "127.0.0.1.", "0", "0.0.0.0", "0x0", "00", "10.0.0.1", "10.1",
    "012.0.0.1", "172.16.0.1", "172.31.255.255", "0xac100001", "192.168.1.1", "192.168.257", "3232235777",
    "169.254.169.254", "0xa9fea9fe", "2852039166", "169.254.1", "0251.0376.0251.0376", "168.63.129.16",
    "100.64.0.1", "100.100.100.200", "100.127.255.255", "192.0.0.192", "192.88.99.1", "198.18.0.1",
    "224.0.0.1", "239.255.255.250", "255.255.255.255", "240.0.0.1", "localhost", "LocalHost", "localhost.",
    "api.localhost", "[::1]", "[::]", "[0:0:0:0:0:0:0:1]", "[::127.0.0.1]", "[::10.0.0.1]", "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]", "[::ffff:a9fe:a9fe]", "[0:0:0:0:0:ffff:10.0.0.1]", "[::ffff:0:127.0.0.1]",
    "[64:ff9b::127.0.0.1]", "[64:ff9b::a9fe:a9fe]", "[64:ff9b::a00:1]", "[64:ff9b:1::a00:1]", "[2002:7f00:1::]",
    "[2002:a00:1::1]", "[2002:808:808::1]", "[2001::1]", "[2001:0:7f00:1::]", "[fe80::1]", "[febf::1]", "[fc00::1]",
    "[fd00:ec2::254]", "[fec0::1]", "[ff02::1]", "[ff0e::1]", "[2001:db8::1]", "[3fff::1]", "[100::1]", "[5f00::1]",
]  # fmt: skip
PUBLIC = [
    "8.8.8.8", "134744072", "0x08080808", "172.32.0.1", "172.15.255.255", "100.63.0.1", "100.128.0.1", "11.0.0.1",
    "192.167.0.1", "223.255.255.255", "198.17.0.1", "[2606:4700::1111]", "[2001:4860:4860::8888]",
    "[::ffff:8.8.8.8]", "[64:ff9b::808:808]", "example.org", "hooks.example.org.", "notlocalhost", "1.2.3.4.5",
    "a_b.example.org",
]  # fmt: skip
MALFORMED = [
    "", "http://", "ftp://example.org/", "//example.org/", "example.org", "https:example.org", "javascript:alert(1)",
    "http://user@example.org/", "http://user:password@example.org/", "http://@example.org/", "http://example.org/#a",
    "http://example.org#", "http://exam ple.org/", "http://example.org/\n", "http://example.org\\@10.0.0.1/",
    "http://example.org:0/", "http://example.org:65536/", "http://example.org:x/", "http://example.org:-1/",
    "http://[::1/", "http://[fe80::1%25eth0]/", "http://[fe80::1%eth0]/", "http://[1:2]/", "http://[v1.a]/",
    "http://%31%32%37.0.0.1/", "http://\uff11\uff12\uff17.0.0.1/", "http://\u24dbocalhost/", "http://example\u3002org/",
    "http://-a.example/",
    "http://a,b/", f"http://{'a' * 250}/", f"http://example.org/{'a' * 2048}", "http://\0/", "http://exa\tmple.org/",
]  # fmt: skip
NOBODY = frozenset[str]()


@pytest.mark.parametrize("host", PRIVATE)
def test_a_literal_address_that_is_not_the_internets_is_refused_at_a_post(host: str) -> None:
    fault = literal_fault(f"https://{host}:8443/path", NOBODY)
    assert fault is not None
    assert "DAEMON_CALLBACK_HOSTS does not name its host" in fault


@pytest.mark.parametrize("host", [host for host in PRIVATE if not host.lower().rstrip(".").endswith("localhost")])
def test_whatever_the_resolver_takes_for_an_address_is_refused_at_a_try(host: str) -> None:
    try:
        found = socket.getaddrinfo(endpoint(f"http://{host}/").host, 80, type=socket.SOCK_STREAM)
    except OSError:
        return  # it is none for this machine's resolver, or has no IPv6
    assert [refused(str(entry[4][0])) for entry in found] != []
    assert None not in [refused(str(entry[4][0])) for entry in found]


@pytest.mark.parametrize("host", PUBLIC)
def test_public_addresses_and_names_pass(host: str) -> None:
    assert literal_fault(f"http://{host}/path?query=1", NOBODY) is None


@pytest.mark.parametrize("url", MALFORMED)
def test_what_is_no_url_for_a_callback_is_refused_and_allowed_hosts_change_nothing(url: str) -> None:
    assert literal_fault(url, frozenset({"example.org", "localhost", "", "10.0.0.1"})) is not None


def test_the_allow_list_names_a_host_or_a_host_and_a_port_as_the_url_writes_it() -> None:
    for url, allowed, passes in (
        ("http://127.0.0.1:9000/", "127.0.0.1", True),
        ("http://127.0.0.1:9000/", "127.0.0.1:9000", True),
        ("http://127.0.0.1:9001/", "127.0.0.1:9000", False),
        ("http://127.1:9000/", "127.0.0.1", False),
        ("http://LOCALHOST/", "localhost", True),
        ("https://localhost/", "localhost:443", True),
        ("http://localhost/", "localhost:443", False),
        ("http://[::1]:9000/", "[::1]", True),
        ("http://[::1]:9000/", "[::1]:9000", True),
        ("http://[::1]:9000/", "[::1]:90", False),
        ("http://10.0.0.1/", "10.0.0.1.example.org", False),
        ("http://api.localhost/", ".localhost", True),
        ("http://a.api.localhost/", ".localhost", True),
        ("http://api.localhost:81/", ".localhost:81", True),
        ("http://api.localhost:82/", ".localhost:81", False),
        ("http://localhost/", ".localhost", False),
        ("http://notlocalhost.localhost/", "localhost", False),
        ("http://127.0.0.1/", ".0.0.1", False),
        ("http://127.0.0.1:81/", ".1:81", False),
    ):
        assert (literal_fault(url, frozenset({allowed})) is None) is passes, (url, allowed)


def test_the_parts_of_a_url_are_those_that_a_request_needs() -> None:
    end = endpoint("HTTPS://Hooks.Example.org?a=%20b")
    assert (end.scheme, end.host, end.port, end.target) == ("https", "hooks.example.org", 443, "/?a=%20b")
    assert (end.host_key, end.host_header) == ("hooks.example.org:443", "hooks.example.org")
    assert endpoint("http://[2606:4700::1]:81/a").host_header == "[2606:4700::1]:81"
    assert len(endpoint(f"http://{'a.' * 124}a:65535/").host_key) == 255


def test_a_scope_or_something_else_than_an_address_is_refused() -> None:
    assert refused("fe80::1%eth0") == "a link-local address"
    assert refused("2606:4700::1%1") == "a link-local address"
    assert refused("hooks.example.org") == "no address"
    assert refused("::ffff:1.1.1.1") is None
