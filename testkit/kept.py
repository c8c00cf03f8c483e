"""What is made once on a machine, because it takes long; and how compilers of other languages take less."""

from __future__ import annotations

import os
from pathlib import Path

KEPT = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "taskdaemon-test"
#: Variables. Go compiles its own library for the first program; without C, and with the same flags, it is the same for
#: all of ours. Nothing of it is inlined.
GO = {"GO111MODULE": "off", "CGO_ENABLED": "0", "GOFLAGS": "-gcflags=all=-l", "GOCACHE": str(KEPT / "go")}
#: Variables. What ends after seconds is not compiled once more to be faster.
JAVA = {"JAVA_TOOL_OPTIONS": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"}
