"""The store on PostgreSQL."""

from __future__ import annotations

from tasks_app.queue.postgresql.claim import claim, ready_types
from tasks_app.queue.postgresql.counters import add_counts
from tasks_app.queue.postgresql.insert import insert, insert_keyed, insert_rows, next_positions
from tasks_app.queue.postgresql.json_columns import json_bytes, task_bytes
from tasks_app.queue.postgresql.live_events import add_live_events, end_live_events, end_lost_live_events
from tasks_app.queue.postgresql.maintain import maintain, problem
from tasks_app.queue.postgresql.moves import promote, redrive, renew, set_priority, settle
from tasks_app.queue.postgresql.readings import (
    due_work,
    final_or_gone,
    first_times,
    on_hold,
    queued_before,
    reading,
    running,
    task_data,
    versions,
)
from tasks_app.queue.postgresql.session import (
    Session,
    bare_writing,
    clock_id,
    elapsed,
    extended,
    fault,
    limited,
    moment,
    now,
    refusal,
    seconds,
    unlimited,
    update_node,
    where,
    writing,
)


class PostgreSQLStore:
    """See Store."""

    name = "postgresql"
    is_server = True
    single_writer = False
    tasks_per_commit = 1  # writers that hold several rows each could deadlock
    tasks_per_batch = 200

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
