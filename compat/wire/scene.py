"""Where a case happens: one broker, one version, names of its own, and a record of what was asked and answered."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import TypeVar, overload
from uuid import UUID

from compat.wire.connection import ANSWER_DEADLINE_S, NoAnswer, WireConnection
from wire.headers import decode_response
from wire.schema import Request, Response

ResponseT = TypeVar("ResponseT", bound=Response)
T = TypeVar("T")

PATIENCE_S = 30.0
_POLL_S = 0.005


@dataclass(frozen=True)
class Silence:
    """In place of an answer: the broker closed the connection, or said nothing in time."""

    reason: str


@dataclass(frozen=True)
class Exchange:
    """What was sent, and what came back. ``sent`` is bytes where it is no request that the codec would write."""

    sent: Request | bytes
    version: int
    answer: Response | Silence


class CaseEnded(Exception):
    """The broker did not answer, so the case cannot go on; what there is up to here is compared."""


class Side:
    """One of the two brokers, for the whole session."""

    def __init__(self, name: str, bootstrap_servers: str) -> None:
        self.name = name
        host, _, port = bootstrap_servers.split(",")[0].rpartition(":")
        self.host, self.port = host, int(port)
        self._connection: WireConnection | None = None
        self._made: dict[Hashable, object] = {}
        self.topic_names: dict[UUID, str] = {}
        """Of the topics that cases have created, by this broker's ids for them."""

    def connect(self) -> WireConnection:
        """A new connection, the caller's to close."""
        return WireConnection(self.host, self.port)

    @property
    def connection(self) -> WireConnection:
        """The connection that cases share, opened anew when one of them has lost it."""
        if self._connection is None or not self._connection.usable:
            self._connection = self.connect()
        return self._connection

    def once(self, key: Hashable, make: Callable[[], T]) -> T:
        """What ``make`` returned the first time it was asked for on this broker: state that cases only look at."""
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]  # type: ignore[return-value]

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()


@dataclass
class Scene:
    """One case at one version on one broker.

    ``case_token`` is the case's in this run, the same on both brokers and for all of its versions.
    """

    side: Side
    version: int
    case_token: str
    versions: tuple[int, ...]
    """All at which the case runs."""
    exchanges: list[Exchange] = field(default_factory=list)
    started_ms: int = field(default_factory=lambda: time.time_ns() // 1_000_000)
    _opened: list[WireConnection] = field(default_factory=list)

    @property
    def token(self) -> str:
        """Part of every name that is this scene's own; of the same length for all."""
        return f"{self.case_token}v{self.version:02}"

    def name(self, prefix: str) -> str:
        """A name that no other case has, nor this one at another version; the same on both brokers."""
        return f"{prefix}-{self.token}"

    def name_for_all_versions(self, prefix: str) -> str:
        """A name that no other case has."""
        return f"{prefix}-{self.case_token}"

    def connect(self) -> WireConnection:
        """A connection of the case's own, closed when it is over."""
        connection = self.side.connect()
        self._opened.append(connection)
        return connection

    @overload
    def ask(
        self, request: Request, *, over: WireConnection | None = ..., version: int | None = ...
    ) -> Response: ...

    @overload
    def ask(
        self,
        request: Request,
        response_class: type[ResponseT],
        *,
        over: WireConnection | None = ...,
        version: int | None = ...,
    ) -> ResponseT: ...

    def ask(
        self,
        request: Request,
        response_class: type[Response] = Response,
        *,
        over: WireConnection | None = None,
        version: int | None = None,
    ) -> Response:
        """Send at the case's version, or the one given, and keep the exchange for the comparison.

        CaseEnded where no answer comes; that is compared, too.
        """
        return self.send(request, over=over, version=version).answer(response_class)

    def send(
        self, request: Request, *, over: WireConnection | None = None, version: int | None = None
    ) -> PendingAnswer:
        """Send without waiting; exchanges are compared in the order in which their answers are asked for."""
        connection = over or self.side.connection
        used = self.version if version is None else version
        correlation_id = connection.send(request, used)
        return PendingAnswer(self, connection, request, used, correlation_id)

    def send_bytes(
        self, data: bytes, *, over: WireConnection, api_key: int, version: int, correlation_id: int
    ) -> PendingAnswer:
        """Send bytes as they are; what comes back is read as that API's response of that version."""
        over.send_bytes(data)
        return PendingAnswer(self, over, data, version, correlation_id, api_key)

    def call(
        self, request: Request, response_class: type[ResponseT], *, version: int | None = None
    ) -> ResponseT:
        """An exchange of the preparations: at the newest version that is stable, and not compared."""
        connection = self.side.connection
        used = version if version is not None else newest_stable_version(type(request))
        connection.send(request, used)
        _, response = decode_response(request.api_key, used, connection.receive())
        assert isinstance(response, response_class)
        return response

    def until(self, attempt: Callable[[], T], is_right: Callable[[T], bool], what: str) -> T:
        """Repeat ``attempt`` until its result ``is_right``; AssertionError saying ``what`` was waited for."""
        deadline = time.monotonic() + PATIENCE_S
        while not is_right(result := attempt()):
            assert time.monotonic() < deadline, f"{self.side.name}: {what} did not happen: {result}"
            time.sleep(_POLL_S)
        return result

    def ask_until(
        self,
        request: Request,
        response_class: type[ResponseT],
        is_settled: Callable[[ResponseT], bool],
        *,
        version: int | None = None,
    ) -> ResponseT:
        """Ask again until the answer ``is_settled`` or patience ends; only the last exchange is compared.

        For what a broker does in its own time: a difference shows as what it was at the end.
        """
        kept = len(self.exchanges)
        deadline = time.monotonic() + PATIENCE_S
        while True:
            response = self.ask(request, response_class, version=version)
            if is_settled(response) or time.monotonic() > deadline:
                return response
            del self.exchanges[kept:]
            time.sleep(_POLL_S)

    def close(self) -> None:
        for connection in self._opened:
            connection.close()


@dataclass(frozen=True)
class PendingAnswer:
    """A request that was sent."""

    scene: Scene
    connection: WireConnection
    sent: Request | bytes
    version: int
    correlation_id: int
    api_key: int = -1

    def answer(
        self,
        response_class: type[ResponseT] = Response,
        *,
        deadline_s: float = ANSWER_DEADLINE_S,  # type: ignore[assignment]
    ) -> ResponseT:
        """Wait for the answer and keep the exchange. CaseEnded where there is none."""
        api_key = self.sent.api_key if isinstance(self.sent, Request) else self.api_key
        try:
            frame = self.connection.receive(deadline_s=deadline_s)
        except NoAnswer as ended:
            self.scene.exchanges.append(Exchange(self.sent, self.version, Silence(str(ended))))
            raise CaseEnded from ended
        correlation_id, response = decode_response(api_key, self.version, frame)
        assert correlation_id == self.correlation_id, (correlation_id, self.correlation_id)
        assert isinstance(response, response_class)
        self.scene.exchanges.append(Exchange(self.sent, self.version, response))
        return response


def newest_stable_version(request_class: type[Request]) -> int:
    """The newest version, but for InitProducerId, whose last one Apache Kafka serves only if told to."""
    return request_class.max_version - (1 if request_class.api_key == _INIT_PRODUCER_ID else 0)


_INIT_PRODUCER_ID = 22
