"""SQLite without the mutexes that are not needed here: they took 8 % of a drain."""

from __future__ import annotations

import ctypes
import sys
from importlib.util import find_spec

#: Of sqlite3.h. A connection has no mutex: Django gives each thread its own.
SQLITE_CONFIG_MULTITHREAD = 2
#: Memory is not counted, which takes a mutex at each allocation.
SQLITE_CONFIG_MEMSTATUS = 9


def without_mutexes() -> bool:
    """Configure this process's SQLite. False if SQLite is at work already, or its library is not found.

    Call before `sqlite3` is imported.
    """
    module = find_spec("_sqlite3")
    if sys.platform != "linux" or module is None or module.origin is None:
        return False
    try:
        # Of the library that Python's own module is linked to: the system may have another one.
        configure = ctypes.CDLL(module.origin).sqlite3_config
    except (OSError, AttributeError):
        return False
    codes = [configure(SQLITE_CONFIG_MULTITHREAD), configure(SQLITE_CONFIG_MEMSTATUS, 0)]
    return codes == [0, 0]
