"""Writes src/taskdaemon_client/_sync from _async: python client/generate_sync.py. A test runs it with --check."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent / "src/taskdaemon_client"
HEAD = "# Made of _async by client/generate_sync.py: change it there.\n"
WORDS = {
    "aclose": "close",
    "aread": "read",
    "anyio": "time",
    "asynccontextmanager": "contextmanager",
    "__aenter__": "__enter__",
    "__aexit__": "__exit__",
    "__enter__": "__aenter__",  # the wrong kind of `with` says which one is right
    "__exit__": "__aexit__",
    "__aiter__": "__iter__",
    "__anext__": "__next__",
    "_async": "_sync",
}


def sync(source: str) -> str:
    """The source without async and await."""
    source = re.sub(r"\b(async|await) ", "", source)
    source = re.sub(r"\bAsync(?=[A-Z])", "", source)
    source = re.sub(r"\b(" + "|".join(WORDS) + r")\b", lambda found: WORDS[found[0]], source)
    return tidy(HEAD + source)


def tidy(source: str) -> str:
    """The source as ruff formats it, with sorted imports, and `list(pages)` for `[row async for row in pages]`."""
    fix = ["check", "--quiet", "--fix", "--unsafe-fixes", "--select", "I,C416"]
    for words in (fix, ["format", "--quiet"]):
        command = [sys.executable, "-m", "ruff", *words, "--stdin-filename", str(PACKAGE / "_sync/client.py"), "-"]
        source = subprocess.run(command, input=source, capture_output=True, text=True, check=True).stdout
    return source


def main() -> None:
    """Write each file, or with --check name the files that differ."""
    differing = []
    for file in sorted((PACKAGE / "_async").glob("*.py")):
        made, there = sync(file.read_text()), PACKAGE / "_sync" / file.name
        if there.exists() and there.read_text() == made:
            continue
        differing.append(there.name)
        if "--check" not in sys.argv:
            there.parent.mkdir(exist_ok=True)
            there.write_text(made)
    if differing and "--check" in sys.argv:
        sys.exit(f"_sync/{', _sync/'.join(differing)}: run python client/generate_sync.py")


if __name__ == "__main__":
    main()
