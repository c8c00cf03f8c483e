"""Why a file cannot be run, as its first bytes tell."""

from __future__ import annotations

import pytest

from tasks_app.handlers.program_head import Place, why_not_run


def elf(machine: int, bits: int = 2, order: int = 1) -> bytes:
    """The header of an ELF program, without anything else."""
    numbers = (2).to_bytes(2, "little" if order == 1 else "big") + machine.to_bytes(
        2, "little" if order == 1 else "big"
    )
    return b"\x7fELF" + bytes((bits, order, 1)) + bytes(9) + numbers + bytes(44)


HERE = Place("x86_64", lambda path: b"" if path == "/bin/sh" else None)


@pytest.mark.parametrize(("head", "says"), [
    (elf(183), "/x is an ELF program for aarch64, and this machine is x86_64; build it for x86_64"),
    (elf(22, order=2), "/x is an ELF program for s390x, and this machine is x86_64; build it for x86_64"),
    (elf(62), None),
    (elf(3, bits=1), None),
    (b"\x7fELF", "/x is a damaged ELF program; build it again"),
    (b"\xcf\xfa\xed\xfe\x07\0", "/x is a program for macOS, and handlers run on Linux; build it for x86_64"),
    (b"#!/bin/sh\n", None),
    (b"#!/bin/sh\r\n", "/x has line ends of Windows, so no program is found; type: sed -i"),
    (b"#!/usr/bin/env python3\r\n", "/x has line ends of Windows"),
    (b"#!/gone -e\n", "/x begins with #!/gone, which does not exist; install it, or correct the line"),
    (b"\xef\xbb\xbf#!/bin/sh\n", "/x begins with a byte order mark, so its #! does not count; save it without one"),
    (b"\xff\xfe#\0!\0", "/x is a text in UTF-16"),
    (b"import sys\n", "/x is no program, and its first line names none; begin it with one, such as #!/bin/sh"),
    (b"", "/x is empty; write the handler's program into it"),
    (b"\0\1\2", None),
])  # fmt: skip
def test_the_first_bytes_of_a_file_say_why_it_cannot_be_run(head: bytes, says: str | None) -> None:
    found = why_not_run("/x", head, HERE)
    assert found is None if says is None else found is not None and found.startswith(says), found
