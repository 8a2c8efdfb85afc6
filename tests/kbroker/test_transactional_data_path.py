"""Transactions as producers and read_committed readers see them, over a real connection.

The cases that need no restart and no configuration pass on Apache Kafka too:
``pytest tests/kbroker/test_transactional_data_path.py --bootstrap-server HOST:PORT``.
"""

from __future__ import annotations

import itertools
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from kbroker.client import BrokerClient
from kbroker.os_world import OsWorld
from tests.kbroker.test_data_path import FetchAnswer, ProduceAnswer, Topic, values
from tests.running_broker import batch, running_broker
from wire.errors import ErrorCode
from wire.messages.features import UpdateFeaturesRequest, UpdateFeaturesResponse
from wire.messages.group_offsets import OffsetFetchRequest, OffsetFetchResponse
from wire.messages.groups import FindCoordinatorRequest, FindCoordinatorResponse
from wire.messages.offsets import DeleteRecordsRequest, DeleteRecordsResponse
from wire.messages.produce import ProduceRequest, ProduceResponse
from wire.messages.producer_ids import InitProducerIdRequest, InitProducerIdResponse
from wire.messages.transactions import (
    AddPartitionsToTxnRequest,
    AddPartitionsToTxnResponse,
    DescribeProducersRequest,
    DescribeProducersResponse,
    EndTxnRequest,
    EndTxnResponse,
    TxnOffsetCommitRequest,
    TxnOffsetCommitResponse,
    WriteTxnMarkersRequest,
    WriteTxnMarkersResponse,
)
from wire.records import iterate_batches

Connect = Callable[..., AbstractAsyncContextManager[BrokerClient]]
SMALL = {"transaction__state__log__num__partitions": "2"}
COMMITTED = {"isolation_level": 1}
NOT_READY = (
    ErrorCode.CONCURRENT_TRANSACTIONS,
    ErrorCode.COORDINATOR_LOAD_IN_PROGRESS,
    ErrorCode.COORDINATOR_NOT_AVAILABLE,
    ErrorCode.NOT_COORDINATOR,
    ErrorCode.NOT_ENOUGH_REPLICAS,
)
"""What a producer tries again after."""
PRODUCE_VERSION = {1: 11, 2: 13}
END_VERSION = {1: 4, 2: 5}


