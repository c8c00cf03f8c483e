from __future__ import annotations

from typing import NamedTuple


class Actor(NamedTuple):
    """Who acts. `via`: `admin`, `api` or `command`. `name`: the user's, the API key's, or the system account's."""

    via: str
    name: str

    def __str__(self) -> str:
        return self.name
