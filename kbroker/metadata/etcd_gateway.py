"""A client of etcd's JSON gateway: HTTP/1.1 with httpx on trio, several members, login, TLS.

What happens to a request at one member, and then:

    not connected, no free connection      it was not sent        -> the next member
    "no leader"                            refused at the door    -> the next member
    broken off, timed out, HTTP 5xx,
    a gRPC code of a server in trouble     nobody knows           -> the next member if it may be sent twice,
                                                                     else StoreUnavailableError
    a gRPC code that refuses it            nothing was done       -> EtcdRefusedError
    a token that is not (or no longer) good                       -> log in once, and again from the start

A member that failed is asked last from then on. Every request says that it wants a leader: a member that is cut
off from the others then refuses at once, and ends the watches it serves, instead of keeping them waiting.

httpx makes the connections itself and reads the system's certificates itself: an exception from the
rule that sockets and files belong to the World, as SQLite's file is.
"""

from __future__ import annotations

import json
import logging
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final, TypeVar

import httpx
import trio

from kbroker.metadata.etcd_messages import (
    FAILED_PRECONDITION,
    UNIMPLEMENTED,
    EtcdRefusedError,
    Json,
    failure_in,
)
from kbroker.metadata.store import StoreError, StoreUnavailableError

logger = logging.getLogger(__name__)

REQUEST_TIMEOUT_S: Final = 2.5
"""For one request at one member, so that a lease can be renewed at another one before it runs out."""

_CONNECT_TIMEOUT_MAX_S: Final = 1.0
_CONNECTIONS_MAX: Final = 64
_IDLE_CONNECTIONS_MAX: Final = 8
_IDLE_S: Final = 60.0

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class EtcdSettings:
    """How to reach an etcd; the files are PEM."""

    endpoints: Sequence[str]
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    ca_file: str | None = None
    certificate_file: str | None = None
    key_file: str | None = None


class _AttemptFailed(Exception):
    """One member did not do it; ``undone``: for certain, it did not."""

    def __init__(self, reason: str, *, undone: bool) -> None:
        super().__init__(reason)
        self.undone = undone


class _Body(httpx.AsyncByteStream):
    """A request's content. httpx's own is a generator, which a cancelled request leaves behind unfinished."""

    def __init__(self, content: bytes) -> None:
        self._left = [content]

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if not self._left:
            raise StopAsyncIteration
        return self._left.pop()


class GatewayStream:
    """An answer that goes on: chunks of bytes as they come."""

    def __init__(self, response: httpx.Response, endpoint: str, token: str | None) -> None:
        self._response = response
        self._chunks: AsyncIterator[bytes] = response.aiter_raw()
        self.endpoint = endpoint
        self.token = token

    async def receive(self) -> bytes:
        """The next bytes. StoreUnavailableError when the stream broke or ended; no use after that."""
        try:
            return await anext(self._chunks)
        except StopAsyncIteration:
            raise StoreUnavailableError(f"{self.endpoint} ended the stream") from None
        except httpx.TransportError as error:
            raise StoreUnavailableError(f"{self.endpoint}: {_reason(error)}") from error

    async def close(self) -> None:
        # httpx reads through generators within generators. Closing the outermost would leave the others to
        # the garbage collector, of which trio complains; a cancelled read ends all of them, and the connection.
        try:
            with trio.CancelScope() as scope:
                scope.cancel()
                async for _ in self._chunks:
                    pass
        except httpx.TransportError:
            pass
        finally:
            with trio.CancelScope(shield=True):
                await self._response.aclose()


