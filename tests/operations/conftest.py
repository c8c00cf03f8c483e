"""The tests of operations run on the database that the environment names."""

from __future__ import annotations

from tests.lifecycle.conftest import notifications

__all__ = ["notifications"]
