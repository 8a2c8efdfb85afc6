"""A Kafka cluster as a command sees it: who its brokers are, who to ask, and asking until there is an answer.

Like Kafka's AdminClient it tries again what may succeed later (retriable errors, lost connections), at another broker
where any will do, until ``default.api.timeout.ms`` is over.
"""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from typing import Final, NamedTuple, TypeVar

from kbroker.client import BrokerClient, RequestNotSent
from kbroker.tools.client_properties import integer
from kbroker.tools.log_lines import log
from kbroker.tools.waiting import Waiting
from kbroker.world import Address, ConnectionLost
from wire.errors import ApiError, ErrorCode
from wire.messages import API_KEYS
from wire.messages.groups import FindCoordinatorRequest, FindCoordinatorResponse
from wire.messages.metadata import MetadataRequest, MetadataResponse
from wire.schema import Message, Request

ResponseT = TypeVar("ResponseT", bound=Message)
ResultT = TypeVar("ResultT")
Partition = tuple[str, int]

NO_ADDRESS: Final = "No resolvable bootstrap urls given in bootstrap.servers"
_NO_CONTROLLER: Final = -1
GROUP: Final = 0
TRANSACTION: Final = 1
_DEFAULT_API_TIMEOUT_MS: Final = 60_000
_DEFAULT_REQUEST_TIMEOUT_MS: Final = 30_000
_RETRY_BACKOFF_S: Final = 0.1
_CONNECTION_SETUP_S: Final = 10.0
"""Kafka's socket.connection.setup.timeout.ms: who does not even answer a SYN must not cost a request's time."""
_LOGGER: Final = "kbroker.tools.cluster"
_DEFAULT_CLIENT_ID: Final = "kbroker-tools"


def by_topic(partitions: Iterable[Partition]) -> dict[str, list[int]]:
    """The partitions' numbers, topic by topic, as they come."""
    found: dict[str, list[int]] = {}
    for topic, number in partitions:
        found.setdefault(topic, []).append(number)
    return found


def partition_text(partition: Partition) -> str:
    """``topic-0``, as Java's TopicPartition prints itself."""
    return f"{partition[0]}-{partition[1]}"


class NotReachable(ApiError):
    """No broker answered in time."""

    def __init__(self, message: str) -> None:
        super().__init__(ErrorCode.REQUEST_TIMED_OUT, message)