class EtcdGateway:
    """Sends requests to whichever member answers."""

    def __init__(
        self,
        settings: EtcdSettings,
        *,
        transport: httpx.AsyncBaseTransport,
        request_timeout_s: float = REQUEST_TIMEOUT_S,
    ) -> None:
        """StoreError if the endpoints are no addresses. See ``http_transport`` for ``transport``."""
        self._settings = settings
        self._endpoints = [_endpoint(text) for text in settings.endpoints]
        if not self._endpoints:
            raise StoreError("no etcd endpoint is configured")
        self._transport = transport
        self._request_timeout_s = request_timeout_s
        self._first = 0
        self._closed = False
        self._token: str | None = None
        self._logged_in = settings.username is None
        self._logging_in = trio.Lock()

    @property
    def endpoint_count(self) -> int:
        return len(self._endpoints)

    async def close(self) -> None:
        """What waits for an answer gets a StoreUnavailableError, and so does what is asked from now on."""
        self._closed = True
        await self._transport.aclose()

    async def call(self, path: str, request: Json, *, repeatable: bool) -> Json:
        """etcd's answer. ``repeatable``: no harm is done if it is carried out twice.

        StoreUnavailableError if no member gave one, or, for a request that is not repeatable, if it may
        have been carried out; EtcdRefusedError if etcd will not do it.
        """
        content = json.dumps(request).encode()

        async def attempt(token: str | None) -> Json:
            return await self._at_each(partial(self._ask, path, content, token), repeatable=repeatable)

        return await self._logged_in_attempt(attempt)

    async def open_stream(self, path: str, request: Json) -> GatewayStream:
        """A request whose answer goes on, once it has begun; errors as for a repeatable ``call``."""
        content = json.dumps(request).encode()

        async def attempt(token: str | None) -> GatewayStream:
            return await self._at_each(partial(self._begin, path, content, token), repeatable=True)

        return await self._logged_in_attempt(attempt)

    def pass_over(self, endpoint: str) -> None:
        """Ask another member first from now on."""
        if str(self._endpoints[self._first]) == endpoint:
            self._first = (self._first + 1) % len(self._endpoints)

    # Which member

    async def _at_each(self, attempt: Callable[[httpx.URL], Awaitable[_T]], *, repeatable: bool) -> _T:
        failures: list[_AttemptFailed] = []
        reasons: list[str] = []
        first = self._first
        for endpoint in self._endpoints[first:] + self._endpoints[:first]:
            if self._closed:
                raise StoreUnavailableError("the metadata store is closed")
            try:
                return await attempt(endpoint)
            except _AttemptFailed as failed:
                failures.append(failed)
                reasons.append(f"{endpoint}: {failed}")
                self.pass_over(str(endpoint))
                if not (repeatable or failed.undone):
                    break
        raise StoreUnavailableError("; ".join(reasons)) from failures[-1]

    # One request to one member

    async def _ask(self, path: str, content: bytes, token: str | None, endpoint: httpx.URL) -> Json:
        with trio.move_on_after(self._request_timeout_s):
            response = await self._send(
                path, content, token, endpoint, read_timeout_s=self._request_timeout_s
            )
            return await _answer(response)
        raise self._no_answer()

    async def _begin(
        self, path: str, content: bytes, token: str | None, endpoint: httpx.URL
    ) -> GatewayStream:
        with trio.move_on_after(self._request_timeout_s):
            response = await self._send(path, content, token, endpoint, read_timeout_s=None)
            if response.status_code != httpx.codes.OK:
                await _answer(response)
                raise _AttemptFailed(f"HTTP {response.status_code}", undone=False)
            return GatewayStream(response, str(endpoint), token)
        raise self._no_answer()

    def _no_answer(self) -> _AttemptFailed:
        return _AttemptFailed(f"no answer in {self._request_timeout_s:g} s", undone=False)

    async def _send(
        self,
        path: str,
        content: bytes,
        token: str | None,
        endpoint: httpx.URL,
        *,
        read_timeout_s: float | None,
    ) -> httpx.Response:
        headers = {
            "Host": endpoint.netloc.decode("ascii"),
            "Content-Type": "application/json",
            "Content-Length": str(len(content)),
            "Grpc-Metadata-hasleader": "true",
        }
        if token is not None:
            headers["Authorization"] = token
        timeouts = {
            # For the connection and once more for TLS: less than the whole, to know that nothing was sent.
            "connect": min(_CONNECT_TIMEOUT_MAX_S, self._request_timeout_s / 3),
            "pool": self._request_timeout_s / 3,
            "write": self._request_timeout_s,
            "read": read_timeout_s,
        }
        request = httpx.Request(
            "POST",
            endpoint.copy_with(path=path),
            headers=headers,
            stream=_Body(content),
            extensions={"timeout": timeouts},
        )
        try:
            return await self._transport.handle_async_request(request)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            raise _AttemptFailed(f"not connected: {_reason(error)}", undone=True) from error
        except httpx.TransportError as error:
            raise _AttemptFailed(_reason(error), undone=False) from error

    # Login

    async def _logged_in_attempt(self, attempt: Callable[[str | None], Awaitable[_T]]) -> _T:
        if not self._logged_in:
            await self.log_in(instead_of=None)
        token = self._token
        try:
            return await attempt(token)
        except EtcdRefusedError as error:
            if not error.wants_login:
                raise
        return await attempt(await self.log_in(instead_of=token))

    async def log_in(self, *, instead_of: str | None) -> str | None:
        """A token, None where etcd knows no users; ``instead_of`` is the one that is no longer good.

        EtcdRefusedError if etcd does not accept the user.
        """
        async with self._logging_in:
            if self._logged_in and self._token != instead_of:
                return self._token  # somebody else was quicker
            username = self._settings.username
            if username is None:
                raise EtcdRefusedError(
                    UNIMPLEMENTED, "etcd wants a user to log in (kbroker.etcd.username is not set)"
                )
            credentials = {"name": username, "password": self._settings.password or ""}
            ask = partial(self._ask, "/v3/auth/authenticate", json.dumps(credentials).encode(), None)
            try:
                answer = await self._at_each(ask, repeatable=True)
                self._token = str(answer["token"])
            except EtcdRefusedError as error:
                if error.code != FAILED_PRECONDITION:
                    raise EtcdRefusedError(error.code, f"etcd refuses user {username!r}: {error}") from error
                # "authentication is not enabled": it may be one day, and then a request will be refused.
                logger.warning("etcd does not ask for a user; kbroker.etcd.username is not used")
                self._token = None
            self._logged_in = True
            return self._token


