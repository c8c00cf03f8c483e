"""The store on SQLite."""

from __future__ import annotations

from tasks_app.db.sqlite.write_lock import bare_writing, writing
from tasks_app.store.sqlite.claim import claim, ready_types
from tasks_app.store.sqlite.clock import clock_id, elapsed, moment, now, seconds
from tasks_app.store.sqlite.counters import add_counts
from tasks_app.store.sqlite.due_work import due_work, first_times, on_hold
from tasks_app.store.sqlite.fault import fault
from tasks_app.store.sqlite.final import final_or_gone
from tasks_app.store.sqlite.insert import insert, insert_rows, next_positions
from tasks_app.store.sqlite.insert_keyed import insert_keyed
from tasks_app.store.sqlite.json_bytes import json_bytes, task_bytes
from tasks_app.store.sqlite.limits import extended, limited, unlimited
from tasks_app.store.sqlite.live_events import add_live_events, end_live_events, end_lost_live_events
from tasks_app.store.sqlite.maintain import maintain, problem
from tasks_app.store.sqlite.node import update_node
from tasks_app.store.sqlite.promote import promote
from tasks_app.store.sqlite.queued_before import queued_before
from tasks_app.store.sqlite.reading import reading, running
from tasks_app.store.sqlite.redrive import redrive
from tasks_app.store.sqlite.refusal import refusal
from tasks_app.store.sqlite.renew import renew
from tasks_app.store.sqlite.session import Session
from tasks_app.store.sqlite.set_priority import set_priority
from tasks_app.store.sqlite.settle import settle
from tasks_app.store.sqlite.task_data import task_data
from tasks_app.store.sqlite.versions import versions
from tasks_app.store.sqlite.where import where


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
