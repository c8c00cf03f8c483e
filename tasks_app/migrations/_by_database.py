"""What the tables of 0.1.0 have on one database and not on another."""

from django.db import migrations
from django.db.models import F, Index, Q

from tasks_app.migrations._words import REASONS

READY = Q(status="pending", due__isnull=True)
INDEXES = [
    Index(F("task_type"), F("priority").desc(), F("position"), condition=READY, name="task_ready_by_priority"),
    Index(F("task_type"), F("ready_at"), condition=READY & Q(attempts__gt=0), name="task_ready_again"),
    Index(F("node"), condition=Q(status="processing"), name="task_running"),
]
_READY = "status = 'pending' AND due IS NULL"
#: The OR of an index adds no row, since the CHECKs allow none. A statement that spells it can use no other index: with
#: old statistics, all of them look equally cheap to the planner. Running tasks are found by the time of their claim:
#: what ended long ago is before what runs.
POSTGRESQL_INDEXES = {
    "task_ready_by_priority": f"(task_type, priority DESC, place) WHERE ({_READY}) OR priority < 0",
    "task_ready_again": f"(task_type, ready_at) WHERE ({_READY} AND attempts > 0) OR attempts < 0",
    "task_running": "(started_at) WHERE status = 'processing'",
}


def make_indexes(apps, schema_editor):
    for index in INDEXES:
        if schema_editor.connection.vendor == "postgresql":
            schema_editor.execute(f"CREATE INDEX {index.name} ON taskdaemon_task {POSTGRESQL_INDEXES[index.name]}")
        else:
            schema_editor.add_index(apps.get_model("tasks_app", "Task"), index)


INDEXES_BY_DATABASE = migrations.SeparateDatabaseAndState(
    database_operations=[migrations.RunPython(make_indexes, migrations.RunPython.noop)],
    state_operations=[migrations.AddIndex("task", index) for index in INDEXES],
)

POSITIONS = {
    "postgresql": (["CREATE SEQUENCE taskdaemon_place"], "DROP SEQUENCE taskdaemon_place"),
    # SQLite has no sequences; its writers come one at a time anyway.
    "sqlite": (
        ["CREATE TABLE taskdaemon_place (value INTEGER NOT NULL)", "INSERT INTO taskdaemon_place VALUES (0)"],
        "DROP TABLE taskdaemon_place",
    ),
}


def make_positions(apps, schema_editor):
    for statement in POSITIONS[schema_editor.connection.vendor][0]:
        schema_editor.execute(statement)


def drop_positions(apps, schema_editor):
    schema_editor.execute(POSITIONS[schema_editor.connection.vendor][1])


#: What these six allow together, `task_fits_status` allows on PostgreSQL, which reads the text of every CHECK for every
#: statement: six cost a claim of one task a tenth more than one.
CHECKS_OF_THE_STATUS = (
    "task_status_known", "task_running_has_node_and_lease", "task_failed_has_reason", "task_final_has_end",
    "task_result_only_when_completed", "task_due_only_when_pending",
)  # fmt: skip
#: The status; how many have a value of `node` and `lease`, of `completed_at`, `failure_reason`, `result` and `due`; the
#: reason of a failure.
ROWS = (
    "pending00000", "pending00001", "processing20000", "completed01000", "completed01010",
    *(f"failed01100{reason}" for reason in REASONS),
)  # fmt: skip
FITS = f"""concat(status, num_nonnulls(node, lease), num_nonnulls(completed_at), num_nonnulls(failure_reason),
  num_nonnulls(result), num_nonnulls(due), failure_reason) = ANY ('{{{",".join(ROWS)}}}'::text[])"""

#: Many dead rows in a short time: vacuum by their number, not by their share of a large table, and at full speed where
#: the table is small. Rows whose updates change no index have room for their next version.
STORAGE = {
    "taskdaemon_task": {
        "autovacuum_vacuum_scale_factor": "0.02", "autovacuum_vacuum_threshold": "20000",
        "autovacuum_analyze_scale_factor": "0.02", "autovacuum_analyze_threshold": "5000",
    },
    "taskdaemon_attempt": {"autovacuum_analyze_scale_factor": "0.05"},
    "taskdaemon_counter": {
        "fillfactor": "50", "autovacuum_vacuum_scale_factor": "0", "autovacuum_vacuum_threshold": "1000",
        "autovacuum_vacuum_cost_delay": "0",
    },
    "taskdaemon_counter_delta": {
        "autovacuum_vacuum_scale_factor": "0", "autovacuum_vacuum_threshold": "5000",
        "autovacuum_vacuum_insert_threshold": "-1", "autovacuum_vacuum_cost_delay": "0",
    },
    "taskdaemon_node": {
        "fillfactor": "50", "autovacuum_vacuum_scale_factor": "0", "autovacuum_vacuum_threshold": "200",
    },
}  # fmt: skip


def adapt_to_postgresql(apps, schema_editor):
    if schema_editor.connection.vendor != "postgresql":
        return
    for name in CHECKS_OF_THE_STATUS:
        schema_editor.execute(f"ALTER TABLE taskdaemon_task DROP CONSTRAINT {name}")
    schema_editor.execute(f"ALTER TABLE taskdaemon_task ADD CONSTRAINT task_fits_status CHECK ({FITS})")
    for table, options in STORAGE.items():
        text = ", ".join(f"{name} = {value}" for name, value in options.items())
        schema_editor.execute(f"ALTER TABLE {table} SET ({text})")


def send_deferred(apps, schema_editor):
    # Django sends indexes and foreign keys after the last operation, and then records the migration in transactions of
    # its own. A process that is killed in between would leave a database that has some of the replaced migrations.
    while schema_editor.deferred_sql:
        schema_editor.execute(schema_editor.deferred_sql.pop(0), None)


BY_DATABASE = [
    migrations.RunPython(make_positions, drop_positions),
    migrations.RunPython(adapt_to_postgresql, migrations.RunPython.noop),
    migrations.RunPython(send_deferred, migrations.RunPython.noop),
]
