"""Checks that the web server can listen on its address, and is the only one there."""

from __future__ import annotations

import errno
import socket
import sys
from typing import Any

#: The reserved addresses. They are free again once this process, and each that it forked, has ended.
_reserved: list[socket.socket] = []


def reserve(host: str, port: int) -> str | None:
    """As `listening_fault`, just before listening. Also a fault: another web server that is about to listen there.

    The kernel lets web servers of one user share a port (granian sets SO_REUSEPORT), and gives each some of the calls.
    """
    if (fault := listening_fault(host, port)) or sys.platform != "linux":
        return fault
    _, address = _resolved(host, port)
    # An abstract name exists once in a network namespace, as a port does, and goes with its processes.
    name = socket.socket(socket.AF_UNIX)
    try:
        name.bind(f"\0taskdaemon web {address[0]} {port}")
    except OSError as error:
        name.close()
        return f"{_cannot_listen(host, port)}: another web server starts there; {_advice(error.errno)}"
    _reserved.append(name)
    return None


def listening_fault(host: str, port: int) -> str | None:
    """Why the address cannot be used, and which variable to change; None if it can."""
    where = _cannot_listen(host, port)
    try:
        family, address = _resolved(host, port)
    except OSError as error:
        return f"{where}: {error.strerror}; set DAEMON_HOST to an address of this machine (127.0.0.1; 0.0.0.0: all)"
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError as error:
            return f"{where}: {error.strerror}; {_advice(error.errno)}"
    return None


def _resolved(host: str, port: int) -> tuple[int, Any]:
    """The family and the address of a host's name, an IPv4 one if there is one."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, _, _, _, address = min(found, key=lambda one: one[0])
    return family, address


def _cannot_listen(host: str, port: int) -> str:
    return f"cannot listen on {f'[{host}]' if ':' in host else host}:{port}"


def _advice(number: int | None) -> str:
    if number == errno.EADDRNOTAVAIL:
        return "this machine has no such address: set DAEMON_HOST to one of its own (127.0.0.1; 0.0.0.0: all of them)"
    if number == errno.EACCES:
        return "ports below 1024 need root: set DAEMON_PORT to another port"
    return "stop the program that listens there, or set DAEMON_PORT to another port"
