"""compose.yaml really runs: the owner's lines, an upgrade under load and the way back, the end; then once more with
RabbitMQ and Prometheus, which sees that one of three workers is killed.

One deployment; its tests are its life, from the first line to the last.
"""

from __future__ import annotations

import json
import re
import secrets
import shlex
import subprocess
from collections import Counter
from collections.abc import Iterator

import pytest

from testkit.images import docker
from testkit.needs import program
from testkit.process import until
from testkit.sizes import size
from tests.api.test_owners_document import HIGH, LOW, NORMAL, QUEUE, Shell
from tests.deploy.compose import TOP
from tests.deploy.deployment import Deployment, handler_containers
from tests.deploy.load import Load

pytestmark = [
    pytest.mark.docker,
    pytest.mark.timeout(600),
    pytest.mark.long("upgrades of a whole deployment", seconds=240),
]
TASKS = size(600, large=2000)
#: What a next version may bring: the code before it knows nothing of it, and runs beside it.
MIGRATION = """from django.db import migrations, models
class Migration(migrations.Migration):
    dependencies = [("tasks_app", "{last}")]
    operations = [migrations.AddField("task", "later", models.IntegerField(db_default=0))]
"""


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    one = Deployment(tmp_path_factory.mktemp("deploy"))
    one.handler("nap", instances=3, timeout=60, retry_backoff=0)
    one.build("first")
    try:
        one.up()
        yield one
    finally:
        one.close()


@pytest.fixture(scope="module")
def second(deployment: Deployment) -> str:
    """The id of the image of a next version, which the deployment's name is now of; the one before it is `-first`."""
    docker.run("tag", deployment.image, f"{deployment.image}-first")
    deployment.build("second")
    return deployment.migrates(MIGRATION)


class KeyedShell(Shell):
    """The owner's lines, with the key that the system made."""

    def __init__(self, port: int, key: str) -> None:
        super().__init__(port)
        self._key = key

    def __call__(self, line: str, *, code: bool = False) -> str:
        keyed = f"""curl -H "Authorization: Bearer {self._key}" """
        return super().__call__(line.replace("curl ", keyed, 1), code=code)


def test_the_owners_lines_work_with_a_key_and_without_one_nothing_does(deployment: Deployment):
    with_key, without = KeyedShell(deployment.port, deployment.key), Shell(deployment.port)
    task = ""
    for line in (QUEUE, HIGH, NORMAL, LOW):
        assert without(line, code=True) == "401"
        # A web server that has just begun on a busy machine may say 503 for a moment.
        task = until(lambda: json.loads(with_key(line)).get("task_id"), what=lambda: with_key(line))  # noqa: B023
        assert json.loads(with_key(f"curl http://localhost:8080/api/tasks/{task}"))["id"] == task
    for path in ("/api/tasks", "/api/metrics", "/metrics"):
        assert with_key(f"curl http://localhost:8080{path}", code=True) == "200"
        assert without(f"curl http://localhost:8080{path}", code=True) == "401"
    # Its handlers' first containers may still be starting.
    until(lambda: '"status":"healthy"' in without("curl http://localhost:8080/health"))
    assert deployment.until_final(task)["result"]["handled_by"] == "background"


def test_the_readmes_second_line_shows_a_result_and_the_admin_has_its_style(deployment: Deployment):
    (line,) = re.findall(r"^docker compose exec web (tdctl .*)$", (TOP / "README.md").read_text(), re.M)
    assert json.loads(deployment.compose("exec", "-T", "web", *shlex.split(line)))["count"] == 78498
    for path in ("/static/admin/css/base.css", "/static/drf_spectacular_sidecar/swagger-ui-dist/swagger-ui-bundle.js"):
        answer = deployment.http.get(path)
        assert answer.status_code == 200 and answer.headers["content-encoding"] == "gzip"


def test_parts_run_as_nobodys_user_without_tools_and_the_web_server_without_the_socket(deployment: Deployment):
    script = "id -u; touch /app/x 2>&1; for tool in gcc make git; do command -v $tool; done; ls /var/run/docker.sock"
    for service, socket in (("web", False), ("worker", True)):
        (container,) = deployment.containers(service)
        said = subprocess.run(
            [program("docker"), "exec", container, "sh", "-c", script], capture_output=True, text=True
        ).stdout
        assert said.splitlines()[0] == "10001" and "Read-only file system" in said
        assert len(said.splitlines()) == (3 if socket else 2), said
    labels = json.loads(docker.run("image", "inspect", "-f", "{{json .Config.Labels}}", deployment.image))
    assert {labels[f"org.opencontainers.image.{name}"] for name in ("revision", "licenses")} == {"first", "MIT"}


def test_an_upgrade_under_load_loses_no_task_and_spends_no_retry(deployment: Deployment, second: str):
    replaced_under_load(deployment, TASKS, second)
    assert deployment.psql("SELECT count(*) FROM taskdaemon_task WHERE later = 0") != [["0"]]


def test_the_way_back_under_load_loses_nothing_either_and_the_newer_tables_stay(deployment: Deployment, second: str):
    if images_of(deployment, "web") != {second}:  # this test is run alone
        deployment.upgrade(workers=2)
    deployment.use(f"{deployment.image}-first")
    replaced_under_load(deployment, TASKS, str(docker.identity(f"{deployment.image}-first")))
    assert deployment.psql("SELECT count(*) FROM taskdaemon_task WHERE later = 0") != [["0"]]


def images_of(deployment: Deployment, service: str) -> set[str]:
    """Which images a service's containers are of: their ids."""
    return {docker.run("inspect", "-f", "{{.Image}}", container) for container in deployment.containers(service)}


