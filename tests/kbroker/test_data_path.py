"""Produce, Fetch, ListOffsets, OffsetForLeaderEpoch, DeleteRecords and InitProducerId over a real connection.

Every case passes on Apache Kafka too: ``pytest tests/kbroker/test_data_path.py --bootstrap-server HOST:PORT``.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest
import trio

from kbroker.client import BrokerClient
from kbroker.os_world import OsWorld
from kbroker.world import ConnectionLost
from tests.running_broker import batch, create_topic
from wire.compression import Compression
from wire.errors import ErrorCode
from wire.messages.fetch import FetchRequest, FetchResponse
from wire.messages.groups import FindCoordinatorRequest, FindCoordinatorResponse
from wire.messages.offsets import (
    DeleteRecordsRequest,
    DeleteRecordsResponse,
    ListOffsetsRequest,
    ListOffsetsResponse,
    OffsetForLeaderEpochRequest,
    OffsetForLeaderEpochResponse,
)
from wire.messages.produce import ProduceRequest, ProduceResponse
from wire.messages.producer_ids import InitProducerIdRequest, InitProducerIdResponse
from wire.records import iterate_batches, read_records, set_crc

Connect = Callable[..., AbstractAsyncContextManager[BrokerClient]]
ProduceAnswer = ProduceResponse.TopicProduceResponse.PartitionProduceResponse
FetchAnswer = FetchResponse.FetchableTopicResponse.PartitionData
DECOMPRESSED_BYTES_MAX = 1 << 20


class Topic:
    """A new topic, addressed by name or by id as the version has it."""

    def __init__(self, client: BrokerClient, name: str, topic_id: uuid.UUID) -> None:
        self.client, self.name, self.topic_id = client, name, topic_id

    @classmethod
    async def create(cls, client: BrokerClient, partitions: int = 1, **configs: str) -> Topic:
        name = f"t-{uuid.uuid4().hex[:12]}"
        dotted = {key.replace("_", "."): value for key, value in configs.items()}
        created = await create_topic(client, name, partitions, dotted)
        topic = cls(client, name, created.topic_id)
        with trio.fail_after(10):
            while (await topic.list_offset(-1)).error_code:  # Apache Kafka answers before the leader is ready
                await trio.sleep(0.01)
        return topic

    async def produce(
        self, records: bytes | bytearray | None, *, acks: int = -1, version: int = 13, partition: int = 0
    ) -> ProduceAnswer:
        data = ProduceRequest.TopicProduceData(
            name=self.name,
            topic_id=self.topic_id,
            partition_data=[
                ProduceRequest.TopicProduceData.PartitionProduceData(index=partition, records=records)
            ],
        )
        request = ProduceRequest(acks=acks, timeout_ms=10_000, topic_data=[data])
        if acks == 0:
            await self.client.send(request, version=version)
            return ProduceAnswer()
        response = await self.client.request(request, ProduceResponse, version=version)
        return response.responses[0].partition_responses[0]

    def fetch_request(
        self, offset: int = 0, *, partitions: tuple[int, ...] = (0,), **fields: Any
    ) -> FetchRequest:
        partition_fields = {
            key: fields.pop(key)
            for key in ("current_leader_epoch", "last_fetched_epoch", "partition_max_bytes")
            if key in fields
        }
        partition_fields.setdefault("partition_max_bytes", 1 << 20)
        topic = FetchRequest.FetchTopic(
            topic=self.name,
            topic_id=self.topic_id,
            partitions=[
                FetchRequest.FetchTopic.FetchPartition(
                    partition=index, fetch_offset=offset, **partition_fields
                )
                for index in partitions
            ],
        )
        settings: dict[str, Any] = {
            "max_wait_ms": 0,
            "min_bytes": 1,
            "max_bytes": 1 << 20,
            "session_epoch": 0,
            **fields,
        }
        return FetchRequest(topics=[topic], **settings)

    async def fetch(self, offset: int = 0, *, version: int = 17, **fields: Any) -> FetchAnswer:
        request = self.fetch_request(offset, **fields)
        response = await self.client.request(request, FetchResponse, version=version)
        assert response.error_code == 0
        return response.responses[0].partitions[0]

    async def list_offset(self, timestamp: int, *, version: int = 9, **fields: Any) -> Any:
        asked = ListOffsetsRequest.ListOffsetsTopic.ListOffsetsPartition(
            partition_index=0,
            timestamp=timestamp,
            current_leader_epoch=fields.pop("current_leader_epoch", -1),
        )
        request = ListOffsetsRequest(
            replica_id=-1,
            topics=[ListOffsetsRequest.ListOffsetsTopic(name=self.name, partitions=[asked])],
            **fields,
        )
        response = await self.client.request(request, ListOffsetsResponse, version=version)
        return response.topics[0].partitions[0]


def values(answer: FetchAnswer, start: int = 0) -> list[tuple[int, bytes | None]]:
    """(offset, value) of the records at or after ``start`` in whole batches of an answer."""
    assert answer.records is not None
    data = bytes(answer.records)  # type: ignore[arg-type]
    return [
        (record.offset, record.value)
        for position, header in iterate_batches(data)
        if position + header.size_bytes <= len(data)
        for record in read_records(data, position, decompressed_bytes_max=DECOMPRESSED_BYTES_MAX)
        if record.offset >= start
    ]


@pytest.mark.parametrize("version", range(3, 14))
async def test_produce_in_every_version(connect: Connect, version: int) -> None:
    async with connect() as client:
        topic = await Topic.create(client)
        first = await topic.produce(batch(b"a", b"b"), version=version)
        second = await topic.produce(batch(b"c"), version=version, acks=1)
        assert (first.error_code, first.base_offset) == (0, 0)
        assert (second.error_code, second.base_offset) == (0, 2)
        assert first.log_append_time_ms == -1
        assert values(await topic.fetch()) == [(0, b"a"), (1, b"b"), (2, b"c")]


@pytest.mark.parametrize("version", range(4, 19))
async def test_fetch_in_every_version(connect: Connect, version: int) -> None:
    async with connect() as client:
        topic = await Topic.create(client)
        await topic.produce(batch(b"a", b"b"))
        answer = await topic.fetch(version=version)
        assert values(answer) == [(0, b"a"), (1, b"b")]
        assert (answer.high_watermark, answer.last_stable_offset) == (2, 2)
        assert answer.log_start_offset == (0 if version >= 5 else -1)


@pytest.mark.parametrize("codec", list(Compression))
async def test_fetch_gives_back_the_very_batch_that_was_produced(
    connect: Connect, codec: Compression
) -> None:
    async with connect() as client:
        topic = await Topic.create(client)
        sent = batch(b"x" * 100, b"y" * 100, compression=codec)
        await topic.produce(sent)
        answer = await topic.fetch()
        assert answer.records is not None
        # All but base offset and leader epoch, which the broker sets, is the client's.
        assert bytes(answer.records)[16:] == bytes(sent)[16:]  # type: ignore[arg-type]


async def test_fetch_at_an_offset_inside_a_batch_gives_the_whole_batch(connect: Connect) -> None:
    async with connect() as client:
        topic = await Topic.create(client)
        await topic.produce(batch(b"a", b"b", b"c"))
        await topic.produce(batch(b"d"))
        answer = await topic.fetch(1)
        assert values(answer) == [(0, b"a"), (1, b"b"), (2, b"c"), (3, b"d")]
        assert values(await topic.fetch(3)) == [(3, b"d")]
        assert values(await topic.fetch(4)) == []


async def test_produce_to_what_does_not_exist(connect: Connect) -> None:
    async with connect() as client:
        topic = await Topic.create(client)
        assert (
            await topic.produce(batch(b"a"), partition=5)
        ).error_code == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
        unknown = Topic(client, "t-unknown", uuid.uuid4())
        assert (await unknown.produce(batch(b"a"))).error_code == ErrorCode.UNKNOWN_TOPIC_ID
        answer = await unknown.produce(batch(b"a"), version=12)
        assert answer.error_code == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION


def damaged(at: int) -> bytearray:
    data = batch(b"a" * 50)
    data[at] ^= 0xFF
    return data


def two_batches() -> bytearray:
    return batch(b"a") + batch(b"b")


def legacy() -> bytearray:
    data = batch(b"a")
    data[16] = 1
    return data


def unknown_codec() -> bytearray:
    data = batch(b"a")
    data[22] |= 5
    set_crc(data, 0, len(data))
    return data


async def test_an_incomplete_batch_behind_the_first_is_ignored(connect: Connect) -> None:
    async with connect() as client:
        topic = await Topic.create(client)
        answer = await topic.produce(batch(b"a") + batch(b"b")[:30])
        assert (answer.error_code, answer.base_offset) == (0, 0)
        assert values(await topic.fetch()) == [(0, b"a")]


@pytest.mark.parametrize(
    ("records", "code"),
    [
        (batch(b"a")[:-1], ErrorCode.INVALID_RECORD),
        (bytearray(), ErrorCode.INVALID_RECORD),
        (legacy(), ErrorCode.INVALID_RECORD),
        (damaged(70), ErrorCode.CORRUPT_MESSAGE),
        (damaged(20), ErrorCode.CORRUPT_MESSAGE),
        (two_batches(), ErrorCode.INVALID_RECORD),
        (batch(b"a" * 2_000_000), ErrorCode.MESSAGE_TOO_LARGE),
    ],
    ids=["incomplete", "nothing", "legacy", "payload", "crc", "two batches", "too large"],
)
async def test_produce_of_bad_records(connect: Connect, records: bytearray, code: ErrorCode) -> None:
    async with connect() as client:
        topic = await Topic.create(client)
        answer = await topic.produce(records)
        assert (answer.error_code, answer.base_offset) == (code, -1)
        assert (await topic.list_offset(-1)).offset == 0


async def test_a_codec_that_does_not_exist(connect: Connect) -> None:
    async with connect() as client:
        topic = await Topic.create(client)
        # Apache Kafka answers UNKNOWN_SERVER_ERROR, which no producer should ever see.
        code = (await topic.produce(unknown_codec())).error_code
        assert code in (ErrorCode.INVALID_RECORD, ErrorCode.UNKNOWN_SERVER_ERROR)
        assert (await topic.produce(batch(b"a"))).base_offset == 0


async def test_a_transactional_batch_without_a_transaction_is_refused(connect: Connect) -> None:
    async with connect() as client:
        topic = await Topic.create(client)
        producer = await producer_id(client)
        answer = await topic.produce(
            batch(b"x", producer_id=producer, producer_epoch=0, base_sequence=0, is_transactional=True)
        )
        assert answer.error_code == ErrorCode.TRANSACTIONAL_ID_AUTHORIZATION_FAILED
        assert (await topic.list_offset(-1, isolation_level=1)).offset == 0


async def test_zstd_needs_produce_version_7(connect: Connect) -> None:
    async with connect() as client:
        topic = await Topic.create(client)
        records = batch(b"a" * 100, compression=Compression.ZSTD)
        old = await topic.produce(bytearray(records), version=6)
        assert old.error_code == ErrorCode.UNSUPPORTED_COMPRESSION_TYPE
        assert (await topic.produce(records, version=7)).error_code == 0


async def test_a_partition_named_twice_gets_the_last_batch_only(connect: Connect) -> None:
    async with connect() as client:
        topic = await Topic.create(client, partitions=2)
        data = ProduceRequest.TopicProduceData(
            topic_id=topic.topic_id,
            partition_data=[
                ProduceRequest.TopicProduceData.PartitionProduceData(index=index, records=batch(value))
                for index, value in ((1, b"first"), (0, b"other"), (1, b"last"))
            ],
        )
        request = ProduceRequest(acks=1, timeout_ms=1000, topic_data=[data])
        response = await client.request(request, ProduceResponse, version=13)
        answers = response.responses[0].partition_responses
        assert sorted((answer.index, answer.error_code, answer.base_offset) for answer in answers) == [
            (0, 0, 0),
            (1, 0, 0),
        ]
        assert values(await topic.fetch(partitions=(1,))) == [(0, b"last")]


async def test_a_topic_is_answered_once_and_only_with_partitions(connect: Connect) -> None:
    async with connect() as client:
        topic, other = [await Topic.create(client, partitions=2) for _ in range(2)]
        data = [
            ProduceRequest.TopicProduceData(
                topic_id=topic_id,
                partition_data=[
                    ProduceRequest.TopicProduceData.PartitionProduceData(index=index, records=batch(b"a"))
                    for index in indexes
                ],
            )
            for topic_id, indexes in ((topic.topic_id, (1,)), (other.topic_id, ()), (topic.topic_id, (0,)))
        ]
        request = ProduceRequest(acks=1, timeout_ms=1000, topic_data=data)
        response = await client.request(request, ProduceResponse, version=13)
        (answered,) = response.responses
        assert answered.topic_id == topic.topic_id
        assert sorted((each.index, each.error_code) for each in answered.partition_responses) == [
            (0, 0),
            (1, 0),
        ]


async def test_acks_that_do_not_exist(connect: Connect) -> None:
    async with connect() as client:
        topic = await Topic.create(client)
        assert (await topic.produce(batch(b"a"), acks=2)).error_code == ErrorCode.INVALID_REQUIRED_ACKS
        unknown = await topic.produce(batch(b"a"), acks=2, partition=9)
        assert unknown.error_code == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION


async def test_a_refused_append_tells_where_the_log_starts_unless_the_batch_itself_is_at_fault(
    connect: Connect,
) -> None:
    async with connect() as client:
        topic = await Topic.create(client, message_timestamp_before_max_ms="1000")
        refused = await topic.produce(batch(b"a", timestamp_ms=1))
        assert (refused.error_code, refused.log_start_offset) == (ErrorCode.INVALID_TIMESTAMP, 0)
        corrupt = await topic.produce(damaged(20))
        assert (corrupt.error_code, corrupt.log_start_offset) == (ErrorCode.CORRUPT_MESSAGE, -1)
        for records in (two_batches(), legacy(), batch(b"a")[:-1], b""):
            unfit = await topic.produce(records)
            assert (unfit.error_code, unfit.log_start_offset) == (ErrorCode.INVALID_RECORD, -1)


async def test_acks_0_gets_no_answer(connect: Connect) -> None:
    async with connect() as client:
        topic = await Topic.create(client)
        await topic.produce(batch(b"a"), acks=0)
        assert (await topic.produce(batch(b"b"), acks=1)).base_offset == 1


async def test_acks_0_that_fails_closes_the_connection(connect: Connect) -> None:
    async with connect() as client:
        topic = await Topic.create(client)
        await topic.produce(batch(b"a"), acks=0, partition=9)
        with pytest.raises(ConnectionLost), trio.fail_after(5):
            await topic.list_offset(-1)


async def test_clients_cannot_produce_to_internal_topics(connect: Connect) -> None:
    async with connect() as client:
        internal = Topic(client, "__consumer_offsets", uuid.uuid4())
        with trio.fail_after(10):  # looking for a coordinator creates the topic
            while (await internal.list_offset(-1)).error_code:
                await client.request(FindCoordinatorRequest(coordinator_keys=["g"]), FindCoordinatorResponse)
                await trio.sleep(0.01)
        answer = await internal.produce(batch(b"a"), version=12)
        assert answer.error_code == ErrorCode.INVALID_TOPIC_EXCEPTION


async def test_min_insync_replicas_counts_no_more_replicas_than_there_are(connect: Connect) -> None:
    async with connect() as client:
        topic = await Topic.create(client, min_insync_replicas="2")
        assert (await topic.produce(batch(b"a"))).error_code == 0


async def test_log_append_time_is_the_brokers(connect: Connect) -> None:
    async with connect() as client:
        topic = await Topic.create(client, message_timestamp_type="LogAppendTime")
        answer = await topic.produce(batch(b"a", timestamp_ms=5))
        assert answer.log_append_time_ms > 1_700_000_000_000
        found = await topic.list_offset(-3)
        assert (found.timestamp, found.offset) == (answer.log_append_time_ms, 0)


# Idempotence


async def producer_id(client: BrokerClient) -> int:
    request = InitProducerIdRequest(transactional_id=None, transaction_timeout_ms=0)
    response = await client.request(request, InitProducerIdResponse)
    assert (response.error_code, response.producer_epoch) == (0, 0)
    return response.producer_id


async def test_a_retried_batch_is_answered_with_its_first_offset(connect: Connect) -> None:
    async with connect() as client:
        topic = await Topic.create(client)
        producer = await producer_id(client)

        def numbered(sequence: int) -> bytearray:
            return batch(b"r%d" % sequence, producer_id=producer, producer_epoch=0, base_sequence=sequence)

        for sequence in range(6):
            assert (await topic.produce(numbered(sequence))).base_offset == sequence
        for sequence in range(1, 6):  # the last five are remembered
            again = await topic.produce(numbered(sequence))
            assert (again.error_code, again.base_offset) == (0, sequence)
        old = await topic.produce(numbered(0))
        assert old.error_code == ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER
        gap = await topic.produce(numbered(8))
        assert gap.error_code == ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER
        assert (await topic.list_offset(-1)).offset == 6


async def test_an_older_epoch_is_refused_and_a_newer_one_starts_at_sequence_0(connect: Connect) -> None:
    async with connect() as client:
        topic = await Topic.create(client)
        producer = await producer_id(client)

        def numbered(epoch: int, sequence: int) -> bytearray:
            return batch(b"x", producer_id=producer, producer_epoch=epoch, base_sequence=sequence)

        assert (await topic.produce(numbered(1, 0))).error_code == 0
        assert (await topic.produce(numbered(0, 1))).error_code == ErrorCode.INVALID_PRODUCER_EPOCH
        wrong_start = await topic.produce(numbered(2, 1))
        assert wrong_start.error_code == ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER
        assert (await topic.produce(numbered(2, 0))).error_code == 0


async def test_a_producer_that_is_not_known_may_start_anywhere(connect: Connect) -> None:
    async with connect() as client:
        topic = await Topic.create(client)
        producer = await producer_id(client)
        late = batch(b"x", producer_id=producer, producer_epoch=0, base_sequence=77)
        assert (await topic.produce(late)).error_code == 0


async def test_producer_ids_are_never_given_twice(connect: Connect) -> None:
    async with connect() as client:
        ids = [await producer_id(client) for _ in range(5)]
        assert len(set(ids)) == 5


@pytest.mark.parametrize("version", range(7))
async def test_init_producer_id_in_every_version(connect: Connect, version: int) -> None:
    async with connect() as client:
        if version not in (client.serves(InitProducerIdRequest.api_key) or ()):
            pytest.skip("Apache Kafka holds version 6 to be unstable")
        request = InitProducerIdRequest(transactional_id=None, transaction_timeout_ms=1000)
        response = await client.request(request, InitProducerIdResponse, version=version)
        assert response.error_code == 0
        assert response.producer_id >= 0


async def test_half_a_producer_identity_is_refused(connect: Connect) -> None:
    async with connect() as client:
        request = InitProducerIdRequest(transactional_id=None, producer_id=5, producer_epoch=-1)
        response = await client.request(request, InitProducerIdResponse)
        assert response.error_code == ErrorCode.INVALID_REQUEST


async def connected_like(client: BrokerClient) -> BrokerClient:
    """A second connection to the same broker."""
    peer = client._connection.peer_address
    return await BrokerClient.connect(OsWorld().network, peer.host, peer.port)


# Fetch: waiting, limits, sessions, errors


async def test_a_fetch_waits_for_records(connect: Connect) -> None:
    async with connect() as client, await connected_like(client) as other:
        topic = await Topic.create(client)
        same_topic = Topic(other, topic.name, topic.topic_id)

        async def produce_later() -> None:
            await trio.sleep(0.1)
            await same_topic.produce(batch(b"late"))

        with trio.fail_after(8):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(produce_later)
                answer = await topic.fetch(max_wait_ms=10_000)
        assert values(answer) == [(0, b"late")]


async def test_a_fetch_gives_up_waiting_after_max_wait(connect: Connect) -> None:
    async with connect() as client:
        topic = await Topic.create(client)
        await topic.produce(batch(b"a"))
        before = trio.current_time()
        assert values(await topic.fetch(max_wait_ms=300, min_bytes=100_000)) == [(0, b"a")]
        assert 0.25 < trio.current_time() - before < 3
        assert values(await topic.fetch(1, max_wait_ms=50)) == []


async def test_a_batch_larger_than_every_limit_is_delivered_alone(connect: Connect) -> None:
    async with connect() as client:
        topic = await Topic.create(client)
        await topic.produce(batch(b"a" * 5000))
        await topic.produce(batch(b"b" * 5000))
        answer = await topic.fetch(partition_max_bytes=10, max_bytes=10)
        assert values(answer) == [(0, b"a" * 5000)]


async def test_limits_do_not_starve_later_partitions(connect: Connect) -> None:
    async with connect() as client:
        topic = await Topic.create(client, partitions=3)
        for partition in range(3):
            await topic.produce(batch(b"x" * 5000), partition=partition)
        offsets = dict.fromkeys(range(3), 0)
        session = await client.request(
            topic.fetch_request(partitions=(0, 1, 2), max_bytes=100), FetchResponse, version=12
        )
        seen: list[int] = []
        for epoch in range(1, 4):
            for partition in session.responses[0].partitions:
                if partition.records is not None and len(partition.records):
                    seen.append(partition.partition_index)
                    offsets[partition.partition_index] = 1
            request = topic.fetch_request(
                partitions=(), max_bytes=100, session_id=session.session_id, session_epoch=epoch
            )
            request.topics = [
                FetchRequest.FetchTopic(
                    topic=topic.name,
                    partitions=[
                        FetchRequest.FetchTopic.FetchPartition(
                            partition=index, fetch_offset=offset, partition_max_bytes=1 << 20
                        )
                        for index, offset in offsets.items()
                        if offset
                    ],
                )
            ]
            latest = await client.request(request, FetchResponse, version=12)
            assert latest.error_code == 0
            latest.session_id, session = session.session_id, latest
            if not session.responses:
                break
        assert sorted(seen) == [0, 1, 2]


async def test_an_incremental_session(connect: Connect) -> None:
    async with connect() as client:
        topic = await Topic.create(client, partitions=2)
        first = await client.request(topic.fetch_request(partitions=(0, 1)), FetchResponse, version=17)
        assert first.session_id > 0
        assert len(first.responses[0].partitions) == 2
        await topic.produce(batch(b"a"), partition=1)
        again = FetchRequest(
            max_wait_ms=0, min_bytes=1, max_bytes=1 << 20, session_id=first.session_id, session_epoch=1
        )
        second = await client.request(again, FetchResponse, version=17)
        assert [partition.partition_index for partition in second.responses[0].partitions] == [1]
        stale = await client.request(again, FetchResponse, version=17)
        assert stale.error_code == ErrorCode.INVALID_FETCH_SESSION_EPOCH
        again.session_id += 1
        unknown = await client.request(again, FetchResponse, version=17)
        assert unknown.error_code == ErrorCode.FETCH_SESSION_ID_NOT_FOUND


async def test_an_older_version_cannot_be_told_of_a_diverging_epoch(connect: Connect) -> None:
    async with connect() as client:
        topic = await Topic.create(client)
        await topic.produce(batch(b"a"))
        begin = topic.fetch_request(last_fetched_epoch=0)
        first = await client.request(begin, FetchResponse, version=12)
        assert first.session_id > 0
        beyond = topic.fetch_request(9, session_id=first.session_id, session_epoch=1, last_fetched_epoch=0)
        told = await client.request(beyond, FetchResponse, version=12)
        assert told.responses[0].partitions[0].diverging_epoch.end_offset == 1
        again = FetchRequest(max_bytes=1 << 20, session_id=first.session_id, session_epoch=2)
        older = await client.request(again, FetchResponse, version=9)
        assert older.error_code == ErrorCode.UNSUPPORTED_VERSION


async def test_fetch_errors_of_one_partition(connect: Connect) -> None:
    async with connect() as client:
        topic = await Topic.create(client)
        await topic.produce(batch(b"a"))
        for offset in (-1, 2):
            answer = await topic.fetch(offset)
            assert answer.error_code == ErrorCode.OFFSET_OUT_OF_RANGE
            assert answer.high_watermark == -1
        fenced = await topic.fetch(current_leader_epoch=99)
        assert fenced.error_code == ErrorCode.UNKNOWN_LEADER_EPOCH
        unknown = Topic(client, "t-unknown", uuid.uuid4())
        for version, code in (
            (17, ErrorCode.UNKNOWN_TOPIC_ID),
            (12, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION),
        ):
            answer = await unknown.fetch(version=version)
            assert (answer.error_code, answer.aborted_transactions) == (code, [])
        nameless = Topic(client, "", uuid.UUID(int=0))
        assert (await nameless.fetch(version=17)).error_code == ErrorCode.UNKNOWN_TOPIC_ID
        assert (await nameless.fetch(version=12)).error_code == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION


async def test_every_version_of_fetch_reads_a_topic_of_zstd(connect: Connect) -> None:
    async with connect() as client:
        topic = await Topic.create(client, compression_type="zstd")
        await topic.produce(batch(b"a"))
        for version in (4, 9, 10):
            assert values(await topic.fetch(version=version)) == [(0, b"a")]


async def test_a_partition_whose_first_batch_does_not_fit_names_no_aborted_transactions(
    connect: Connect,
) -> None:
    async with connect() as client:
        topic = await Topic.create(client, partitions=2)
        for partition in (0, 1):
            await topic.produce(batch(b"a" * 100), partition=partition)
        request = topic.fetch_request(partitions=(0, 1), max_bytes=200, isolation_level=1)
        response = await client.request(request, FetchResponse, version=17)
        first, second = response.responses[0].partitions
        assert (len(first.records or b"") > 0, first.aborted_transactions) == (True, [])
        assert (len(second.records or b""), second.aborted_transactions) == (0, None)


async def test_a_reader_of_an_unknown_epoch_is_told_where_to_truncate(connect: Connect) -> None:
    async with connect() as client:
        topic = await Topic.create(client)
        await topic.produce(batch(b"a", b"b"))
        fine = await topic.fetch(1, last_fetched_epoch=0)
        assert fine.diverging_epoch.epoch == -1
        assert values(fine, start=1) == [(1, b"b")]


# Offsets


@pytest.mark.parametrize("version", range(1, 12))
async def test_list_offsets_in_every_version(connect: Connect, version: int) -> None:
    async with connect() as client:
        topic = await Topic.create(client)
        await topic.produce(batch(b"a", b"b", timestamp_ms=1_700_000_000_000))
        await topic.produce(batch(b"c", timestamp_ms=1_700_000_009_000))
        earliest = await topic.list_offset(-2, version=version)
        latest = await topic.list_offset(-1, version=version)
        timed = await topic.list_offset(1_700_000_000_001, version=version)
        beyond = await topic.list_offset(1_800_000_000_000, version=version)
        epoch = 0 if version >= 4 else -1
        assert (earliest.offset, earliest.timestamp, earliest.leader_epoch) == (0, -1, epoch)
        assert (latest.offset, latest.timestamp, latest.leader_epoch) == (3, -1, epoch)
        assert (timed.offset, timed.timestamp, timed.leader_epoch) == (1, 1_700_000_000_001, epoch)
        assert (beyond.error_code, beyond.offset, beyond.timestamp) == (0, -1, -1)


@pytest.mark.parametrize(
    ("timestamp", "since", "offset", "time"),
    [(-3, 7, 1, 1_700_000_000_001), (-4, 8, 0, -1), (-5, 9, -1, -1), (-6, 11, -1, -1)],
    ids=["max timestamp", "earliest local", "latest tiered", "earliest pending upload"],
)
async def test_special_timestamps(
    connect: Connect, timestamp: int, since: int, offset: int, time: int
) -> None:
    async with connect() as client:
        topic = await Topic.create(client)
        await topic.produce(batch(b"a", b"b"))
        found = await topic.list_offset(timestamp, version=since)
        assert (found.error_code, found.offset, found.timestamp) == (0, offset, time)
        early = await topic.list_offset(timestamp, version=since - 1)
        assert early.error_code == ErrorCode.UNSUPPORTED_VERSION


async def test_a_partition_asked_for_twice_is_refused(connect: Connect) -> None:
    async with connect() as client:
        topic = await Topic.create(client)
        asked = ListOffsetsRequest.ListOffsetsTopic.ListOffsetsPartition(partition_index=0, timestamp=-1)
        request = ListOffsetsRequest(
            replica_id=-1,
            topics=[ListOffsetsRequest.ListOffsetsTopic(name=topic.name, partitions=[asked, asked])],
        )
        response = await client.request(request, ListOffsetsResponse, version=9)
        codes = [partition.error_code for topic in response.topics for partition in topic.partitions]
        assert codes == [ErrorCode.INVALID_REQUEST]


@pytest.mark.parametrize("version", range(2, 5))
async def test_offset_for_leader_epoch(connect: Connect, version: int) -> None:
    async with connect() as client:
        topic = await Topic.create(client)
        await topic.produce(batch(b"a", b"b"))

        async def end_offset(epoch: int, current: int = -1) -> tuple[int, int, int]:
            asked = OffsetForLeaderEpochRequest.OffsetForLeaderTopic.OffsetForLeaderPartition(
                partition=0, current_leader_epoch=current, leader_epoch=epoch
            )
            request = OffsetForLeaderEpochRequest(
                replica_id=-1 if version >= 3 else -2,
                topics=[
                    OffsetForLeaderEpochRequest.OffsetForLeaderTopic(topic=topic.name, partitions=[asked])
                ],
            )
            response = await client.request(request, OffsetForLeaderEpochResponse, version=version)
            found = response.topics[0].partitions[0]
            return found.error_code, found.leader_epoch, found.end_offset

        assert await end_offset(0) == (0, 0, 2)
        assert await end_offset(5) == (0, -1, -1)
        assert (await end_offset(0, current=7))[0] == ErrorCode.UNKNOWN_LEADER_EPOCH


@pytest.mark.parametrize("version", range(3))
async def test_delete_records(connect: Connect, version: int) -> None:
    async with connect() as client:
        topic = await Topic.create(client)
        for value in (b"a", b"b", b"c"):
            await topic.produce(batch(value))

        async def answers(*offsets: int, name: str = topic.name) -> list[tuple[int, int]]:
            asked = DeleteRecordsRequest.DeleteRecordsTopic(
                name=name,
                partitions=[
                    DeleteRecordsRequest.DeleteRecordsTopic.DeleteRecordsPartition(
                        partition_index=0, offset=offset
                    )
                    for offset in offsets
                ],
            )
            request = DeleteRecordsRequest(topics=[asked], timeout_ms=5000)
            response = await client.request(request, DeleteRecordsResponse, version=version)
            return [
                (found.error_code, found.low_watermark)
                for answered in response.topics
                for found in answered.partitions
            ]

        async def delete(offset: int, name: str = topic.name) -> tuple[int, int]:
            (found,) = await answers(offset, name=name)
            return found

        assert await delete(1) == (0, 1)
        assert (await topic.fetch(0)).error_code == ErrorCode.OFFSET_OUT_OF_RANGE
        assert values(await topic.fetch(1)) == [(1, b"b"), (2, b"c")]
        assert (await topic.list_offset(-2)).offset == 1
        assert await delete(9) == (ErrorCode.OFFSET_OUT_OF_RANGE, -1)
        assert await answers(9, 2) == [(0, 2)]
        assert await answers() == []
        assert await delete(-1) == (0, 3)
        assert (await delete(0, "t-unknown"))[0] == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION


async def test_records_of_a_compacted_topic_are_not_deleted(connect: Connect) -> None:
    async with connect() as client:
        topic = await Topic.create(client, cleanup_policy="compact")
        asked = DeleteRecordsRequest.DeleteRecordsTopic(
            name=topic.name,
            partitions=[
                DeleteRecordsRequest.DeleteRecordsTopic.DeleteRecordsPartition(partition_index=0, offset=0)
            ],
        )
        request = DeleteRecordsRequest(topics=[asked], timeout_ms=5000)
        response = await client.request(request, DeleteRecordsResponse)
        assert response.topics[0].partitions[0].error_code == ErrorCode.POLICY_VIOLATION


async def test_a_compacted_topic_refuses_records_without_a_key(connect: Connect) -> None:
    async with connect() as client:
        topic = await Topic.create(client, cleanup_policy="compact")
        answer = await topic.produce(batch(b"a", b"b"))
        assert answer.error_code == ErrorCode.INVALID_RECORD
        assert [error.batch_index for error in answer.record_errors] == [0, 1]
