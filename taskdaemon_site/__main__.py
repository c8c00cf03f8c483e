"""Runs a command of the platform (up, web, worker, ...): for `manage.py`, and as `taskdaemon-platform` from a wheel."""

import gc
import os
import secrets
import signal
import sys

#: structlog, Django REST Framework and Django's test client import these where they are installed, and nothing here
#: uses them. They take a fifth of the imports of `web`. django.contrib.postgres imports psycopg, with SQLite too.
UNUSED = ("rich", "pygments", "greenlet", "django.contrib.postgres", "jinja2")


def installed() -> int:
    """As `main`, with the platform's settings also where the environment names those of another project."""
    os.environ["DJANGO_SETTINGS_MODULE"] = "taskdaemon_site.settings"
    return main()


def main() -> int:
    """Exit code of the command that `sys.argv` names."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "taskdaemon_site.settings")
    try:
        return run()
    except KeyboardInterrupt:
        return 130  # Ctrl-C before anything ran that could be drained


def run() -> int:
    """As `main`. Raises KeyboardInterrupt."""
    if sys.argv[1:2] in (["web"], ["worker"]):
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until it can reload: it has yet to read the file
    if _asks_for_help(sys.argv[1:]):
        os.environ.setdefault("DAEMON_SECRET_KEY", secrets.token_urlsafe(48))  # or it would be stored in DAEMON_HOME
    gc.disable()  # until all is imported (tasks_app/apps.py)
    for name in UNUSED:
        sys.modules[name] = None  # type: ignore[assignment]
    try:
        from tasks_app.management.help import Manage
    except ImportError:
        print("Django is not installed in this Python: use `make run`, or .venv/bin/python manage.py", file=sys.stderr)
        return 2
    from django.db import DatabaseError, DataError, IntegrityError, InterfaceError, InternalError

    from tasks_app.conf import BadEnvironment

    try:
        Manage(sys.argv).execute()
    except (DatabaseError, InterfaceError) as error:
        if "--traceback" in sys.argv or isinstance(error, (DataError, IntegrityError, InternalError)):
            raise
        from tasks_app.queue.current import store

        print(f"{store().advice(error)} (--traceback shows more)", file=sys.stderr)
        return 2
    except BadEnvironment as error:
        print("The environment cannot be used:", *(f"  {fault}" for fault in error.faults), sep="\n", file=sys.stderr)
        if error.handlers_faults:
            print(
                "Nor can handlers.toml:", *(f"  {fault}" for fault in error.handlers_faults), sep="\n", file=sys.stderr
            )
        return 2
    return 0


def _asks_for_help(words: list[str]) -> bool:
    before = words[: words.index("--")] if "--" in words else words
    return not words or words[0] == "help" or "-h" in before or "--help" in before


if __name__ == "__main__":
    sys.exit(main())
