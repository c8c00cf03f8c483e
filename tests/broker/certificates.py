"""A certificate of a server's own, which those who are told to trust it do."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Certificate:
    """Of the address 127.0.0.1 and of no name, `127.1` and other ways to write it among them."""

    certificate: Path
    key: Path


def make_certificate(folder: Path) -> Certificate:
    """Made by the openssl command, for two days."""
    made = Certificate(folder / "certificate.pem", folder / "key.pem")
    kind = ("-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")
    name = ("-subj", "/CN=broker", "-addext", "subjectAltName=IP:127.0.0.1")
    command = ["openssl", "req", *kind, *name, "-keyout", str(made.key), "-out", str(made.certificate)]
    subprocess.run(command, check=True, capture_output=True)
    made.key.chmod(0o644)
    return made
