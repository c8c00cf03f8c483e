"""Through which proxies a request came: the address of its client. Only a trusted proxy names one
(DAEMON_TRUSTED_PROXIES)."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

from tasks_app.conf import Environment

Address = IPv4Address | IPv6Address


def client_address(env: Environment, peer: str, forwarded_for: str | None) -> str:
    """The address of a request's client. `forwarded_for`: its X-Forwarded-For, to which each proxy appends an address.

    The client's is the last address that is no trusted proxy's; if all are, the first one. What is left of it came from
    the client, and may be made up. The search ends at a part that is no address.
    """
    address = address_of(peer)
    if address is None:
        return peer
    for part in reversed((forwarded_for or "").split(",")):
        if not is_trusted(env, address) or (before := address_of(_without_port(part.strip()))) is None:
            break
        address = before
    return str(address)


def is_trusted(env: Environment, address: Address | None) -> bool:
    """Whether this is a trusted proxy's address."""
    return address is not None and any(address in network for network in env.proxies)


def address_of(text: str) -> Address | None:
    """The address that a text is; None if it is none."""
    try:
        # A client on the same link has the interface in its address, `fe80::1%4`: PostgreSQL stores no such address.
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    # A socket of both families has IPv4 clients as ::ffff:10.0.0.1.
    return getattr(address, "ipv4_mapped", None) or address


def _without_port(text: str) -> str:
    """Some proxies append the client's port: `10.0.0.1:4711`, `[fd00::1]:4711`."""
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0] if text.count(":") == 1 else text
