"""ElectLeaders, reassignments, AlterPartition, DescribeQuorum, UnregisterBroker: through the codec, to a controller."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from typing import Any, NoReturn

import pytest

from kbroker.handlers.brokers import BrokerHandlers
from kbroker.handlers.elections import ElectionHandlers
from kbroker.handlers.partition_states import PartitionStateHandlers
from kbroker.handlers.quorum import QuorumHandlers
from kbroker.handlers.reassignments import ReassignmentHandlers
from kbroker.metadata import keys
from kbroker.metadata.image import ClusterImage, ControllerRegistration, Endpoint, PartitionState
from kbroker.metadata.store import Put
from tests.kbroker.handlers.requests import send
from tests.kbroker.metadata.cluster import (
    Cluster,
    InterferingStore,
    broker,
    image_of,
    make_controller,
    new_topic,
    running_cluster,
)
from wire.errors import ApiError, ErrorCode
from wire.messages.broker_lifecycle import UnregisterBrokerRequest
from wire.messages.quorum import DescribeQuorumRequest
from wire.messages.reassignments import (
    AlterPartitionReassignmentsRequest,
    AlterPartitionRequest,
    ElectLeadersRequest,
    ListPartitionReassignmentsRequest,
)

Partitions = ElectLeadersRequest.TopicPartitions
Topic = AlterPartitionReassignmentsRequest.ReassignableTopic
Partition = Topic.ReassignablePartition
ListedTopic = ListPartitionReassignmentsRequest.ListPartitionReassignmentsTopics
Proposals = AlterPartitionRequest.TopicData
Proposal = Proposals.PartitionData


@pytest.fixture
async def cluster() -> AsyncIterator[Cluster]:
    """Topic t: three partitions on brokers 1 and 2, the second of them led by 2, the third by nobody."""
    async with running_cluster(broker(1), broker(2), broker(3)) as running:
        (result,) = await running.controller.create_topics(
            [new_topic("t", assignments=[(0, [1, 2]), (1, [1, 2]), (2, [1, 2])])]
        )
        operations = [
            Put(keys.partition_key(result.topic_id, index), keys.encode_partition(state))
            for index, state in (
                (1, PartitionState((1, 2), (1, 2), 2, 3, 4)),
                (2, PartitionState((1, 2), (), -1, 3, 4, last_known_eligible_leader_replicas=(2,))),
            )
        ]
        written = await running.store.transact([], operations)
        await running.metadata.wait_for(written.revision)
        yield running


def topic_id_of(cluster: Cluster) -> uuid.UUID:
    return cluster.image.topics["t"].topic_id


# ElectLeaders


def results(response: Any) -> list[tuple[str, int, str, bool]]:
    return [
        (
            topic.topic,
            partition.partition_id,
            ErrorCode(partition.error_code).name,
            bool(partition.error_message),
        )
        for topic in response.replica_election_results
        for partition in topic.partition_result
    ]


@pytest.mark.parametrize("version", range(3))
async def test_preferred_leaders_are_elected(cluster: Cluster, version: int) -> None:
    request = ElectLeadersRequest(
        topic_partitions=[
            Partitions(topic="t", partitions=[0, 1, 2, 3]),
            Partitions(topic="u", partitions=[0]),
        ]
    )
    response = await send(ElectionHandlers(controller=cluster.controller).elect_leaders, request, version)
    assert response.error_code == 0
    assert results(response) == [
        ("t", 0, "ELECTION_NOT_NEEDED", True),
        ("t", 1, "NONE", False),
        ("t", 2, "PREFERRED_LEADER_NOT_AVAILABLE", True),
        ("t", 3, "UNKNOWN_TOPIC_OR_PARTITION", True),
        ("u", 0, "UNKNOWN_TOPIC_OR_PARTITION", True),
    ]
    assert cluster.image.topics["t"].partitions[1].leader == 1


@pytest.mark.parametrize("version", [1, 2])
async def test_anybody_is_elected_when_asked_for(cluster: Cluster, version: int) -> None:
    request = ElectLeadersRequest(election_type=1, topic_partitions=None)
    response = await send(ElectionHandlers(controller=cluster.controller).elect_leaders, request, version)
    assert results(response) == [("t", 2, "NONE", False)]
    assert cluster.image.topics["t"].partitions[2].leader == 2


async def test_unknown_kind_of_election_is_an_invalid_request(cluster: Cluster) -> None:
    request = ElectLeadersRequest(election_type=2, topic_partitions=[Partitions(topic="t", partitions=[0])])
    response = await send(ElectionHandlers(controller=cluster.controller).elect_leaders, request, 2)
    assert response.error_code == ErrorCode.INVALID_REQUEST
    assert results(response) == [("t", 0, "INVALID_REQUEST", True)]


async def test_election_without_any_time(cluster: Cluster) -> None:
    request = ElectLeadersRequest(topic_partitions=[Partitions(topic="t", partitions=[1])], timeout_ms=0)
    response = await send(ElectionHandlers(controller=cluster.controller).elect_leaders, request, 2)
    assert response.error_code == ErrorCode.REQUEST_TIMED_OUT
    assert results(response) == [("t", 1, "REQUEST_TIMED_OUT", False)]
    assert cluster.image.topics["t"].partitions[1].leader == 2


# Reassignments


def moves(response: Any) -> list[tuple[str, int, str]]:
    return [
        (topic.name, partition.partition_index, ErrorCode(partition.error_code).name)
        for topic in response.responses
        for partition in topic.partitions
    ]


async def test_partitions_are_moved_listed_and_moved_back(cluster: Cluster) -> None:
    handlers = ReassignmentHandlers(controller=cluster.controller)
    request = AlterPartitionReassignmentsRequest(
        topics=[
            Topic(
                name="t",
                partitions=[
                    Partition(partition_index=0, replicas=[2, 3]),
                    Partition(partition_index=1, replicas=[3, 4]),
                    Partition(partition_index=2, replicas=None),
                    Partition(partition_index=3, replicas=[1]),
                ],
            ),
            Topic(name="u", partitions=[Partition(partition_index=0, replicas=[1])]),
        ]
    )
    response = await send(handlers.alter_partition_reassignments, request, 0)
    assert (response.error_code, response.error_message) == (0, None)
    assert moves(response) == [
        ("t", 0, "NONE"),
        ("t", 1, "INVALID_REPLICA_ASSIGNMENT"),
        ("t", 2, "NO_REASSIGNMENT_IN_PROGRESS"),
        ("t", 3, "UNKNOWN_TOPIC_OR_PARTITION"),
        ("u", 0, "UNKNOWN_TOPIC_OR_PARTITION"),
    ]
    for topics in (None, [ListedTopic(name="t", partition_indexes=[0, 1]), ListedTopic(name="u")]):
        listing = await send(
            handlers.list_partition_reassignments, ListPartitionReassignmentsRequest(topics=topics), 0
        )
        assert (listing.error_code, listing.error_message) == (0, None)
        assert [
            (topic.name, p.partition_index, p.replicas, p.adding_replicas, p.removing_replicas)
            for topic in listing.topics
            for p in topic.partitions
        ] == [("t", 0, [2, 3, 1], [3], [1])]
    back = AlterPartitionReassignmentsRequest(
        topics=[Topic(name="t", partitions=[Partition(partition_index=0, replicas=None)])]
    )
    assert moves(await send(handlers.alter_partition_reassignments, back, 1)) == [("t", 0, "NONE")]
    listing = await send(
        handlers.list_partition_reassignments, ListPartitionReassignmentsRequest(topics=None), 0
    )
    assert listing.topics == []


@pytest.mark.parametrize(("allowed", "outcome"), [(False, "INVALID_REPLICATION_FACTOR"), (True, "NONE")])
async def test_replication_factor_may_be_held_fast(cluster: Cluster, allowed: bool, outcome: str) -> None:
    request = AlterPartitionReassignmentsRequest(
        allow_replication_factor_change=allowed,
        topics=[Topic(name="t", partitions=[Partition(partition_index=0, replicas=[1, 2, 3])])],
    )
    handlers = ReassignmentHandlers(controller=cluster.controller)
    response = await send(handlers.alter_partition_reassignments, request, 1)
    assert moves(response) == [("t", 0, outcome)]
    assert response.allow_replication_factor_change == allowed


async def test_move_without_any_time(cluster: Cluster) -> None:
    request = AlterPartitionReassignmentsRequest(
        topics=[Topic(name="t", partitions=[Partition(partition_index=0, replicas=[2, 3])])], timeout_ms=0
    )
    handlers = ReassignmentHandlers(controller=cluster.controller)
    response = await send(handlers.alter_partition_reassignments, request, 1)
    assert response.error_code == ErrorCode.REQUEST_TIMED_OUT
    assert moves(response) == [("t", 0, "REQUEST_TIMED_OUT")]


async def test_moves_cannot_be_listed_without_the_store(cluster: Cluster) -> None:
    class Unreachable:
        async def list_reassignments(self, wanted: object) -> NoReturn:
            raise ApiError(ErrorCode.REQUEST_TIMED_OUT, "no store")

    handlers = ReassignmentHandlers(controller=Unreachable())  # type: ignore[arg-type]
    response = await send(
        handlers.list_partition_reassignments, ListPartitionReassignmentsRequest(topics=None), 0
    )
    assert (response.error_code, response.error_message) == (ErrorCode.REQUEST_TIMED_OUT, "no store")
    assert response.topics == []


# AlterPartition


def proposal(index: int, in_sync: list[int], version: int, **fields: int) -> Proposal:
    members: dict[str, Any] = (
        {"new_isr": in_sync}
        if version < 3
        else {"new_isr_with_epochs": [Proposal.BrokerState(broker_id=n, broker_epoch=n) for n in in_sync]}
    )
    values = {"leader_epoch": 0, "partition_epoch": 0, "leader_recovery_state": 0} | fields
    return Proposal(partition_index=index, **members, **values)


@pytest.mark.parametrize("version", [2, 3])
async def test_leader_of_another_implementation_proposes(cluster: Cluster, version: int) -> None:
    handlers = PartitionStateHandlers(controller=cluster.controller)
    unknown = uuid.UUID(int=9)
    request = AlterPartitionRequest(
        broker_id=1,
        broker_epoch=1,
        topics=[
            Proposals(
                topic_id=topic_id_of(cluster),
                partitions=[
                    proposal(0, [1], version),
                    proposal(1, [1], version, leader_epoch=3, partition_epoch=4),
                    proposal(7, [1], version),
                ],
            ),
            Proposals(topic_id=unknown, partitions=[proposal(0, [1], version)]),
        ],
    )
    response = await send(handlers.alter_partition, request, version)
    assert response.error_code == 0
    assert [topic.topic_id for topic in response.topics] == [topic_id_of(cluster), unknown]
    first, second, third = response.topics[0].partitions
    assert (first.error_code, first.leader_id, first.leader_epoch, first.isr) == (0, 1, 0, [1])
    assert (first.partition_epoch, first.leader_recovery_state) == (1, 0)
    assert second.error_code == ErrorCode.INVALID_REQUEST
    assert third.error_code == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
    assert response.topics[1].partitions[0].error_code == ErrorCode.UNKNOWN_TOPIC_ID


async def test_broker_epochs_of_replicas_are_looked_at(cluster: Cluster) -> None:
    request = AlterPartitionRequest(
        broker_id=1,
        broker_epoch=1,
        topics=[
            Proposals(
                topic_id=topic_id_of(cluster),
                partitions=[
                    Proposal(
                        new_isr_with_epochs=[
                            Proposal.BrokerState(broker_id=1, broker_epoch=1),
                            Proposal.BrokerState(broker_id=2, broker_epoch=1),
                        ]
                    )
                ],
            )
        ],
    )
    handlers = PartitionStateHandlers(controller=cluster.controller)
    response = await send(handlers.alter_partition, request, 3)
    assert response.topics[0].partitions[0].error_code == ErrorCode.INELIGIBLE_REPLICA


async def test_proposal_of_a_broker_that_registered_anew(cluster: Cluster) -> None:
    handlers = PartitionStateHandlers(controller=cluster.controller)
    request = AlterPartitionRequest(
        broker_id=1,
        broker_epoch=0,
        topics=[Proposals(topic_id=topic_id_of(cluster), partitions=[proposal(0, [1], 3)])],
    )
    response = await send(handlers.alter_partition, request, 3)
    assert (response.error_code, response.topics) == (ErrorCode.STALE_BROKER_EPOCH, [])


async def test_recovering_leader_says_so(cluster: Cluster) -> None:
    handlers = PartitionStateHandlers(controller=cluster.controller)
    await cluster.controller.elect_leaders(1, [("t", 2)])
    state = cluster.image.topics["t"].partitions[2]
    for recovery, expected in ((1, 1), (0, 0)):
        request = AlterPartitionRequest(
            broker_id=2,
            broker_epoch=2,
            topics=[
                Proposals(
                    topic_id=topic_id_of(cluster),
                    partitions=[
                        proposal(
                            2,
                            [2],
                            3,
                            leader_epoch=state.leader_epoch,
                            partition_epoch=state.partition_epoch,
                            leader_recovery_state=recovery,
                        )
                    ],
                )
            ],
        )
        response = await send(handlers.alter_partition, request, 3)
        (partition,) = response.topics[0].partitions
        assert (partition.error_code, partition.leader_recovery_state) == (0, expected)


# DescribeQuorum


def asked(*partitions: int, topic: str = "__cluster_metadata") -> DescribeQuorumRequest:
    Data = DescribeQuorumRequest.TopicData
    return DescribeQuorumRequest(
        topics=[
            Data(
                topic_name=topic,
                partitions=[Data.PartitionData(partition_index=index) for index in partitions],
            )
        ]
    )


def quorum_of(image: ClusterImage) -> QuorumHandlers:
    return QuorumHandlers(current_image=lambda: image, clock_ms=lambda: 1234)


@pytest.mark.parametrize("version", range(3))
async def test_quorum_is_the_elected_controller_and_the_brokers(version: int) -> None:
    other = broker(3, endpoints={"OUTSIDE": Endpoint("outside", 1)})
    image = image_of(broker(2), broker(1), other)._replace(
        revision=77, controller=ControllerRegistration(2, 5)
    )
    response = await send(quorum_of(image).describe_quorum, asked(0), version)
    assert (response.error_code, response.error_message) == (0, "")
    (topic,) = response.topics
    (partition,) = topic.partitions
    assert (topic.topic_name, partition.partition_index, partition.error_code) == ("__cluster_metadata", 0, 0)
    assert (partition.leader_id, partition.leader_epoch, partition.high_watermark) == (2, 5, 77)
    time = 1234 if version >= 1 else -1
    assert [
        (v.replica_id, v.log_end_offset, v.last_fetch_timestamp, v.last_caught_up_timestamp)
        for v in partition.current_voters
    ] == [(node_id, 77, time, time) for node_id in (1, 2, 3)]
    assert partition.observers == []
    nodes = [(n.node_id, [(a.name, a.host, a.port) for a in n.listeners]) for n in response.nodes]
    assert nodes == (
        [(1, [("PLAINTEXT", "host1", 9092)]), (2, [("PLAINTEXT", "host2", 9092)]), (3, [])]
        if version >= 2
        else []
    )


@pytest.mark.parametrize("request_", [asked(1), asked(0, 1), asked(0, topic="t")])
async def test_quorum_of_anything_else_is_unknown(request_: DescribeQuorumRequest) -> None:
    image = image_of(broker(1))._replace(controller=ControllerRegistration(1, 1))
    response = await send(quorum_of(image).describe_quorum, request_, 2)
    assert response.error_code == 0
    codes = {partition.error_code for topic in response.topics for partition in topic.partitions}
    assert codes == {ErrorCode.UNKNOWN_TOPIC_OR_PARTITION}


async def test_quorum_without_a_controller() -> None:
    response = await send(quorum_of(image_of(broker(1))).describe_quorum, asked(0), 2)
    assert response.topics[0].partitions[0].error_code == ErrorCode.NOT_LEADER_OR_FOLLOWER


# UnregisterBroker


async def test_broker_is_unregistered(cluster: Cluster) -> None:
    handlers = BrokerHandlers(controller=cluster.controller)
    response = await send(handlers.unregister_broker, UnregisterBrokerRequest(broker_id=3), 0)
    assert (response.error_code, response.error_message) == (0, None)
    assert 3 not in cluster.image.brokers
    response = await send(handlers.unregister_broker, UnregisterBrokerRequest(broker_id=3), 0)
    assert response.error_code == ErrorCode.BROKER_ID_NOT_REGISTERED
    assert response.error_message


async def test_broker_is_unregistered_though_it_changes_meanwhile(cluster: Cluster) -> None:
    store = InterferingStore(cluster.store)
    store.before = [Put(keys.broker_key(3), keys.encode_broker(broker(3, rack="r")))]
    handlers = BrokerHandlers(controller=make_controller(1, store, cluster.metadata, cluster.settings))
    response = await send(handlers.unregister_broker, UnregisterBrokerRequest(broker_id=3), 0)
    assert response.error_code == 0
    assert 3 not in cluster.image.brokers
