"""What deploy/ has for Prometheus and Grafana is true of a live /metrics."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from testkit.daemon import Daemon
from testkit.needs import program
from testkit.ports import free_port
from testkit.process import until
from tests.deploy.compose import TOP

ALERTS = yaml.safe_load((TOP / "deploy/prometheus/alerts.yml").read_text())["groups"][0]["rules"]
DASHBOARD = json.loads((TOP / "deploy/grafana/dashboards/taskdaemon.json").read_text())
GRAFANA = TOP / "deploy/grafana/provisioning"
TARGETS = [(panel["title"], target) for panel in DASHBOARD["panels"] for target in panel["targets"]]
QUERIES = {f"{title}: {target['refId']}": target["expr"] for title, target in TARGETS}


class Prometheus:
    """Debian's own, which scrapes one daemon every second."""

    def __init__(self, home: Path, target: str) -> None:
        self.port = free_port()
        job = {"job_name": "tasks", "static_configs": [{"targets": [target]}]}
        rules = [str(TOP / "deploy/prometheus/alerts.yml")]
        config = {"global": {"scrape_interval": "1s"}, "rule_files": rules, "scrape_configs": [job]}
        (home / "prometheus.yml").write_text(json.dumps(config))
        words = ["--config.file=prometheus.yml", "--storage.tsdb.path=data"]
        self._log = (home / "prometheus.log").open("w")
        self._process = subprocess.Popen(
            [program("prometheus"), *words, f"--web.listen-address=127.0.0.1:{self.port}"], cwd=home, stderr=self._log
        )

    def get(self, path: str, **parameters: str) -> Any:
        """What its API says; None while it does not."""
        try:
            answer = httpx.get(f"http://127.0.0.1:{self.port}/api/v1/{path}", params=parameters, timeout=10)
        except httpx.HTTPError:
            return None
        said = answer.json() if answer.status_code != 503 else {}
        assert said.get("status", "success") == "success", (parameters, said)
        return said.get("data")

    def query(self, expression: str) -> list[Any]:
        """The samples of an expression now."""
        return list((self.get("query", query=expression) or {}).get("result", ()))

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()
        self._log.close()


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """It has seen tasks come and end in all the ways that the dashboard shows."""
    program("prometheus")
    home = tmp_path_factory.mktemp("watched")
    daemon = Daemon(home, DAEMON_MAX_RETRIES="1", DAEMON_RETRY_BACKOFF="0")
    daemon.handler("act")
    one = Prometheus(tmp_path_factory.mktemp("prometheus"), f"127.0.0.1:{daemon.port}")
    try:
        daemon.up()
        until(lambda: one.query("daemon_health == 1"), what="a first scrape")
        for do in ("echo", "crash", "error"):
            daemon.until_final(daemon.post("act", {"do": do}))
        until(lambda: one.query("sum(tasks_processed_total) == 3"), what="a scrape of all that")
        # What a process counts in its memory comes a second later; a rate needs two scrapes of it.
        until(lambda: one.query("rate(container_deaths_total[1m])"), what="some more")
        yield one
    finally:
        one.close()
        daemon.close()


@pytest.mark.long("a live system", seconds=20)
@pytest.mark.parametrize("where", QUERIES)
def test_each_query_of_the_dashboard_has_an_answer_from_a_live_system(prometheus: Prometheus, where: str):
    expression = QUERIES[where].replace("$__rate_interval", "1m").replace("$handler", ".*")
    assert "$" not in expression
    assert prometheus.query(expression), expression


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: str(rule["alert"]))
def test_each_alert_asks_for_what_a_live_system_tells(prometheus: Prometheus, rule: dict[str, Any]):
    names = set(re.findall(r"\b[a-z_]{5,}(?=\{| >| !=| ==|\[)", rule["expr"])) - {"histogram_quantile"}
    assert names
    for name in names:
        assert prometheus.query(name), name
    loaded = {one["name"] for group in prometheus.get("rules")["groups"] for one in group["rules"]}
    assert rule["alert"] in loaded


def test_the_alerts_fire_when_they_should_and_only_then():
    tests = TOP / "deploy/prometheus/alerts_test.yml"
    done = subprocess.run([program("promtool"), "test", "rules", tests], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    tested = set(re.findall(r"alertname: (\w+)\n\s+exp_alerts", tests.read_text()))
    assert tested == {rule["alert"] for rule in ALERTS}


def test_grafana_finds_its_source_and_its_dashboard():
    (source,) = yaml.safe_load((GRAFANA / "datasources/prometheus.yml").read_text())["datasources"]
    (provider,) = yaml.safe_load((GRAFANA / "dashboards/tasks.yml").read_text())["providers"]
    service = yaml.safe_load((TOP / "compose.yaml").read_text())["services"]["grafana"]
    inside = {volume.split(":")[1]: volume.split(":")[0] for volume in service["volumes"]}
    assert inside["/etc/grafana/provisioning"] == "./deploy/grafana/provisioning"
    assert inside[provider["options"]["path"]] == "./deploy/grafana/dashboards"
    assert source["url"] == "http://prometheus:9090" and source["type"] == "prometheus"
    asked = [panel["datasource"] for panel in DASHBOARD["panels"]]
    asked += [target["datasource"] for _, target in TARGETS]
    asked += [variable["datasource"] for variable in DASHBOARD["templating"]["list"]]
    assert {one["uid"] for one in asked} == {source["uid"]} and {one["type"] for one in asked} == {"prometheus"}
