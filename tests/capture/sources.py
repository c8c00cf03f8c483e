"""What is declared: settings, log events, and the help of each command."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import django

PROJECT = Path(__file__).parents[2]
LEVELS = {"debug", "info", "warning", "error", "critical", "exception", "log_once"}


def settings() -> str:
    """Django's settings and the platform's variables, but for what names code: applications and middleware."""
    from django.conf import settings as values

    from tasks_app.conf import environment

    left_out = {"INSTALLED_APPS", "MIDDLEWARE", "ENV", "DATABASES", "LOGGING", "STATIC_ROOT", "TEMPLATES"}
    found = [
        f"{name} = {getattr(values, name)!r}" for name in sorted(dir(values)) if name.isupper() and name not in left_out
    ]
    home = str(environment().home)
    variables = [f"variable {name} = {value!r}" for name, value in sorted(vars(environment()).items())]
    return re.sub(r"0x[0-9a-f]+", "ADDRESS", "\n".join(found + variables).replace(home, "HOME"))


def log_events() -> str:
    """The first argument of each call of a logger, and how many calls have it."""
    counts: Counter[str] = Counter()
    for path in sorted((PROJECT / "tasks_app").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(node, ast.Call)
                and node.args
                and _name(node.func) in LEVELS
                and "log" in ast.unparse(node.func)
            ):
                fields = sorted(word.arg or "**" for word in node.keywords)
                counts[f"{_name(node.func)} {ast.unparse(node.args[0])} {fields}"] += 1
    return "\n".join(f"{count} {event}" for event, count in sorted(counts.items()))


def _name(function: ast.expr) -> str:
    return (
        function.attr if isinstance(function, ast.Attribute) else function.id if isinstance(function, ast.Name) else ""
    )


def main(folder: Path) -> None:
    django.setup()
    (folder / "settings").write_text(settings() + "\n")
    (folder / "log_events").write_text(log_events() + "\n")
    (folder / "help").mkdir(exist_ok=True)
    said = subprocess.run(
        [sys.executable, "manage.py", "help", "--commands"], cwd=PROJECT, capture_output=True, text=True
    )
    (folder / "help" / "commands").write_text(said.stdout)
    from django.core.management import get_commands

    for name, app in sorted(get_commands().items()):
        if str(app).startswith("tasks_app") or str(getattr(app, "name", app)).startswith("tasks_app"):
            one = subprocess.run(
                [sys.executable, "manage.py", name, "--help"], cwd=PROJECT, capture_output=True, text=True
            )
            (folder / "help" / name).write_text(one.stdout + one.stderr)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
