from django.db import migrations, models

# Many dead rows in a short time: vacuum by their number, not by their share of a large table, and at full speed where
# the table is small. Rows whose updates change no index have room for their next version.
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
# The previous version reads the counters' rows alone.
FOLD = """
INSERT INTO taskdaemon_counter (slot, series, value)
SELECT 0, part.key, sum(part.value::bigint)
FROM taskdaemon_counter_delta AS delta CROSS JOIN LATERAL json_each_text(delta.counts::json) AS part GROUP BY part.key
ON CONFLICT (slot, series) DO UPDATE SET value = taskdaemon_counter.value + excluded.value
"""


def store(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        for table, options in STORAGE.items():
            text = ", ".join(f"{name} = {value}" for name, value in options.items())
            schema_editor.execute(f"ALTER TABLE {table} SET ({text})")


def unstore(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute(FOLD)
        schema_editor.execute("DELETE FROM taskdaemon_counter WHERE slot = 0 AND series = 'folded'")
        for table, options in STORAGE.items():
            schema_editor.execute(f"ALTER TABLE {table} RESET ({', '.join(options)})")


class Migration(migrations.Migration):

    dependencies = [
        ("tasks_app", "0009_claim_indexes"),
    ]

    operations = [
        migrations.CreateModel(
            name="CounterDelta",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("counts", models.TextField()),
            ],
            options={"db_table": "taskdaemon_counter_delta"},
        ),
        migrations.RunPython(store, unstore),
    ]
