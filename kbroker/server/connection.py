"""One client connection: frames in, handlers, responses out in request order.

Like Kafka, a connection serves one request at a time: the next frame is read when the response to the last
has been handed to the kernel. That keeps responses in order, makes a slow reader hold only itself back, and
leaves what the client pipelines in the socket buffers, where TCP pushes back.

    reading --frame--> handling --response--> sending --> reading, if need be after a time of silence (quotas)
       |                  |  |                   |
       |                  |  +--LaterResponse--> reading; a task of its own waits, and sends when its turn comes
       +-- end, idle, protocol error, stop ------+--> closed

Unlike Kafka it does not stand still while a Produce waits for the in-sync replicas (``LaterResponse``). What a producer
has in flight is appended as it comes, and one round of replication serves all of it. With one request at a
time a producer of 1,000 small records a second would wait for five rounds, one for each request in flight. Requests of
other keys are held back until everything before them is answered, as are those beyond ``_UNANSWERED_MAX``.

What cannot be understood (a frame, a header, a key or version that is not served) closes the connection with
one log line, as Apache Kafka does; an unknown ApiVersions version alone is answered, so that clients can
fall back (KIP-511).
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import cast

import trio

from kbroker.handlers.measured import answer_within_quotas, is_from_a_broker
from kbroker.handlers.table import HandlerTable, LaterResponse, RequestContext
from kbroker.quotas.client_quotas import ClientQuotaManager, RequestQuotas
from kbroker.server.request_memory import RequestMemory
from kbroker.world import Connection, ConnectionLost, Part, World
from storage.file_slice import FileSlice
from wire.errors import ProtocolError
from wire.framing import FrameReader
from wire.headers import RequestHeader, UnsupportedRequestError, decode_request, encode_response
from wire.messages import API_KEYS
from wire.messages.api_versions import ApiVersionsRequest
from wire.schema import Request, Response

logger = logging.getLogger(__name__)

_UNANSWERED_MAX = 16
"""How many Produce requests of one connection are in the log and not answered yet; a client has five in flight, or
any number if it does not care for their order."""


@dataclass(slots=True, eq=False)
class _Unanswered:
    """A request that was handled, and whose response is not sent yet; None: it is waited for."""

    header: RequestHeader
    response: Response | None


class ClientConnection:
    """Serves one connection until it ends; owns nothing but the socket."""

    def __init__(
        self,
        connection: Connection,
        *,
        table: HandlerTable,
        world: World,
        memory: RequestMemory,
        listener_name: str,
        connection_id: str,
        request_bytes_max: int,
        local_host: str,
        quotas: ClientQuotaManager | None = None,
    ) -> None:
        """``local_host`` is where the client believes this broker to be, for listeners that do not say."""
        self.connection_id = connection_id
        self.client_host = connection.peer_address.host
        self.last_active = world.monotonic()
        self.scope = trio.CancelScope()
        self._connection = connection
        self._table = table
        self._world = world
        self._memory = memory
        self._listener_name = listener_name
        self._local_host = local_host
        self._quotas = quotas
        self._measured: RequestQuotas | None = None
        self._muted_until = 0.0  # monotonic seconds; 0: it is not
        self._frames = FrameReader(request_bytes_max)
        self._reserved_bytes = 0
        self._reading = trio.CancelScope()
        self._request_name = "a request"
        self._is_in_hand = False
        self._is_waiting_for_handler = False
        self._unanswered: deque[_Unanswered] = deque()
        self._answered = trio.lowlevel.ParkingLot()
        self._is_sending = False
        self._stopping = False

    async def serve(self) -> None:
        """Serve requests until the client leaves, breaks the protocol, or ``stop`` is called."""
        try:
            with self.scope:
                async with trio.open_nursery() as nursery:
                    with self._reading, self._failure_is_logged():
                        await self._serve_requests(nursery)
                    self._release()
        finally:
            self._release()
            self._connection.close()

    async def _serve_requests(self, nursery: trio.Nursery) -> None:
        while not self._stopping:
            if self._muted_until:
                await self._stay_muted()
            if not await self._serve_request(nursery):
                return

    async def _serve_request(self, nursery: trio.Nursery) -> bool:
        """Whether there was one. Nothing of it stays in memory while the next one is waited for."""
        frame = await self._receive_frame()
        if frame is None:
            return False
        header, request = self._decode(frame)
        self._request_name = API_KEYS[header.request_api_key].name
        self._is_in_hand = True
        try:
            while self._unanswered and not self._may_overtake(header):
                await self._answered.park()
            response = await self._handle(header, request, len(frame))
            if self._unanswered or isinstance(response, LaterResponse):
                self._answer_later(header, response, nursery)
            elif response is not None:
                sending = self._send(header, response)
                await (sending if self._measured is None else self._measured.timed(sending))
            if self._measured is not None:
                self._mute(self._measured)
        finally:
            self._is_in_hand = False
            self._release()
        return True

    def _mute(self, measured: RequestQuotas) -> None:
        self._measured = None
        measured.settle()
        if measured.throttle_time_ms:
            self._muted_until = measured.settled_at + measured.throttle_time_ms / 1000

    async def _stay_muted(self) -> None:
        """The client has used up a quota: what it sends waits in the socket (KIP-219)."""
        await self._world.sleep(max(self._muted_until - self._world.monotonic(), 0))
        self._muted_until = 0.0
        self.last_active = self._world.monotonic()

    def _may_overtake(self, header: RequestHeader) -> bool:
        """Whether a request may be handled though others before it are not answered."""
        last = self._unanswered[-1].header
        return last.request_api_key == header.request_api_key and len(self._unanswered) < _UNANSWERED_MAX

    def _answer_later(
        self, header: RequestHeader, response: Response | LaterResponse | None, nursery: trio.Nursery
    ) -> None:
        if isinstance(response, LaterResponse):
            answer = _Unanswered(header, None)
            self._unanswered.append(answer)
            # Each has a task of its own, though they are sent in order: what is true of the first may take long, and
            # meanwhile what the others wait for may come and go.
            nursery.start_soon(self._settle, answer, response)
        elif response is not None:
            self._unanswered.append(_Unanswered(header, response))

    async def _settle(self, answer: _Unanswered, later: LaterResponse) -> None:
        is_well = False
        try:
            with self._failure_is_logged():
                answer.response = await later.wait()
                self.last_active = self._world.monotonic()
                await self._send_in_turn()
                is_well = True
        finally:
            if not is_well:
                self.scope.cancel()

    async def _send_in_turn(self) -> None:
        """Send the responses that are there and have none missing before them; one task at a time does."""
        if self._is_sending:
            return
        self._is_sending = True
        try:
            while self._unanswered and (response := self._unanswered[0].response) is not None:
                # Still the first: who comes meanwhile must not go before it.
                await self._send(self._unanswered[0].header, response)
                self._unanswered.popleft()
                self._answered.unpark_all()
        finally:
            self._is_sending = False

    @contextmanager
    def _failure_is_logged(self) -> Iterator[None]:
        try:
            yield
        except ConnectionLost as error:
            logger.debug("connection %s was lost: %s", self.connection_id, error)
            self.scope.cancel()
        except ProtocolError as error:
            logger.warning("connection %s is closed: %s", self.connection_id, error)
        except Exception:
            logger.exception("connection %s is closed: %s failed", self.connection_id, self._request_name)

    @property
    def is_waiting_for_handler(self) -> bool:
        """Whether its silence is the broker's doing."""
        if self._unanswered:
            return self._unanswered[0].response is None
        return self._is_waiting_for_handler

    @property
    def is_holding_half_a_request(self) -> bool:
        """Whether room is taken by a request whose end has not come yet."""
        return bool(self._reserved_bytes) and not self._is_in_hand

    def stop(self) -> None:
        """Close as soon as the requests in hand, if any, have been answered."""
        self._stopping = True
        if not self._is_in_hand:
            self._reading.cancel()

    async def _receive_frame(self) -> bytearray | None:
        while True:
            frame = self._frames.next_frame()
            if frame is not None:
                return frame
            needed = self._frames.announced_bytes
            if needed and not self._reserved_bytes:
                await self._memory.acquire(needed)
                self._reserved_bytes = needed
            count = await self._connection.receive_into(self._frames.buffer_to_fill())
            if count == 0:
                return None
            self.last_active = self._world.monotonic()
            self._frames.filled(count)

    def _release(self) -> None:
        if self._reserved_bytes:
            self._memory.release(self._reserved_bytes)
            self._reserved_bytes = 0

    def _decode(self, frame: bytearray) -> tuple[RequestHeader, Request]:
        try:
            header, request = decode_request(frame)
        except UnsupportedRequestError as error:
            header = error.header
            if header.request_api_key != ApiVersionsRequest.api_key:
                raise
            # Answered in version 0 by the ApiVersions handler, which sees the version it cannot speak.
            return header, ApiVersionsRequest()
        if self._table.get(header.request_api_key) is None:
            raise ProtocolError(f"{API_KEYS[header.request_api_key].name} is not served here")
        return header, request

    async def _handle(
        self, header: RequestHeader, request: Request, request_bytes: int
    ) -> Response | LaterResponse | None:
        row = self._table.get(header.request_api_key)
        assert row is not None, "_decode lets only served keys through"
        context = RequestContext(
            api_key=header.request_api_key,
            api_version=header.request_api_version,
            correlation_id=header.correlation_id,
            client_id=header.client_id,
            listener_name=self._listener_name,
            connection_id=self.connection_id,
            client_host=self.client_host,
            local_host=self._local_host,
        )
        self._is_waiting_for_handler = True
        try:
            quotas = self._quotas
            if (
                quotas is not None
                and quotas.is_enabled
                and not is_from_a_broker(request, context.api_version)
            ):
                self._measured = quotas.begin(context.principal, context.client_id or "", request_bytes)
                response = await answer_within_quotas(row.handler, request, context, self._measured)
            else:
                response = await row.handler(request, context)
        finally:
            self._is_waiting_for_handler = False
        self.last_active = self._world.monotonic()
        return response

    async def _send(self, header: RequestHeader, response: Response) -> None:
        version = header.request_api_version
        if header.request_api_key == ApiVersionsRequest.api_key:
            row = self._table.get(header.request_api_key)
            if row is not None and not row.min_version <= version <= row.max_version:
                version = 0
        # The only payloads are slices of log files.
        parts = cast("list[Part]", encode_response(response, version, header.correlation_id))
        try:
            await self._connection.send(parts)
        finally:
            for part in parts:
                if isinstance(part, FileSlice):
                    part.release()
