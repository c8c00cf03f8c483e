"""Why a container's program could not be run, from the first bytes of its file, which the engine has."""

from __future__ import annotations

import contextlib
import io
import logging
import posixpath
import tarfile
import time
from collections.abc import Iterator

from docker import APIClient
from docker.errors import NotFound

from tasks_app.handlers.program_head import HEAD_BYTES, Place, why_not_run
from tasks_app.runner.docker.fifos import SCRIPT, SHELL

log = logging.getLogger(__name__)

#: How long to look for the program, between the requests, which have the client's time-out.
LOOK_SECONDS = 3.0
MAX_LINKS = 8
CHUNK_SIZE = 16 * 1024
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class _Unknown(Exception):
    """The program was not found, for a reason that says nothing about the program."""


def fault_of_program(client: APIClient, container: str, machine: str) -> str | None:
    """Why the program of an ended container cannot be run, in one sentence; None if the reason is unknown.

    `machine`: the processor of the engine's machine. Reads some KiB of a few files at most. Never raises.
    """
    try:
        return _fault(_Files(client, container), machine)
    except Exception as error:
        log.debug("container %s: its program cannot be looked at: %s", container[:12], error)
        return None


def _fault(files: _Files, machine: str) -> str | None:
    state = files.client.inspect_container(files.container)
    words, config = [state["Path"], *state["Args"]], state["Config"]
    if words[:3] == [SHELL, "-c", SCRIPT]:
        words = words[4:]
    program, folder = words[0], config.get("WorkingDir") or "/"
    if "/" in program:
        candidates = [posixpath.normpath(posixpath.join(folder, program))]
        where = ""
    else:
        variables = dict(each.partition("=")[::2] for each in config.get("Env") or ())
        candidates = [f"{each.rstrip('/')}/{program}" for each in variables.get("PATH", PATH).split(":") if each]
        where = " on the PATH"
    for path in candidates:
        if (head := files.head(path)) is None:
            continue
        if not files.executable:
            return f"{path} cannot be executed; let the Dockerfile of its image say: RUN chmod +x {path}"
        return why_not_run(path, head, Place(machine, files.head, image=True))
    return f"there is no program {program}{where} in its image; correct `command`, or the image's own command"


class _Files:
    """Reads the beginnings of files of a container, which need not run."""

    def __init__(self, client: APIClient, container: str) -> None:
        self.client, self.container = client, container
        #: Whether the file that was read last is executable.
        self.executable = False
        self._until = time.monotonic() + LOOK_SECONDS

    def head(self, path: str) -> bytes | None:
        """The beginning of the file, with links followed; None if there is no such file. Raises anything."""
        for _ in range(MAX_LINKS):
            if time.monotonic() > self._until:
                raise _Unknown("the engine is slow")
            try:
                chunks, _ = self.client.get_archive(self.container, path, chunk_size=CHUNK_SIZE)
            except NotFound:
                return None
            with contextlib.closing(chunks), tarfile.open(fileobj=_Stream(chunks), mode="r|") as tar:
                if (entry := tar.next()) is None:
                    raise _Unknown("an empty archive")
                if not entry.issym():
                    if not entry.isfile() or (content := tar.extractfile(entry)) is None:
                        raise _Unknown(f"{path} is no file")
                    self.executable = bool(entry.mode & 0o111)
                    return content.read(HEAD_BYTES)
            path = posixpath.normpath(posixpath.join(posixpath.dirname(path), entry.linkname))
        raise _Unknown(f"too many links at {path}")


class _Stream(io.RawIOBase):
    """The source for `tarfile`, which takes no more from the chunks than `tarfile` asks for."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks, self._rest = chunks, b""

    def read(self, size: int = -1) -> bytes:
        while len(self._rest) < size and (chunk := next(self._chunks, b"")):
            self._rest += chunk
        data, self._rest = self._rest[:size], self._rest[size:]
        return data
