"""What a client does to a broker, request by request, so that both brokers get the very same bytes.

Client libraries decide by the clock what goes into a batch, and which versions they speak; here every batch, every
timestamp and every version is given. Works against any broker that leads all partitions itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self, TypeVar

import trio

from kbroker.client import BrokerClient
from kbroker.os_world import OsNetwork
from wire.errors import ApiError, ErrorCode
from wire.messages.client_quotas import AlterClientQuotasRequest, AlterClientQuotasResponse
from wire.messages.configs import IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse
from wire.messages.fetch import FetchRequest, FetchResponse
from wire.messages.group_membership import (
    JoinGroupRequest,
    JoinGroupResponse,
    LeaveGroupRequest,
    LeaveGroupResponse,
    SyncGroupRequest,
    SyncGroupResponse,
)
from wire.messages.group_offsets import (
    OffsetCommitRequest,
    OffsetCommitResponse,
    OffsetDeleteRequest,
    OffsetDeleteResponse,
    OffsetFetchRequest,
    OffsetFetchResponse,
)
from wire.messages.groups import (
    DeleteGroupsRequest,
    DeleteGroupsResponse,
    FindCoordinatorRequest,
    FindCoordinatorResponse,
)
from wire.messages.offsets import (
    DeleteRecordsRequest,
    DeleteRecordsResponse,
    ListOffsetsRequest,
    ListOffsetsResponse,
)
from wire.messages.produce import ProduceRequest, ProduceResponse
from wire.messages.producer_ids import InitProducerIdRequest, InitProducerIdResponse
from wire.messages.scram_credentials import (
    AlterUserScramCredentialsRequest,
    AlterUserScramCredentialsResponse,
)
from wire.messages.topics import (
    CreatePartitionsRequest,
    CreatePartitionsResponse,
    CreateTopicsRequest,
    CreateTopicsResponse,
    DeleteTopicsRequest,
    DeleteTopicsResponse,
)
from wire.messages.transactions import (
    EndTxnRequest,
    EndTxnResponse,
    TxnOffsetCommitRequest,
    TxnOffsetCommitResponse,
)
from wire.records import Compression, Record, build_batch, iterate_batches, read_records
from wire.schema import Message, Request

PATIENCE_S = 30.0
_RETRY_S = 0.05
_BYTES_MAX = 1 << 24
_READ_COMMITTED = 1
_SET, _DELETE = 0, 1
_SCRAM_SHA_256 = 1
_BROKER_IS_BUSY = frozenset(
    {
        ErrorCode.COORDINATOR_NOT_AVAILABLE,
        ErrorCode.COORDINATOR_LOAD_IN_PROGRESS,
        ErrorCode.NOT_COORDINATOR,
        ErrorCode.NOT_LEADER_OR_FOLLOWER,
        ErrorCode.LEADER_NOT_AVAILABLE,
        ErrorCode.CONCURRENT_TRANSACTIONS,
        ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
    }
)
"""Answers of a broker that has just started, or is still at what it was asked before."""

ResponseT = TypeVar("ResponseT", bound=Message)


@dataclass
class Producer:
    """What a broker said who this producer is, and how far each partition's sequence has come."""

    producer_id: int
    epoch: int
    transactional_id: str | None
    sequences: dict[tuple[str, int], int]


def record(
    timestamp_ms: int,
    key: bytes | None,
    value: bytes | None,
    headers: tuple[tuple[str, bytes | None], ...] = (),
) -> Record:
    """A record whose offset the batch will give it."""
    return Record(offset=0, timestamp=timestamp_ms, key=key, value=value, headers=headers)