class Producer:
    """A transactional producer of either generation that does one thing at a time, and no more than told."""

    def __init__(self, client: BrokerClient, transactional_id: str, generation: int) -> None:
        self.client, self.transactional_id, self.generation = client, transactional_id, generation
        self.producer_id, self.epoch = -1, -1
        self.sequences: dict[str, int] = {}

    @classmethod
    async def start(
        cls, client: BrokerClient, *, generation: int = 2, transactional_id: str | None = None
    ) -> Producer:
        producer = cls(client, transactional_id or f"tx-{uuid.uuid4().hex[:12]}", generation)
        find = FindCoordinatorRequest(key_type=1, coordinator_keys=[producer.transactional_id])
        await _until_ready(
            lambda: client.request(find, FindCoordinatorResponse), lambda answer: answer.coordinators[0]
        )
        request = InitProducerIdRequest(
            transactional_id=producer.transactional_id, transaction_timeout_ms=60_000
        )
        answer = await _until_ready(
            lambda: client.request(request, InitProducerIdResponse, version=4), lambda answer: answer
        )
        assert answer.error_code == 0
        producer.producer_id, producer.epoch = answer.producer_id, answer.producer_epoch
        return producer

    async def send(self, topic: Topic, *data: bytes, expect: int = 0) -> ProduceAnswer:
        """One batch behind the last one; adds the partition first where that is the client's to do."""
        sequence = self.sequences.get(topic.name, 0)
        if self.generation == 1:
            await self.add(topic)
        answer = await self.send_again(topic, *data, sequence=sequence)
        assert answer.error_code == expect, ErrorCode(answer.error_code)
        self.sequences[topic.name] = sequence + len(data)
        return answer

    async def send_again(
        self, topic: Topic, *data: bytes, sequence: int, epoch: int | None = None
    ) -> ProduceAnswer:
        records = batch(
            *data,
            # Not in the past: the marker's time is the broker's, and would begin a new segment.
            timestamp_ms=OsWorld().wall_clock_ms(),
            producer_id=self.producer_id,
            producer_epoch=self.epoch if epoch is None else epoch,
            base_sequence=sequence,
            is_transactional=True,
        )
        topic_data = ProduceRequest.TopicProduceData(
            name=topic.name,
            topic_id=topic.topic_id,
            partition_data=[ProduceRequest.TopicProduceData.PartitionProduceData(index=0, records=records)],
        )

        def request() -> Any:
            return self.client.request(
                ProduceRequest(
                    transactional_id=self.transactional_id,
                    acks=-1,
                    timeout_ms=10_000,
                    topic_data=[topic_data],
                ),
                ProduceResponse,
                version=PRODUCE_VERSION[self.generation],
            )

        answer = await _until_ready(request, lambda answer: answer.responses[0].partition_responses[0])
        return answer.responses[0].partition_responses[0]  # type: ignore[no-any-return]

    async def add(self, topic: Topic) -> None:
        request = AddPartitionsToTxnRequest(
            v3_and_below_transactional_id=self.transactional_id,
            v3_and_below_producer_id=self.producer_id,
            v3_and_below_producer_epoch=self.epoch,
            v3_and_below_topics=[
                AddPartitionsToTxnRequest.AddPartitionsToTxnTopic(name=topic.name, partitions=[0])
            ],
        )
        await _until_ready(
            lambda: self.client.request(request, AddPartitionsToTxnResponse, version=3),
            lambda answer: answer.results_by_topic_v3_and_below[0].results_by_partition[0],
            "partition_error_code",
        )

    async def commit_offset(self, group: str, topic: Topic, offset: int) -> int:
        topic_class = TxnOffsetCommitRequest.TxnOffsetCommitRequestTopic
        request = TxnOffsetCommitRequest(
            transactional_id=self.transactional_id,
            group_id=group,
            producer_id=self.producer_id,
            producer_epoch=self.epoch,
            topics=[
                topic_class(
                    name=topic.name,
                    partitions=[
                        topic_class.TxnOffsetCommitRequestPartition(
                            partition_index=0, committed_offset=offset, committed_metadata=""
                        )
                    ],
                )
            ],
        )
        answer = await _until_ready(
            lambda: self.client.request(request, TxnOffsetCommitResponse, version=5),
            lambda answer: answer.topics[0].partitions[0],
        )
        return int(answer.topics[0].partitions[0].error_code)

    async def end(self, *, commit: bool) -> None:
        request = EndTxnRequest(
            transactional_id=self.transactional_id,
            producer_id=self.producer_id,
            producer_epoch=self.epoch,
            committed=commit,
        )
        answer = await _until_ready(
            lambda: self.client.request(request, EndTxnResponse, version=END_VERSION[self.generation]),
            lambda answer: answer,
        )
        assert answer.error_code == 0, ErrorCode(answer.error_code)
        if self.generation == 2:
            assert (answer.producer_id, answer.producer_epoch) == (self.producer_id, self.epoch + 1)
            self.epoch = answer.producer_epoch
            self.sequences.clear()


async def _until_ready(
    request: Callable[[], Any], outcome: Callable[[Any], Any], field: str = "error_code"
) -> Any:
    with trio.fail_after(10):
        while True:
            answer = await request()
            if getattr(outcome(answer), field) not in NOT_READY:
                return answer
            await trio.sleep(0.01)


async def stable(topic: Topic) -> None:
    """Until the markers of every transaction that was ended have arrived."""
    with trio.fail_after(10):
        while True:
            end = await topic.list_offset(-1)
            if (await topic.list_offset(-1, **COMMITTED)).offset == end.offset:
                return
            await trio.sleep(0.01)


async def committed_values(topic: Topic) -> list[bytes | None]:
    """The values that a read_committed consumer hands to its application (Kafka: CompletedFetch)."""
    found: list[bytes | None] = []
    offset, end = 0, (await topic.list_offset(-1, **COMMITTED)).offset
    while offset < end:
        answer = await topic.fetch(offset, **COMMITTED)
        found += [value for _, value in readable(answer)]
        assert answer.records is not None
        for _, header in iterate_batches(bytes(answer.records)):  # type: ignore[arg-type]
            offset = header.next_offset
    return found


def readable(answer: FetchAnswer) -> list[tuple[int, bytes | None]]:
    assert answer.records is not None
    data = bytes(answer.records)  # type: ignore[arg-type]
    aborted = sorted(answer.aborted_transactions or [], key=lambda entry: entry.first_offset)
    in_aborted: set[int] = set()
    control_or_aborted: set[int] = set()
    for _, header in iterate_batches(data):
        while aborted and aborted[0].first_offset <= header.last_offset:
            in_aborted.add(aborted.pop(0).producer_id)
        offsets = range(header.base_offset, header.last_offset + 1)
        if header.is_control:
            in_aborted.discard(header.producer_id)
            control_or_aborted.update(offsets)
        elif header.is_transactional and header.producer_id in in_aborted:
            control_or_aborted.update(offsets)
    return [(offset, value) for offset, value in values(answer) if offset not in control_or_aborted]


