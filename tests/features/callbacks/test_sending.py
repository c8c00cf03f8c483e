"""One try of a callback, against servers of this machine: what it sends, to which address, and what is said of it."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks import Webhook

from tasks_app.features.callbacks.sending import (
    MAX_TO_ADDRESS,
    RESERVED_LOOKUPS,
    RESERVED_TO_ADDRESS,
    Courier,
    Lookups,
    Message,
    Outcome,
)
from testkit.callback_receivers import SECRET
from testkit.certificates import make_certificate
from testkit.receiver import Receiver, receiving
from tests.features.callbacks.test_addresses import PRIVATE

ID = "0198c5a0-0000-7000-8000-000000000001"
LOCAL = frozenset({"127.0.0.1", "hooks.test", "other.test"})


def message(url: str, **changes: Any) -> Message:
    return Message(ID, url, b'{"type": "task.completed"}', [SECRET])._replace(**changes)


def send(url: str, courier: Courier | None = None, **changes: Any) -> Outcome:
    """One try with this machine's addresses allowed."""

    async def run() -> Outcome:
        return await (courier or Courier(LOCAL)).send(message(url, **changes))

    return asyncio.run(run())


def resolving(*addresses: str) -> tuple[Lookups, list[str]]:
    """A resolver that answers each look-up with the next of these addresses; and the names that it was asked for."""
    asked: list[str] = []

    def resolve(host: str, *_: object, **__: object) -> Sequence[Any]:
        asked.append(host)
        found = addresses[min(len(asked), len(addresses)) - 1]
        return [(0, 0, 0, "", (address, 0)) for address in found.split(",")]

    return Lookups(resolve), asked


def test_a_try_is_one_post_that_the_published_library_accepts(receiver: Receiver) -> None:
    body = '{"type": "task.completed", "data": {"result": "ä"}}'.encode()
    outcome = send(receiver.url + "?a=1", body=body)
    assert (outcome.status, outcome.error, outcome.begun) == (200, "", True)
    assert receiver.paths == ["/services/S3CRET?a=1"]
    (headers,) = receiver.headers
    assert Webhook(SECRET).verify(body, headers)["data"] == {"result": "ä"}
    assert headers["webhook-id"] == ID
    assert headers["Host"] == f"127.0.0.1:{receiver.port}"
    assert headers["Content-Type"] == "application/json"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308, 400, 404, 410, 429, 500, 503])
def test_another_answer_than_success_is_an_error_and_no_redirect_is_followed(receiver: Receiver, status: int) -> None:
    with receiving() as other:
        receiver.status, receiver.location = status, other.url
        outcome = send(receiver.url)
        assert other.paths == []
    assert outcome.status == status
    assert outcome.error.startswith(f"answered {status}")
    assert ("redirects are not followed" in outcome.error) is (status < 400)


@pytest.mark.parametrize(
    "address", [host for host in PRIVATE if "localhost" not in host.lower() and not host.endswith(".")]
)
def test_a_name_with_an_address_that_is_not_the_internets_is_refused_beside_good_ones(address: str) -> None:
    found = socket.getaddrinfo(address.strip("[]"), None, type=socket.SOCK_STREAM)[0][4][0]
    lookups, asked = resolving(f"8.8.8.8,{found},2606:4700::1")
    outcome = send("https://hooks.example.org/S3CRET", Courier(frozenset(), lookups))
    assert asked == ["hooks.example.org"]
    assert outcome.status is None
    assert outcome.error.startswith("its host has a")
    assert outcome.error.endswith("DAEMON_CALLBACK_HOSTS does not name it")
    assert str(found) not in outcome.error, "callers learn no address of this network"


def test_a_literal_address_is_judged_at_each_try_too(receiver: Receiver) -> None:
    outcome = send(receiver.url, Courier(frozenset()))
    assert (outcome.status, receiver.paths) == (None, [])
    assert "a loopback address" in outcome.error


def test_a_name_that_changes_after_its_look_up_is_connected_to_as_it_was_judged(receiver: Receiver) -> None:
    with ExitStack() as stack:
        elsewhere = stack.enter_context(closing(socket.create_server(("127.0.0.2", receiver.port))))
        lookups, asked = resolving("127.0.0.1", "127.0.0.2")
        outcome = send(f"http://hooks.test:{receiver.port}/", Courier(LOCAL, lookups))
        assert (outcome.status, asked) == (200, ["hooks.test"])
        elsewhere.settimeout(0)
        with pytest.raises(BlockingIOError):
            elsewhere.accept()