def http_transport(settings: EtcdSettings) -> httpx.AsyncBaseTransport:
    """Connections to etcd. Reads the certificates, hence blocks; StoreError if they are unusable."""
    return httpx.AsyncHTTPTransport(
        verify=_tls_context(settings) or False,
        trust_env=False,  # a cluster's metadata does not go through the proxy of a user's web browser
        limits=httpx.Limits(
            max_connections=_CONNECTIONS_MAX,
            max_keepalive_connections=_IDLE_CONNECTIONS_MAX,
            keepalive_expiry=_IDLE_S,
        ),
    )


def _tls_context(settings: EtcdSettings) -> ssl.SSLContext | None:
    if not any(endpoint.startswith("https:") for endpoint in settings.endpoints):
        return None
    try:
        context = ssl.create_default_context(cafile=settings.ca_file)
        if settings.certificate_file is not None:
            context.load_cert_chain(settings.certificate_file, settings.key_file)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        files = (settings.ca_file, settings.certificate_file, settings.key_file)
        raise StoreError(f"TLS to etcd with {', '.join(filter(None, files))}: {error}") from error
    return context


def _endpoint(text: str) -> httpx.URL:
    try:
        url = httpx.URL(text)
    except httpx.InvalidURL as error:
        raise StoreError(f"{text!r} is no address of an etcd: {error}") from error
    if url.scheme not in ("http", "https") or not url.host:
        raise StoreError(f"{text!r} is no address of an etcd: http://host:port or https://host:port")
    return url


async def _answer(response: httpx.Response) -> Json:
    """The answer in a response; _AttemptFailed and EtcdRefusedError as the module's docstring says."""
    try:
        content = await response.aread()
    except httpx.TransportError as error:
        raise _AttemptFailed(_reason(error), undone=False) from error
    try:
        answer = json.loads(content)
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        if response.status_code >= httpx.codes.INTERNAL_SERVER_ERROR:
            raise _AttemptFailed(f"HTTP {response.status_code}", undone=False)
        raise EtcdRefusedError(
            UNIMPLEMENTED,
            f"HTTP {response.status_code} in place of JSON: no etcd from 3.4 on, or its gateway is switched off",
        )
    failure = failure_in(answer)
    if failure is None:
        return answer
    if failure.is_refusal:
        raise EtcdRefusedError(failure.code, failure.message)
    raise _AttemptFailed(failure.message, undone=failure.is_undone)


def _reason(error: BaseException) -> str:
    """What happened, in the words of the first of the error's causes that has any: httpx adds none of its own.

    httpcore suppresses the chain of causes, but an error made of another holds it as its argument. Without
    words is, among others, a connection that etcd closes while we send, for want of a certificate it likes.
    """
    found: object = error
    while isinstance(found, BaseException):
        if str(found):
            return str(found)
        found = found.__cause__ or found.__context__ or next(iter(found.args), None)
    return f"the connection broke ({type(error).__name__})"
