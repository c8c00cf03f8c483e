"""Finds the programs, scripts, variables and mounts that a handler names and this machine lacks, before its tasks
fail."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from tasks_app.handlers.handlers_toml import SCRIPT_ENDINGS, Handler
from tasks_app.handlers.keys import SEALED_USER
from tasks_app.handlers.program_head import HEAD_BYTES, Place, why_no_script, why_not_run
from tasks_app.handlers.words import nearest

#: A first word of a command that means the interpreter of this process.
OUR_PYTHON = ("python", "python3")
CORRECT_PATH = "correct the path (it is relative to the folder of handlers.toml)"


def find_missing(handler: Handler) -> list[str]:
    """One sentence for each thing that the handler names and this machine lacks.

    Does not check images, which a worker pulls, nor commands in them.
    """
    where = f"[handlers.{handler.name}]"
    found = []
    if handler.image is None and handler.command and (sentence := why_not_started(handler.command, handler.cwd)):
        found.append(f"{where} command: {sentence}")
    for name in handler.env_from:
        if name not in os.environ:
            found.append(f"{where} env_from: {name} is not set here; set it for each worker, or use `env`")
    for source, _, writable in handler.mounts:
        if not os.path.exists(source):
            found.append(f"{where} mounts: there is no {source} on this machine; create it, or correct the path")
        elif writable and (user := _cannot_write(handler, source)):
            found.append(
                f"{where} mounts: its user, {user}, cannot write to {source}; type: sudo chown {user} {source}"
            )
    return found


def _cannot_write(handler: Handler, path: str) -> str | None:
    """The handler's user, if that is known and the path's owner and mode do not let it write; else None."""
    user = handler.user or (SEALED_USER if handler.profile == "sealed" else "image")
    uid, _, gid = user.partition(":")
    if not uid.isdecimal() or int(uid) == 0:
        return None
    status = os.stat(path)
    # Without a group in `user` the process has the image's group.
    mine = (status.st_uid == int(uid), not gid.isdecimal() or status.st_gid == int(gid), True)
    allowed = any(its and status.st_mode >> shift & 0o2 for its, shift in zip(mine, (6, 3, 0), strict=True))
    return None if allowed else user


def why_not_started(command: Sequence[str], cwd: Path) -> str | None:
    """The part of a child process's command that this machine lacks, in one sentence; None if nothing is known to be
    missing."""
    if sentence := no_program(command, cwd):
        return sentence
    # Only the first script is checked: further words are the program's arguments, and may name files that it creates.
    file = next((word for word in command[1:] if not word.startswith("-")), None)
    if file is not None and file.endswith(SCRIPT_ENDINGS) and not (cwd / file).is_file():
        return f"there is no file {cwd / file}; {CORRECT_PATH}"
    return None


def no_program(command: Sequence[str], cwd: Path) -> str | None:
    """Why the program of a child process's command cannot be started here, in one sentence; None if it can."""
    program = command[0]
    if "/" in program:
        path = cwd / program
        if path.is_dir():
            return f"{path} is a folder, not a program; write the path of a program"
        if path.is_symlink() and not path.exists():
            return f"{path} is a link that leads to no file; correct the link"
        if not path.is_file():
            return f"there is no program {path}; {CORRECT_PATH}"
        if not os.access(path, os.X_OK):
            return f"{path} cannot be executed; type: chmod +x {path}"
        head = _head(str(path))
        return None if head is None else why_no_script(str(path), head, _here(cwd))
    if program not in OUR_PYTHON and shutil.which(program) is None:
        meant = _near_on_path(program)
        then = f"did you mean {meant}?" if meant else "install it, or write its full path"
        return f"there is no program {program} on the PATH; {then}"
    return None


def why_not_executed(command: Sequence[str], cwd: Path) -> str | None:
    """Why the system has refused a child process's program, which is there; None if its first bytes do not tell."""
    path = str(cwd / command[0]) if "/" in command[0] else shutil.which(command[0])
    head = _head(path) if path else None
    return None if head is None else why_not_run(str(path), head, _here(cwd))


def _here(cwd: Path) -> Place:
    def read(name: str) -> bytes | None:
        path = os.path.join(cwd, name)
        return _head(path) or (b"" if os.path.exists(path) else None)

    return Place(platform.machine(), read)


def _head(path: str) -> bytes | None:
    """The beginning of a file; None if it cannot be read."""
    with suppress(OSError), open(path, "rb") as file:
        return file.read(HEAD_BYTES)
    return None


def _near_on_path(program: str) -> str | None:
    """The program on the PATH with the most similar name."""
    names = {"python3"}
    for folder in os.environ.get("PATH", os.defpath).split(os.pathsep):
        with suppress(OSError):
            names.update(os.listdir(folder))
    return nearest(program, names)
