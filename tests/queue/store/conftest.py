"""The conformance suite of the stores runs on the database that the environment names."""

from __future__ import annotations

from tests.queue.moves.conftest import notifications

__all__ = ["notifications"]
