"""The curl lines of the owner's document, run as curl processes against a complete system."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator

import pytest

from testkit.needs import program
from testkit.process import until
from tests.api.system import system

QUEUE = r"""curl -X POST http://localhost:8080/queue \
-H "Content-Type: application/json" \
-d '{"type": "resize", "data": {"url": "https://example.com/image.jpg"}, "priority": 75}'"""
HIGH = r"""curl -X POST http://localhost:8080/queue \
-d '{"type": "urgent", "data": {...}, "priority": 100}'"""
NORMAL = r"""curl -X POST http://localhost:8080/queue \
-d '{"type": "normal", "data": {...}}'"""
LOW = r"""curl -X POST http://localhost:8080/queue \
-d '{"type": "background", "data": {...}, "priority": 0}'"""
UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"


class Shell:
    """Runs lines of the owner's document, with this system's port, and an object for `{...}`."""

    def __init__(self, port: int) -> None:
        self.port, self._curl = port, program("curl")

    def __call__(self, line: str, *, code: bool = False) -> str:
        line = line.replace(":8080", f":{self.port}").replace("{...}", '{"any": ["object", 1]}')
        line = line.replace("curl ", f"{self._curl} -sS " + ("-o /dev/null -w '%{http_code}' " if code else ""), 1)
        result = subprocess.run(line, shell=True, capture_output=True, text=True, timeout=30, check=True)  # noqa: S602
        return result.stdout


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    program("curl")
    with system(tmp_path_factory.mktemp("owner")) as daemon:
        yield Shell(daemon.port)


@pytest.mark.parametrize("line", [QUEUE, HIGH, NORMAL, LOW], ids=["resize", "urgent", "normal", "background"])
def test_a_task_is_queued_by_the_owners_line(shell: Shell, line: str) -> None:
    answer = shell(line)
    assert re.fullmatch(rf'{{"task_id":"{UUID}"}}', answer)
    task = json.loads(shell(f"curl http://localhost:8080/api/tasks/{json.loads(answer)['task_id']}"))
    assert task["status"] in ("pending", "processing", "completed", "failed")
    assert f'"priority": {task["priority"]}' in line or task["priority"] == 50


def test_a_task_that_is_not_there_is_not_found(shell: Shell) -> None:
    line = "curl http://localhost:8080/api/tasks/550e8400-e29b-41d4-a716-446655440000"
    assert shell(line) == '{"error":"Task not found"}'
    assert shell(line, code=True) == "404"


def test_the_list_is_a_bare_array(shell: Shell) -> None:
    shell(NORMAL)
    assert json.loads(shell("curl http://localhost:8080/api/tasks"))[0]["task_type"] == "normal"


def test_delete_is_204_and_then_404(shell: Shell) -> None:
    task = json.loads(shell(LOW))["task_id"]
    assert shell(f"curl -X DELETE http://localhost:8080/api/tasks/{task}", code=True) == "204"
    assert shell(f"curl -X DELETE http://localhost:8080/api/tasks/{task}", code=True) == "404"


def test_redrive_is_200_for_a_failed_task_and_else_404(shell: Shell) -> None:
    line = """curl -X POST http://localhost:8080/queue -d '{"type": "prime", "data": {"limit": "many"}}'"""
    task = json.loads(shell(line))["task_id"]
    line = f"curl http://localhost:8080/api/tasks/{task}"
    until(lambda: json.loads(shell(line))["status"] == "failed", what="the end of the task")
    answer = shell(f"curl -X POST http://localhost:8080/api/tasks/{task}/redrive")
    assert json.loads(answer)["status"] == "pending"
    missing = "curl -X POST http://localhost:8080/api/tasks/550e8400-e29b-41d4-a716-446655440000/redrive"
    assert shell(missing, code=True) == "404"


def test_health_and_the_two_metrics_answer(shell: Shell) -> None:
    assert '"status":"healthy"' in shell("curl http://localhost:8080/health")
    assert "tasks_received" in json.loads(shell("curl http://localhost:8080/api/metrics"))
    text = shell("curl http://localhost:8080/metrics")
    for line in (
        r"tasks_received_total \d",
        r"queue_size \d",
        r'container_pool_active\{handler="resize"\} \d',
        r'container_pool_idle\{handler="resize"\} \d',
    ):
        assert re.search(rf"^{line}", text, re.MULTILINE), line


def test_the_pages_are_there(shell: Shell) -> None:
    for page in ("/docs", "/redoc", "/admin/login/"):
        assert shell(f"curl http://localhost:8080{page}", code=True) == "200"
