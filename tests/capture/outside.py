"""What a web server shows of the same rows at the same moment: the API's document, addresses, metrics, and pages."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit
from uuid import UUID

import django

NOW = datetime(2026, 11, 30, 12, 0, tzinfo=UTC)
#: What differs from one run to the next: a page's token, the digest of its policy, the process.
VARYING = [
    (re.compile(r'(name="csrfmiddlewaretoken" value=")[^"]+'), r"\1TOKEN"),
    (re.compile(r"/tmp/td-[A-Za-z0-9_]+"), "HOME"),
    (re.compile(r'nonce="[^"]+"'), 'nonce="NONCE"'),
    (re.compile(r'("age_seconds":)[0-9.]+'), r"\1AGE"),
]
MAX_PAGES = 400
REASONS = [
    ("failed", word)
    for words in ("handler_error retries_exhausted timeout", "crash oom bad_reply worker_lost expired cancelled")
    for word in words.split()
]
#: The outcome of the attempt of a task that failed for such a reason, if it has another name.
OUTCOMES = {None: "success", "handler_error": "error", "retries_exhausted": "error", "expired": "released"}
POOLS = {"echo": {"slots": 2, "warm": 2, "problem": None}, "prime": {"slots": 1, "warm": 0, "problem": "no image"}}
#: Values of the features' rows: all other fields that need one get one by their kind.
OF_FEATURES: dict[str, dict[str, Any]] = {
    "HandlerPause": {"name": "prime"}, "Alert": {"name": "queue"}, "AuditEntry": {}, "Operation": {},
    "APIKey": {"name": "ours"},
}  # fmt: skip


def model(name: str) -> Any:
    """A model by its name, wherever its class is."""
    from django.apps import apps

    return apps.get_model("tasks_app", name)


def plant() -> None:
    """Rows of every kind, with fixed ids and times."""
    tasks, attempts = model("Task"), model("Attempt")
    number = 0
    for status, reason in [("pending", None), ("processing", None), ("completed", None), *REASONS]:
        for kind in ("echo", "prime", "gone"):
            number += 1
            created = NOW - timedelta(minutes=number)
            final = status in ("completed", "failed")
            one = tasks.objects.create(
                id=UUID(int=(0x019A << 112) + number), task_type=kind, task_data={"n": number}, status=status,
                priority=number % 101, position=number, created_at=created, ready_at=created, failure_reason=reason,
                result={"n": number} if status == "completed" else None, attempts=0 if status == "pending" else 1,
                last_error=f"it broke at step {number}" if reason else None, tags=["a", f"b{number % 3}"],
                started_at=None if status == "pending" else created, completed_at=created if final else None,
                node="one" if status == "processing" else None, lease=30.0 if status == "processing" else None,
            )  # fmt: skip
            if final:
                attempts.objects.create(
                    task=one, number=1, node="one", started_at=created, ended_at=created + timedelta(seconds=1),
                    outcome=OUTCOMES.get(reason, reason),
                    error=one.last_error or "", seconds=0.5, wait_seconds=0.1, stderr_tail=f"line {number}\n",
                )  # fmt: skip
    for name, ago in (("one", 1), ("two", 1), ("quiet", 300)):
        seen = NOW - timedelta(seconds=ago)
        model("Node").objects.create(
            name=name, lock_domain="x", started_at=NOW - timedelta(hours=1), seen_at=seen, seen=1.0, clock="c",
            digest="d", pools=POOLS,
        )  # fmt: skip
    _of_features()


def _of_features() -> None:
    """A row of each feature that has a table."""
    for name, values in OF_FEATURES.items():
        try:
            one = model(name)
        except LookupError:
            continue
        fields: dict[str, Any] = {}
        for field in one._meta.concrete_fields:
            if field.primary_key and field.get_internal_type() in ("BigAutoField", "AutoField"):
                continue
            if field.name in values:
                fields[field.name] = values[field.name]
            elif not field.null and (not field.has_default() or field.get_internal_type() == "UUIDField"):
                fields[field.name] = _value(field)
        one.objects.create(**fields)


def _value(field: Any) -> Any:
    kind = field.get_internal_type()
    if field.choices:
        return field.choices[0][0]
    return {
        "DateTimeField": NOW - timedelta(minutes=5), "UUIDField": UUID(int=7), "JSONField": {}, "BooleanField": False,
    }.get(kind, 1 if "Integer" in kind or kind == "FloatField" else "x")  # fmt: skip


def addresses() -> Iterator[str]:
    """Each pattern of an address, with its name."""
    from django.urls import URLResolver, get_resolver

    def walk(resolver: Any, before: str) -> Iterator[str]:
        for one in resolver.url_patterns:
            if isinstance(one, URLResolver):
                yield from walk(one, before + str(one.pattern))
            else:
                yield f"{before}{one.pattern}  {one.name}"

    yield from walk(get_resolver(), "")


def same(text: str) -> str:
    for pattern, word in VARYING:
        text = pattern.sub(word, text)
    return text


def crawl(client: Any, folder: Path) -> None:
    """Each page that a link leads to, from the admin's first one on."""
    folder.mkdir(parents=True, exist_ok=True)
    todo, seen = ["/admin/"], {"/admin/"}
    while todo and len(seen) <= MAX_PAGES:
        address = todo.pop(0)
        answer = client.get(address)
        body = b"".join(answer) if answer.streaming else answer.content
        text = same(body.decode("utf-8", "replace"))
        name = re.sub(r"[^A-Za-z0-9=&?_-]+", "_", address.removeprefix("/admin/"))[:180] or "index"
        (folder / name).write_text(f"{address}\n{answer.status_code} {answer.headers.get('Location', '')}\n{text}")
        if "html" not in answer.headers.get("Content-Type", ""):
            continue
        for link in re.findall(r'href="([^"]+)"', text):
            found = urljoin(address, unescape(link)).partition("#")[0]
            if urlsplit(found).netloc or not found.startswith("/admin/") or found in seen or "logout" in found:
                continue
            if len(re.findall("[=]", found)) > 1:
                continue  # filters of filters
            seen.add(found)
            todo.append(found)


def main(folder: Path) -> None:
    django.setup()
    from django.contrib.auth.models import Group, User
    from django.core.management import call_command
    from django.test import Client

    call_command("migrate", verbosity=0)
    plant()
    (folder / "addresses").write_text("\n".join(addresses()) + "\n")
    client = Client(SERVER_NAME="localhost")
    model("APIKey").objects.all().delete()
    (folder / "openapi.json").write_bytes(client.get("/openapi.json").content)
    metrics = client.get("/metrics").content.decode()
    families = {re.sub(r" [^ ]+$", "", line) if not line.startswith("#") else line for line in metrics.splitlines()}
    (folder / "metrics").write_text("\n".join(sorted(families)) + "\n")
    (folder / "api").mkdir(exist_ok=True)
    for path in ("api/metrics", "health", "api/tasks?limit=100", "api/handlers", "api/operations", "docs", "redoc"):
        (folder / "api" / path.replace("/", "_")).write_text(same(client.get(f"/{path}").content.decode()))
    people = {"administrator": User.objects.create_superuser("ada", None, "x")}
    for group in Group.objects.order_by("name"):
        people[group.name] = User.objects.create_user(f"the {group.name}", is_staff=True)
        people[group.name].groups.set([group])
    for name, user in people.items():
        client = Client(SERVER_NAME="localhost")
        client.force_login(user)
        crawl(client, folder / "pages" / re.sub(r"\W+", "_", name))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
