"""What must hold for every broker that is reached by TLS."""

from __future__ import annotations

from pathlib import Path

import pytest
from kombu import Consumer

from tasks_app.broker.notification import Notifier
from tasks_app.broker.queues import queue_for
from testkit.brokers import application
from testkit.certificates import Certificate
from testkit.process import until


def notifies_by_tls_if_the_certificate_is_trusted_and_of_that_name(
    url: str, certificate: Certificate, home: Path, deployment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`url`: with `{}` in place of the server's name."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.certificate))
    received: list[object] = []
    app = application(url.format("127.0.0.1"), home)
    notifier = Notifier()
    notifier.configure(deployment, app)
    with app.connection_for_read() as connection:
        queue = queue_for(deployment, "echo")
        with Consumer(connection, queue, callbacks=[lambda body, _: received.append(body[0])], no_ack=True):
            notifier.notify("echo")
            while not received:
                connection.drain_events(timeout=10)
        queue(connection.channel()).delete()
    assert received == [["echo"]]
    assert notifier.close(10)

    for authorities, expected, host in (
        ("/dev/null", "certificate verify failed: self", "127.0.0.1"),
        (str(certificate.certificate), "Hostname mismatch", "127.1"),
    ):
        monkeypatch.setenv("SSL_CERT_FILE", authorities)
        notifier = Notifier()
        notifier.configure(deployment, application(url.format(host), home))
        notifier.notify("echo")
        until(lambda: notifier.stats().problem)  # noqa: B023
        assert expected in str(notifier.stats().problem)
        assert not notifier.close(0.1)
