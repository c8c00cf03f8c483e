"""Finds what handlers.toml names and this machine lacks: programs, files, mount sources, variables."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from tasks_app.handlers.handlers_toml import Handler

#: A first word of a command that means the interpreter of this process.
OUR_PYTHON = ("python", "python3")
#: A word of a command with such an ending names a file.
SCRIPT_ENDINGS = (".py", ".sh", ".pl", ".rb", ".js", ".mjs", ".ts", ".php", ".lua", ".jar")


def find_missing(handler: Handler) -> list[str]:
    """One sentence for each thing that the handler names and this machine lacks.

    Does not check images, which a worker pulls, nor commands in them.
    """
    where = f"[handlers.{handler.name}]"
    found = []
    if handler.image is None and handler.command:
        found += [f"{where} command: {each}" for each in _in_command(handler.command, handler.cwd)]
    for name in handler.env_from:
        if name not in os.environ:
            found.append(f"{where} env_from: {name} is not set here; set it for each worker, or use `env`")
    for source, _ in handler.mounts:
        if not os.path.exists(source):
            found.append(f"{where} mounts: there is no {source} on this machine; create it, or correct the path")
    return found


def _in_command(command: tuple[str, ...], cwd: Path) -> list[str]:
    program, *words = command
    if "/" in program:
        path = cwd / program
        if not path.is_file():
            return [f"there is no program {path}; correct the path (it is relative to the folder of handlers.toml)"]
        if not os.access(path, os.X_OK):
            return [f"{path} cannot be executed; type: chmod +x {path}"]
    elif program not in OUR_PYTHON and shutil.which(program) is None:
        return [f"there is no program {program} on the PATH; install it, or write its full path"]
    # Only the first one: further words are the program's arguments, and may name files that it creates.
    file = next((word for word in words if not word.startswith("-")), None)
    if file is not None and file.endswith(SCRIPT_ENDINGS) and not (cwd / file).is_file():
        return [f"there is no file {cwd / file}; correct the path (it is relative to the folder of handlers.toml)"]
    return []
