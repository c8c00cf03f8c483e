"""A self-signed certificate for a test's server."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from testkit.needs import program


@dataclass(frozen=True)
class Certificate:
    """Valid for the address 127.0.0.1 or a name, but for no other name and no other notation, such as `127.1`."""

    certificate: Path
    key: Path


def make_certificate(folder: Path, subject: str = "IP:127.0.0.1") -> Certificate:
    """Create it with the openssl command; valid for two days. `subject`: `DNS:` and a name, for a name."""
    made = Certificate(folder / "certificate.pem", folder / "key.pem")
    kind = ("-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")
    name = ("-subj", "/CN=broker", "-addext", f"subjectAltName={subject}")
    command = [program("openssl"), "req", *kind, *name, "-keyout", str(made.key), "-out", str(made.certificate)]
    subprocess.run(command, check=True, capture_output=True)
    made.key.chmod(0o644)
    return made
