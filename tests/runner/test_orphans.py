"""The labels of a container tell its owner; the caller tells whether that node is gone."""

from __future__ import annotations

from tasks_app.runner.docker.remover import DEPLOYMENT, DOMAIN, NODE, labels, orphans
from tasks_app.runner.engine import Owner

WE = Owner("deployment-1", "node-1", "host:boot:/home")


def of(node: str, deployment: str = WE.deployment, domain: str = WE.domain) -> dict[str, str]:
    return labels(Owner(deployment, node, domain), "resize")


def every_node_is_gone(node: str, domain: str) -> bool:
    return True


def test_a_container_of_a_node_that_is_gone_is_an_orphan() -> None:
    asked = []

    def is_gone(node: str, domain: str) -> bool:
        asked.append((node, domain))
        return node == "node-2"

    found = [("a", of("node-2")), ("b", of("node-3")), ("c", of("node-2")), ("d", of("node-3", domain="elsewhere"))]
    assert orphans(found, WE, is_gone) == ["a", "c"]
    # Asked once a node.
    assert asked == [("node-2", WE.domain), ("node-3", WE.domain), ("node-3", "elsewhere")]


def test_a_container_without_all_labels_is_never_an_orphan() -> None:
    complete = of("node-2")
    found = [
        (name, {key: value for key, value in complete.items() if key != name}) for name in (DEPLOYMENT, NODE, DOMAIN)
    ]
    assert orphans([*found, ("none", {}), ("empty", {**complete, NODE: ""})], WE, every_node_is_gone) == []


def test_a_deployment_that_begins_like_ours_is_another_one() -> None:
    assert orphans([("a", {**of("node-2"), DEPLOYMENT: "deployment-1x"})], WE, every_node_is_gone) == []
