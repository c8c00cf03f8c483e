"""Finds containers of dead nodes. Their labels decide, never their names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tasks_app.runner.engine import IsGone, Owner

DEPLOYMENT = "taskdaemon.deployment"
NODE = "taskdaemon.node"
DOMAIN = "taskdaemon.lock_domain"
HANDLER = "taskdaemon.handler"
CREATE = "taskdaemon.create"
"""Its value is unique to the request that the container was created by."""


def labels(owner: Owner, handler: str) -> dict[str, str]:
    """The labels of a container."""
    return {DEPLOYMENT: owner.deployment, NODE: owner.node, DOMAIN: owner.domain, HANDLER: handler}


def orphans(found: Iterable[tuple[str, Mapping[str, str]]], owner: Owner, is_gone: IsGone) -> list[str]:
    """The ids of the containers, given with their labels, whose node is gone.

    Never includes a container of another deployment, of this node, or without all labels. Calls `is_gone` once a node.
    """
    known: dict[tuple[str, str], bool] = {}
    gone = []
    for container, label in found:
        node, domain = label.get(NODE), label.get(DOMAIN)
        if label.get(DEPLOYMENT) != owner.deployment or not node or not domain or node == owner.node:
            continue
        if (node, domain) not in known:
            known[node, domain] = is_gone(node, domain)
        if known[node, domain]:
            gone.append(container)
    return gone
