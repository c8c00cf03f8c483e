from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import NamedTuple

_NONE = datetime(1970, 1, 1, tzinfo=UTC)


class FirstTimes(NamedTuple):
    """Where a scan of an index by time may start: no row is before.

    `due`: of tasks that wait on the present clock, in its seconds. `expires_at`: of tasks that may expire.
    `ungrouped_at`: when a failure without a group ended.
    """

    due: float = -math.inf
    expires_at: datetime = _NONE
    ungrouped_at: datetime = _NONE
