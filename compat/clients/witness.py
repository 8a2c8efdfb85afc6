"""What a broker holds, seen past the client under test: batches with their headers, groups, commits, topics.

Every look opens a connection of its own and asks in the newest versions that the broker serves, so the same code
judges Apache Kafka, kbroker and whatever else is there. ApiError where the broker refuses.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar
from uuid import UUID

import trio

from kbroker.coordination.partitioning import partition_for
from kbroker.tools.cluster import Cluster, Partition
from kbroker.tools.partition_offsets import LATEST, list_offsets
from kbroker.tools.session import Connected
from wire.errors import ApiError, ErrorCode
from wire.internal.consumer_offsets import GroupMetadataKey, GroupMetadataValue
from wire.internal.consumer_protocol import ConsumerProtocolAssignment
from wire.messages.configs import DescribeConfigsRequest, DescribeConfigsResponse
from wire.messages.fetch import FetchRequest, FetchResponse
from wire.messages.group_offsets import (
    OffsetCommitRequest,
    OffsetCommitResponse,
    OffsetFetchRequest,
    OffsetFetchResponse,
)
from wire.messages.groups import (
    DescribeGroupsRequest,
    DescribeGroupsResponse,
    ListGroupsRequest,
    ListGroupsResponse,
)
from wire.messages.metadata import MetadataResponse
from wire.messages.produce import ProduceRequest, ProduceResponse
from wire.messages.topics import (
    CreateTopicsRequest,
    CreateTopicsResponse,
    DeleteTopicsRequest,
    DeleteTopicsResponse,
)
from wire.records import (
    BatchHeader,
    ControlType,
    Record,
    build_batch,
    crc_matches,
    iterate_batches,
    read_control_type,
    read_records,
)

ResultT = TypeVar("ResultT")

READ_UNCOMMITTED = 0
READ_COMMITTED = 1
_OFFSETS_TOPIC = "__consumer_offsets"
_TOPIC_RESOURCE = 2
_DYNAMIC_TOPIC_CONFIG = 1
_FETCH_BYTES_MAX = 64 * 1024 * 1024
_TIMEOUT_MS = 30_000
_OFFSETS_BY_NAME_VERSION = 9
"""The last versions of OffsetCommit and OffsetFetch that name topics; later ones want their ids."""


@dataclass(frozen=True)
class Batch:
    """One batch of a partition's log; of a control batch ``control`` says which."""

    header: BatchHeader
    records: tuple[Record, ...]
    control: ControlType | None


@dataclass(frozen=True)
class GroupMember:
    member_id: str
    instance_id: str | None
    partitions: frozenset[Partition]


@dataclass(frozen=True)
class Group:
    """What DescribeGroups says; ``assignor`` is the protocol that the coordinator chose."""

    state: str
    assignor: str
    members: tuple[GroupMember, ...]


