"""Django's settings of a PostgreSQL server."""

from __future__ import annotations

from typing import Any

import dj_database_url

# Limits that the server enforces, in milliseconds. The last one frees the rows that a stopped process has locked.
# Against a server that does not answer, the client has limits of its own (tasks_app.db.postgresql).
LIMITS = {"statement_timeout": 10_000, "lock_timeout": 10_000, "idle_in_transaction_session_timeout": 10_000}
# The planner expects millions of rows in the JSON of a reading, and would compile the statement: 180 ms rather than 10.
SETTINGS = {**LIMITS, "jit": "off"}
OPTIONS: dict[str, Any] = {
    "connect_timeout": 3,
    "options": " ".join(f"-c {name}={value}" for name, value in SETTINGS.items()),
    # Detect an idle connection to a lost host within 20 s, before its next use.
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 2,
}


def postgresql(url: str) -> dict[str, Any]:
    """The entry of DATABASES."""
    found: dict[str, Any] = {**dj_database_url.parse(url)}
    return found | {
        "ENGINE": "tasks_app.db.postgresql",
        "OPTIONS": found.get("OPTIONS", {}) | OPTIONS,
        "CONN_MAX_AGE": 60,
        "CONN_HEALTH_CHECKS": True,
        # Independent of the server's default encoding.
        "TEST": {"CHARSET": "UTF8", "TEMPLATE": "template0"},
    }
