"""Sends callbacks: a host is looked up once a try, its addresses are judged, and one of those is connected to.

For one event loop. What a receiver answers beside its status reaches nobody.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import os
import socket
import ssl
import threading
import time
from collections.abc import Callable, Sequence, Set
from contextlib import AsyncExitStack, suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple
from weakref import WeakValueDictionary

import httpcore2

from tasks_app.conf.weak_secrets import signing_key
from tasks_app.features.callbacks.addresses import Endpoint, endpoint, literal_address, refused

#: For everything: the look-up, the connection, the answer.
TIMEOUT_SECONDS = 15.0
#: Tries at once to one address, whatever names it has, and how long another one waits for its turn. The last of them
#: are for hosts that answered quickly the last time.
MAX_TO_ADDRESS, RESERVED_TO_ADDRESS, ADDRESS_PATIENCE_SECONDS = 16, 4, 1.0
#: Threads that look names up; a resolver that does not answer keeps one a name. The last of them are for hosts that
#: answered quickly the last time.
MAX_LOOKUPS, RESERVED_LOOKUPS = 320, 64
#: Of an answer's body so much is read, for so long: a connection that is closed before its answer was read is reset.
MAX_ANSWER_BYTES, ANSWER_SECONDS = 65_536, 1.0
#: Of all that comes: there may be any number of preliminary answers (1xx), and each costs time of the processor.
MAX_READ_BYTES = 262_144
#: A receiver may ask for so long a wait with Retry-After.
MAX_RETRY_AFTER_SECONDS = 86_400.0


class Message(NamedTuple):
    """What is sent. `secrets`: sign it. `tries`: those before this one; each goes to the host's next address.

    `ahead`: by how many seconds the database's clock, whose time is signed, is ahead of this machine's.
    """

    id: str
    url: str
    body: bytes
    secrets: Sequence[str]
    tries: int = 0
    ahead: float = 0.0


class Outcome(NamedTuple):
    """What became of a try. `status`: of the answer, None without one. `error`: a sentence without any part of the URL
    or of the answer, blank if it is delivered. `retry_after`: the seconds for which the receiver asks. `seconds`: how
    long it took. `begun`: false if it had to wait for a turn that did not come: then it was no try. `ours`: the reason
    is this worker's own, and says nothing of the host."""

    status: int | None = None
    error: str = ""
    retry_after: float = 0.0
    seconds: float = 0.0
    begun: bool = True
    ours: bool = False


class NotSent(Exception):
    """No answer; the text says why."""


class Refused(NotSent):
    """This worker does not send it, whatever its host does."""


class NoTurn(Exception):
    """Too much is under way."""


# What is sent is signed, as Standard Webhooks has it: the id, the moment of the try, the body.


def signature(secrets: Sequence[str], webhook_id: str, timestamp: int, body: bytes) -> str:
    """The value of `webhook-signature`: a receiver that knows one of the secrets accepts it. `secrets`: `whsec_...`."""
    signed = b"%s.%d.%s" % (webhook_id.encode(), timestamp, body)
    keys = map(signing_key, secrets)
    digests = (hmac.digest(key, signed, hashlib.sha256) for key in keys)
    return " ".join(f"v1,{base64.b64encode(digest).decode()}" for digest in digests)


