"""`rediss://`: a server whose certificate is not trusted, or is for another name, receives nothing.

tests/faults/test_rabbitmq.py tests `amqps://`.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from testkit.brokers import RedisServer
from testkit.certificates import make_certificate
from tests.broker.tls import notifies_by_tls_if_the_certificate_is_trusted_and_of_that_name


@pytest.mark.redis
def test_redis_is_notified_by_tls_and_its_certificate_is_checked(
    home: Path, deployment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate = make_certificate(home)
    server = RedisServer(certificate=certificate)
    try:
        url = f"rediss://{{}}:{server.port}/0"
        notifies_by_tls_if_the_certificate_is_trusted_and_of_that_name(url, certificate, home, deployment, monkeypatch)
    finally:
        server.kill()