generations = pytest.mark.parametrize("generation", [1, 2])


@generations
async def test_aborted_records_never_reach_a_read_committed_reader(connect: Connect, generation: int) -> None:
    async with connect(**SMALL) as client:
        topic = await Topic.create(client)
        first = await Producer.start(client, generation=generation)
        second = await Producer.start(client, generation=generation)
        for number in range(3):
            await first.send(topic, b"first-%d" % number)
            await second.send(topic, b"aborted-%d" % number)
            await topic.produce(batch(b"plain-%d" % number, timestamp_ms=OsWorld().wall_clock_ms()))
            await second.end(commit=False)
            await first.end(commit=True)
            await stable(topic)
        expected = [b"%s-%d" % (name, number) for number in range(3) for name in (b"first", b"plain")]
        assert await committed_values(topic) == expected
        everything = [value for _, value in values(await topic.fetch())]
        assert {b"aborted-0", b"aborted-1", b"aborted-2"} < set(everything)


@generations
async def test_nothing_of_an_open_transaction_is_read_and_nothing_behind_it(
    connect: Connect, generation: int
) -> None:
    async with connect(**SMALL) as client:
        topic = await Topic.create(client)
        await topic.produce(batch(b"before", timestamp_ms=OsWorld().wall_clock_ms()))
        producer = await Producer.start(client, generation=generation)
        await producer.send(topic, b"open")
        await topic.produce(batch(b"behind", timestamp_ms=OsWorld().wall_clock_ms()))
        answer = await topic.fetch(**COMMITTED)
        assert (answer.high_watermark, answer.last_stable_offset) == (3, 1)
        assert values(answer) == [(0, b"before")]
        assert answer.aborted_transactions == []
        uncommitted = await topic.fetch()
        assert [value for _, value in values(uncommitted)] == [b"before", b"open", b"behind"]
        assert (uncommitted.last_stable_offset, uncommitted.aborted_transactions) == (1, None)
        beyond = await topic.fetch(2, **COMMITTED)
        assert (beyond.error_code, values(beyond)) == (0, [])
        await producer.end(commit=True)
        await stable(topic)
        assert await committed_values(topic) == [b"before", b"open", b"behind"]


async def test_list_offsets_ends_where_a_reader_of_its_isolation_may_read(connect: Connect) -> None:
    async with connect(**SMALL) as client:
        topic = await Topic.create(client)
        await topic.produce(batch(b"before", timestamp_ms=1_700_000_000_000))
        producer = await Producer.start(client)
        await producer.send(topic, b"open", b"open")
        for isolation_level, latest, of_largest, later in ((0, 3, 2, 1), (1, 1, -1, -1)):
            fields = {"isolation_level": isolation_level}
            assert (await topic.list_offset(-1, **fields)).offset == latest
            assert (await topic.list_offset(-2, **fields)).offset == 0
            assert (await topic.list_offset(-3, **fields)).offset == of_largest
            assert (await topic.list_offset(1_700_000_000_001, **fields)).offset == later
            assert (await topic.list_offset(1_700_000_000_000, **fields)).offset == 0
        await producer.end(commit=True)


@pytest.mark.usefixtures("own_broker_only")
async def test_a_long_poll_counts_what_it_may_read_and_is_woken_by_the_marker(tmp_path: Path) -> None:
    # Two connections: one connection answers one request after the other.
    async with (
        running_broker(tmp_path, **SMALL) as broker,
        await broker.client() as client,
        await broker.client() as other,
    ):
        topic = await Topic.create(client)
        producer = await Producer.start(client)
        await producer.send(topic, b"x" * 1000)
        answers: list[FetchAnswer] = []
        async with trio.open_nursery() as nursery:

            async def poll() -> None:
                reader = Topic(other, topic.name, topic.topic_id)
                answers.append(await reader.fetch(min_bytes=500, max_wait_ms=20_000, **COMMITTED))

            nursery.start_soon(poll)
            await trio.sleep(0.1)
            await producer.send(topic, b"y")
            await trio.sleep(0.1)
            assert answers == []  # there are bytes enough, but none that it may read
            begun = trio.current_time()
            await producer.end(commit=True)
        assert trio.current_time() - begun < 5
        assert [value for _, value in readable(answers[0])] == [b"x" * 1000, b"y"]


