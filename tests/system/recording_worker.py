"""A worker that writes down when its claims began and ended: `python -m tests.system.recording_worker FILE ...`.

The rest of the line is `manage.py worker`'s. The dispatcher's own call is recorded: on SQLite it is within the write
lock.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

import django


def recording(claim: Callable[..., list[Any]], path: str) -> Callable[..., list[Any]]:
    """`claim`, with a line in the file for each call that got something."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    @wraps(claim)
    def recorded(node: str, wants: Sequence[Any], *args: Any, **options: Any) -> list[Any]:
        began = time.monotonic()
        tasks = claim(node, wants, *args, **options)
        if tasks:
            ids = [task.id for task in tasks]
            types = [want.task_type for want in wants]
            entry = {"node": node, "began": began, "ended": time.monotonic(), "types": types, "tasks": ids}
            os.write(file, json.dumps(entry).encode() + b"\n")
        return tasks

    return recorded


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "taskdaemon_site.settings")
    django.setup()
    from django.core.management import call_command

    from tasks_app.node import claimer

    vars(claimer)["claim"] = recording(vars(claimer)["claim"], sys.argv[1])
    call_command("worker", *sys.argv[2:])