class Cluster:
    """Connections to the brokers of one cluster, made as they are needed; ``close`` at the end.

    ``waiting`` is how whoever uses the cluster waits, too. ``brokers`` are those that the last Metadata told of:
    ``connect`` asks for them. ``call``: what Kafka's client would call what is asked of the cluster, for who is told
    that nobody answers. Methods raise ApiError (NotReachable if there was no answer) and ProtocolError.
    """

    def __init__(
        self, waiting: Waiting, bootstrap_servers: str, properties: Mapping[str, str] | None = None
    ) -> None:
        """``bootstrap_servers``: HOST:PORT,...; ``properties`` are those of a client. ValueError if malformed."""
        self._properties = properties = properties or {}
        self.waiting = waiting
        self._bootstrap_servers = bootstrap_servers
        self._bootstrap = [parse_address(text) for text in bootstrap_servers.split(",") if text.strip()]
        if not self._bootstrap:
            raise ValueError(NO_ADDRESS)
        self.client_id = properties.get("client.id", "") or _DEFAULT_CLIENT_ID
        self.timeout_s = (
            integer(properties, "default.api.timeout.ms", _DEFAULT_API_TIMEOUT_MS, least=0) / 1000
        )
        self.request_timeout_s = (
            integer(properties, "request.timeout.ms", _DEFAULT_REQUEST_TIMEOUT_MS, least=0) / 1000
        )
        protocol = properties.get("security.protocol", "PLAINTEXT").upper()
        if protocol != "PLAINTEXT":
            raise ValueError(f"security.protocol {protocol} is not supported by this command")
        self._connections: dict[Address, BrokerClient] = {}
        self._failure: Exception | None = None  # the last that was tried again
        self.brokers: dict[int, MetadataResponse.MetadataResponseBroker] = {}
        self.controller_id = _NO_CONTROLLER
        self.call: str | None = None

    def close(self) -> None:
        for connection in self._connections.values():
            connection.close()
        self._connections.clear()

    def another(self) -> Cluster:
        """The same cluster over connections of its own: for what must not wait behind this one's requests."""
        other = Cluster(self.waiting, self._bootstrap_servers, self._properties)
        other.brokers, other.controller_id = self.brokers, self.controller_id
        other.timeout_s = self.timeout_s
        return other

    async def connect(self) -> None:
        """Find a broker that answers, and from it all others."""
        await self.metadata([])

    # Asking

    async def any(self, request: Request, response_class: type[ResponseT]) -> ResponseT:
        """Ask whichever broker answers."""

        async def attempt() -> ResponseT:
            error: Exception | None = None
            for address in self._addresses():
                try:
                    return await self._ask(address, request, response_class)
                except ConnectionLost as lost:
                    error = lost
            raise error or ConnectionLost("no broker is known")

        return await self.retrying(attempt)

    async def broker(self, node_id: int, request: Request, response_class: type[ResponseT]) -> ResponseT:
        """Ask one broker. BROKER_NOT_AVAILABLE if the cluster does not know it."""

        async def attempt() -> ResponseT:
            return await self.once(node_id, request, response_class)

        return await self.retrying(attempt)

    async def once(
        self,
        node_id: int,
        request: Request,
        response_class: type[ResponseT],
        *,
        timeout_s: float | None = None,
        version_max: int | None = None,
    ) -> ResponseT:
        """Ask one broker, a single time.

        ConnectionLost (RequestNotSent if the broker cannot have seen it), ApiError BROKER_NOT_AVAILABLE.
        """
        (response,) = await self.once_all(
            node_id, [request], response_class, timeout_s=timeout_s, version_max=version_max
        )
        return response

    async def once_all(
        self,
        node_id: int,
        requests: Sequence[Request],
        response_class: type[ResponseT],
        *,
        timeout_s: float | None = None,
        version_max: int | None = None,
    ) -> list[ResponseT]:
        """Ask one broker several things of one kind without waiting in between, a single time; see ``once``."""
        address = await self._address(node_id)
        return await self._ask_all(
            address, requests, response_class, timeout_s=timeout_s, version_max=version_max
        )

    async def tell(self, node_id: int, request: Request) -> None:
        """Send what one broker does not answer (Produce with acks=0). ConnectionLost."""
        address = await self._address(node_id)
        connection: BrokerClient | None = None
        with self.waiting.move_on_after(self.request_timeout_s):
            try:
                connection = await self._connection(address)
                await connection.send(request, version=connection.best_version(type(request)))
                return
            except BaseException:
                self._drop(address, connection)
                raise
        raise ConnectionLost(f"{address} did not take a request in {self.request_timeout_s:g} s")

    async def controller(
        self,
        request: Request,
        response_class: type[ResponseT],
        *,
        errors: Callable[[ResponseT], Iterable[int]] = lambda response: (),
    ) -> ResponseT:
        """Ask the broker that Metadata calls the controller (in KRaft any broker, which forwards).

        Asked again while NOT_CONTROLLER is among the response's ``errors``; any broker is, where the controller died.
        """

        async def attempt() -> ResponseT:
            if not self.brokers:
                await self.metadata([])
            if self.controller_id not in self.brokers:
                response = await self.any(request, response_class)
            else:
                try:
                    response = await self.once(self.controller_id, request, response_class)
                except ConnectionLost:
                    self.controller_id = _NO_CONTROLLER
                    raise
            if ErrorCode.NOT_CONTROLLER in errors(response):
                await self.metadata([])
                raise ApiError(ErrorCode.NOT_CONTROLLER)
            return response

        return await self.retrying(attempt)

    async def coordinator(self, key: str, key_type: int = GROUP) -> int:
        """The node id of a group's or a transactional id's coordinator."""

        async def attempt() -> int:
            request = FindCoordinatorRequest(key_type=key_type, coordinator_keys=[key])
            response = await self.any(request, FindCoordinatorResponse)
            found = response.coordinators[0]
            if found.error_code:
                raise ApiError(ErrorCode(found.error_code), found.error_message)
            return found.node_id

        return await self.retrying(attempt)

    async def metadata(
        self, topics: Collection[str] | None = None, *, allow_auto_topic_creation: bool = False
    ) -> MetadataResponse:
        """Of these topics, or (None) of all; errors of single topics are left to the caller."""
        asked = (
            None if topics is None else [MetadataRequest.MetadataRequestTopic(name=name) for name in topics]
        )
        request = MetadataRequest(topics=asked, allow_auto_topic_creation=allow_auto_topic_creation)
        response = await self.any(request, MetadataResponse)
        self.brokers = {broker.node_id: broker for broker in response.brokers}
        self.controller_id = response.controller_id
        return response

    async def leaders(self, partitions: Collection[Partition]) -> dict[int, list[Partition]]:
        """The partitions by the broker that leads them. UNKNOWN_TOPIC_OR_PARTITION; without a leader: tried again."""

        async def attempt() -> dict[int, list[Partition]]:
            found = await self._leaders_now(partitions)
            for error in found.errors.values():
                raise error
            return found.leading

        return await self.retrying(attempt)

    async def at_leaders(
        self,
        partitions: Collection[Partition],
        ask: Callable[[int, Collection[Partition]], Awaitable[Mapping[Partition, ResultT | ErrorCode]]],
    ) -> dict[Partition, ResultT | ApiError]:
        """Ask each partition's leader, again where that failed with what may pass, until the time is over.

        ``ask`` (node id, its partitions) answers for each one. What comes out is each one's result, or its last error:
        the error of one costs no other its answer, and a leader that does not answer leaves the others their time.
        """
        results: dict[Partition, ResultT | ApiError] = {}
        pending = list(partitions)
        ends = time.monotonic() + self.timeout_s
        silent: set[int] = set()
        with self.waiting.move_on_after(self.timeout_s):
            while pending:
                found = await self._leaders_now(pending)
                results.update(found.errors)
                in_turn = sorted(found.leading.items(), key=lambda item: item[0] in silent)
                for number, (leader, its) in enumerate(in_turn):
                    share_s = (ends - time.monotonic()) / (len(in_turn) - number)
                    answers = await self._answers(leader, its, ask, max(share_s, 0))
                    if answers is None:
                        silent.add(leader)
                    for one in its:
                        results[one] = self._not_reachable() if answers is None else answers[one]
                pending = [one for one in pending if _may_pass(results[one])]
                if pending:
                    await self.waiting.sleep(_RETRY_BACKOFF_S)
        for partition in partitions:
            results.setdefault(partition, self._not_reachable())
        return results

    async def _answers(
        self,
        leader: int,
        partitions: Collection[Partition],
        ask: Callable[[int, Collection[Partition]], Awaitable[Mapping[Partition, ResultT | ErrorCode]]],
        timeout_s: float,
    ) -> dict[Partition, ResultT | ApiError] | None:
        """What a leader says of each of its partitions, asked once; None if nothing came in time."""
        answers: Mapping[Partition, ResultT | ErrorCode]
        with self.waiting.move_on_after(timeout_s):
            try:
                answers = await ask(leader, partitions)
            except ConnectionLost:
                return None
            except ApiError as refused:
                return dict.fromkeys(partitions, refused)
            found: dict[Partition, ResultT | ApiError] = {}
            for one in partitions:
                answer = answers.get(one, ErrorCode.UNKNOWN_SERVER_ERROR)
                found[one] = ApiError(answer) if isinstance(answer, ErrorCode) else answer
            return found
        return None

    async def _leaders_now(self, partitions: Collection[Partition]) -> _Leaders:
        """Who leads which of the partitions at this moment, and why nobody does."""
        refused: dict[str, ErrorCode] = {}
        leaders: dict[Partition, int] = {}
        for topic in (await self.metadata(sorted({topic for topic, _ in partitions}))).topics:
            if topic.error_code:
                refused[topic.name or ""] = ErrorCode(topic.error_code)
            for row in topic.partitions:
                leaders[topic.name or "", row.partition_index] = row.leader_id
        found = _Leaders({}, {})
        for partition in partitions:
            leader = leaders.get(partition)
            if partition[0] in refused:
                found.errors[partition] = ApiError(refused[partition[0]])
            elif leader is None:
                found.errors[partition] = _Final(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
            elif leader not in self.brokers:
                found.errors[partition] = ApiError(ErrorCode.LEADER_NOT_AVAILABLE)
            else:
                found.leading.setdefault(leader, []).append(partition)
        return found

    async def best_version(self, request_class: type[Request]) -> int:
        """The newest version of an API that this side and some broker speak; ApiError UNSUPPORTED_VERSION."""

        async def attempt() -> int:
            return (await self._connection(self._addresses()[0])).best_version(request_class)

        return await self.retrying(attempt)

    async def retrying(
        self, attempt: Callable[[], Awaitable[ResultT]], *, timeout_s: float | None = None
    ) -> ResultT:
        """Do it again while it fails with what may pass; then the last error, or NotReachable.

        Of nested calls the outermost one's time counts, and the innermost one's last error is told.
        """
        self._failure = None
        with self.waiting.move_on_after(self.timeout_s if timeout_s is None else timeout_s):
            while True:
                try:
                    return await attempt()
                except _Final as final:
                    raise ApiError(final.code, final.message) from None
                except ConnectionLost as lost:
                    self._failure = lost
                except ApiError as refused:
                    if not refused.code.retriable:
                        raise
                    self._failure = refused
                await self.waiting.sleep(_RETRY_BACKOFF_S)
        failure, self._failure = self._failure, None
        if isinstance(failure, ApiError):
            raise failure
        if self.call is not None and failure is not None:
            log("WARN", str(failure), _LOGGER)
        raise self._not_reachable(failure)

    def _not_reachable(self, failure: Exception | None = None) -> NotReachable:
        """In the words of Kafka's client, or with what failed where there is no call to name."""
        text = "Timed out waiting for a node assignment."
        if self.call is None:
            return NotReachable(f"{text} {failure or ''}".strip())
        return NotReachable(f"{text} Call: {self.call}")

    # Connections

    def _addresses(self) -> list[Address]:
        known = [Address(broker.host, broker.port) for broker in self.brokers.values()]
        used = [address for address in self._connections if address in known or not known]
        return list(dict.fromkeys([*used, *known, *self._bootstrap]))

    async def _connection(self, address: Address) -> BrokerClient:
        connection = self._connections.get(address)
        if connection is None:
            with self.waiting.move_on_after(_CONNECTION_SETUP_S):
                try:
                    connection = await BrokerClient.connect(
                        self.waiting.network, address.host, address.port, client_id=self.client_id
                    )
                except ConnectionLost as error:
                    raise RequestNotSent(str(error)) from error
            if connection is None:
                raise RequestNotSent(f"no connection to {address} in {_CONNECTION_SETUP_S:g} s")
            if address in self._connections:  # somebody else was faster
                connection.close()
            connection = self._connections.setdefault(address, connection)
        return connection

    async def _address(self, node_id: int) -> Address:
        broker = self.brokers.get(node_id)
        if broker is None:
            await self.metadata([])
            broker = self.brokers.get(node_id)
        if broker is None:
            raise ApiError(ErrorCode.BROKER_NOT_AVAILABLE, f"broker {node_id} is not known")
        return Address(broker.host, broker.port)

    async def _ask(self, address: Address, request: Request, response_class: type[ResponseT]) -> ResponseT:
        (response,) = await self._ask_all(address, [request], response_class)
        return response

    async def _ask_all(
        self,
        address: Address,
        requests: Sequence[Request],
        response_class: type[ResponseT],
        *,
        timeout_s: float | None = None,
        version_max: int | None = None,
    ) -> list[ResponseT]:
        timeout_s = timeout_s or self.request_timeout_s
        connection: BrokerClient | None = None
        with self.waiting.move_on_after(timeout_s):
            try:
                connection = await self._connection(address)
                version = _best_version(connection, type(requests[0]))
                if version_max is not None:
                    version = min(version, version_max)
                return await connection.request_all(requests, response_class, version=version)
            except BaseException as error:
                if not isinstance(error, ApiError):
                    self._drop(address, connection)
                raise
        raise ConnectionLost(f"{address} did not answer in {timeout_s:g} s")

    def _drop(self, address: Address, connection: BrokerClient | None) -> None:
        """Use this connection no more; others may have made a new one meanwhile."""
        if connection is not None:
            connection.close()
            if self._connections.get(address) is connection:
                del self._connections[address]


class _Leaders(NamedTuple):
    """Partitions by the node id of their leader, and what is wrong with those that have none."""

    leading: dict[int, list[Partition]]
    errors: dict[Partition, ApiError]


def _may_pass(result: object) -> bool:
    return isinstance(result, ApiError) and result.code.retriable


class _Final(ApiError):
    """Not to be tried again, though its code may pass elsewhere."""


def parse_address(text: str) -> Address:
    """As Address.parse, with or without a listener's name before it; ValueError in the words of Kafka's clients."""
    try:
        return Address.parse(text.rpartition("://")[2])
    except ValueError:
        raise ValueError(f"Invalid url in bootstrap.servers: {text.strip()}") from None


def _best_version(connection: BrokerClient, request_class: type[Request]) -> int:
    """As the connection's own, but what is not served is told in the words of Kafka's clients."""
    if connection.serves(request_class.api_key) is None:
        name = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", API_KEYS[request_class.api_key].name).upper()
        raise ApiError(ErrorCode.UNSUPPORTED_VERSION, f"The node does not support {name}")
    return connection.best_version(request_class)