@generations
async def test_control_batches_reach_readers_of_both_isolations(connect: Connect, generation: int) -> None:
    async with connect(**SMALL) as client:
        topic = await Topic.create(client)
        producer = await Producer.start(client, generation=generation)
        epoch = producer.epoch
        await producer.send(topic, b"a")
        await producer.end(commit=True)
        await stable(topic)
        for isolation in ({}, COMMITTED):
            answer = await topic.fetch(**isolation)
            assert answer.records is not None
            headers = [header for _, header in iterate_batches(bytes(answer.records))]  # type: ignore[arg-type]
            assert [header.is_control for header in headers] == [False, True]
            # Transactions version 2 raises the epoch with the marker.
            assert headers[1].producer_epoch == (epoch if generation == 1 else epoch + 1)


# Offsets


async def fetch_offset(
    client: BrokerClient, group: str, topic: Topic, *, require_stable: bool = False
) -> tuple[ErrorCode, int]:
    group_class = OffsetFetchRequest.OffsetFetchRequestGroup
    request = OffsetFetchRequest(
        groups=[
            group_class(
                group_id=group,
                topics=[group_class.OffsetFetchRequestTopics(name=topic.name, partition_indexes=[0])],
            )
        ],
        require_stable=require_stable,
    )
    response = await client.request(request, OffsetFetchResponse, version=9)
    partition = response.groups[0].topics[0].partitions[0]
    return ErrorCode(partition.error_code), partition.committed_offset


async def find_group(client: BrokerClient) -> str:
    group = f"g-{uuid.uuid4().hex[:12]}"
    find = FindCoordinatorRequest(key_type=0, coordinator_keys=[group])
    await _until_ready(
        lambda: client.request(find, FindCoordinatorResponse), lambda answer: answer.coordinators[0]
    )
    return group


@pytest.mark.parametrize("commit", [True, False])
async def test_offsets_committed_in_an_aborted_transaction_never_appear(
    connect: Connect, commit: bool
) -> None:
    async with connect(**SMALL) as client:
        topic = await Topic.create(client)
        group = await find_group(client)
        producer = await Producer.start(client)
        assert await producer.commit_offset(group, topic, 7) == 0
        assert await fetch_offset(client, group, topic) == (0, -1)
        assert await fetch_offset(client, group, topic, require_stable=True) == (
            ErrorCode.UNSTABLE_OFFSET_COMMIT,
            -1,
        )
        await producer.end(commit=commit)
        expected = (0, 7) if commit else (0, -1)
        assert await settled_offset(client, group, topic) == expected
        assert await fetch_offset(client, group, topic) == expected


async def settled_offset(client: BrokerClient, group: str, topic: Topic) -> tuple[ErrorCode, int]:
    with trio.fail_after(10):
        while True:
            found = await fetch_offset(client, group, topic, require_stable=True)
            if found[0] is not ErrorCode.UNSTABLE_OFFSET_COMMIT:
                return found
            await trio.sleep(0.01)


# Hanging transactions


async def test_a_hanging_transaction_is_found_by_describe_producers_and_ended_by_write_txn_markers(
    connect: Connect,
) -> None:
    async with connect(**SMALL) as client:
        topic = await Topic.create(client)
        producer = await Producer.start(client)
        await producer.send(topic, b"a", b"b")
        state = await describe(client, topic)
        assert (state.producer_id, state.producer_epoch) == (producer.producer_id, producer.epoch)
        assert (state.last_sequence, state.coordinator_epoch, state.current_txn_start_offset) == (1, -1, 0)
        # As Admin.abortTransaction does it: the epoch that was described, and coordinator epoch 0 for none.
        marker_class = WriteTxnMarkersRequest.WritableTxnMarker
        request = WriteTxnMarkersRequest(
            markers=[
                marker_class(
                    producer_id=state.producer_id,
                    producer_epoch=state.producer_epoch,
                    transaction_result=False,
                    coordinator_epoch=max(state.coordinator_epoch, 0),
                    topics=[marker_class.WritableTxnMarkerTopic(name=topic.name, partition_indexes=[0])],
                )
            ]
        )
        response = await client.request(request, WriteTxnMarkersResponse, version=1)
        assert response.markers[0].topics[0].partitions[0].error_code == 0
        state = await describe(client, topic)
        assert (state.coordinator_epoch, state.current_txn_start_offset) == (0, -1)
        await stable(topic)
        assert await committed_values(topic) == []


