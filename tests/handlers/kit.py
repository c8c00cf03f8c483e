"""A handlers.toml, and what is read from it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks_app.handlers.handlers_toml import Defaults, Handlers, HandlersError, load


def read(file: Path, text: str, defaults: Defaults | None = None) -> Handlers:
    file.write_text(text)
    return load(file, defaults or Defaults())


def faults(file: Path, text: str, defaults: Defaults | None = None) -> list[str]:
    """All that is wrong with the text."""
    with pytest.raises(HandlersError) as caught:
        read(file, text, defaults)
    return list(caught.value.faults)