def test_further_tries_go_to_the_further_addresses_of_a_name(receiver: Receiver) -> None:
    lookups, _ = resolving("127.0.0.3,127.0.0.1")
    courier = Courier(LOCAL, lookups)
    url = f"http://hooks.test:{receiver.port}/"
    assert [send(url, courier, tries=tries).status for tries in (0, 1, 2, 3)] == [None, 200, None, 200]


def test_over_tls_the_name_is_asked_for_and_its_certificate_checked_at_the_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make_certificate(tmp_path, "DNS:hooks.test")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made.certificate, made.key)
    names: list[str | None] = []
    context.sni_callback = lambda _, name, __: names.append(name)
    with receiving(context) as receiver:
        url = f"https://hooks.test:{receiver.port}/"
        untrusted = send(url, Courier(LOCAL, resolving("127.0.0.1")[0]))
        monkeypatch.setenv("SSL_CERT_FILE", str(made.certificate))
        trusted = send(url, Courier(LOCAL, resolving("127.0.0.1")[0]))
        other = send(url.replace("hooks", "other"), Courier(LOCAL, resolving("127.0.0.1")[0]))
    assert "its certificate is not accepted" in untrusted.error
    assert (trusted.status, trusted.error) == (200, "")
    assert "its certificate is not accepted" in other.error
    assert names == ["hooks.test", "hooks.test", "other.test"]
    assert receiver.headers[0]["Host"] == f"hooks.test:{receiver.port}"
    assert len(receiver.messages) == 1


def test_proxies_of_the_environment_are_ignored(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    with receiving() as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        assert send(receiver.url).status == 200
        assert proxy.paths == []


def answering(answer: Callable[[socket.socket], None]) -> tuple[str, ExitStack]:
    """A server that reads a request's beginning and then answers as it likes."""
    stack = ExitStack()
    server = stack.enter_context(closing(socket.create_server(("127.0.0.1", 0))))

    def serve() -> None:
        connection, _ = server.accept()
        with connection:
            connection.recv(65_536)
            try:
                answer(connection)
            except OSError:
                pass  # the other side has had enough

    threading.Thread(target=serve, daemon=True).start()
    return f"http://127.0.0.1:{server.getsockname()[1]}/S3CRET", stack


def endless(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        connection.sendall(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")


def dripping(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nx")
    connection.recv(1)  # until the other side closes


@pytest.mark.parametrize("answer", [endless, dripping])
def test_a_body_without_end_changes_nothing_of_the_status(answer: Callable[[socket.socket], None]) -> None:
    url, stack = answering(answer)
    with stack:
        assert send(url)[:2] == (200, "")


def preliminary(connection: socket.socket) -> None:
    while True:
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n" * 100)


def test_preliminary_answers_without_end_are_given_up_by_their_bytes() -> None:
    url, stack = answering(preliminary)
    with stack:
        assert send(url, Courier(LOCAL, timeout=600.0))[:2] == (None, "its answer does not end")


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"", "the connection was closed before an answer"),
        (b"SSH-2.0-S3CRET\r\n\r\n", "no answer in HTTP"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"S3CRET" * 30_000, "no answer in HTTP"),
        (b"HTTP/1.1 999999 OK\r\n\r\n", "no answer in HTTP"),
    ],
)
def test_what_is_no_answer_is_said_without_what_was_answered(answer: bytes, error: str) -> None:
    url, stack = answering(lambda connection: connection.sendall(answer))
    with stack:
        outcome = send(url)
    assert outcome.status is None
    assert outcome.error == error or outcome.error in ("no answer in HTTP", "no connection (Connection reset by peer)")


def test_a_server_that_never_answers_or_whose_head_drips_is_given_up(receiver: Receiver) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/S3CRET"
        assert send(url, Courier(LOCAL, timeout=0.3))[:2] == (None, "no answer within 0.3 s")
    receiver.drip = 0.05
    assert send(receiver.url, Courier(LOCAL, timeout=0.3))[:2] == (None, "no answer within 0.3 s")


def test_what_cannot_be_reached_or_resolved_is_said_without_the_url() -> None:
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]
    assert send(f"http://127.0.0.1:{port}/S3CRET").error == "no connection (Connection refused)"
    unknown = send("http://name.invalid/S3CRET", Courier(LOCAL, Lookups(_unknown)))
    assert unknown.error == "its name has no address (Name or service not known)"
    assert send("http://a..b/S3CRET").error.startswith("its name has no address")
    assert send("http://127.0.0.1/S3CRET", secrets=[]).error.startswith("no secret signs it")
    assert send("http://user@127.0.0.1/S3CRET").error.startswith("the URL has a user")