def signed_headers(secrets: Sequence[str], webhook_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """The headers of one try. `timestamp`: of the try, in seconds since 1970."""
    return {
        "Content-Type": "application/json",
        "User-Agent": "task-platform",
        "webhook-id": webhook_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": signature(secrets, webhook_id, timestamp, body),
    }


class Lookups:
    """Looks names up by the system's resolver, each in a thread: it may hang for as long as it likes."""

    def __init__(self, resolve: Callable[..., Sequence[Any]] = socket.getaddrinfo, most: int = MAX_LOOKUPS) -> None:
        self._resolve, self._most = resolve, most
        self._running: dict[str, asyncio.Future[list[str] | OSError]] = {}

    async def addresses(self, host: str, reserve: bool) -> list[str]:
        """The addresses of a host. Look-ups of one name at the same time are one.

        `reserve`: leave some threads to others. Raises OSError, and NoTurn.
        """
        if (literal := literal_address(host)) is not None:
            return [literal]
        if (found := self._running.get(host)) is None:
            if len(self._running) >= self._most - (RESERVED_LOOKUPS if reserve else 0):
                raise NoTurn
            loop = asyncio.get_running_loop()
            found = self._running[host] = loop.create_future()
            # A daemon: the process ends whatever the resolver does.
            thread = threading.Thread(
                target=self._look_up, args=(loop, host, found), name="callback-lookup", daemon=True
            )
            try:
                thread.start()
            except RuntimeError:  # the machine has no more
                del self._running[host]
                raise NoTurn from None
        result = await asyncio.shield(found)
        if isinstance(result, OSError):
            raise result
        return result

    def _look_up(self, loop: asyncio.AbstractEventLoop, host: str, found: asyncio.Future[list[str] | OSError]) -> None:
        result: list[str] | OSError
        try:
            entries = self._resolve(host, None, type=socket.SOCK_STREAM)
            result = list(dict.fromkeys(str(entry[4][0]) for entry in entries))
        except OSError as error:
            result = error
        except UnicodeError:  # Python's own codec of names
            result = OSError("no host name")
        with suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(self._found, host, found, result)

    def _found(self, host: str, found: asyncio.Future[list[str] | OSError], result: list[str] | OSError) -> None:
        del self._running[host]
        found.set_result(result)


class Places:
    """The places of one address: each try has one while it is under way."""

    def __init__(self) -> None:
        self._all = asyncio.Semaphore(MAX_TO_ADDRESS)
        self._shared = asyncio.Semaphore(MAX_TO_ADDRESS - RESERVED_TO_ADDRESS)

    async def take(self, reserve: bool) -> None:
        """Take one; `reserve`: leave some to others. Raises NoTurn."""
        try:
            async with asyncio.timeout(ADDRESS_PATIENCE_SECONDS), AsyncExitStack() as taken:
                for semaphore in (self._shared, self._all) if reserve else (self._all,):
                    await taken.enter_async_context(semaphore)
                taken.pop_all()
        except TimeoutError:
            raise NoTurn from None

    def give_back(self, reserve: bool) -> None:
        """Give back what was taken."""
        self._all.release()
        if reserve:
            self._shared.release()


class Courier:
    """Sends messages. To be used in one event loop."""

    def __init__(
        self, private_hosts: Set[str], lookups: Lookups | None = None, timeout: float = TIMEOUT_SECONDS
    ) -> None:
        """`private_hosts`: those whose addresses are not judged (`Environment.private_hosts`)."""
        self._private_hosts, self._timeout = private_hosts, timeout
        self._lookups = lookups or Lookups()
        self._tls = ssl.create_default_context()
        #: By address; those that are used are there.
        self._places: WeakValueDictionary[str, Places] = WeakValueDictionary()

    async def send(self, message: Message, reserve: bool = False) -> Outcome:
        """Try once. `reserve`: leave some places to hosts that answered quickly the last time. Raises what is a bug."""
        begun = time.monotonic()
        try:
            outcome = await self._send(message, asyncio.get_running_loop().time() + self._timeout, reserve)
        except NotSent as error:
            outcome = Outcome(error=str(error), ours=isinstance(error, Refused))
        except NoTurn:
            outcome = Outcome(begun=False)
        return outcome._replace(seconds=time.monotonic() - begun)

    async def _send(self, message: Message, deadline: float, reserve: bool) -> Outcome:
        if not message.secrets:
            raise Refused("no secret signs it: set DAEMON_CALLBACK_SECRETS, or give its API key a secret")
        try:
            end = endpoint(message.url)
        except ValueError as error:
            raise Refused(f"the URL {error}") from None
        address = await self._address(end, message.tries, deadline, reserve)
        if (places := self._places.get(address)) is None:
            places = self._places[address] = Places()
        await places.take(reserve)
        try:
            async with asyncio.timeout_at(deadline):
                return await self._post(end, address, message)
        except (TimeoutError, httpcore2.TimeoutException):
            raise NotSent(f"no answer within {self._timeout:g} s") from None
        except (httpcore2.NetworkError, httpcore2.ProtocolError) as error:
            raise NotSent(_reason(error)) from None
        finally:
            places.give_back(reserve)

    async def _address(self, end: Endpoint, tries: int, deadline: float, reserve: bool) -> str:
        """The address to connect to: looked up once, so that what is judged is what is connected to."""
        try:
            async with asyncio.timeout_at(deadline):
                addresses = await self._lookups.addresses(end.host, reserve)
        except TimeoutError:
            raise NotSent(f"its name was not looked up within {self._timeout:g} s") from None
        except OSError as error:
            raise NotSent(f"its name has no address ({error.strerror or 'unknown'})") from None
        if not addresses:
            raise NotSent("its name has no address")
        if not end.is_named(self._private_hosts):
            kind = next(filter(None, map(refused, addresses)), None)
            if kind is not None:
                raise Refused(f"its host has {kind}, and DAEMON_CALLBACK_HOSTS does not name it")
        return addresses[tries % len(addresses)]

    async def _post(self, end: Endpoint, address: str, message: Message) -> Outcome:
        headers = {
            "Host": end.host_header,
            "Content-Length": str(len(message.body)),
            "Connection": "close",
            **signed_headers(message.secrets, message.id, int(time.time() + message.ahead), message.body),
        }
        url = httpcore2.URL(scheme=end.scheme, host=address, port=end.port, target=end.target)
        request = httpcore2.Request(
            "POST", url, headers=list(headers.items()), content=message.body,
            extensions={"sni_hostname": end.host.rstrip(".")},
        )  # fmt: skip
        # A connection a try: one that is kept belongs to a name whose certificate was checked, not to an address.
        async with httpcore2.AsyncHTTPConnection(
            url.origin, ssl_context=self._tls, network_backend=_Bounding()
        ) as connection:
            response = await connection.handle_async_request(request)
            await _read_some(response)
        if 200 <= response.status < 300:
            return Outcome(response.status)
        redirect = "; redirects are not followed" if 300 <= response.status < 400 else ""
        return Outcome(response.status, f"answered {response.status}{redirect}", _retry_after(response.headers))


class _Bounding(httpcore2.AnyIOBackend):
    async def connect_tcp(self, *args: Any, **options: Any) -> httpcore2.AsyncNetworkStream:
        return _Bounded(await super().connect_tcp(*args, **options))


class _Bounded(httpcore2.AsyncNetworkStream):
    """A connection of which MAX_READ_BYTES are read. Raises NotSent beyond."""

    def __init__(self, stream: httpcore2.AsyncNetworkStream) -> None:
        self._stream, self._bytes = stream, 0

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        data = await self._stream.read(max_bytes, timeout)
        self._bytes += len(data)
        if self._bytes > MAX_READ_BYTES:
            raise NotSent("its answer does not end")
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        await self._stream.write(buffer, timeout)

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def start_tls(self, *args: Any, **options: Any) -> httpcore2.AsyncNetworkStream:
        return _Bounded(await self._stream.start_tls(*args, **options))

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


async def _read_some(response: httpcore2.Response) -> None:
    """Read the body, so far as it is small and soon there: the status is known, whatever follows."""
    length = 0
    with suppress(TimeoutError, NotSent, httpcore2.TimeoutException, httpcore2.NetworkError, httpcore2.ProtocolError):
        async with asyncio.timeout(ANSWER_SECONDS):
            async for part in response.aiter_stream():
                length += len(part)
                if length > MAX_ANSWER_BYTES:
                    break


def _retry_after(headers: Sequence[tuple[bytes, bytes]]) -> float:
    """The seconds of the header Retry-After, a number or a date; 0 without one, and at most a day."""
    value = next((value for name, value in headers if name.lower() == b"retry-after"), b"").decode("latin-1").strip()
    if value.isascii() and value.isdigit():
        return min(float(value[:9]), MAX_RETRY_AFTER_SECONDS)
    try:
        at = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return 0.0
    at = at if at.tzinfo is not None else at.replace(tzinfo=UTC)
    return min(max((at - datetime.now(UTC)).total_seconds(), 0.0), MAX_RETRY_AFTER_SECONDS)


def _reason(error: BaseException) -> str:
    """Why there was no answer, without what the other side has said."""
    if isinstance(error, httpcore2.ProtocolError):
        return "no answer in HTTP"
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"its certificate is not accepted ({cause.verify_message})"
        if isinstance(cause, ssl.SSLError):
            return f"no connection over TLS ({cause.reason or 'closed'})"
        if isinstance(cause, OSError) and cause.errno:  # asyncio's own text has the address
            return f"no connection ({os.strerror(cause.errno)})"
        cause = cause.__cause__ or cause.__context__
    return "the connection was closed before an answer"