class Witness:
    """Looks at one cluster. Methods block; none of them needs to be closed."""

    def __init__(self, bootstrap_servers: str) -> None:
        self._bootstrap_servers = bootstrap_servers

    # Topics

    def create_topic(
        self,
        topic: str,
        *,
        partitions: int = 1,
        replication_factor: int = 1,
        config: Mapping[str, str] | None = None,
    ) -> None:
        """Create it and wait until every partition has a leader that serves it."""
        wanted = CreateTopicsRequest.CreatableTopic(
            name=topic,
            num_partitions=partitions,
            replication_factor=replication_factor,
            configs=[
                CreateTopicsRequest.CreatableTopic.CreatableTopicConfig(name=name, value=value)
                for name, value in (config or {}).items()
            ],
        )

        async def create(cluster: Cluster) -> None:
            request = CreateTopicsRequest(topics=[wanted], timeout_ms=_TIMEOUT_MS)
            (answer,) = (await cluster.controller(request, CreateTopicsResponse)).topics
            _raise(answer.error_code, answer.error_message)

            async def has_leaders() -> None:
                (found,) = (await cluster.metadata([topic])).topics
                _raise(found.error_code)
                if len(found.partitions) < partitions or any(one.leader_id < 0 for one in found.partitions):
                    raise ApiError(ErrorCode.LEADER_NOT_AVAILABLE, topic)
                # A broker may name itself leader a moment before it can be asked for anything.
                await list_offsets(cluster, [(topic, number) for number in range(partitions)], LATEST)

            await cluster.retrying(has_leaders)

        self._do(create)

    def delete_topic(self, topic: str) -> None:
        async def delete(cluster: Cluster) -> None:
            request = DeleteTopicsRequest(
                topics=[DeleteTopicsRequest.DeleteTopicState(name=topic)],
                topic_names=[topic],
                timeout_ms=_TIMEOUT_MS,
            )
            (answer,) = (await cluster.controller(request, DeleteTopicsResponse)).responses
            _raise(answer.error_code, answer.error_message)

        self._do(delete)

    def partition_count(self, topic: str) -> int:
        """0 for a topic that does not exist."""

        async def count(cluster: Cluster) -> int:
            (found,) = (await cluster.metadata([topic])).topics
            if found.error_code == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION:
                return 0
            _raise(found.error_code)
            return len(found.partitions)

        return self._do(count)

    def broker_count(self) -> int:
        """How many brokers the cluster has at the moment."""

        async def count(cluster: Cluster) -> int:
            return len((await cluster.metadata([])).brokers)

        return self._do(count)

    def leader(self, topic: str, partition: int = 0) -> int:
        """The node id of a partition's leader."""

        async def ask(cluster: Cluster) -> int:
            ((leader, _),) = (await cluster.leaders([(topic, partition)])).items()
            return leader

        return self._do(ask)

    def topic_config(self, topic: str) -> dict[str, str | None]:
        """What was set for the topic itself."""

        async def describe(cluster: Cluster) -> dict[str, str | None]:
            resource = DescribeConfigsRequest.DescribeConfigsResource(
                resource_type=_TOPIC_RESOURCE, resource_name=topic, configuration_keys=None
            )
            request = DescribeConfigsRequest(resources=[resource])
            (answer,) = (await cluster.any(request, DescribeConfigsResponse)).results
            _raise(answer.error_code, answer.error_message)
            return {
                one.name: one.value for one in answer.configs if one.config_source == _DYNAMIC_TOPIC_CONFIG
            }

        return self._do(describe)

    # Records

    def write(self, topic: str, records: Sequence[Record], *, partition: int = 0) -> int:
        """Append one batch, not compressed and not idempotent; the offset of its first record."""
        numbered = [record._replace(offset=number) for number, record in enumerate(records)]
        batch = build_batch(numbered, base_offset=0)

        async def append(cluster: Cluster) -> int:
            found = await _partition(cluster, topic, partition)
            data = ProduceRequest.TopicProduceData(
                name=topic,
                topic_id=found.topic_id,
                partition_data=[
                    ProduceRequest.TopicProduceData.PartitionProduceData(index=partition, records=batch)
                ],
            )
            request = ProduceRequest(acks=-1, timeout_ms=_TIMEOUT_MS, topic_data=[data])
            response = await cluster.once(found.leader, request, ProduceResponse)
            (answer,) = response.responses[0].partition_responses
            _raise(answer.error_code, answer.error_message)
            return answer.base_offset

        return self._do(append)

    def end_offsets(self, topic: str) -> dict[int, int]:
        """Where each partition ends."""

        async def ask(cluster: Cluster) -> dict[int, int]:
            (found,) = (await cluster.metadata([topic])).topics
            _raise(found.error_code)
            partitions = [(topic, one.partition_index) for one in found.partitions]
            return {
                number: end for (_, number), end in (await list_offsets(cluster, partitions, LATEST)).items()
            }

        return self._do(ask)

    def batches(
        self, topic: str, partition: int = 0, *, isolation_level: int = READ_UNCOMMITTED
    ) -> list[Batch]:
        """Every batch of a partition as the broker hands it out; checksums are checked.

        With READ_COMMITTED up to the last stable offset and without the batches that were aborted.
        """
        return self._do(lambda cluster: _read(cluster, topic, partition, isolation_level))

    def records(
        self, topic: str, partition: int = 0, *, isolation_level: int = READ_UNCOMMITTED
    ) -> list[Record]:
        """The records that an application would see."""
        batches = self.batches(topic, partition, isolation_level=isolation_level)
        return [record for batch in batches if batch.control is None for record in batch.records]

    # Groups

    def groups(self) -> set[str]:
        """The names of all groups, of every broker."""

        async def names(cluster: Cluster) -> set[str]:
            found: set[str] = set()
            for node_id in list(cluster.brokers):
                response = await cluster.broker(node_id, ListGroupsRequest(), ListGroupsResponse)
                _raise(response.error_code)
                found.update(group.group_id for group in response.groups)
            return found

        return self._do(names)

    def group(self, group: str) -> Group:
        async def describe(cluster: Cluster) -> Group:
            node_id = await cluster.coordinator(group)
            request = DescribeGroupsRequest(groups=[group])
            (answer,) = (await cluster.broker(node_id, request, DescribeGroupsResponse)).groups
            _raise(answer.error_code, answer.error_message)
            members = tuple(
                GroupMember(member.member_id, member.group_instance_id, _assigned(member.member_assignment))
                for member in answer.members
            )
            return Group(answer.group_state, answer.protocol_data, members)

        return self._do(describe)

    def generation(self, group: str) -> int:
        """Of the group's last record in ``__consumer_offsets``; -1 where it has none."""

        async def look(cluster: Cluster) -> int:
            (topic,) = (await cluster.metadata([_OFFSETS_TOPIC])).topics
            partition = partition_for(group, len(topic.partitions))
            generation = -1
            for batch in await _read(cluster, _OFFSETS_TOPIC, partition, READ_UNCOMMITTED):
                for record in batch.records:
                    found = _group_metadata(record, group) if batch.control is None else None
                    if found is not None:
                        generation = found.generation
            return generation

        return self._do(look)

    def commit(self, group: str, topic: str, offset: int, *, partition: int = 0) -> None:
        """As a consumer without membership does (``assign``): makes the group if there is none."""
        partitions = [
            OffsetCommitRequest.OffsetCommitRequestTopic.OffsetCommitRequestPartition(
                partition_index=partition, committed_offset=offset, committed_metadata=""
            )
        ]
        request = OffsetCommitRequest(
            group_id=group,
            topics=[OffsetCommitRequest.OffsetCommitRequestTopic(name=topic, partitions=partitions)],
        )

        async def attempt(cluster: Cluster) -> None:
            node_id = await cluster.coordinator(group)
            response = await cluster.once(
                node_id, request, OffsetCommitResponse, version_max=_OFFSETS_BY_NAME_VERSION
            )
            _raise(response.topics[0].partitions[0].error_code)

        self._do(lambda cluster: cluster.retrying(lambda: attempt(cluster)))

    def committed(self, group: str, topic: str) -> dict[int, int]:
        """The group's committed offsets in a topic, by partition, once no transaction is open on them."""
        group_of = OffsetFetchRequest.OffsetFetchRequestGroup

        async def attempt(cluster: Cluster) -> dict[int, int]:
            (asked,) = (await cluster.metadata([topic])).topics
            partitions = [one.partition_index for one in asked.partitions]
            wanted = [group_of.OffsetFetchRequestTopics(name=topic, partition_indexes=partitions)]
            response = await cluster.once(
                await cluster.coordinator(group),
                OffsetFetchRequest(groups=[group_of(group_id=group, topics=wanted)], require_stable=True),
                OffsetFetchResponse,
                version_max=_OFFSETS_BY_NAME_VERSION,
            )
            (answer,) = response.groups
            _raise(answer.error_code)
            found: dict[int, int] = {}
            for partition in answer.topics[0].partitions:
                _raise(partition.error_code)
                if partition.committed_offset >= 0:
                    found[partition.partition_index] = partition.committed_offset
            return found

        return self._do(lambda cluster: cluster.retrying(lambda: attempt(cluster)))

    def _do(self, look: Callable[[Cluster], Awaitable[ResultT]]) -> ResultT:
        async def main() -> ResultT:
            async with Connected(self._bootstrap_servers, {"client.id": "witness"}) as cluster:
                return await look(cluster)

        return trio.run(main)


