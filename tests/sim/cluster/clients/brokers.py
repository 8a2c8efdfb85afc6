"""The cluster as a client sees it: connections, who leads what, who coordinates what (librdkafka's broker threads)."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from typing import TypeVar

import trio

from kbroker.client import BrokerClient
from kbroker.world import ConnectionLost, Network
from tests.sim.coverage import Coverage
from wire.errors import ApiError, ErrorCode, ProtocolError
from wire.messages import API_KEYS
from wire.messages.groups import FindCoordinatorRequest, FindCoordinatorResponse
from wire.messages.metadata import MetadataRequest, MetadataResponse
from wire.schema import Message, Request

ResponseT = TypeVar("ResponseT", bound=Message)
Partition = tuple[str, int]

GROUP, TRANSACTION = 0, 1
_COORDINATED_ELSEWHERE = frozenset({ErrorCode.NOT_COORDINATOR, ErrorCode.COORDINATOR_NOT_AVAILABLE})


class Unanswered(Exception):
    """There was no answer: whether the broker acted on the request is unknown."""


class Leader:
    """Who leads a partition, as far as the client knows."""

    __slots__ = ("epoch", "node_id")

    def __init__(self, node_id: int, epoch: int) -> None:
        self.node_id = node_id
        self.epoch = epoch


class Brokers:
    """One client's connections and what it knows; used by several tasks of that client."""

    def __init__(
        self,
        network: Network,
        bootstrap: list[tuple[str, int]],
        generator: random.Random,
        coverage: Coverage,
        *,
        client_id: str,
        request_timeout_s: float,
    ) -> None:
        self.network = network
        self.random = generator
        self.coverage = coverage
        self.client_id = client_id
        self.request_timeout_s = request_timeout_s
        self.leaders: dict[Partition, Leader] = {}
        self._bootstrap = bootstrap
        self._addresses: dict[int, tuple[str, int]] = {}
        self._idle: dict[tuple[str, int], list[BrokerClient]] = {}
        self._coordinators: dict[tuple[str, int], int] = {}

    async def pause(self, seconds: float = 0.25) -> None:
        """Before trying again: a while, never the same."""
        await trio.sleep(seconds * self.random.uniform(0.5, 1.5))

    async def request(
        self,
        node_id: int,
        request: Request,
        response_class: type[ResponseT],
        *,
        version_max: int | None = None,
        timeout_s: float | None = None,
    ) -> ResponseT:
        """Ask one broker; Unanswered."""
        (response,) = await self.request_all(
            node_id, [request], response_class, version_max=version_max, timeout_s=timeout_s
        )
        return response

    async def request_all(
        self,
        node_id: int,
        requests: Sequence[Request],
        response_class: type[ResponseT],
        *,
        version_max: int | None = None,
        timeout_s: float | None = None,
    ) -> list[ResponseT]:
        """Ask one broker several things without waiting in between; Unanswered if one of them is not answered."""
        address = self._addresses.get(node_id)
        if address is None:
            raise Unanswered(f"broker {node_id} is not known")
        return await self._ask(address, requests, response_class, version_max, timeout_s)

    async def request_any(self, request: Request, response_class: type[ResponseT]) -> ResponseT:
        """Ask some broker; Unanswered."""
        address = self.random.choice([*self._bootstrap, *self._addresses.values()])
        (response,) = await self._ask(address, [request], response_class, None, None)
        return response

    async def _ask(
        self,
        address: tuple[str, int],
        requests: Sequence[Request],
        response_class: type[ResponseT],
        version_max: int | None,
        timeout_s: float | None,
    ) -> list[ResponseT]:
        api = API_KEYS[type(requests[0]).api_key].name
        with trio.move_on_after(timeout_s or self.request_timeout_s):
            try:
                idle = self._idle.setdefault(address, [])
                client = idle.pop() if idle else await self._connect(address)
                try:
                    version = client.best_version(type(requests[0]))
                    if version_max is not None:
                        version = min(version, version_max)
                    responses = await client.request_all(requests, response_class, version=version)
                except BaseException:
                    client.close()
                    raise
                idle.append(client)
                return responses
            except (ConnectionLost, ProtocolError, ApiError) as error:
                if not isinstance(error, ConnectionLost):
                    self.coverage.count("client", f"{api}: {type(error).__name__}")
                self.coverage.count("unanswered", f"{api} lost")
                self._coordinators.clear()
                raise Unanswered(str(error)) from error
        self.coverage.count("unanswered", f"{api} timed out")
        self._coordinators.clear()
        raise Unanswered(f"no answer to {api}")

    async def _connect(self, address: tuple[str, int]) -> BrokerClient:
        return await BrokerClient.connect(self.network, *address, client_id=self.client_id)

    def answered(self, request_class: type[Request], code: int) -> ErrorCode:
        """Count what a broker answered."""
        error = ErrorCode(code)
        if error in _COORDINATED_ELSEWHERE:
            self._coordinators.clear()
        self.coverage.count(API_KEYS[request_class.api_key].name, error.name)
        return error

    # Who is who

    async def refresh(self, topics: Iterable[str]) -> None:
        """Ask for metadata; what cannot be had stays as it was."""
        request = MetadataRequest(
            topics=[MetadataRequest.MetadataRequestTopic(name=name) for name in topics],
            allow_auto_topic_creation=False,
        )
        try:
            response = await self.request_any(request, MetadataResponse)
        except Unanswered:
            return
        for broker in response.brokers:
            self._addresses[broker.node_id] = broker.host, broker.port
        for topic in response.topics:
            self.answered(MetadataRequest, topic.error_code)
            for partition in topic.partitions:
                assert topic.name is not None
                known = self.leaders.get((topic.name, partition.partition_index))
                # An answer of a broker that lags behind must not lead back (KIP-320).
                if partition.leader_id >= 0 and (known is None or partition.leader_epoch >= known.epoch):
                    self.leaders[topic.name, partition.partition_index] = Leader(
                        partition.leader_id, partition.leader_epoch
                    )

    async def leader(self, partition: Partition) -> Leader:
        """Ask until somebody leads it."""
        while (known := self.leaders.get(partition)) is None:
            await self.refresh([partition[0]])
            if partition not in self.leaders:
                await self.pause()
        return known

    async def coordinator(self, key: str, key_type: int) -> int:
        """The coordinator's node id; Unanswered if it cannot be told now. Asked for anew after any trouble."""
        known = self._coordinators.get((key, key_type))
        if known is not None:
            return known
        request = FindCoordinatorRequest(key_type=key_type, coordinator_keys=[key])
        response = await self.request_any(request, FindCoordinatorResponse)
        found = response.coordinators[0]
        if self.answered(FindCoordinatorRequest, found.error_code) is not ErrorCode.NONE:
            raise Unanswered(f"no coordinator: {found.error_message}")
        self._addresses[found.node_id] = found.host, found.port
        self._coordinators[key, key_type] = found.node_id
        return found.node_id

    def close(self) -> None:
        for clients in self._idle.values():
            for client in clients:
                client.close()
        self._idle.clear()
