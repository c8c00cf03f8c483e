"""Where a callback may go: a URL's parts, and the addresses that are refused because they are not the internet's.

`ipaddress.is_global` is not asked: it differs between versions of Python, and takes multicast and the addresses of
translators for global whatever address of IPv4 they lead to.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Set
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from typing import NamedTuple
from urllib.parse import urlsplit

from tasks_app import conf

#: Of a URL.
MAX_URL_CHARS = 2048
#: What RFC 3986 lets a URL have, but no `#`: a fragment is never sent.
_URL = re.compile(r"[A-Za-z0-9._~:/?\[\]@!$&'()*+,;=%-]*")
#: A host name's, an address's, or an address of IPv6 without a zone; 249 characters leave 6 of a row's 255 to the port.
_HOST = re.compile(r"[a-z0-9_](?:[a-z0-9._-]{0,247}[a-z0-9_.])?|[0-9a-f:.]*:[0-9a-f:.]*")
_PORTS = {"http": 80, "https": 443}

#: What is refused, and what it is called.
_REFUSED = tuple(
    (ip_network(network), kind)
    for network, kind in {
        "0.0.0.0/8": "an unspecified address",
        "10.0.0.0/8": "a private address",
        "100.64.0.0/10": "an address of a shared network",
        "127.0.0.0/8": "a loopback address",
        # Azure's own services answer a virtual machine there.
        "168.63.129.16/32": "an address of a cloud's metadata",
        "169.254.169.254/32": "an address of a cloud's metadata",
        "169.254.0.0/16": "a link-local address",
        "172.16.0.0/12": "a private address",
        "192.0.0.0/24": "a reserved address",
        "192.0.2.0/24": "a reserved address",
        "192.88.99.0/24": "a reserved address",
        "192.168.0.0/16": "a private address",
        "198.18.0.0/15": "a reserved address",
        "198.51.100.0/24": "a reserved address",
        "203.0.113.0/24": "a reserved address",
        "224.0.0.0/4": "a multicast address",
        "240.0.0.0/4": "a reserved address",
        "::/128": "an unspecified address",
        "::1/128": "a loopback address",
        "fc00::/7": "a private address",
        "fe80::/10": "a link-local address",
        "ff00::/8": "a multicast address",
        "2001::/23": "a reserved address",
        "2001:db8::/32": "a reserved address",
        # They lead to any address of IPv4.
        "2002::/16": "an address of a tunnel",
        "3fff::/20": "a reserved address",
    }.items()
)
#: Of IPv6, all that is outside is refused too.
_GLOBAL = IPv6Network("2000::/3")
#: Their last 32 bits are the address of IPv4 that is reached. A network without IPv4 has NAT64 for all of its names.
_EMBEDDING = (IPv6Network("::ffff:0:0/96"), IPv6Network("64:ff9b::/96"))


class Endpoint(NamedTuple):
    """The parts of a URL. `host`: in lower case, without brackets. `target`: path and query, as a request has them."""

    scheme: str
    host: str
    port: int
    target: str

    @property
    def host_key(self) -> str:
        """`host:port`, at most 255 characters: what shares a bound."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def host_header(self) -> str:
        """The header `Host`."""
        shown = self.host_key
        return shown.rpartition(":")[0] if self.port == _PORTS[self.scheme] else shown

    def is_named(self, allowed: Set[str]) -> bool:
        """Whether DAEMON_CALLBACK_HOSTS names it (`Environment.private_hosts`)."""
        # An address has no subdomains: `.0.0.1` names no part of 127.0.0.1.
        labels = self.host_key.split(".") if literal_address(self.host.rstrip(".")) is None else []
        named = (self.host_key, *(f".{'.'.join(labels[n:])}" for n in range(1, len(labels))))
        return any(name in allowed or name.rpartition(":")[0] in allowed for name in named)


def endpoint(url: str) -> Endpoint:
    """The parts of a callback's URL. Raises ValueError, with a sentence that has no part of it."""
    if len(url) > MAX_URL_CHARS:
        raise ValueError(f"has more than {MAX_URL_CHARS} characters")
    if "#" in url:
        raise ValueError("has a fragment (#...), which is never sent")
    if not _URL.fullmatch(url):
        raise ValueError("has a character that no URL has; percent-encode it, and write a host in ASCII (xn--...)")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError("has no valid host and port") from None
    if parts.scheme not in _PORTS:
        raise ValueError("is no URL with http:// or https://")
    if "@" in parts.netloc:
        raise ValueError("has a user or a password; put a secret into its path, or check the signature")
    host = parts.hostname or ""
    if not _HOST.fullmatch(host) or port == 0 or ("[" in parts.netloc and not _is_ipv6(host)):
        raise ValueError("has no valid host and port")
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Endpoint(parts.scheme, host, port or _PORTS[parts.scheme], target)


def _is_ipv6(host: str) -> bool:
    try:
        return isinstance(ip_address(host), IPv6Address)
    except ValueError:
        return False


def literal_fault(url: str, allowed: Set[str]) -> str | None:
    """Why a task cannot have this `callback_url`, or None. Looks nothing up: each try does.

    `allowed`: the hosts that DAEMON_CALLBACK_HOSTS names (`Environment.private_hosts`).
    """
    try:
        end = endpoint(url)
    except ValueError as error:
        return str(error)
    if end.is_named(allowed):
        return None
    bare = end.host.rstrip(".")
    if bare == "localhost" or bare.endswith(".localhost"):
        kind: str | None = "a loopback address"
    else:
        kind = None if (literal := literal_address(bare)) is None else refused(literal)
    return f"has {kind}, and DAEMON_CALLBACK_HOSTS does not name its host" if kind else None


def literal_address(host: str) -> str | None:
    """The address that a host is, in any form that resolvers take for one (`127.1`, `0x7f.1`); None: it is a name."""
    if ":" in host:
        return host
    try:
        return socket.inet_ntoa(socket.inet_aton(host))
    except OSError:
        return None


def refused(address: str) -> str | None:
    """What an address is if nothing is sent there ("a private address"), or None. `getaddrinfo` returns such ones."""
    try:
        ip = ip_address(address)
    except ValueError:
        return "no address"
    if isinstance(ip, IPv6Address):
        if ip.scope_id is not None:
            return "a link-local address"
        if any(ip in network for network in _EMBEDDING):
            ip = IPv4Address(int(ip) & 0xFFFFFFFF)
    inside = isinstance(ip, IPv4Address) or ip in _GLOBAL
    return next((kind for network, kind in _REFUSED if ip in network), None if inside else "a reserved address")


# Whether a new task may have a `callback_url`.

NO_SECRET = (
    "callback_url needs a secret that signs what is sent: set DAEMON_CALLBACK_SECRETS, or use an API key with one of "
    f"its own ({conf.ours('apikey')} create NAME --callback-secret)"
)


def callback_fault(url: str, has_secret: bool) -> str | None:
    """Why the end of a task cannot be told there, in a sentence; None if it can."""
    env = conf.environment()
    if not has_secret and not env.signing_secrets:
        return NO_SECRET
    why = literal_fault(url, env.private_hosts)
    return None if why is None else f"callback_url {why}"
