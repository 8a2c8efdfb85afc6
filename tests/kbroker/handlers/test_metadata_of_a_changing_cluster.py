"""What clients are told while brokers go and come back: with an elected controller at work behind the answers."""

from __future__ import annotations

from typing import Any

from trio.testing import MockClock

from kbroker.handlers.metadata import MetadataHandlers
from kbroker.metadata.image import NO_LEADER
from tests.kbroker.handlers.requests import send
from tests.kbroker.metadata.members import Members, running_members
from wire.errors import ErrorCode
from wire.messages.metadata import (
    DescribeClusterRequest,
    DescribeTopicPartitionsRequest,
    MetadataRequest,
)


class Client:
    """Asks broker 1."""

    def __init__(self, members: Members) -> None:
        member = members[1]
        self.handlers = MetadataHandlers(
            node_id=1,
            current_image=lambda: member.image,
            topic_creator=member.controller,
            settings=members.settings,
        )

    async def partition(self) -> Any:
        response = await send(self.handlers.metadata, MetadataRequest(topics=None), 12)
        return response.topics[0].partitions[0]

    async def description(self) -> Any:
        Topic = DescribeTopicPartitionsRequest.TopicRequest
        request = DescribeTopicPartitionsRequest(topics=[Topic(name="t")])
        response = await send(self.handlers.describe_topic_partitions, request, 0)
        return response.topics[0].partitions[0]

    async def cluster(self) -> tuple[list[tuple[int, bool]], int]:
        request = DescribeClusterRequest(include_fenced_brokers=True)
        response = await send(self.handlers.describe_cluster, request, 2)
        return [(b.broker_id, b.is_fenced) for b in response.brokers], response.controller_id


async def test_broker_after_broker_goes_and_comes_back(autojump_clock: MockClock) -> None:
    async with running_members(1, 2, 3) as members:
        client = Client(members)
        await members.create("t", [[2, 3]], {"min.insync.replicas": "2"})
        partition = await client.partition()
        assert (partition.leader_id, partition.leader_epoch, partition.offline_replicas) == (2, 0, [])
        assert await client.cluster() == ([(1, False), (2, False), (3, False)], 1)

        await members[2].leave()
        await members[1].wait(lambda image: image.topics["t"].partitions[0].leader == 3)
        partition = await client.partition()
        assert (partition.error_code, partition.leader_id, partition.leader_epoch) == (0, 3, 1)
        assert (partition.isr_nodes, partition.offline_replicas) == ([3], [2])
        assert (await client.description()).eligible_leader_replicas == [2]
        assert await client.cluster() == ([(1, False), (3, False)], 1)

        await members[3].leave()
        await members[1].wait(lambda image: image.topics["t"].partitions[0].leader == NO_LEADER)
        partition = await client.partition()
        assert (partition.error_code, partition.leader_id, partition.leader_epoch) == (
            ErrorCode.LEADER_NOT_AVAILABLE,
            -1,
            2,
        )
        assert (partition.isr_nodes, partition.offline_replicas) == ([], [2, 3])
        described = await client.description()
        assert (described.leader_id, described.eligible_leader_replicas, described.last_known_elr) == (
            -1,
            [2, 3],
            [3],
        )

        await members.start(2)
        await members[1].wait(lambda image: image.topics["t"].partitions[0].leader == 2)
        partition = await client.partition()
        assert (partition.error_code, partition.leader_epoch, partition.isr_nodes) == (0, 3, [2])
        described = await client.description()
        assert (described.eligible_leader_replicas, described.last_known_elr) == ([3], [])


async def test_fenced_broker_is_told_only_to_those_who_ask(autojump_clock: MockClock) -> None:
    async with running_members(1, 2) as members:
        client = Client(members)
        await members.create("t", [[2, 1]])
        assert await members[2].session.change(fenced=True)
        await members[1].wait(lambda image: image.topics["t"].partitions[0].leader == 1)
        partition = await client.partition()
        assert (partition.leader_id, partition.isr_nodes, partition.offline_replicas) == (1, [1], [2])
        assert await client.cluster() == ([(1, False), (2, True)], 1)