class Operations:
    """One connection: ``async with Operations.to("127.0.0.1:9092") as broker: ...``."""

    def __init__(self, client: BrokerClient) -> None:
        self._client = client

    @classmethod
    async def to(cls, bootstrap_server: str) -> Self:
        host, _, port = bootstrap_server.rpartition(":")
        return cls(await BrokerClient.connect(OsNetwork(), host, int(port), client_id="disk-client"))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._client.close()

    async def ask(
        self,
        request: Request,
        response_class: type[ResponseT],
        version: int,
        errors: Callable[[ResponseT], Sequence[int]],
    ) -> ResponseT:
        """The answer, once none of its errors is one that passes by itself; ApiError for any other."""
        with trio.fail_after(PATIENCE_S):
            while True:
                response = await self._client.request(request, response_class, version=version)
                found = [ErrorCode(code) for code in errors(response) if code]
                if not found:
                    return response
                if not _BROKER_IS_BUSY.issuperset(found):
                    raise ApiError(found[0], f"{type(request).__name__}: {found}")
                await trio.sleep(_RETRY_S)

    # Topics

    async def create_topic(
        self, name: str, partitions: int = 1, configs: Mapping[str, str] | None = None
    ) -> None:
        topic = CreateTopicsRequest.CreatableTopic(
            name=name,
            num_partitions=partitions,
            replication_factor=1,
            configs=[
                CreateTopicsRequest.CreatableTopic.CreatableTopicConfig(name=key, value=value)
                for key, value in (configs or {}).items()
            ],
        )
        await self.ask(
            CreateTopicsRequest(topics=[topic]),
            CreateTopicsResponse,
            7,
            lambda response: [row.error_code for row in response.topics],
        )

    async def delete_topic(self, name: str) -> None:
        request = DeleteTopicsRequest(
            topics=[DeleteTopicsRequest.DeleteTopicState(name=name)], timeout_ms=int(PATIENCE_S * 1000)
        )
        await self.ask(
            request, DeleteTopicsResponse, 6, lambda response: [row.error_code for row in response.responses]
        )

    async def create_partitions(self, topic: str, count: int) -> None:
        request = CreatePartitionsRequest(
            topics=[CreatePartitionsRequest.CreatePartitionsTopic(name=topic, count=count, assignments=None)],
            timeout_ms=int(PATIENCE_S * 1000),
        )
        await self.ask(
            request,
            CreatePartitionsResponse,
            3,
            lambda response: [row.error_code for row in response.results],
        )

    async def alter_config(
        self, resource_type: int, resource: str, configs: Mapping[str, str | None]
    ) -> None:
        """Set configs; None takes one away."""
        resources = IncrementalAlterConfigsRequest.AlterConfigsResource
        request = IncrementalAlterConfigsRequest(
            resources=[
                resources(
                    resource_type=resource_type,
                    resource_name=resource,
                    configs=[
                        resources.AlterableConfig(
                            name=key, config_operation=_DELETE if value is None else _SET, value=value
                        )
                        for key, value in configs.items()
                    ],
                )
            ]
        )
        await self.ask(
            request,
            IncrementalAlterConfigsResponse,
            1,
            lambda response: [row.error_code for row in response.responses],
        )

    async def set_quota(self, entity_type: str, entity: str, key: str, value: float) -> None:
        entry = AlterClientQuotasRequest.EntryData
        request = AlterClientQuotasRequest(
            entries=[
                entry(
                    entity=[entry.EntityData(entity_type=entity_type, entity_name=entity)],
                    ops=[entry.OpData(key=key, value=value)],
                )
            ]
        )
        await self.ask(
            request,
            AlterClientQuotasResponse,
            1,
            lambda response: [row.error_code for row in response.entries],
        )

    async def set_scram_credential(self, user: str) -> None:
        """A credential that nobody will use."""
        request = AlterUserScramCredentialsRequest(
            upsertions=[
                AlterUserScramCredentialsRequest.ScramCredentialUpsertion(
                    name=user,
                    mechanism=_SCRAM_SHA_256,
                    iterations=4096,
                    salt=b"salt",
                    salted_password=bytes(32),
                )
            ]
        )
        await self.ask(
            request,
            AlterUserScramCredentialsResponse,
            0,
            lambda response: [row.error_code for row in response.results],
        )

    # Records

    async def produce(
        self,
        topic: str,
        records: Sequence[Record],
        *,
        partition: int = 0,
        compression: Compression = Compression.NONE,
        producer: Producer | None = None,
    ) -> int:
        """One batch, acknowledged by all; its base offset. In a producer's transaction if it has such an id."""
        numbered = [one._replace(offset=position) for position, one in enumerate(records)]
        sequence = {} if producer is None else self._sequence(producer, topic, partition)
        transactional_id = producer.transactional_id if producer is not None else None
        batch = build_batch(
            numbered,
            base_offset=0,
            compression=compression,
            is_transactional=transactional_id is not None,
            **sequence,
        )
        data = ProduceRequest.TopicProduceData
        request = ProduceRequest(
            transactional_id=transactional_id,
            acks=-1,
            timeout_ms=int(PATIENCE_S * 1000),
            topic_data=[
                data(name=topic, partition_data=[data.PartitionProduceData(index=partition, records=batch)])
            ],
        )
        response = await self.ask(
            request,
            ProduceResponse,
            12,
            lambda response: [
                row.error_code for found in response.responses for row in found.partition_responses
            ],
        )
        if producer is not None:
            producer.sequences[topic, partition] += len(records)
        return response.responses[0].partition_responses[0].base_offset

    @staticmethod
    def _sequence(producer: Producer, topic: str, partition: int) -> dict[str, int]:
        return {
            "producer_id": producer.producer_id,
            "producer_epoch": producer.epoch,
            "base_sequence": producer.sequences.setdefault((topic, partition), 0),
        }

    async def fetch(self, topic: str, *, partition: int = 0, committed: bool = False) -> list[Record]:
        """Every record from the log's start to its end, in order; control records left out.

        With ``committed``: up to the last stable offset, without those of aborted transactions.
        """
        position = await self.offset_at(topic, -2, partition=partition)
        found: list[Record] = []
        aborted: set[tuple[int, int]] = set()
        """(producer id, first offset) of transactions whose marker has not been met yet."""
        while True:
            row = await self._fetch_once(topic, partition, position, committed)
            aborted.update((one.producer_id, one.first_offset) for one in row.aborted_transactions or ())
            data = bytes(row.records or b"")
            for at, header in iterate_batches(data):
                if header.next_offset <= position:
                    continue
                position = header.next_offset
                records = read_records(data, at, decompressed_bytes_max=_BYTES_MAX)
                theirs = {
                    (producer_id, first_offset)
                    for producer_id, first_offset in aborted
                    if producer_id == header.producer_id and first_offset <= header.base_offset
                }
                if header.is_control:
                    aborted -= theirs
                elif not (header.is_transactional and theirs):
                    found += records
            if not data:
                return found

    async def batches(self, topic: str, partition: int = 0) -> bytes:
        """The log's bytes from its start to its end."""
        position = await self.offset_at(topic, -2, partition=partition)
        found = bytearray()
        while True:
            data = bytearray((await self._fetch_once(topic, partition, position, False)).records or b"")
            for at, header in iterate_batches(data):
                if header.next_offset > position:
                    found += data[at : at + header.size_bytes]
                    position = header.next_offset
            if not data:
                return bytes(found)

    async def _fetch_once(
        self, topic: str, partition: int, offset: int, committed: bool
    ) -> FetchResponse.FetchableTopicResponse.PartitionData:
        topics = FetchRequest.FetchTopic
        request = FetchRequest(
            max_wait_ms=0,
            min_bytes=0,
            max_bytes=_BYTES_MAX,
            isolation_level=_READ_COMMITTED if committed else 0,
            topics=[
                topics(
                    topic=topic,
                    partitions=[
                        topics.FetchPartition(
                            partition=partition, fetch_offset=offset, partition_max_bytes=_BYTES_MAX
                        )
                    ],
                )
            ],
        )
        response = await self.ask(
            request,
            FetchResponse,
            12,
            lambda response: [
                response.error_code,
                *(row.error_code for found in response.responses for row in found.partitions),
            ],
        )
        return response.responses[0].partitions[0]

    async def offset_at(self, topic: str, timestamp: int, *, partition: int = 0) -> int:
        """ListOffsets: of the first record at or after a time, -2 for the log's start, -1 for its end."""
        topics = ListOffsetsRequest.ListOffsetsTopic
        request = ListOffsetsRequest(
            replica_id=-1,
            topics=[
                topics(
                    name=topic,
                    partitions=[topics.ListOffsetsPartition(partition_index=partition, timestamp=timestamp)],
                )
            ],
        )
        response = await self.ask(
            request,
            ListOffsetsResponse,
            7,
            lambda response: [row.error_code for found in response.topics for row in found.partitions],
        )
        return response.topics[0].partitions[0].offset

    async def delete_records(self, topic: str, before: int, *, partition: int = 0) -> None:
        topics = DeleteRecordsRequest.DeleteRecordsTopic
        request = DeleteRecordsRequest(
            topics=[
                topics(
                    name=topic,
                    partitions=[topics.DeleteRecordsPartition(partition_index=partition, offset=before)],
                )
            ],
            timeout_ms=int(PATIENCE_S * 1000),
        )
        await self.ask(
            request,
            DeleteRecordsResponse,
            2,
            lambda response: [row.error_code for found in response.topics for row in found.partitions],
        )

    # Producers

    async def producer(self, transactional_id: str | None = None) -> Producer:
        if transactional_id is not None:
            await self._find_coordinator(transactional_id, 1)
        request = InitProducerIdRequest(transactional_id=transactional_id, transaction_timeout_ms=900_000)
        response = await self.ask(request, InitProducerIdResponse, 5, lambda response: [response.error_code])
        return Producer(response.producer_id, response.producer_epoch, transactional_id, {})

    async def end_transaction(self, producer: Producer, *, commit: bool) -> None:
        """Ends it; the producer goes on with the epoch that its next transaction has (KIP-890)."""
        assert producer.transactional_id is not None
        request = EndTxnRequest(
            transactional_id=producer.transactional_id,
            producer_id=producer.producer_id,
            producer_epoch=producer.epoch,
            committed=commit,
        )
        response = await self.ask(request, EndTxnResponse, 5, lambda response: [response.error_code])
        if response.producer_epoch != producer.epoch or response.producer_id != producer.producer_id:
            producer.sequences.clear()
        producer.producer_id, producer.epoch = response.producer_id, response.producer_epoch

    async def send_offsets(
        self, producer: Producer, group: str, offsets: Mapping[tuple[str, int], int]
    ) -> None:
        assert producer.transactional_id is not None
        await self._find_coordinator(group, 0)
        topics = TxnOffsetCommitRequest.TxnOffsetCommitRequestTopic
        request = TxnOffsetCommitRequest(
            transactional_id=producer.transactional_id,
            group_id=group,
            producer_id=producer.producer_id,
            producer_epoch=producer.epoch,
            topics=[
                topics(
                    name=topic,
                    partitions=[
                        topics.TxnOffsetCommitRequestPartition(
                            partition_index=partition, committed_offset=offset, committed_metadata=""
                        )
                    ],
                )
                for (topic, partition), offset in offsets.items()
            ],
        )
        await self.ask(
            request,
            TxnOffsetCommitResponse,
            5,
            lambda response: [row.error_code for found in response.topics for row in found.partitions],
        )

    async def _find_coordinator(self, key: str, key_type: int) -> None:
        """Has the broker make its internal topic, and waits until it serves the key's part of it."""
        await self.ask(
            FindCoordinatorRequest(key_type=key_type, coordinator_keys=[key]),
            FindCoordinatorResponse,
            4,
            lambda response: [row.error_code for row in response.coordinators],
        )

    # Groups

    async def join(self, group: str, topics: bytes, *, instance_id: str | None = None) -> tuple[str, int]:
        """Become the only member of a group and take everything; (member id, generation)."""
        await self._find_coordinator(group, 0)
        protocol = JoinGroupRequest.JoinGroupRequestProtocol(name="range", metadata=topics)
        member_id = ""
        while True:
            request = JoinGroupRequest(
                group_id=group,
                session_timeout_ms=600_000,
                rebalance_timeout_ms=60_000,
                member_id=member_id,
                group_instance_id=instance_id,
                protocol_type="consumer",
                protocols=[protocol],
            )
            try:
                joined = await self.ask(request, JoinGroupResponse, 9, lambda response: [response.error_code])
                break
            except ApiError as error:
                if error.code is not ErrorCode.MEMBER_ID_REQUIRED or member_id:
                    raise
                member_id = (await self._client.request(request, JoinGroupResponse, version=9)).member_id
        await self.ask(
            SyncGroupRequest(
                group_id=group,
                generation_id=joined.generation_id,
                member_id=joined.member_id,
                group_instance_id=instance_id,
                protocol_type="consumer",
                protocol_name="range",
                assignments=[
                    SyncGroupRequest.SyncGroupRequestAssignment(member_id=joined.member_id, assignment=topics)
                ],
            ),
            SyncGroupResponse,
            5,
            lambda response: [response.error_code],
        )
        return joined.member_id, joined.generation_id

    async def leave(self, group: str, member_id: str) -> None:
        request = LeaveGroupRequest(
            group_id=group, members=[LeaveGroupRequest.MemberIdentity(member_id=member_id)]
        )
        await self.ask(request, LeaveGroupResponse, 5, lambda response: [response.error_code])

    async def commit(
        self,
        group: str,
        offsets: Mapping[tuple[str, int], int],
        *,
        member: tuple[str, int] = ("", -1),
        metadata: str | None = "",
        leader_epoch: int = -1,
    ) -> None:
        await self._find_coordinator(group, 0)
        topics = OffsetCommitRequest.OffsetCommitRequestTopic
        request = OffsetCommitRequest(
            group_id=group,
            member_id=member[0],
            generation_id_or_member_epoch=member[1],
            topics=[
                topics(
                    name=topic,
                    partitions=[
                        topics.OffsetCommitRequestPartition(
                            partition_index=partition,
                            committed_offset=offset,
                            committed_leader_epoch=leader_epoch,
                            committed_metadata=metadata,
                        )
                    ],
                )
                for (topic, partition), offset in offsets.items()
            ],
        )
        await self.ask(
            request,
            OffsetCommitResponse,
            9,
            lambda response: [row.error_code for found in response.topics for row in found.partitions],
        )

    async def committed(self, group: str) -> dict[tuple[str, int], tuple[int, str | None]]:
        """Offset and metadata of each partition."""
        await self._find_coordinator(group, 0)
        request = OffsetFetchRequest(
            groups=[OffsetFetchRequest.OffsetFetchRequestGroup(group_id=group, topics=None)],
            require_stable=True,
        )
        response = await self.ask(
            request, OffsetFetchResponse, 8, lambda response: [row.error_code for row in response.groups]
        )
        return {
            (topic.name, row.partition_index): (row.committed_offset, row.metadata)
            for topic in response.groups[0].topics
            for row in topic.partitions
        }

    async def delete_offsets(self, group: str, topic: str, partition: int) -> None:
        topics = OffsetDeleteRequest.OffsetDeleteRequestTopic
        request = OffsetDeleteRequest(
            group_id=group,
            topics=[
                topics(
                    name=topic,
                    partitions=[topics.OffsetDeleteRequestPartition(partition_index=partition)],
                )
            ],
        )
        await self.ask(request, OffsetDeleteResponse, 0, lambda response: [response.error_code])

    async def delete_group(self, group: str) -> None:
        request = DeleteGroupsRequest(groups_names=[group])
        await self.ask(
            request, DeleteGroupsResponse, 2, lambda response: [row.error_code for row in response.results]
        )
