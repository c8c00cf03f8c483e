"""Checks that the web server can listen on its address."""

from __future__ import annotations

import errno
import socket


def listening_fault(host: str, port: int) -> str | None:
    """Why the address cannot be used, and which variable to change; None if it can."""
    where = f"cannot listen on {f'[{host}]' if ':' in host else host}:{port}"
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        return f"{where}: {error.strerror}; set DAEMON_HOST to an address of this machine (127.0.0.1; 0.0.0.0: all)"
    family, _, _, _, address = min(found, key=lambda one: one[0])
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError as error:
            return f"{where}: {error.strerror}; {_advice(error.errno)}"
    return None


def _advice(number: int | None) -> str:
    if number == errno.EADDRNOTAVAIL:
        return "this machine has no such address: set DAEMON_HOST to one of its own (127.0.0.1; 0.0.0.0: all of them)"
    if number == errno.EACCES:
        return "ports below 1024 need root: set DAEMON_PORT to another port"
    return "stop the program that listens there, or set DAEMON_PORT to another port"
