"""Whose a container is, its labels say; whether its node is gone, whoever knows says."""

from __future__ import annotations

from tasks_app.runner.engine import Owner
from tasks_app.runner.orphans import DEPLOYMENT, DOMAIN, HANDLER, NODE, labels, orphans

WE = Owner("deployment-1", "node-1", "host:boot:/home")


def of(node: str, deployment: str = WE.deployment, domain: str = WE.domain) -> dict[str, str]:
    return labels(Owner(deployment, node, domain), "resize")


def nobody_lives(node: str, domain: str) -> bool:
    return True


def test_the_labels_say_whose_it_is_and_what_it_does() -> None:
    assert labels(WE, "resize") == {
        DEPLOYMENT: "deployment-1", NODE: "node-1", DOMAIN: "host:boot:/home", HANDLER: "resize",
    }  # fmt: skip


def test_a_container_of_a_node_that_is_gone_is_an_orphan() -> None:
    asked = []

    def is_gone(node: str, domain: str) -> bool:
        asked.append((node, domain))
        return node == "node-2"

    found = [("a", of("node-2")), ("b", of("node-3")), ("c", of("node-2")), ("d", of("node-3", domain="elsewhere"))]
    assert orphans(found, WE, is_gone) == ["a", "c"]
    # Once a node.
    assert asked == [("node-2", WE.domain), ("node-3", WE.domain), ("node-3", "elsewhere")]


def test_our_own_and_those_of_other_deployments_are_never_orphans() -> None:
    assert orphans([("a", of("node-1")), ("b", of("node-2", deployment="deployment-2"))], WE, nobody_lives) == []


def test_what_does_not_have_all_labels_is_nobodys_business() -> None:
    whole = of("node-2")
    found = [(name, {key: value for key, value in whole.items() if key != name}) for name in (DEPLOYMENT, NODE, DOMAIN)]
    assert orphans([*found, ("none", {}), ("empty", {**whole, NODE: ""})], WE, nobody_lives) == []


def test_a_name_that_begins_like_ours_says_nothing() -> None:
    assert orphans([("a", {**of("node-2"), DEPLOYMENT: "deployment-1x"})], WE, nobody_lives) == []
