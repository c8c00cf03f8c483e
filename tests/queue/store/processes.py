"""Another process on the tests' database."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from django.db import connection

PROJECT = Path(__file__).resolve().parents[3]
BEGIN = """
import os, signal, django
django.setup()
from tasks_app.queue.current import store
from tests.queue.store.kit import take
"""


def run(code: str, killed: bool = False) -> str:
    """What the code prints in a process of its own. `killed`: it ends by SIGKILL."""
    db = connection.settings_dict
    with tempfile.TemporaryDirectory() as home:
        where = {"DAEMON_HOME": home, "DJANGO_SETTINGS_MODULE": "taskdaemon_site.settings"}
        if connection.vendor == "sqlite":
            where["DAEMON_DB_PATH"] = str(db["NAME"])
        else:
            secret = f":{db['PASSWORD']}" if db["PASSWORD"] else ""
            where["DATABASE_URL"] = f"postgres://{db['USER']}{secret}@{db['HOST']}:{db['PORT']}/{db['NAME']}"
        command = [sys.executable, "-c", BEGIN + code]
        ended = subprocess.run(command, env=os.environ | where, cwd=PROJECT, capture_output=True, text=True, timeout=60)
    assert ended.returncode == (-signal.SIGKILL if killed else 0), ended.stderr
    return ended.stdout
