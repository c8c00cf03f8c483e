"""Why a file cannot be run, as its first bytes show: it is for another processor, or its first line names no
program."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from dataclasses import dataclass

#: How many bytes of a file are looked at: an ELF program names its loader within them.
HEAD_BYTES = 4096

_ELF = b"\x7fELF"
_UTF8_MARK = b"\xef\xbb\xbf"
#: The first bytes of programs for other systems.
_FOREIGN = {
    b"MZ": "Windows", b"\xcf\xfa\xed\xfe": "macOS", b"\xce\xfa\xed\xfe": "macOS", b"\xca\xfe\xba\xbe": "macOS or Java",
}  # fmt: skip
#: The names of e_machine, or of e_machine and a number of bits if the two have a name of their own.
_MACHINES: dict[int | tuple[int, int], str] = {
    (62, 32): "x32", 3: "i386", 8: "mips", 20: "ppc", 21: "ppc64", 22: "s390x", 40: "arm", 62: "x86_64",
    183: "aarch64", 243: "riscv64", 258: "loongarch64",
}  # fmt: skip
_ALSO = {"amd64": "x86_64", "arm64": "aarch64", "i686": "i386", "i586": "i386"}
_RUNS = {"x86_64": ("i386", "x32"), "aarch64": ("arm",)}
#: The names of Docker's platforms that differ from the kernel's.
_PLATFORMS = {"x86_64": "amd64", "aarch64": "arm64", "i386": "386"}
_PT_INTERP, _RELOCATABLE = 3, 1


@dataclass(frozen=True)
class Place:
    """Where a file is to be run. `machine`: its processor, as `uname -m` names it. `read`: the head of a file, None if
    there is none. `image`: it is the image of a handler, whose engine's machine it is.
    """

    machine: str
    read: Callable[[str], bytes | None]
    image: bool = False


def why_not_run(path: str, head: bytes, place: Place) -> str | None:
    """Why the executable file with this beginning cannot be run there, in one sentence; None if that is not known.

    Whether the kernel runs programs for another processor (binfmt_misc) is unknown: ask after a failure only.
    """
    if head.startswith(_ELF):
        return _in_elf(path, head, place)
    for magic, system in _FOREIGN.items():
        if head.startswith(magic) and b"\0" in head:
            return f"{path} is a program for {system}, and handlers run on Linux; build it for {_target(place)}"
    if (sentence := why_no_script(path, head, place)) or not head.startswith(b"#!"):
        return sentence
    interpreter = interpreter_of(head).decode(errors="replace")
    its_head = place.read(interpreter) or b""
    return _in_elf(interpreter, its_head, place) if its_head.startswith(_ELF) else None


def why_no_script(path: str, head: bytes, place: Place) -> str | None:
    """As `why_not_run`, for the faults that are certain before a start: a script that no kernel runs. None for a
    program."""
    if not head:
        return f"{path} is empty; write the handler's program into it"
    first, _, _ = head.partition(b"\n")
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return f"{path} is a text in UTF-16, which is no script; save it as UTF-8"
    if first.startswith(_UTF8_MARK + b"#!"):
        return (
            f"{path} begins with a byte order mark, so its #! does not count; "
            f"save it without one, or type: sed -i '1s/^\\xef\\xbb\\xbf//' {path}"
        )
    if not first.startswith(b"#!"):
        if _is_text(first):
            return f"{path} is no program, and its first line names none; begin it with one, such as #!/bin/sh"
        return None
    # `env -S` and perl ignore a carriage return.
    if first.endswith(b"\r") and not re.search(rb"\s-S|perl.*\s", first[:-1]):
        return f"{path} has line ends of Windows, so no program is found; type: sed -i 's/\\r$//' {path}"
    interpreter = interpreter_of(head).decode(errors="replace")
    if not interpreter:
        return f"{path} begins with #! and names no program; write one, such as #!/bin/sh"
    if place.read(interpreter) is None:
        where = "does not exist in its image" if place.image else "does not exist"
        return f"{path} begins with #!{interpreter}, which {where}; install it, or correct the line"
    return None


def interpreter_of(script: bytes) -> bytes:
    """The program that the beginning of a script names; blank if it names none.

    For the kernel a carriage return belongs to the name: with line ends of Windows there is no such program.
    """
    named = re.match(rb"#![ \t]*([^ \t\n]+)", script)
    return named[1] if named else b""


def _is_text(line: bytes) -> bool:
    """True for a blank text, too."""
    try:
        return "\0" not in line.decode()
    except UnicodeDecodeError:
        return False


def _in_elf(path: str, head: bytes, place: Place) -> str | None:
    try:
        bits, order = {1: 32, 2: 64}[head[4]], {1: "<", 2: ">"}[head[5]]
        kind, number = struct.unpack_from(order + "HH", head, 16)
    except (LookupError, struct.error):
        return f"{path} is a damaged ELF program; build it again"
    if kind == _RELOCATABLE:
        return f"{path} is an object file, which is not linked; link it to a program"
    theirs = _MACHINES.get((number, bits)) or _MACHINES.get(number, f"the machine {number} of ELF")
    theirs += "le" if theirs == "ppc64" and order == "<" else ""
    ours = _name(place.machine)
    if ours in {*_MACHINES.values(), "ppc64le"} and theirs != ours and theirs not in _RUNS.get(ours, ()):
        whose = "the Docker engine's machine" if place.image else "this machine"
        return f"{path} is an ELF program for {theirs}, and {whose} is {ours}; build it for {_target(place)}"
    loader = _loader(head, bits, order)
    if loader and place.read(loader) is None:
        where = "its image lacks" if place.image else "this machine lacks"
        return f"{path} needs the loader {loader}, which {where}; link it statically, or build it on the same system"
    return None


def _name(machine: str) -> str:
    return "arm" if machine.startswith("armv") else _ALSO.get(machine, machine)


def _target(place: Place) -> str:
    name = _name(place.machine)
    return f"{name} (docker build --platform linux/{_PLATFORMS.get(name, name)})" if place.image else name


def _loader(head: bytes, bits: int, order: str) -> str:
    """The program interpreter that an ELF program names; blank if it is static, or the name is not in the head."""
    at, sizes, word, where = (32, 54, "Q", (8, 32)) if bits == 64 else (28, 42, "I", (4, 16))
    try:
        (table,) = struct.unpack_from(order + word, head, at)
        size, count = struct.unpack_from(order + "HH", head, sizes)
        for entry in range(table, min(table + size * count, HEAD_BYTES), max(size, 1)):
            if struct.unpack_from(order + "I", head, entry) == (_PT_INTERP,):
                start, length = (struct.unpack_from(order + word, head, entry + each)[0] for each in where)
                return head[start : start + length].rstrip(b"\0").decode() if start + length <= len(head) else ""
    except (struct.error, UnicodeDecodeError):
        pass
    return ""
