"""Brokers without any data: session, image, controller and elected controller, over one store under virtual time."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import trio

from kbroker.config.resources import ConfigResourceType
from kbroker.metadata import keys
from kbroker.metadata.controller import Controller
from kbroker.metadata.elected_controller import ElectedController
from kbroker.metadata.embedded import IN_MEMORY, EmbeddedMetadataStore
from kbroker.metadata.follower import ClusterMetadata
from kbroker.metadata.image import ClusterImage, PartitionState
from kbroker.metadata.membership import BrokerSession
from kbroker.metadata.store import MetadataStore, Put
from tests.kbroker.metadata.cluster import Settings, broker, make_controller, run_inline

TIMEOUT_S = 9.0


@dataclass
class MemberSettings(Settings):
    auto_leader_rebalance_enable: bool = True
    leader_imbalance_check_interval_seconds: int = 300
    unclean_leader_election_interval_ms: int = 300_000


@dataclass
class Member:
    """One incarnation of a broker."""

    node_id: int
    session: BrokerSession
    metadata: ClusterMetadata
    controller: Controller
    elected: ElectedController
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    lost: int = 0

    @property
    def image(self) -> ClusterImage:
        return self.metadata.image

    def state(self, topic: str, index: int = 0) -> PartitionState:
        state = self.image.partition(topic, index)
        assert state is not None
        return state

    async def wait(self, condition: Callable[[ClusterImage], bool], timeout_s: float = 60.0) -> ClusterImage:
        with trio.fail_after(timeout_s):
            return await self.metadata.wait_until(condition)

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        await self.metadata.load()
        with self.scope:
            async with trio.open_nursery() as nursery:
                await self.session.register()
                nursery.start_soon(self.metadata.run)
                nursery.start_soon(self.session.run)
                await self.metadata.wait_for(self.session.revision)
                nursery.start_soon(self.elected.run)
                task_status.started()

    def kill(self) -> None:
        """Nothing is given back: others learn of it when the lease ends."""
        self.scope.cancel()

    async def leave(self) -> None:
        self.kill()
        await self.session.leave()


@dataclass
class Members:
    store: EmbeddedMetadataStore
    nursery: trio.Nursery
    settings: MemberSettings
    by_node_id: dict[int, Member] = field(default_factory=dict)

    def __getitem__(self, node_id: int) -> Member:
        return self.by_node_id[node_id]

    async def start(self, *node_ids: int, store: MetadataStore | None = None) -> None:
        for node_id in node_ids:
            member = self.make(node_id, store or self.store)
            self.by_node_id[node_id] = member
            await self.nursery.start(member.run)

    def make(self, node_id: int, store: MetadataStore) -> Member:
        metadata = ClusterMetadata(store, sleep=trio.sleep)

        def count_loss() -> None:
            member.lost += 1

        session = BrokerSession(
            store=store,
            registration=broker(node_id, incarnation_id=uuid.uuid4()),
            session_timeout_s=TIMEOUT_S,
            heartbeat_interval_s=2.0,
            registration_timeout_s=60.0,
            monotonic=trio.current_time,
            sleep=trio.sleep,
            on_lost=count_loss,
        )
        member = Member(
            node_id,
            session,
            metadata,
            make_controller(node_id, store, metadata, self.settings),
            ElectedController(
                node_id=node_id,
                lease_id=lambda: session.lease_id,
                store=store,
                metadata=metadata,
                settings=self.settings,
                sleep=trio.sleep,
            ),
        )
        return member

    async def create(
        self, name: str, replicas: list[list[int]], configs: Mapping[str, str] | None = None
    ) -> uuid.UUID:
        """A topic with these replicas, all of them in sync, whatever the replication factors."""
        topic_id = uuid.uuid4()
        births = [keys.newborn_partition(tuple(node_ids), tuple(node_ids)) for node_ids in replicas]
        operations = [Put(keys.topic_key(name), keys.encode_topic(name, topic_id, births))]
        if configs:
            resource = (ConfigResourceType.TOPIC, name)
            operations.append(Put(keys.config_key(resource), keys.encode_config(configs)))
        await self.store.transact([], operations)
        for member in self.by_node_id.values():
            if not member.scope.cancel_called:
                await member.wait(lambda image: name in image.topics)
        return topic_id


@asynccontextmanager
async def running_members(*node_ids: int, settings: MemberSettings | None = None) -> AsyncIterator[Members]:
    store = await EmbeddedMetadataStore.open(IN_MEMORY, run_blocking=run_inline, monotonic=trio.current_time)
    store.leases_outlive_pauses = False  # as if it were in another process
    async with trio.open_nursery() as nursery:
        nursery.start_soon(store.expire_leases)
        members = Members(store, nursery, settings or MemberSettings())
        await members.start(*node_ids)
        yield members
        nursery.cancel_scope.cancel()
    await store.close()
