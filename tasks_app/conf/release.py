"""Which code this process runs."""

from __future__ import annotations

import hashlib
from functools import cache

from tasks_app.conf.environment import PROJECT

RELEASE = "0.1.0"
#: The folders of the code, and its files: hidden ones are an editor's, which may be links that lead nowhere.
PACKAGES, FILES = ("tasks_app", "taskdaemon_site"), "[!.]*.py"


@cache
def version() -> str:
    """The release and the beginning of a digest of the code, as in `0.1.0+3f2a9c41`.

    Processes have the same one exactly if their Python files are the same, in an image or a checkout. It is read from
    the files once: call it when a process starts, before an upgrade may replace them.
    """
    digest = hashlib.sha256()
    for path in sorted(path for package in PACKAGES for path in (PROJECT / package).rglob(FILES)):
        digest.update(f"{path.relative_to(PROJECT)}\n".encode() + path.read_bytes())
    return f"{RELEASE}+{digest.hexdigest()[:8]}"
