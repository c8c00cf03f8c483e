"""The number of connections that the web server may have, by its limit of file descriptors."""

from __future__ import annotations

import resource

#: The most connections, if the limit of descriptors allows them, and the descriptors kept for other files and sockets.
MAX_CONNECTIONS, RESERVED_DESCRIPTORS = 8192, 256


def connection_limit() -> int:
    """The number of connections that this process may have. Raises its soft limit of descriptors if it can."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = MAX_CONNECTIONS + RESERVED_DESCRIPTORS
    if hard != resource.RLIM_INFINITY:
        needed = min(needed, hard)
    if soft != resource.RLIM_INFINITY and soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
        soft = needed
    if soft == resource.RLIM_INFINITY:
        return MAX_CONNECTIONS
    return max(min(MAX_CONNECTIONS, soft - RESERVED_DESCRIPTORS), RESERVED_DESCRIPTORS // 2)