async def describe(client: BrokerClient, topic: Topic) -> Any:
    request = DescribeProducersRequest(
        topics=[DescribeProducersRequest.TopicRequest(name=topic.name, partition_indexes=[0])]
    )
    response = await client.request(request, DescribeProducersResponse)
    (state,) = response.topics[0].partitions[0].active_producers
    return state


async def test_describe_producers_of_what_does_not_exist(connect: Connect) -> None:
    async with connect(**SMALL) as client:
        topic = await Topic.create(client)
        asked = DescribeProducersRequest.TopicRequest
        request = DescribeProducersRequest(
            topics=[
                asked(name="no-such-topic", partition_indexes=[0]),
                asked(name=topic.name, partition_indexes=[5]),
                asked(name="not a name", partition_indexes=[0]),
            ]
        )
        response = await client.request(request, DescribeProducersResponse)
        partitions = [partition for answer in response.topics for partition in answer.partitions]
        assert [(ErrorCode(p.error_code).name, p.active_producers) for p in partitions] == [
            ("UNKNOWN_TOPIC_OR_PARTITION", []),
            ("UNKNOWN_TOPIC_OR_PARTITION", []),
            ("INVALID_TOPIC_EXCEPTION", []),
        ]


# Across restarts, and with configuration: kbroker only


@pytest.fixture
def own_broker_only(request: pytest.FixtureRequest) -> None:
    if request.config.getoption("--bootstrap-server") is not None:
        pytest.skip("restarts the broker")


@asynccontextmanager
async def session(directory: Path, **overrides: str) -> AsyncIterator[BrokerClient]:
    async with running_broker(directory, **(SMALL | overrides)) as broker, await broker.client() as client:
        yield client


@pytest.mark.usefixtures("own_broker_only")
@pytest.mark.parametrize("commit", [True, False])
async def test_a_transaction_goes_on_and_ends_after_a_restart(tmp_path: Path, commit: bool) -> None:
    async with session(tmp_path) as client:
        topic = await Topic.create(client)
        group = await find_group(client)
        producer = await Producer.start(client)
        await producer.send(topic, b"a")
        assert await producer.commit_offset(group, topic, 7) == 0
    async with session(tmp_path) as client:
        topic.client = producer.client = client
        with trio.fail_after(10):
            while (await fetch_offset(client, group, topic))[0]:
                await trio.sleep(0.01)
        assert await settled_or_pending(client, group, topic) is ErrorCode.UNSTABLE_OFFSET_COMMIT
        assert (await topic.fetch(**COMMITTED)).last_stable_offset == 0
        await producer.send(topic, b"b")
        await producer.end(commit=commit)
        await stable(topic)
        assert await committed_values(topic) == ([b"a", b"b"] if commit else [])
        assert await settled_offset(client, group, topic) == ((0, 7) if commit else (0, -1))
    async with session(tmp_path) as client:
        topic.client = client
        assert await committed_values(topic) == ([b"a", b"b"] if commit else [])


async def settled_or_pending(client: BrokerClient, group: str, topic: Topic) -> ErrorCode:
    return (await fetch_offset(client, group, topic, require_stable=True))[0]


@pytest.mark.usefixtures("own_broker_only")
async def test_a_retry_of_an_already_appended_batch_after_a_restart_returns_the_original_offset(
    tmp_path: Path,
) -> None:
    idempotent = batch(
        b"y",
        b"z",
        # State of producers that wrote nothing for a day is not taken up again.
        timestamp_ms=OsWorld().wall_clock_ms(),
        producer_id=9,
        producer_epoch=0,
        base_sequence=0,
    )
    async with session(tmp_path) as client:
        topic, plain = await Topic.create(client), await Topic.create(client)
        producer = await Producer.start(client)
        first = await producer.send(topic, b"a", b"b")
        await plain.produce(batch(b"x"))
        assert (await plain.produce(bytearray(idempotent))).base_offset == 1
    async with session(tmp_path) as client:
        topic.client = plain.client = producer.client = client
        again = await producer.send_again(topic, b"a", b"b", sequence=0)
        assert (again.error_code, again.base_offset) == (0, first.base_offset) == (0, 0)
        assert (await plain.produce(bytearray(idempotent))).base_offset == 1
        assert (await topic.list_offset(-1)).offset == 2
        assert (await plain.list_offset(-1)).offset == 3
        await producer.send(topic, b"c")
        await producer.end(commit=True)
        await stable(topic)
        assert await committed_values(topic) == [b"a", b"b", b"c"]


