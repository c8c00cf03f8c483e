"""What has to hold of a broker that is reached by TLS."""

from __future__ import annotations

from pathlib import Path

import pytest
from kombu import Consumer

from tasks_app.broker.queues import queue_for
from tasks_app.broker.ringer import Ringer
from tests.broker.certificates import Certificate
from tests.broker.servers import application, until


def rings_by_tls_if_the_certificate_is_trusted_and_of_that_name(
    url: str, certificate: Certificate, home: Path, deployment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`url`: without the server's name, `{}` instead of it."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.certificate))
    heard: list[object] = []
    app = application(url.format("127.0.0.1"), home)
    ringer = Ringer()
    ringer.configure(deployment, app)
    with app.connection_for_read() as connection:
        queue = queue_for(deployment, "echo")
        with Consumer(connection, queue, callbacks=[lambda body, _: heard.append(body[0])], no_ack=True):
            ringer.ring("echo")
            while not heard:
                connection.drain_events(timeout=10)
        queue(connection.channel()).delete()
    assert heard == [["echo"]]
    assert ringer.close(10)

    for told, wanted, host in (
        ("/dev/null", "certificate verify failed: self", "127.0.0.1"),
        (str(certificate.certificate), "Hostname mismatch", "127.1"),
    ):
        monkeypatch.setenv("SSL_CERT_FILE", told)
        doubter = Ringer()
        doubter.configure(deployment, application(url.format(host), home))
        doubter.ring("echo")
        until(lambda: doubter.stats().problem)  # noqa: B023
        assert wanted in str(doubter.stats().problem)
        assert not doubter.close(0.1)
