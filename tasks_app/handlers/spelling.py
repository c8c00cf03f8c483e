"""Which known word a misspelt one stands for."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that was probably meant, whatever its case, with `_` or `-`; None if none is close."""
    normal = {_normal(name): name for name in known}
    close = difflib.get_close_matches(_normal(word), list(normal), n=1, cutoff=0.6)
    return normal[close[0]] if close else None


def _normal(word: str) -> str:
    return word.lower().replace("_", "-")
