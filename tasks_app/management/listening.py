"""Checks that the web server can listen on its address, and is the only one there."""

from __future__ import annotations

import errno
import socket
import sys
from typing import Any

#: What reserves the addresses, until this process, and each that it forked, has ended.
_reserved: list[socket.socket] = []


def reserve(host: str, port: int) -> str | None:
    """As `listening_fault`, and nobody else may listen there from now on, also on an address that this one contains.

    The kernel lets web servers of one user share a port (granian sets SO_REUSEPORT), and gives each some of the calls.
    """
    if sys.platform != "linux":
        return listening_fault(host, port)
    bound = _bound(host, port)
    if isinstance(bound, str):
        return bound
    # Another reservation lacks SO_REUSEPORT when it is bound, so this one refuses it; granian's socket has it.
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    _reserved.append(bound)
    return None


def listening_fault(host: str, port: int) -> str | None:
    """Why the address cannot be used, and which variable to change; None if it can."""
    bound = _bound(host, port)
    if isinstance(bound, str):
        return bound
    bound.close()
    return None


def resolved(host: str, port: int) -> tuple[int, Any]:
    """The family and the address of a host's name, an IPv4 one if there is one. Raises OSError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    return min((int(family), address) for family, _, _, _, address in found)


def _bound(host: str, port: int) -> socket.socket | str:
    """A socket that is bound to the address, or `listening_fault`."""
    where = f"cannot listen on {f'[{host}]' if ':' in host else host}:{port}"
    try:
        family, address = resolved(host, port)
    except OSError as error:
        return f"{where}: {error.strerror}; set DAEMON_HOST to an address of this machine (127.0.0.1; 0.0.0.0: all)"
    bound = socket.socket(family, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind(address)
    except OSError as error:
        bound.close()
        return f"{where}: {error.strerror}; {_advice(error.errno)}"
    return bound


def _advice(number: int | None) -> str:
    if number == errno.EADDRNOTAVAIL:
        return "this machine has no such address: set DAEMON_HOST to one of its own (127.0.0.1; 0.0.0.0: all of them)"
    if number == errno.EACCES:
        return "ports below 1024 need root: set DAEMON_PORT to another port"
    return "stop the program that listens there, or set DAEMON_PORT to another port"
