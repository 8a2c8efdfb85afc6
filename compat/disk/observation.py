"""All that clients can see of a broker's data: asked of Apache Kafka before it stops, and of kbroker afterwards."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from compat.coordinators import key_of_each_partition
from compat.disk.operations import Operations
from compat.disk.workload import BROKER, GROUP, TOPIC, segment
from wire.errors import ErrorCode
from wire.messages.configs import DescribeConfigsRequest, DescribeConfigsResponse
from wire.messages.groups import (
    DescribeGroupsRequest,
    DescribeGroupsResponse,
    ListGroupsRequest,
    ListGroupsResponse,
)
from wire.messages.metadata import MetadataRequest, MetadataResponse
from wire.messages.transactions import (
    DescribeProducersRequest,
    DescribeProducersResponse,
    DescribeTransactionsRequest,
    DescribeTransactionsResponse,
    ListTransactionsRequest,
    ListTransactionsResponse,
)
from wire.records import Record

_OF_THE_TOPIC, _OF_THE_BROKER, _OF_ALL_BROKERS, _OF_THE_GROUP = 1, 2, 3, 8
"""Where a config's value comes from (``ConfigEntry.ConfigSource``), if somebody has set it."""
_OFFSETS_TOPIC, _TRANSACTIONS_TOPIC = "__consumer_offsets", "__transaction_state"
TIMES = (-2, -1, 0, *(segment(number) + 1 for number in range(5)))

Partition = tuple[str, int]


@dataclass
class Observation:
    """By topic, partition, group or transactional id. Compared as a whole, and so without what may change.

    ``topics``: (id, number of partitions, whether internal). ``batches``: the very bytes, of the topics that clients
    write to. ``offsets``: what ListOffsets answers for each of `TIMES`. ``groups``: state, protocol, and (member id,
    instance id, assignment) of each member. ``producers``: (id, epoch, last sequence, last timestamp, coordinator
    epoch, start of the open transaction). ``transactions``: (state, producer id, epoch, time-out, partitions).
    """

    cluster_id: str | None
    topics: dict[str, tuple[str, int, bool]]
    configs: dict[tuple[int, str], dict[str, str | None]]
    batches: dict[Partition, bytes]
    committed: dict[Partition, list[Record]]
    offsets: dict[Partition, list[int]]
    group_offsets: dict[str, dict[Partition, tuple[int, str | None]]]
    groups: dict[str, tuple[str, str, list[tuple[str, str | None, bytes]]]]
    producers: dict[Partition, list[tuple[int, ...]]]
    transactions: dict[str, tuple[str, int, int, int, list[Partition]]]


async def observe(broker: Operations) -> Observation:
    metadata = await broker.ask(
        MetadataRequest(topics=None),
        MetadataResponse,
        12,
        lambda response: [
            code
            for topic in response.topics
            for code in (topic.error_code, *(row.error_code for row in topic.partitions))
        ],
    )
    topics = {
        topic.name or "": (str(topic.topic_id), len(topic.partitions), topic.is_internal)
        for topic in metadata.topics
    }
    partitions = [(name, index) for name, (_, count, _) in topics.items() for index in range(count)]
    written = [(name, index) for name, index in partitions if not topics[name][2]]
    await _coordinators_loaded(broker, topics)
    groups = await _groups(broker)
    return Observation(
        cluster_id=metadata.cluster_id,
        topics=topics,
        configs=await _configs(broker, [*topics], [*groups]),
        batches={partition: await broker.batches(*partition) for partition in written},
        committed={
            (name, index): await broker.fetch(name, partition=index, committed=True)
            for name, index in written
        },
        offsets={
            (name, index): [await broker.offset_at(name, time, partition=index) for time in TIMES]
            for name, index in partitions
        },
        group_offsets={group: await broker.committed(group) for group in groups},
        groups=groups,
        producers={partition: await producers_of(broker, *partition) for partition in written},
        transactions=await _transactions(broker),
    )


async def leader_epochs(broker: Operations) -> dict[Partition, int]:
    """Of every partition."""
    metadata = await broker.ask(
        MetadataRequest(topics=None),
        MetadataResponse,
        12,
        lambda response: [row.error_code for topic in response.topics for row in topic.partitions],
    )
    return {
        (topic.name or "", row.partition_index): row.leader_epoch
        for topic in metadata.topics
        for row in topic.partitions
    }


