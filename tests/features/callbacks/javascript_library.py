"""The published library of Standard Webhooks for JavaScript."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from testkit.needs import program

HERE = Path(__file__).parent / "javascript"


def javascript_verdicts(asked: str, folder: Path) -> list[str]:
    """What the library says of callbacks, installed in a folder: `accepted` or `refused`.

    `asked`: a JSON list of objects with `secret`, `body`, `headers`.
    """
    for name in ("package.json", "package-lock.json", "verify.mjs"):
        shutil.copy(HERE / name, folder)
    install = [program("npm"), "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--cache", str(folder / "cache")]
    subprocess.run(install, cwd=folder, check=True, capture_output=True, timeout=110)
    command = [program("node"), "verify.mjs"]
    ran = subprocess.run(command, cwd=folder, input=asked, text=True, check=True, capture_output=True, timeout=110)
    return ran.stdout.split()
