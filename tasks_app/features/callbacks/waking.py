"""What wakes the thread of this process that sends callbacks."""

from __future__ import annotations

import threading

#: Set after deliveries were committed, and by a beat that finds one due: the thread, if there is one, looks at once.
woken = threading.Event()
