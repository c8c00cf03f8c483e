"""Through which proxies a request came: the address of its client, and whether this machine itself sent it.

Only what a trusted proxy says (DAEMON_TRUSTED_PROXIES) names an address. That a request was forwarded is believed of
anybody: it takes rights away, and gives none.
"""

from __future__ import annotations

from collections.abc import Container
from ipaddress import IPv4Address, IPv6Address, ip_address

from tasks_app.conf import Environment

#: The variable of a request: true if no proxy forwarded it. Whoever has no such variable takes it for forwarded.
DIRECT = "taskdaemon.direct"
#: A proxy adds one of these, and no client behind it can take it away.
FORWARDING_HEADERS = ("forwarded", "via", "x-forwarded-for", "x-real-ip")

Address = IPv4Address | IPv6Address


def is_direct(env: Environment, peer: str, headers: Container[str]) -> bool:
    """Whether no proxy forwarded a request. `peer`: the other end of its connection. `headers`: their names, in lower
    case.

    A connection from a trusted proxy never is: a proxy on loopback would make everybody's requests this machine's.
    """
    if any(name in headers for name in FORWARDING_HEADERS):
        return False
    return not env.proxies or not _is_trusted(env, _address(peer))


def client_address(env: Environment, peer: str, forwarded_for: str | None) -> str:
    """The address of a request's client. `forwarded_for`: its X-Forwarded-For, whose parts are from the client on.

    Each trusted proxy vouches for what it appended, so that is the last address in it that is no trusted proxy's; if
    all are, the first one. What is left of it came from the client, and may be made up. A part that is no address ends
    it.
    """
    address = _address(peer)
    if address is None:
        return peer
    for part in reversed((forwarded_for or "").split(",")):
        if not _is_trusted(env, address) or (before := _address(_without_port(part.strip()))) is None:
            break
        address = before
    return str(address)


def _is_trusted(env: Environment, address: Address | None) -> bool:
    return address is not None and any(address in network for network in env.proxies)


def _address(text: str) -> Address | None:
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
