"""A cluster's metadata for tests: a store in memory, an image that follows it, a controller.

Everything runs in place, without threads, so that a test can wait for all tasks to be blocked.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from random import Random
from typing import NamedTuple

import trio

from kbroker.config.resources import ConfigResourceType
from kbroker.metadata import keys
from kbroker.metadata.controller import Controller
from kbroker.metadata.elections import TopicRules
from kbroker.metadata.embedded import IN_MEMORY, EmbeddedMetadataStore
from kbroker.metadata.follower import ClusterMetadata
from kbroker.metadata.image import BrokerRegistration, ClusterImage, Endpoint
from kbroker.metadata.store import Compare, MetadataStore, Operation, Put, TransactionResult
from wire.errors import ApiError, ErrorCode
from wire.messages.topics import CreateTopicsRequest

CreatableTopic = CreateTopicsRequest.CreatableTopic
Assignment = CreatableTopic.CreatableReplicaAssignment
Config = CreatableTopic.CreatableTopicConfig


async def run_inline(function, /, *arguments):
    return function(*arguments)


def broker(node_id: int, **changes: object) -> BrokerRegistration:
    registration = BrokerRegistration(
        node_id=node_id,
        broker_epoch=node_id,
        incarnation_id=uuid.UUID(int=node_id),
        endpoints={"PLAINTEXT": Endpoint(f"host{node_id}", 9092)},
    )
    return registration._replace(**changes)


def image_of(*brokers: BrokerRegistration) -> ClusterImage:
    return ClusterImage(brokers={registration.node_id: registration for registration in brokers})


def new_topic(
    name: str,
    partitions: int = -1,
    replication_factor: int = -1,
    *,
    assignments: Sequence[tuple[int, list[int]]] = (),
    configs: Sequence[tuple[str, str | None]] = (),
) -> CreatableTopic:
    return CreatableTopic(
        name=name,
        num_partitions=partitions,
        replication_factor=replication_factor,
        assignments=[Assignment(partition_index=index, broker_ids=ids) for index, ids in assignments],
        configs=[Config(name=key, value=value) for key, value in configs],
    )


class InternalTopic(NamedTuple):
    partition_count: int
    replication_factor: int
    configs: Mapping[str, str]


@dataclass
class Settings:
    num_partitions: int = 1
    default_replication_factor: int = 1
    delete_topic_enable: bool = True
    auto_create_topics_enable: bool = True
    max_request_partition_size_limit: int = 2000
    min_insync_replicas: int = 1
    unclean_leader_election_enable: bool = False
    internal_topics: dict[str, InternalTopic] = field(
        default_factory=lambda: {"__consumer_offsets": InternalTopic(50, 3, {"cleanup.policy": "compact"})}
    )

    def internal_topic(self, name: str) -> InternalTopic | None:
        return self.internal_topics.get(name)

    def topic_rules(self, overrides: Mapping[str, str]) -> TopicRules:
        return TopicRules(
            int(overrides.get("min.insync.replicas", self.min_insync_replicas)),
            overrides.get("unclean.leader.election.enable", str(self.unclean_leader_election_enable).lower())
            == "true",
        )


class EffectiveConfig(NamedTuple):
    name: str
    value: str | None
    source: int
    is_sensitive: bool = False
    is_read_only: bool = False


class Rules:
    """Knows three keys: a number, a list and a secret."""

    OTHERS = {"min.insync.replicas", "unclean.leader.election.enable"}
    DEFAULTS = {"retention.ms": "604800000", "cleanup.policy": "delete", "secret": None}

    def validate_overrides(self, resource: tuple[int, str], entries: Mapping[str, str]) -> None:
        for name, value in entries.items():
            if name not in self.DEFAULTS and name not in self.OTHERS:
                raise ApiError(ErrorCode.INVALID_CONFIG, f"unknown config {name}")
            if name == "retention.ms" and not value.lstrip("-").isdigit():
                raise ApiError(ErrorCode.INVALID_CONFIG, f"{name} is no number")

    def is_list(self, resource_type: int, name: str) -> bool:
        return name == "cleanup.policy"

    def default_value(self, resource_type: int, name: str) -> str | None:
        return self.DEFAULTS[name]

    def effective_topic_configs(
        self, topic: Mapping[str, str], broker: Mapping[str, str], all_brokers: Mapping[str, str]
    ) -> list[EffectiveConfig]:
        return [
            EffectiveConfig(name, topic.get(name, default), 1 if name in topic else 5, name == "secret")
            for name, default in sorted(self.DEFAULTS.items())
        ]


class InterferingStore:
    """Changes something just before a transaction, or fails it."""

    def __init__(self, store: MetadataStore) -> None:
        self._store = store
        self.before: list[Operation | Exception] = []
        self.transactions = 0

    async def transact(
        self, compares: Sequence[Compare], operations: Sequence[Operation]
    ) -> TransactionResult:
        self.transactions += 1
        if self.before:
            interference = self.before.pop(0)
            if isinstance(interference, Exception):
                raise interference
            await self._store.transact([], [interference])
        return await self._store.transact(compares, operations)

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)


@dataclass
class Cluster:
    store: MetadataStore
    metadata: ClusterMetadata
    controller: Controller
    settings: Settings

    @property
    def image(self) -> ClusterImage:
        return self.metadata.image

    def another_controller(self, node_id: int) -> Controller:
        """One that sees the same image, as the controller of another broker in step with this one would."""
        return make_controller(node_id, self.store, self.metadata, self.settings)

    async def register(self, *brokers: BrokerRegistration) -> None:
        for registration in brokers:
            result = await self.store.transact(
                [], [Put(keys.broker_key(registration.node_id), keys.encode_broker(registration))]
            )
        await self.metadata.wait_for(result.revision)

    async def create(self, name: str, partitions: int = 1, replication_factor: int = 1) -> uuid.UUID:
        (result,) = await self.controller.create_topics([new_topic(name, partitions, replication_factor)])
        assert result.error_code == 0, result
        return result.topic_id


def make_controller(
    node_id: int, store: MetadataStore, metadata: ClusterMetadata, settings: Settings
) -> Controller:
    return Controller(
        node_id=node_id,
        store=store,
        metadata=metadata,
        settings=settings,
        config_rules=Rules(),
        random=Random(node_id),
        uuid4=uuid.uuid4,
    )


@asynccontextmanager
async def running_cluster(
    *brokers: BrokerRegistration, store: MetadataStore | None = None, settings: Settings | None = None
) -> AsyncIterator[Cluster]:
    """A cluster of these brokers, of broker 1 if none is given."""
    settings = settings or Settings()
    if store is None:
        store = await EmbeddedMetadataStore.open(
            IN_MEMORY, run_blocking=run_inline, monotonic=trio.current_time
        )
    metadata = ClusterMetadata(store, sleep=trio.sleep)
    await metadata.load()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(metadata.run)
        cluster = Cluster(store, metadata, make_controller(1, store, metadata, settings), settings)
        await cluster.register(*(brokers or (broker(1),)))
        yield cluster
        nursery.cancel_scope.cancel()
    await store.close()


TOPIC = ConfigResourceType.TOPIC
BROKER = ConfigResourceType.BROKER