@dataclass(frozen=True)
class _Found:
    topic_id: UUID
    leader: int


def _raise(code: int, message: str | None = None) -> None:
    if code:
        raise ApiError(ErrorCode(code), message)


async def _partition(cluster: Cluster, topic: str, partition: int) -> _Found:
    async def attempt() -> _Found:
        (found,) = (await cluster.metadata([topic])).topics
        _raise(found.error_code)
        return _Found(found.topic_id, _leader(found, partition))

    return await cluster.retrying(attempt)


def _leader(topic: MetadataResponse.MetadataResponseTopic, partition: int) -> int:
    for one in topic.partitions:
        if one.partition_index == partition and one.leader_id >= 0:
            return one.leader_id
    raise ApiError(ErrorCode.LEADER_NOT_AVAILABLE, f"{topic.name}-{partition}")


async def _read(cluster: Cluster, topic: str, partition: int, isolation_level: int) -> list[Batch]:
    offsets = await list_offsets(cluster, [(topic, partition)], LATEST, isolation_level=isolation_level)
    end, position = offsets[topic, partition], 0
    batches: list[Batch] = []
    aborted: set[tuple[int, int]] = set()
    while position < end:
        answer = await cluster.retrying(partial(_fetch, cluster, topic, partition, position, isolation_level))
        aborted.update((one.first_offset, one.producer_id) for one in answer.aborted_transactions or ())
        read = [batch for batch in _decoded(answer) if batch.header.next_offset > position]
        if not read:
            raise AssertionError(f"no batch of {topic}-{partition} at {position}, and it ends at {end}")
        batches += read
        position = read[-1].header.next_offset
    return _without_aborted(batches, aborted)


