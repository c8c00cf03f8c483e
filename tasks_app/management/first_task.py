"""The command that `up` prints once it is ready, to copy."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from typing import Any

from tasks_app.management.platform_command import manage_py


def first_task(base: str, key: str, names: Sequence[str]) -> str:
    """A command that posts a task for one of these handlers, with curl if this machine has it.

    `key`: the text for the API key, "" if calls need none.
    """
    data: dict[str, Any] = {"limit": 1000000} if "prime" in names else {}
    name = "prime" if "prime" in names else names[0]
    if shutil.which("curl") is None:
        variable = f'DAEMON_API_KEY="{key}" ' if key else ""
        return f"{variable}{manage_py()} post {name} '{json.dumps(data)}' --url {base}"
    bearer = f'-H "Authorization: Bearer {key}" ' if key else ""
    body = json.dumps({"type": name, "data": data})
    return f"""curl -X POST {base}/queue -H "Content-Type: application/json" {bearer}-d '{body}'"""
