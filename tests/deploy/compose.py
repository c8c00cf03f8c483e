"""compose.yaml as compose reads it, with what bin/env writes."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from testkit.needs import program

TOP = Path(__file__).resolve().parents[2]
SECRETS = [
    "DAEMON_SECRET_KEY", "DAEMON_ADMIN_PASSWORD", "DAEMON_API_KEY", "POSTGRES_PASSWORD", "BROKER_PASSWORD",
]  # fmt: skip


def bin_env(file: Path, *words: str, **environment: str) -> dict[str, str]:
    """What bin/env writes."""
    done = subprocess.run(
        ["sh", TOP / "bin/env", *words], env={"PATH": "/usr/bin:/bin", "ENV_FILE": str(file), **environment},
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = [line for line in file.read_text().splitlines() if line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


def compose(environment: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    """`docker compose config`."""
    # An --env-file, so that a developer's own .env says nothing here.
    return subprocess.run(
        [
            program("docker"), "compose", "--env-file", "/dev/null", "-f", TOP / "compose.yaml", *words,
            "config", "--format=json",
        ],
        env={"PATH": "/usr/local/bin:/usr/bin:/bin", **environment}, capture_output=True, text=True, cwd="/",
    )  # fmt: skip


def services(environment: dict[str, str], *words: str) -> dict[str, Any]:
    """What it makes of each service."""
    done = compose(environment, *words)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout)["services"])
