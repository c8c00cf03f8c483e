#!/usr/bin/env python3
"""Run a command of the platform in this checkout: up, web, worker, migrate, ... (`manage.py help`)."""

import sys


def main() -> int:
    """Exit code of the command that `sys.argv` names."""
    if sys.version_info < (3, 11):  # noqa: UP036 (this file is what an old one is given)
        found = ".".join(map(str, sys.version_info[:3]))
        print(
            f"This needs Python 3.11 or newer, and {sys.executable} is {found}: use `make run`, or .venv/bin/python "
            "manage.py",
            file=sys.stderr,
        )
        return 2
    from taskdaemon_site.__main__ import main as run

    return run()


if __name__ == "__main__":
    sys.exit(main())