@pytest.mark.usefixtures("own_broker_only")
async def test_sequence_state_that_has_expired_accepts_any_sequence(tmp_path: Path) -> None:
    expiring = {
        "producer__id__expiration__ms": "1",
        "producer__id__expiration__check__interval__ms": "20",
    }
    async with session(tmp_path, **expiring) as client:
        topic = await Topic.create(client)
        for sequence in (0, 500, 7):
            sent = batch(b"v", producer_id=9, producer_epoch=3, base_sequence=sequence)
            assert (await topic.produce(sent)).error_code == 0
            with trio.fail_after(5):
                while (await producers_of(client, topic)) != []:
                    await trio.sleep(0.01)
        assert (await topic.list_offset(-1)).offset == 3


async def producers_of(client: BrokerClient, topic: Topic) -> list[Any]:
    request = DescribeProducersRequest(
        topics=[DescribeProducersRequest.TopicRequest(name=topic.name, partition_indexes=[0])]
    )
    response = await client.request(request, DescribeProducersResponse)
    return list(response.topics[0].partitions[0].active_producers)


@pytest.mark.usefixtures("own_broker_only")
async def test_aborted_transactions_are_known_after_segments_went_and_after_a_restart(
    tmp_path: Path,
) -> None:
    async with session(tmp_path) as client:
        topic = await Topic.create(client, segment_bytes="1048576")
        producer = await Producer.start(client)
        for number in range(4):
            await producer.send(topic, b"%d" % number * 400_000)
            await producer.end(commit=number % 2 == 0)
            await stable(topic)
        assert [value[:1] for value in await committed_values(topic) if value] == [b"0", b"2"]
    async with session(tmp_path, log__retention__check__interval__ms="50") as client:
        topic.client = client
        assert [value[:1] for value in await committed_values(topic) if value] == [b"0", b"2"]
        await delete_records(client, topic, 5)
        answer = await topic.fetch(5, **COMMITTED)
        assert [value for _, value in readable(answer) if value] == []
        assert [entry.first_offset for entry in answer.aborted_transactions or []] == [6]
    async with session(tmp_path) as client:
        topic.client = client
        answer = await topic.fetch(5, **COMMITTED)
        assert [value for _, value in readable(answer) if value] == []
        assert answer.last_stable_offset == answer.high_watermark >= 8


async def delete_records(client: BrokerClient, topic: Topic, offset: int) -> None:
    topic_class = DeleteRecordsRequest.DeleteRecordsTopic
    request = DeleteRecordsRequest(
        topics=[
            topic_class(
                name=topic.name,
                partitions=[topic_class.DeleteRecordsPartition(partition_index=0, offset=offset)],
            )
        ],
        timeout_ms=1000,
    )
    response = await client.request(request, DeleteRecordsResponse)
    assert response.topics[0].partitions[0].error_code == 0


# Features


async def set_transaction_version(client: BrokerClient, level: int, upgrade_type: int) -> int:
    key = UpdateFeaturesRequest.FeatureUpdateKey(
        feature="transaction.version", max_version_level=level, upgrade_type=upgrade_type
    )
    response = await client.request(UpdateFeaturesRequest(feature_updates=[key]), UpdateFeaturesResponse)
    return response.error_code


@pytest.mark.usefixtures("own_broker_only")
async def test_the_coordinator_follows_transaction_version_live(tmp_path: Path) -> None:
    """Classic clients too get a new epoch with every transaction while the cluster is at version 2."""
    async with session(tmp_path) as client:
        topic = await Topic.create(client)
        assert await set_transaction_version(client, 0, 2) == 0
        levels = itertools.count()
        for level, upgrade_type in ((0, 2), (2, 1), (1, 2)):
            assert await set_transaction_version(client, level, upgrade_type) == 0
            producer = await Producer.start(client, generation=1 if level < 2 else 2)
            await producer.send(topic, b"%d" % next(levels))
            await producer.end(commit=True)
            await stable(topic)
        assert await committed_values(topic) == [b"0", b"1", b"2"]
    async with session(tmp_path) as client:
        # What was set stays set, whatever a new cluster would begin with.
        assert await set_transaction_version(client, 0, 1) == ErrorCode.INVALID_UPDATE_VERSION
        assert await set_transaction_version(client, 1, 1) == 0
