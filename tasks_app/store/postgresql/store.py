"""The store on PostgreSQL."""

from __future__ import annotations

from tasks_app.store.postgresql.claim import claim, ready_types
from tasks_app.store.postgresql.clock import clock_id, elapsed, moment, now, seconds
from tasks_app.store.postgresql.counters import add_counts
from tasks_app.store.postgresql.due_work import due_work, first_times, on_hold
from tasks_app.store.postgresql.fault import fault
from tasks_app.store.postgresql.final import final_or_gone
from tasks_app.store.postgresql.insert import insert, insert_rows, next_positions
from tasks_app.store.postgresql.insert_keyed import insert_keyed
from tasks_app.store.postgresql.json_bytes import json_bytes, task_bytes
from tasks_app.store.postgresql.limits import extended, limited, unlimited
from tasks_app.store.postgresql.live_events import add_live_events, end_live_events, end_lost_live_events
from tasks_app.store.postgresql.maintain import maintain, problem
from tasks_app.store.postgresql.node import update_node
from tasks_app.store.postgresql.promote import promote
from tasks_app.store.postgresql.queued_before import queued_before
from tasks_app.store.postgresql.reading import reading, running
from tasks_app.store.postgresql.redrive import redrive
from tasks_app.store.postgresql.refusal import refusal
from tasks_app.store.postgresql.renew import renew
from tasks_app.store.postgresql.session import Session
from tasks_app.store.postgresql.set_priority import set_priority
from tasks_app.store.postgresql.settle import settle
from tasks_app.store.postgresql.task_data import task_data
from tasks_app.store.postgresql.transactions import bare_writing, writing
from tasks_app.store.postgresql.versions import versions
from tasks_app.store.postgresql.where import where


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
