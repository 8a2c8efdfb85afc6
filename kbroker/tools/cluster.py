"""A Kafka cluster as a command sees it: who its brokers are, who to ask, and asking until there is an answer.

Like Kafka's AdminClient it tries again what may succeed later (retriable errors, lost connections), at another broker
where any will do, until ``default.api.timeout.ms`` is over.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Final, TypeVar

import trio

from kbroker.client import BrokerClient
from kbroker.world import Address, ConnectionLost, Network
from wire.errors import ApiError, ErrorCode
from wire.messages.groups import FindCoordinatorRequest, FindCoordinatorResponse
from wire.messages.metadata import MetadataRequest, MetadataResponse
from wire.schema import Message, Request

ResponseT = TypeVar("ResponseT", bound=Message)
ResultT = TypeVar("ResultT")
Partition = tuple[str, int]

GROUP: Final = 0
TRANSACTION: Final = 1
_DEFAULT_API_TIMEOUT_MS: Final = 60_000
_DEFAULT_REQUEST_TIMEOUT_MS: Final = 30_000
_RETRY_BACKOFF_S: Final = 0.1
_DEFAULT_CLIENT_ID: Final = "kbroker-tools"


class NotReachable(ApiError):
    """No broker answered in time."""

    def __init__(self, message: str) -> None:
        super().__init__(ErrorCode.REQUEST_TIMED_OUT, message)


class Cluster:
    """Connections to the brokers of one cluster; ``connect`` before anything else, ``close`` at the end.

    Methods raise ApiError (NotReachable if there was no answer) and ProtocolError.
    """

    def __init__(
        self, network: Network, bootstrap_servers: str, properties: Mapping[str, str] | None = None
    ) -> None:
        """``bootstrap_servers``: HOST:PORT,...; ``properties`` are those of a client. ValueError if malformed."""
        properties = properties or {}
        self._network = network
        self._bootstrap = [parse_address(text) for text in bootstrap_servers.split(",") if text.strip()]
        if not self._bootstrap:
            raise ValueError("No resolvable bootstrap urls given in bootstrap.servers")
        self.client_id = properties.get("client.id", "") or _DEFAULT_CLIENT_ID
        self.timeout_s = int(properties.get("default.api.timeout.ms", _DEFAULT_API_TIMEOUT_MS)) / 1000
        self.request_timeout_s = int(properties.get("request.timeout.ms", _DEFAULT_REQUEST_TIMEOUT_MS)) / 1000
        protocol = properties.get("security.protocol", "PLAINTEXT").upper()
        if protocol != "PLAINTEXT":
            raise ValueError(f"security.protocol {protocol} is not supported by this command")
        self._connections: dict[Address, BrokerClient] = {}
        self.brokers: dict[int, MetadataResponse.MetadataResponseBroker] = {}
        self.controller_id = -1

    def close(self) -> None:
        for connection in self._connections.values():
            connection.close()
        self._connections.clear()

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
            broker = self.brokers.get(node_id)
            if broker is None:
                await self.metadata([])
                broker = self.brokers.get(node_id)
            if broker is None:
                raise ApiError(ErrorCode.BROKER_NOT_AVAILABLE, f"broker {node_id} is not known")
            return await self._ask(Address(broker.host, broker.port), request, response_class)

        return await self.retrying(attempt)

    async def controller(self, request: Request, response_class: type[ResponseT]) -> ResponseT:
        """Ask the broker that Metadata calls the controller (in KRaft any broker, which forwards)."""
        if self.controller_id not in self.brokers:
            return await self.any(request, response_class)
        return await self.broker(self.controller_id, request, response_class)

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
        topics = {topic for topic, _ in partitions}

        async def attempt() -> dict[int, list[Partition]]:
            found: dict[Partition, int] = {}
            for topic in (await self.metadata(sorted(topics))).topics:
                if topic.error_code:
                    raise ApiError(ErrorCode(topic.error_code))
                for partition in topic.partitions:
                    found[topic.name or "", partition.partition_index] = partition.leader_id
            by_leader: dict[int, list[Partition]] = {}
            for partition_key in partitions:
                leader = found.get(partition_key)
                if leader is None:
                    raise _Final(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
                if leader < 0:
                    raise ApiError(ErrorCode.LEADER_NOT_AVAILABLE)
                by_leader.setdefault(leader, []).append(partition_key)
            return by_leader

        return await self.retrying(attempt)

    async def best_version(self, request_class: type[Request]) -> int:
        """The newest version of an API that this side and some broker speak; ApiError UNSUPPORTED_VERSION."""

        async def attempt() -> int:
            return (await self._connection(self._addresses()[0])).best_version(request_class)

        return await self.retrying(attempt)

    async def retrying(self, attempt: Callable[[], Awaitable[ResultT]]) -> ResultT:
        """Do it again while it fails with what may pass; then the last error, or NotReachable.

        Of nested calls the outermost one's time counts.
        """
        error: Exception | None = None
        with trio.move_on_after(self.timeout_s):
            while True:
                try:
                    return await attempt()
                except _Final as final:
                    raise ApiError(final.code, final.message) from None
                except ConnectionLost as lost:
                    error = lost
                except ApiError as refused:
                    if not refused.code.retriable:
                        raise
                    error = refused
                await trio.sleep(_RETRY_BACKOFF_S)
        if isinstance(error, ApiError):
            raise error
        raise NotReachable(f"Timed out waiting for a node assignment. {error or ''}".strip())

    # Connections

    def _addresses(self) -> list[Address]:
        known = [Address(broker.host, broker.port) for broker in self.brokers.values()]
        used = [address for address in self._connections if address in known or not known]
        return list(dict.fromkeys([*used, *known, *self._bootstrap]))

    async def _connection(self, address: Address) -> BrokerClient:
        connection = self._connections.get(address)
        if connection is None:
            connection = await BrokerClient.connect(
                self._network, address.host, address.port, client_id=self.client_id
            )
            self._connections[address] = connection
        return connection

    async def _ask(self, address: Address, request: Request, response_class: type[ResponseT]) -> ResponseT:
        try:
            with trio.fail_after(self.request_timeout_s):
                connection = await self._connection(address)
                return await connection.request(request, response_class)
        except trio.TooSlowError:
            self._drop(address)
            raise ConnectionLost(f"{address} did not answer in {self.request_timeout_s:g} s") from None
        except BaseException as error:
            if not isinstance(error, ApiError):
                self._drop(address)
            raise

    def _drop(self, address: Address) -> None:
        connection = self._connections.pop(address, None)
        if connection is not None:
            connection.close()


class _Final(ApiError):
    """Not to be tried again, though its code may pass elsewhere."""


def parse_address(text: str) -> Address:
    """``HOST:PORT``, ``[HOST]:PORT``, with or without a listener's name before it; ValueError."""
    host, _, port = text.strip().rpartition("://")[2].rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65_535:
        raise ValueError(f"Invalid url in bootstrap.servers: {text.strip()}")
    return Address(host.removeprefix("[").removesuffix("]"), int(port))
