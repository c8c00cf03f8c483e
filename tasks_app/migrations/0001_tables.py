"""The tables of 0.1.0.

A database that has all migrations from before 0.1.0 goes on as it is; `manage.py migrate` refuses a database that has
some of them (`queue.current.partly_migrated`). A new database records them too, so that the commit before 0.1.0 works
on it.
"""

from django.db import migrations

from tasks_app.migrations._by_database import BY_DATABASE
from tasks_app.migrations._engine_tables import ENGINE_TABLES
from tasks_app.migrations._feature_tables import FEATURE_TABLES
from tasks_app.migrations._first_rows import FIRST_ROWS

REPLACED = """
0001_initial 0002_look_at_failures 0003_failed_has_reason 0004_ready_again 0005_attempt_columns 0006_api_keys
0007_cheaper_checks 0008_position 0009_claim_indexes 0010_counter_deltas 0011_options_and_keys 0012_key_scopes
0013_audit_log 0014_live_events 0015_pauses 0016_roles 0017_failure_groups 0018_history 0019_operations
0020_shorter_checks 0021_sizes_and_beginnings 0022_scan_start 0023_not_begun 0024_web_process
0025_reasons_and_drains_of_types 0026_group_numbers_and_moved_tasks 0027_keys_of_acts 0028_reload
0029_attempt_revision 0030_schedules 0031_schedule_files 0032_callbacks 0033_revision_command 0034_schedule_tasks
0035_acts_of_features 0036_callback_due_hosts 0037_callback_age 0038_one_index_of_expiries 0039_one_check_of_status
0040_schedule_rate_key
"""


class Migration(migrations.Migration):

    initial = True

    replaces = [("tasks_app", name) for name in REPLACED.split()]

    dependencies = [
        ("auth", "0012_alter_user_first_name_max_length"),
        ("axes", "0008_accessfailurelog"),
        ("contenttypes", "0002_remove_content_type_name"),
    ]

    operations = [
        *ENGINE_TABLES,
        *FEATURE_TABLES,
        *BY_DATABASE,
        *FIRST_ROWS,
        # The table keeps the column, because the commit before 0.1.0 names it in its statements.
        migrations.SeparateDatabaseAndState(state_operations=[migrations.RemoveField("attempt", "command")]),
    ]
