"""deploy/proxy/nginx.conf in front of the web server."""

from __future__ import annotations

import json
import re
import shutil
import ssl
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex

import httpx
import pytest

from tasks_app.conf.weak_secrets import KEY_MARK
from testkit.certificates import Certificate, make_certificate
from testkit.daemon import serving
from testkit.needs import program
from testkit.no_tls import NO_TLS
from testkit.ports import free_port
from testkit.process import until
from tests.deploy.compose import TOP

NAME = "tasks.example.org"
KEY = f"{KEY_MARK}{token_hex(32)}"
PASSWORD = "a good password"
MAIN = """
daemon off; master_process off; pid {home}/pid; error_log {home}/errors; events {{}}
http {{
    access_log off;
    client_body_temp_path {home}/1; proxy_temp_path {home}/2; fastcgi_temp_path {home}/3; uwsgi_temp_path {home}/4;
    scgi_temp_path {home}/5;
    {recipe}
}}
"""


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="td-", dir="/tmp"))
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="module")
def certificate(home: Path) -> Certificate:
    return make_certificate(home)


@pytest.fixture(scope="module")
def proxy(home: Path, certificate: Certificate) -> Iterator[tuple[str, str]]:
    """nginx with that file, and the web server: their addresses for http and https."""
    nginx = program("nginx")
    http, https = free_port(), free_port()
    with serving(
        home,
        DAEMON_TLS="true",
        DAEMON_ALLOWED_HOSTS=NAME,
        DAEMON_TRUSTED_PROXIES="127.0.0.1",
        DAEMON_API_KEY=KEY,
        DAEMON_ADMIN_PASSWORD=PASSWORD,
    ) as server:
        assert server.manage("prepare").ends() == 0
        recipe = (TOP / "deploy/proxy/nginx.conf").read_text()
        for theirs, ours in (
            ("127.0.0.1:8080", f"127.0.0.1:{server.port}"),
            ("/etc/ssl/tasks/fullchain.pem", str(certificate.certificate)),
            ("/etc/ssl/tasks/privkey.pem", str(certificate.key)),
            ("listen 80;", f"listen 127.0.0.1:{http};"),
            ("listen 443 ssl;", f"listen 127.0.0.1:{https} ssl;"),
        ):
            assert theirs in recipe
            recipe = recipe.replace(theirs, ours)
        recipe = re.sub(r"listen \[::\].*;", "", recipe)
        (home / "nginx.conf").write_text(MAIN.format(home=home, recipe=recipe))
        process = subprocess.Popen([nginx, "-c", str(home / "nginx.conf"), "-e", str(home / "errors")])
        try:
            until((home / "pid").exists)
            yield f"http://127.0.0.1:{http}", f"https://127.0.0.1:{https}"
        finally:
            process.kill()
            process.wait()


@contextmanager
def calling(proxy: tuple[str, str], certificate: Certificate, address: str = "127.0.0.1") -> Iterator[httpx.Client]:
    """A client at this address."""
    trusted = ssl.create_default_context(cafile=str(certificate.certificate))
    transport = httpx.HTTPTransport(verify=trusted, local_address=address)
    with httpx.Client(base_url=proxy[1], headers={"Host": NAME}, transport=transport, timeout=60) as client:
        yield client


@pytest.fixture(scope="module")
def client(proxy: tuple[str, str], certificate: Certificate) -> Iterator[httpx.Client]:
    with calling(proxy, certificate) as found:
        found.headers["Authorization"] = f"Bearer {KEY}"
        yield found


def log_in(client: httpx.Client, password: str, **headers: str) -> httpx.Response:
    client.get("/admin/login/")
    token = next(value for name, value in client.cookies.items() if name == "taskdaemon_csrf")
    form = {"username": "admin", "password": password, "csrfmiddlewaretoken": token}
    return client.post("/admin/login/?next=/admin/", data=form, headers={"Origin": f"https://{NAME}", **headers})


def test_each_client_has_its_own_lockout_and_its_own_limit_whatever_it_says_of_itself(
    proxy: tuple[str, str], certificate: Certificate
) -> None:
    with (
        calling(proxy, certificate, "127.0.0.2") as attacker,
        calling(proxy, certificate, "127.0.0.3") as user,
    ):
        found = [log_in(attacker, "wrong", **{"X-Forwarded-For": f"203.0.113.{n}"}).status_code for n in range(5)]
        assert found == [200, 200, 200, 200, 429]
        assert "for 15 minutes" in log_in(attacker, PASSWORD).text
        assert log_in(user, PASSWORD).status_code == 302
        answers = [log_in(attacker, "wrong") for _ in range(20)]
        assert {answer.status_code for answer in answers} == {429}
        of_nginx = [answer for answer in answers if "Too many logins from your address" in answer.text]
        assert of_nginx and {answer.headers["Retry-After"] for answer in of_nginx} == {"60"}
        assert attacker.get("/admin/login/").status_code == 200
        assert log_in(user, PASSWORD).status_code == 302


def test_a_call_through_the_proxy_needs_a_key_although_the_proxy_is_on_loopback(tmp_path: Path) -> None:
    with serving(tmp_path, DAEMON_TRUSTED_PROXIES="127.0.0.2") as server:
        for address, status in (("127.0.0.1", 200), ("127.0.0.2", 401)):
            with httpx.Client(transport=httpx.HTTPTransport(local_address=address), base_url=server.base) as calls:
                assert calls.post("/queue", json={"type": "echo"}).status_code == status
                assert calls.get("/api/tasks").status_code == status


def test_metrics_and_health_are_not_public_however_they_are_written(client: httpx.Client) -> None:
    for address in ("/metrics", "/metrics/", "/metrics%2f", "/health", "/health/", "/health/ready"):
        assert client.get(address).status_code == 403, address
    for address in ("/health/live", "/health/live/"):
        assert client.get(address).status_code == 200, address


def test_a_batch_may_be_larger_than_a_task_with_and_without_a_slash(client: httpx.Client) -> None:
    tasks = [{"type": "echo", "data": {"text": "x" * 900_000}}] * 2
    for address in ("/queue/batch", "/queue/batch/"):
        assert client.post(address, json={"tasks": tasks}).status_code == 200, address
        refused = client.post(address, json={"tasks": tasks * 5})
        assert (refused.status_code, refused.json()) == (413, {"error": "the request body is too large"})
    refused = client.post("/queue", content=json.dumps({"type": "echo", "data": {"text": "x" * 1_100_000}}))
    assert (refused.status_code, refused.json()) == (413, {"error": "the request body is too large"})


def test_the_redirect_to_https_leads_to_its_own_name_only(proxy: tuple[str, str]) -> None:
    for host in (NAME, "evil.example"):
        found = httpx.get(f"{proxy[0]}/docs?a=b", headers={"Host": host}, verify=NO_TLS)
        assert (found.status_code, found.headers["location"]) == (301, f"https://{NAME}/docs?a=b")


def test_nginx_drops_an_idle_connection_before_the_web_server_does() -> None:
    # The other way round, a POST that meets the end of its connection is answered with 502 and not repeated.
    recipe = (TOP / "deploy/proxy/nginx.conf").read_text()
    found = re.search(r"keepalive_timeout (\d+)s;", recipe)
    limit = re.search(r"header_read_timeout=([\d_]+)", (TOP / "tasks_app/management/commands/web.py").read_text())
    assert found is not None and limit is not None
    assert int(found[1]) * 1000 <= int(limit[1]) / 2
