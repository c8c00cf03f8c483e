"""Rows of nodes, as nodes write them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.db.models.functions import Now
from django.utils import timezone

from tasks_app import conf
from tasks_app.queue.current import store
from tasks_app.queue.node_models import Node, WebProcess


def node(name: str = "node-1", seen_before: float = 0.0, **fields: Any) -> Node:
    """A node of this version that was last seen so many seconds ago, with two warm slots of `echo`."""
    now = timezone.now()
    row: dict[str, Any] = {
        "lock_domain": "elsewhere", "started_at": now - timedelta(hours=3),
        "seen_at": now - timedelta(seconds=seen_before), "seen": store().seconds() - seen_before,
        "clock": store().clock_id(), "digest": "", "version": conf.version(), "pools": {"echo": pool(2, 2)},
    }  # fmt: skip
    values = row | fields
    if values.get("draining") and values.get("drain_requested_at") is None:  # its process ends
        values["pools"] = {name: state | {"stopping": True} for name, state in values["pools"].items()}
    return Node.objects.create(name=name, **values)


def web(name: str, digest: str, seconds: float = 60, **used: Any) -> WebProcess:
    """A living web process that has used a handlers.toml for so long."""
    revision = {"revision": digest[:12], "digest": digest, "reload": 0, "fault": None, **used}
    at = Now() - timedelta(seconds=seconds)
    return WebProcess.objects.create(name=name, lock_domain="", seen_at=Now(), revision=revision, revision_at=at)


def pool(slots: int, warm: int, problem: str | None = None) -> dict[str, Any]:
    """The state of a node's slots of one handler."""
    return {"slots": slots, "warm": warm, "problem": problem, "drained": False, "stopping": False}
