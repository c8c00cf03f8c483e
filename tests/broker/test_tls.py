"""`rediss://`: nothing is said to a server whose certificate is not trusted, or another's.

`amqps://` is tested where a RabbitMQ is at hand: tests/faults/test_rabbitmq.py.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.broker.certificates import make_certificate
from tests.broker.servers import RedisServer, missing
from tests.broker.tls import rings_by_tls_if_the_certificate_is_trusted_and_of_that_name


@pytest.mark.redis
def test_redis_is_rung_by_tls_and_its_certificate_is_checked(
    home: Path, deployment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if shutil.which("redis-server") is None:
        missing("the program redis-server")
    certificate = make_certificate(home)
    server = RedisServer(certificate=certificate)
    try:
        url = f"rediss://{{}}:{server.port}/0"
        rings_by_tls_if_the_certificate_is_trusted_and_of_that_name(url, certificate, home, deployment, monkeypatch)
    finally:
        server.kill()