async def _coordinators_loaded(broker: Operations, topics: Mapping[str, tuple[str, int, bool]]) -> None:
    """Until lists of groups and of transactions are whole; the topics are those of `Observation`."""
    if _OFFSETS_TOPIC in topics:
        await broker.ask(
            DescribeGroupsRequest(groups=key_of_each_partition(topics[_OFFSETS_TOPIC][1])),
            DescribeGroupsResponse,
            5,
            lambda response: [row.error_code for row in response.groups],
        )
    if _TRANSACTIONS_TOPIC in topics:
        ids = key_of_each_partition(topics[_TRANSACTIONS_TOPIC][1])
        await broker.ask(
            DescribeTransactionsRequest(transactional_ids=ids),
            DescribeTransactionsResponse,
            0,
            lambda response: [
                row.error_code
                for row in response.transaction_states
                if row.error_code != ErrorCode.TRANSACTIONAL_ID_NOT_FOUND
            ],
        )


async def _configs(
    broker: Operations, topics: list[str], groups: list[str]
) -> dict[tuple[int, str], dict[str, str | None]]:
    """What was set, of each resource that has something set."""
    resources = [(TOPIC, name) for name in topics] + [(BROKER, "1"), (BROKER, "")]
    resources += [(GROUP, name) for name in groups]
    request = DescribeConfigsRequest(
        resources=[
            DescribeConfigsRequest.DescribeConfigsResource(
                resource_type=kind, resource_name=name, configuration_keys=None
            )
            for kind, name in resources
        ],
        include_synonyms=True,
    )
    response = await broker.ask(
        request, DescribeConfigsResponse, 4, lambda response: [row.error_code for row in response.results]
    )
    found = {
        (row.resource_type, row.resource_name): {
            config.name: config.value
            for config in row.configs
            if config.config_source == _own_source(row.resource_type, row.resource_name)
        }
        for row in response.results
    }
    return {resource: configs for resource, configs in found.items() if configs}


def _own_source(kind: int, name: str) -> int:
    if kind == BROKER:
        return _OF_THE_BROKER if name else _OF_ALL_BROKERS
    return _OF_THE_TOPIC if kind == TOPIC else _OF_THE_GROUP


async def _groups(
    broker: Operations,
) -> dict[str, tuple[str, str, list[tuple[str, str | None, bytes]]]]:
    listed = await broker.ask(
        ListGroupsRequest(), ListGroupsResponse, 4, lambda response: [response.error_code]
    )
    described = await broker.ask(
        DescribeGroupsRequest(groups=sorted(row.group_id for row in listed.groups)),
        DescribeGroupsResponse,
        5,
        lambda response: [row.error_code for row in response.groups],
    )
    return {
        row.group_id: (
            row.group_state,
            row.protocol_data,
            [(one.member_id, one.group_instance_id, one.member_assignment) for one in row.members],
        )
        for row in described.groups
    }


async def producers_of(broker: Operations, topic: str, partition: int) -> list[tuple[int, ...]]:
    """See `Observation.producers`."""
    request = DescribeProducersRequest(
        topics=[DescribeProducersRequest.TopicRequest(name=topic, partition_indexes=[partition])]
    )
    response = await broker.ask(
        request,
        DescribeProducersResponse,
        0,
        lambda response: [row.error_code for found in response.topics for row in found.partitions],
    )
    return sorted(
        (
            row.producer_id,
            row.producer_epoch,
            row.last_sequence,
            row.last_timestamp,
            row.coordinator_epoch,
            row.current_txn_start_offset,
        )
        for row in response.topics[0].partitions[0].active_producers
    )


async def _transactions(broker: Operations) -> dict[str, tuple[str, int, int, int, list[Partition]]]:
    listed = await broker.ask(
        ListTransactionsRequest(), ListTransactionsResponse, 0, lambda response: [response.error_code]
    )
    request = DescribeTransactionsRequest(
        transactional_ids=sorted(row.transactional_id for row in listed.transaction_states)
    )
    described = await broker.ask(
        request,
        DescribeTransactionsResponse,
        0,
        lambda response: [row.error_code for row in response.transaction_states],
    )
    return {
        row.transactional_id: (
            row.transaction_state,
            row.producer_id,
            row.producer_epoch,
            row.transaction_timeout_ms,
            sorted((topic.topic, index) for topic in row.topics for index in topic.partitions),
        )
        for row in described.transaction_states
    }
