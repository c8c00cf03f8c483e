"""The store on PostgreSQL: all that `queue.store.Store` promises, from the files that tell how."""

from __future__ import annotations

from tasks_app.queue.postgresql.claim import ready_types, take_ready
from tasks_app.queue.postgresql.counters import add_counts
from tasks_app.queue.postgresql.fill import fill
from tasks_app.queue.postgresql.maintain import maintain, problem
from tasks_app.queue.postgresql.marks import claiming
from tasks_app.queue.postgresql.moves import (
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
from tasks_app.queue.postgresql.readings import (
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
from tasks_app.queue.postgresql.session import (
    advice,
    bare_writing,
    clock_id,
    configure_session,
    elapsed,
    extended,
    fault,
    held_clock,
    lacks_tables,
    limited,
    moment,
    now,
    refusal,
    savepoint,
    seconds,
    update_node,
    where,
    writing,
)

name = "postgresql"
is_server = True
single_writer = False
tasks_per_batch = 200
