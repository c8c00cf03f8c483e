"""Through which proxies a request came: whether any forwarded it, and the address of its client, which only a trusted
proxy names (DAEMON_TRUSTED_PROXIES)."""

from __future__ import annotations

from collections.abc import Container
from ipaddress import IPv4Address, IPv6Address, ip_address

from tasks_app.conf import Environment

Address = IPv4Address | IPv6Address

#: The variable of a request: true if no proxy forwarded it. Whoever has no such variable takes it for forwarded.
DIRECT = "taskdaemon.direct"
#: A proxy adds one of these, and no client behind it can take it away.
FORWARDING_HEADERS = ("forwarded", "via", "x-forwarded-for", "x-real-ip")


def is_direct(env: Environment, peer: str, headers: Container[str]) -> bool:
    """Whether no proxy forwarded a request. `peer`: the other end of its connection. `headers`: their names, in lower
    case.

    A connection from a trusted proxy never is: a proxy on loopback would make everybody's requests this machine's. The
    headers are believed of anybody: they take rights away, and give none.
    """
    if any(name in headers for name in FORWARDING_HEADERS):
        return False
    return not env.proxies or not _is_trusted(env, _address_of(peer))


def client_address(env: Environment, peer: str, forwarded_for: str | None) -> str:
    """The address of a request's client. `forwarded_for`: its X-Forwarded-For, to which each proxy appends an address.

    The client's is the last address that is no trusted proxy's; if all are, the first one. What is left of it came from
    the client, and may be made up. The search ends at a part that is no address.
    """
    address = _address_of(peer)
    if address is None:
        return peer
    for part in reversed((forwarded_for or "").split(",")):
        if not _is_trusted(env, address) or (before := _address_of(_without_port(part.strip()))) is None:
            break
        address = before
    return str(address)


def _is_trusted(env: Environment, address: Address | None) -> bool:
    """Whether this is a trusted proxy's address."""
    return address is not None and any(address in network for network in env.proxies)


def _address_of(text: str) -> Address | None:
    """The address that a text is; None if it is none."""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    # A socket of both families has IPv4 clients as ::ffff:10.0.0.1.
    return getattr(address, "ipv4_mapped", None) or address


def _without_port(text: str) -> str:
    """Some proxies append the client's port: `10.0.0.1:4711`, `[fd00::1]:4711`."""
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0] if text.count(":") == 1 else text
