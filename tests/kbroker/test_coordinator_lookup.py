"""Who coordinates a group or a transactional id, asked of several brokers at once (ImageCoordinators)."""

from __future__ import annotations

import pytest
import trio

from kbroker.adapters import ImageCoordinators
from kbroker.config.topic_names import CONSUMER_OFFSETS_TOPIC
from kbroker.coordination.partitioning import partition_for
from kbroker.metadata import keys
from kbroker.metadata.follower import ClusterMetadata
from kbroker.metadata.store import Delete, StoreUnavailableError
from tests.kbroker.metadata.cluster import InterferingStore, broker, make_controller, running_cluster
from wire.errors import ApiError, ErrorCode

BROKERS = (broker(1), broker(2), broker(3))


async def test_brokers_that_are_asked_at_the_same_time_agree() -> None:
    """Each with an image and a controller of its own; the internal topic is created once."""
    async with running_cluster(*BROKERS) as cluster, trio.open_nursery() as nursery:
        found: list[int] = []
        topic_ids = set()

        async def ask(node_id: int) -> None:
            metadata = ClusterMetadata(cluster.store, sleep=trio.sleep)
            await metadata.load()
            nursery.start_soon(metadata.run)
            controller = make_controller(node_id, cluster.store, metadata, cluster.settings)
            coordinators = ImageCoordinators(controller, lambda: metadata.image)
            found.append((await coordinators.find(CONSUMER_OFFSETS_TOPIC, "group")).node_id)
            topic = metadata.image.topic(CONSUMER_OFFSETS_TOPIC)
            assert topic is not None
            topic_ids.add(topic.topic_id)

        async with trio.open_nursery() as callers:
            for node_id in (1, 2, 3):
                callers.start_soon(ask, node_id)
        assert len(found) == 3 and len(set(found)) == 1
        assert len(topic_ids) == 1
        topic = cluster.image.topic(CONSUMER_OFFSETS_TOPIC)
        assert topic is not None
        assert found[0] == topic.partitions[partition_for("group", len(topic.partitions))].leader
        nursery.cancel_scope.cancel()


async def code_of(coordinators: ImageCoordinators) -> ErrorCode:
    with pytest.raises(ApiError) as caught:
        await coordinators.find(CONSUMER_OFFSETS_TOPIC, "group")
    return caught.value.code


async def test_a_store_that_cannot_be_reached() -> None:
    async with running_cluster(*BROKERS) as cluster:
        store = InterferingStore(cluster.store)
        controller = make_controller(1, store, cluster.metadata, cluster.settings)
        store.before = [StoreUnavailableError("gone")]
        coordinators = ImageCoordinators(controller, lambda: cluster.image)
        assert await code_of(coordinators) is ErrorCode.COORDINATOR_NOT_AVAILABLE
        assert (await coordinators.find(CONSUMER_OFFSETS_TOPIC, "group")).node_id in (1, 2, 3)


@pytest.mark.parametrize("what", ["gone", "fenced", "none"])
async def test_the_leader_is_not_elected_yet(what: str) -> None:
    async with running_cluster(*BROKERS) as cluster:
        coordinators = ImageCoordinators(cluster.controller, lambda: image)
        image = cluster.image
        leader = (await ImageCoordinators(cluster.controller, lambda: cluster.image).find(
            CONSUMER_OFFSETS_TOPIC, "group"
        )).node_id  # fmt: skip
        image = cluster.image
        assert (await coordinators.find(CONSUMER_OFFSETS_TOPIC, "group")).node_id == leader
        if what == "gone":
            result = await cluster.store.transact([], [Delete(keys.broker_key(leader))])
            image = await cluster.metadata.wait_for(result.revision)
        elif what == "fenced":
            await cluster.register(broker(leader, fenced=True))
            image = cluster.image
        else:
            topic = image.topics[CONSUMER_OFFSETS_TOPIC]
            leaderless = tuple(state._replace(leader=-1) for state in topic.partitions)
            image = image._replace(topics={topic.name: topic._replace(partitions=leaderless)})
        assert await code_of(coordinators) is ErrorCode.COORDINATOR_NOT_AVAILABLE