async def _fetch(
    cluster: Cluster, topic: str, partition: int, position: int, isolation_level: int
) -> FetchResponse.FetchableTopicResponse.PartitionData:
    found = await _partition(cluster, topic, partition)
    wanted = FetchRequest.FetchTopic.FetchPartition(
        partition=partition, fetch_offset=position, partition_max_bytes=_FETCH_BYTES_MAX
    )
    request = FetchRequest(
        replica_id=-1,
        max_wait_ms=1_000,
        min_bytes=1,
        max_bytes=_FETCH_BYTES_MAX,
        isolation_level=isolation_level,
        topics=[FetchRequest.FetchTopic(topic=topic, topic_id=found.topic_id, partitions=[wanted])],
    )
    response = await cluster.once(found.leader, request, FetchResponse)
    _raise(response.error_code)
    (answer,) = response.responses[0].partitions
    _raise(answer.error_code)
    return answer


def _decoded(answer: FetchResponse.FetchableTopicResponse.PartitionData) -> Iterator[Batch]:
    data = answer.records
    if not data:
        return
    assert isinstance(data, (bytes, bytearray, memoryview))
    for position, header in iterate_batches(data):
        assert crc_matches(data, position, header), f"the batch at {header.base_offset} is corrupt"
        records = tuple(read_records(data, position, decompressed_bytes_max=_FETCH_BYTES_MAX))
        control = read_control_type(records[0]) if header.is_control and records else None
        yield Batch(header, records, control)


def _without_aborted(batches: Sequence[Batch], aborted: set[tuple[int, int]]) -> list[Batch]:
    """Without the batches of transactions that the broker has called aborted: (first offset, producer id)."""
    waiting = sorted(aborted)
    open_producers: set[int] = set()
    kept: list[Batch] = []
    for batch in batches:
        while waiting and waiting[0][0] <= batch.header.last_offset:
            open_producers.add(waiting.pop(0)[1])
        producer = batch.header.producer_id
        if batch.control is ControlType.ABORT:
            open_producers.discard(producer)
        elif batch.control is None and batch.header.is_transactional and producer in open_producers:
            continue
        kept.append(batch)
    return kept


def _assigned(assignment: bytes) -> frozenset[Partition]:
    if not assignment:
        return frozenset()
    _, message = ConsumerProtocolAssignment.decode_versioned(assignment)
    return frozenset(
        (topic.topic, partition) for topic in message.assigned_partitions for partition in topic.partitions
    )


def _group_metadata(record: Record, group: str) -> GroupMetadataValue | None:
    if record.key is None or record.value is None:
        return None
    if int.from_bytes(record.key[:2], "big") != GroupMetadataKey.record_type:
        return None
    _, key = GroupMetadataKey.decode_versioned(record.key)
    if key.group != group:
        return None
    return GroupMetadataValue.decode_versioned(record.value)[1]
