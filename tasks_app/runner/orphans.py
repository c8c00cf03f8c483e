"""Which containers nobody owns any more: decided by their labels alone, never by a name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tasks_app.runner.engine import IsGone, Owner

DEPLOYMENT = "taskdaemon.deployment"
NODE = "taskdaemon.node"
DOMAIN = "taskdaemon.lock_domain"
HANDLER = "taskdaemon.handler"


def labels(owner: Owner, handler: str) -> dict[str, str]:
    """What is written on a container."""
    return {DEPLOYMENT: owner.deployment, NODE: owner.node, DOMAIN: owner.domain, HANDLER: handler}


def orphans(found: Iterable[tuple[str, Mapping[str, str]]], owner: Owner, is_gone: IsGone) -> list[str]:
    """The ids, of these containers and their labels, whose node is gone.

    What is not of our deployment, has not all of the labels, or is our own is never among them.
    `is_gone` is asked once a node.
    """
    known: dict[tuple[str, str], bool] = {}
    alone = []
    for container, label in found:
        node, domain = label.get(NODE), label.get(DOMAIN)
        if label.get(DEPLOYMENT) != owner.deployment or not node or not domain or node == owner.node:
            continue
        if (node, domain) not in known:
            known[node, domain] = is_gone(node, domain)
        if known[node, domain]:
            alone.append(container)
    return alone
