#!/usr/bin/env python3
"""Run a command of the platform: up, web, worker, migrate, ... (`manage.py help`)."""

import gc
import os
import sys

#: structlog, Django REST Framework and Django's test client import these where they are installed, and nothing here
#: uses them. They take a fifth of the imports of `web`. django.contrib.postgres imports psycopg, with SQLite too.
UNUSED = ("rich", "pygments", "django.contrib.postgres", "jinja2")


def main() -> int:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "taskdaemon_site.settings")
    try:
        return run()
    except KeyboardInterrupt:
        return 130  # Ctrl-C before anything ran that could be drained


def run() -> int:
    """Exit code of the command that `sys.argv` names."""
    if sys.version_info < (3, 11):  # noqa: UP036 (this file is what an old one is given)
        found = ".".join(map(str, sys.version_info[:3]))
        print(
            f"This needs Python 3.11 or newer, and {sys.executable} is {found}: use `make run`, or .venv/bin/python "
            "manage.py",
            file=sys.stderr,
        )
        return 2
    gc.disable()  # until all is imported (tasks_app/apps.py)
    for name in UNUSED:
        sys.modules[name] = None  # type: ignore[assignment]
    try:
        from django.core.management import execute_from_command_line
    except ImportError:
        print("Django is not installed in this Python: use `make run`, or .venv/bin/python manage.py", file=sys.stderr)
        return 2
    from django.db import InterfaceError, OperationalError, ProgrammingError

    from tasks_app.conf import BadEnvironment

    try:
        execute_from_command_line(sys.argv)
    except (InterfaceError, OperationalError, ProgrammingError) as error:
        if "--traceback" in sys.argv:
            raise
        print(f"The database cannot be used: {str(error).strip()}", file=sys.stderr)
        print(
            "Does it exist (DATABASE_URL, or DAEMON_DB_PATH), and does it have its tables (manage.py migrate)? "
            "--traceback shows more.",
            file=sys.stderr,
        )
        return 2
    except BadEnvironment as error:
        print("The environment cannot be used:", *(f"  {fault}" for fault in error.faults), sep="\n", file=sys.stderr)
        if error.handlers_faults:
            print(
                "Nor can handlers.toml:", *(f"  {fault}" for fault in error.handlers_faults), sep="\n", file=sys.stderr
            )
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
