"""The store on SQLite."""

from __future__ import annotations

from tasks_app.db.sqlite.write_lock import bare_writing, writing
from tasks_app.queue.sqlite.claim import claim, ready_types
from tasks_app.queue.sqlite.counters import add_counts
from tasks_app.queue.sqlite.insert import insert, insert_keyed, insert_rows, next_positions
from tasks_app.queue.sqlite.live_events import add_live_events, end_live_events, end_lost_live_events
from tasks_app.queue.sqlite.moves import promote, redrive, renew, set_priority, settle
from tasks_app.queue.sqlite.readings import (
    due_work,
    final_or_gone,
    first_times,
    json_bytes,
    on_hold,
    queued_before,
    reading,
    running,
    task_bytes,
    task_data,
    versions,
)
from tasks_app.queue.sqlite.session import (
    Session,
    clock_id,
    elapsed,
    extended,
    fault,
    limited,
    maintain,
    moment,
    now,
    problem,
    refusal,
    seconds,
    unlimited,
    update_node,
    where,
)


class SQLiteStore:
    """See Store."""

    name = "sqlite"
    is_server = False
    single_writer = True
    tasks_per_commit = 20  # the commit costs most, but other writers wait for it
    tasks_per_batch = 100

    insert = staticmethod(insert)
    insert_rows = staticmethod(insert_rows)
    insert_keyed = staticmethod(insert_keyed)
    promote = staticmethod(promote)
    redrive = staticmethod(redrive)
    set_priority = staticmethod(set_priority)
    claim = staticmethod(claim)
    ready_types = staticmethod(ready_types)
    queued_before = staticmethod(queued_before)
    settle = staticmethod(settle)
    renew = staticmethod(renew)
    add_counts = staticmethod(add_counts)
    next_positions = staticmethod(next_positions)
    due_work = staticmethod(due_work)
    on_hold = staticmethod(on_hold)
    first_times = staticmethod(first_times)
    maintain = staticmethod(maintain)
    problem = staticmethod(problem)
    reading = staticmethod(reading)
    running = staticmethod(running)
    update_node = staticmethod(update_node)
    clock_id = staticmethod(clock_id)
    moment = staticmethod(moment)
    elapsed = staticmethod(elapsed)
    now = staticmethod(now)
    seconds = staticmethod(seconds)
    writing = staticmethod(writing)
    bare_writing = staticmethod(bare_writing)
    final_or_gone = staticmethod(final_or_gone)
    versions = staticmethod(versions)
    refusal = staticmethod(refusal)
    task_data = staticmethod(task_data)
    json_bytes = staticmethod(json_bytes)
    task_bytes = staticmethod(task_bytes)
    add_live_events = staticmethod(add_live_events)
    end_live_events = staticmethod(end_live_events)
    end_lost_live_events = staticmethod(end_lost_live_events)
    session = Session
    fault = staticmethod(fault)
    where = staticmethod(where)
    limited = staticmethod(limited)
    extended = staticmethod(extended)
    unlimited = staticmethod(unlimited)
