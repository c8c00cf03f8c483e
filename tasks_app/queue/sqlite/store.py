"""The store on SQLite: all that `queue.store.Store` promises, from the files that tell how."""

from __future__ import annotations

from tasks_app.db.sqlite.write_lock import bare_writing, savepoint, writing
from tasks_app.queue.sqlite.claim import ready_types, take_ready
from tasks_app.queue.sqlite.fill import fill
from tasks_app.queue.sqlite.moves import (
    add_counts,
    add_live_events,
    end_live_events,
    insert,
    insert_keyed,
    insert_rows,
    may_promote,
    next_positions,
    promote,
    redrive,
    renew,
    set_priority,
    write_results,
)
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
    advice,
    claiming,
    clock_id,
    configure_session,
    elapsed,
    extended,
    fault,
    held_clock,
    lacks_tables,
    limited,
    maintain,
    moment,
    now,
    problem,
    refusal,
    seconds,
    update_node,
    where,
)

name = "sqlite"
is_server = False
single_writer = True
tasks_per_batch = 100
