"""The published library of Standard Webhooks for JavaScript."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from testkit.needs import program

HERE = Path(__file__).parent / "javascript"


def install_library(folder: Path, program_file: Path) -> None:
    """Install it in a folder, with a program that uses it."""
    for file in (HERE / "package.json", HERE / "package-lock.json", program_file):
        shutil.copy(file, folder)
    install = [program("npm"), "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--cache", str(folder / "cache")]
    subprocess.run(install, cwd=folder, check=True, capture_output=True, timeout=110)


def javascript_verdicts(asked: str, folder: Path) -> list[str]:
    """What the library says of callbacks, installed in a folder: `accepted` or `refused`.

    `asked`: a JSON list of objects with `secret`, `body`, `headers`.
    """
    install_library(folder, HERE / "verify.mjs")
    command = [program("node"), "verify.mjs"]
    ran = subprocess.run(command, cwd=folder, input=asked, text=True, check=True, capture_output=True, timeout=110)
    return ran.stdout.split()
