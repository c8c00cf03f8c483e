"""Ringing: tell the nodes that there is work, off the caller's thread, at best effort.

    bell.configure(deployment=read_deployment_id)       # once a process
    transaction.on_commit(lambda: bell.ring("resize", 80))

A bell that is lost, late or doubled changes nothing but time: nodes poll besides. So only the ringer thread
waits for a broker, and `ring` neither blocks nor raises.
"""

from __future__ import annotations

import atexit

from tasks_app.broker.ringer import Ringer

__all__ = ["close", "configure", "flush", "ring", "stats"]

AT_EXIT = 0.5

_ringer = Ringer()

configure = _ringer.configure
ring = _ringer.ring
flush = _ringer.flush
close = _ringer.close
stats = _ringer.stats


@atexit.register
def _last_bells() -> None:
    # A command that submits one task and ends would else take its bell with it.
    flush(AT_EXIT)