def _unknown(*_: object, **__: object) -> Sequence[Any]:
    raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7.0),
        ("0", 0.0),
        ("999999999999999999999999", 86_400.0),
        ("-1", 0.0),
        ("1.5", 0.0),
        ("soon", 0.0),
        ("Wed, 99 Foo 2015 07:28:00 GMT", 0.0),
        ("Sun, 06 Nov 1994 08:49:37 GMT", 0.0),
        ("Thu, 31 Dec 2099 23:59:59 GMT", 86_400.0),
    ],
)
def test_retry_after_is_a_number_or_a_date_and_a_day_at_most(value: str, seconds: float) -> None:
    head = f"HTTP/1.1 429 Later\r\nRetry-After: {value}\r\nContent-Length: 0\r\n\r\n".encode()
    url, stack = answering(lambda connection: connection.sendall(head))
    with stack:
        outcome = send(url)
    assert (outcome.status, outcome.retry_after) == (429, seconds)


def test_a_resolver_that_hangs_stops_only_the_names_that_need_it(receiver: Receiver) -> None:
    hung = threading.Event()
    asked: list[str] = []

    def resolve(host: str, *_: object, **__: object) -> Sequence[Any]:
        asked.append(host)
        if host != "hooks.test":
            hung.wait()
        return [(0, 0, 0, "", ("127.0.0.1", 0))]

    lookups = Lookups(resolve, most=RESERVED_LOOKUPS + 8)
    courier = Courier(LOCAL, lookups, timeout=5)

    async def run() -> None:
        silent = [
            asyncio.create_task(courier.send(message(f"http://{number}.test/"), reserve=True))
            for number in (*range(8), *range(8))
        ]
        await asyncio.sleep(0)
        good = await courier.send(message(f"http://hooks.test:{receiver.port}/"))
        literal = await courier.send(message(receiver.url), reserve=True)
        without = await courier.send(message("http://9.test/"), reserve=True)
        assert [good.status, literal.status] == [200, 200]
        assert not without.begun, "no thread is left for it"
        assert not any(task.done() for task in silent)
        hung.set()
        await asyncio.wait(silent)

    try:
        asyncio.run(run())
    finally:
        hung.set()
    assert sorted(asked) == sorted([*(f"{number}.test" for number in range(8)), "hooks.test"]), "one thread a name"


def test_a_look_up_for_which_the_machine_has_no_thread_is_no_try_and_the_next_one_asks_again(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    courier = Courier(LOCAL, Lookups(lambda *_, **__: [(0, 0, 0, "", ("127.0.0.1", 0))]), timeout=5)
    to = f"http://hooks.test:{receiver.port}/"
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", none)
        assert not send(to, courier).begun
    assert send(to, courier).status == 200


def test_a_look_up_that_outlasts_the_try_is_said() -> None:
    hung = threading.Event()

    def resolve(*_: object, **__: object) -> Sequence[Any]:
        hung.wait()
        return []

    lookups = Lookups(resolve)
    try:
        assert send("http://hooks.test/", Courier(LOCAL, lookups, timeout=0.2)).error == (
            "its name was not looked up within 0.2 s"
        )
    finally:
        hung.set()


def test_an_address_has_so_many_tries_at_once_whatever_names_it_has() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=100) as silent:
        port = silent.getsockname()[1]

        async def begun(others: int, quick: int) -> list[int]:
            urls = [f"http://{number}.hooks.test:{port}/" for number in range(others + quick)]
            courier = Courier(frozenset({".hooks.test"}), resolving("127.0.0.1")[0], timeout=3)
            tries = [courier.send(message(url), reserve=number < others) for number, url in enumerate(urls)]
            outcomes = await asyncio.gather(*tries)
            return [sum(outcome.begun for outcome in some) for some in (outcomes[:others], outcomes[others:])]

        shared = MAX_TO_ADDRESS - RESERVED_TO_ADDRESS
        assert asyncio.run(begun(others=20, quick=RESERVED_TO_ADDRESS)) == [shared, RESERVED_TO_ADDRESS]
        assert asyncio.run(begun(others=0, quick=20)) == [0, MAX_TO_ADDRESS]