def replaced_under_load(deployment: Deployment, total: int, image: str) -> None:
    """All web servers and workers by those of another image, while tasks are posted and run: so many or more."""
    before = {service: set(deployment.containers(service)) for service in ("web", "worker")}
    kind = secrets.token_hex(4)
    # Most are short; some are under way for as long as the old workers drain.
    load = Load(
        f"http://127.0.0.1:{deployment.port}", deployment.key, total,
        lambda n: {"type": "nap", "data": {"seconds": 2 if n % 50 == 0 else 0.01, "kind": kind}},
    )  # fmt: skip
    load.start()
    try:
        deployment.upgrade(workers=2)
        load.wait(240)
    finally:
        load.stop()
    assert len(load.accepted) == load.posted >= total
    assert load.refused, "the web server was not replaced while tasks were posted"
    for service in ("web", "worker"):
        after = set(deployment.containers(service))
        assert after and not before[service] & after
        assert images_of(deployment, service) == {image}
    ours = f"task_data ->> 'kind' = '{kind}'"
    until(
        lambda: deployment.psql(f"SELECT count(*) FROM taskdaemon_task WHERE {ours} AND completed_at IS NULL")
        == [["0"]],
        180, what="the end of all tasks",
    )  # fmt: skip
    rows = deployment.psql(f"SELECT id, status, retries FROM taskdaemon_task WHERE {ours}")
    assert load.accepted <= {row[0] for row in rows}, "an accepted task is not there"
    assert Counter((row[1], row[2]) for row in rows) == {("completed", "0"): len(rows)}
    tries = deployment.psql(
        "SELECT outcome, count(*) FROM taskdaemon_attempt JOIN taskdaemon_task t ON t.id = task_id "
        f"WHERE {ours} GROUP BY 1"
    )
    print(f"replaced: {len(rows)} tasks, {load.refused} POSTs repeated, attempts {dict(tries)}")
    assert set(dict(tries)) <= {"success", "released"}


def test_down_loses_nothing_and_leaves_no_container(deployment: Deployment):
    identity = deployment.identity()
    tasks = [deployment.post("nap", seconds=1) for _ in range(30)]
    deployment.compose("down")
    assert docker.run("ps", "-aq", "--filter", f"label=com.docker.compose.project={deployment.project}") == ""
    assert handler_containers(identity) == []
    deployment.up("postgres")
    listed = ", ".join(f"'{task}'" for task in tasks)
    rows = deployment.psql(f"SELECT status, retries FROM taskdaemon_task WHERE id IN ({listed})")
    assert len(rows) == len(tasks)
    assert {tuple(row) for row in rows} <= {("completed", "0"), ("pending", "0")}


def test_with_another_broker_and_prometheus_it_goes_on_where_it_was(deployment: Deployment):
    deployment.choose("rabbitmq", "monitoring")
    # Grafana's image cannot be had here; redis is up as well because `--profile monitoring` alone has to have a broker.
    deployment.up("--scale", "worker=3", "web", "worker", "rabbitmq", "prometheus")
    until(lambda: deployment.psql("SELECT count(*) FROM taskdaemon_task WHERE completed_at IS NULL") == [["0"]], 60)
    heard = deployment.http.get("/api/metrics").json()["notifications_received"]
    assert deployment.until_final(deployment.post("nap"))["status"] == "completed"
    until(
        lambda: deployment.http.get("/api/metrics").json()["notifications_received"] > heard,
        what="a notification over RabbitMQ",
    )
    until(lambda: "problems" not in deployment.http.get("/health").json(), what="health")

    def scraped() -> list[str]:
        # Prometheus knows no target in its first seconds.
        targets = deployment.prometheus("targets")["activeTargets"]
        return [one["scrapeUrl"] for one in targets if one["health"] == "up"]

    assert until(scraped, what="a scrape with the key") == ["http://web:8080/metrics"]
    (group,) = deployment.prometheus("rules")["groups"]
    assert "WorkersDie" in {rule["name"] for rule in group["rules"]}


def test_one_of_three_workers_is_killed_and_the_others_finish_its_tasks_and_remove_its_containers(
    deployment: Deployment,
):
    identity = deployment.identity()
    until(lambda: deployment.http.get("/health").json()["workers"] == 3, 180, what="three workers")
    tasks = [deployment.post("nap", seconds=4) for _ in range(9)]
    query = "SELECT node FROM taskdaemon_task WHERE status = 'processing'"
    ((node, *_), *_) = until(lambda: deployment.psql(query), what="a task that runs")
    # A node's name begins with its container's.
    victim = node.split("-")[0]
    assert handler_containers(identity, victim)
    docker.run("kill", victim)
    # By the lock files in the volume that they share: without them it would take 45 s of silence.
    until(lambda: not handler_containers(identity, victim), 25, what="the end of its containers")
    ends = [deployment.until_final(task) for task in tasks]
    assert {task["status"] for task in ends} == {"completed"}
    assert {task["result"]["attempt"] for task in ends} == {1, 2}
    outcomes = deployment.psql(
        f"SELECT outcome, count(*) FROM taskdaemon_attempt WHERE node LIKE '{victim}-%' GROUP BY 1"
    )
    assert "worker_lost" in dict(outcomes)
    until(
        lambda: ("WorkersDie", "firing")
        in {(alert["labels"]["alertname"], alert["state"]) for alert in deployment.prometheus("alerts")["alerts"]},
        60, what="an alert",
    )  # fmt: skip
