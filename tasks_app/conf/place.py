"""Where this code lies: in a checkout, or where a wheel was installed, where nothing may be written beside it."""

from __future__ import annotations

from pathlib import Path

#: The folder of the packages.
CODE = Path(__file__).resolve().parents[2]
#: A wheel has the examples there, a checkout does not. Relative to `CODE`.
EXAMPLES = Path("taskdaemon_site/examples")
#: What pip writes beside an installed package, and beside no checkout.
INSTALLED = any(CODE.glob("taskdaemon_platform-*.dist-info"))
#: Where relative paths of settings begin: in the folder of `manage.py`, or in the current one.
FOLDER = Path.cwd() if INSTALLED else CODE
#: What users type before a command's name.
PROGRAM = "taskdaemon-platform" if INSTALLED else "manage.py"


def ours(command: str) -> str:
    """A command of the platform as users type it here, such as `manage.py prepare`."""
    return f"{PROGRAM} {command}"
