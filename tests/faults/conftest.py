"""Deployments to be broken."""

from __future__ import annotations

from tests.system.conftest import daemon, deployment, migrated

__all__ = ["daemon", "deployment", "migrated"]
