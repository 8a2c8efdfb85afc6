"""WriteTxnMarkers: the end of a transaction in each of its partitions, however often it is told."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from kbroker.config.topic_names import CONSUMER_OFFSETS_TOPIC
from kbroker.handlers.transaction_markers import TransactionMarkerHandlers
from storage.log_config import LogConfig
from tests.kbroker.handlers.requests import send
from tests.kbroker.handlers.test_transactional_produce import (
    NOW_MS,
    PRODUCER,
    State,
    transactional,
)
from tests.kbroker.handlers.test_transactional_produce import Subject as ProduceSubject
from wire.errors import ApiError, ErrorCode
from wire.messages.transactions import WriteTxnMarkersRequest
from wire.records import ControlType, iterate_batches, read_control_type, read_records

Marker = WriteTxnMarkersRequest.WritableTxnMarker
Topic = Marker.WritableTxnMarkerTopic
Results = dict[int, dict[tuple[str, int], ErrorCode]]
NONE = ErrorCode.NONE


def marker(
    topics: dict[str, list[int]],
    *,
    producer_id: int = PRODUCER,
    epoch: int = 0,
    commit: bool = True,
    coordinator_epoch: int = 0,
    version: int = 0,
) -> Marker:
    return Marker(
        producer_id=producer_id,
        producer_epoch=epoch,
        transaction_result=commit,
        coordinator_epoch=coordinator_epoch,
        transaction_version=version,
        topics=[Topic(name=name, partition_indexes=indexes) for name, indexes in topics.items()],
    )


class Offsets:
    """The group coordinator: notes what it is told, and fails or waits if it should."""

    def __init__(self) -> None:
        self.completed: list[tuple[Any, ...]] = []
        self.errors: list[ErrorCode] = []
        self.gate: trio.Event | None = None

    async def complete_transaction(
        self,
        partition: int,
        producer: tuple[int, int],
        *,
        coordinator_epoch: int,
        committed: bool,
        transaction_version: int = 0,
    ) -> None:
        self.completed.append((partition, producer, coordinator_epoch, committed, transaction_version))
        if self.gate is not None:
            await self.gate.wait()
        if self.errors:
            raise ApiError(self.errors.pop(0))


class Subject:
    def __init__(self, directory: Path) -> None:
        self.producing = ProduceSubject(directory)
        self.replicas = self.producing.replicas
        self.offsets = Offsets()
        self.handlers = TransactionMarkerHandlers(
            partitions=self.replicas,
            groups=self.offsets,
            clock_ms=lambda: NOW_MS,
            request_timeout_ms=lambda: 1000,
        )

    async def write(self, *markers: Marker, version: int = 2) -> Results:
        request = WriteTxnMarkersRequest(markers=list(markers))
        response = await send(self.handlers.write_txn_markers, request, version)
        return {
            result.producer_id: {
                (topic.name, partition.partition_index): ErrorCode(partition.error_code)
                for topic in result.topics
                for partition in topic.partitions
            }
            for result in response.markers
        }

    async def begin(self, *indexes: int, epoch: int = 0, sequence: int = 0) -> None:
        answers = await self.producing.produce({index: transactional(sequence, epoch) for index in indexes})
        assert {answer.error_code for answer in answers.values()} == {0}

    def stable(self, index: int = 0) -> int:
        return self.replicas.leader("t", index).last_stable_offset

    def markers(self, index: int = 0) -> list[tuple[ControlType, int]]:
        """(type, producer epoch) of the control batches in the partition."""
        log = self.replicas.leader("t", index).log
        found = log.read(0, 1 << 20, max_offset=log.log_end_offset)
        assert found.records is not None
        with found.records as records:
            data = records.read()
        return [
            (
                read_control_type(read_records(data, position, decompressed_bytes_max=1000)[0]),
                header.producer_epoch,
            )
            for position, header in iterate_batches(data)
            if header.is_control
        ]


@pytest.fixture
def subject(tmp_path: Path) -> Iterator[Subject]:
    subject = Subject(tmp_path)
    yield subject
    subject.producing.logs.close()


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("commit", [True, False])
async def test_a_marker_ends_the_transaction_in_its_partitions(
    subject: Subject, version: int, commit: bool
) -> None:
    await subject.begin(0, 1)
    assert subject.stable(0) == subject.stable(1) == 0
    results = await subject.write(marker({"t": [0, 1]}, commit=commit), version=version)
    assert results == {PRODUCER: {("t", 0): NONE, ("t", 1): NONE}}
    assert subject.stable(0) == subject.stable(1) == 2
    assert subject.markers() == [(ControlType.COMMIT if commit else ControlType.ABORT, 0)]
    aborted = subject.replicas.leader("t", 0).log.aborted_transactions(0, 2)
    assert [entry.first_offset for entry in aborted] == ([] if commit else [0])


async def test_several_transactions_in_one_request(subject: Subject) -> None:
    await subject.begin(0, 1)
    results = await subject.write(
        marker({"t": [0]}),
        marker({"t": [1]}, commit=False),
        marker({"t": [2], CONSUMER_OFFSETS_TOPIC: [4]}, producer_id=8, epoch=3, version=2),
        marker({"u": [0]}, producer_id=9),
    )
    # The two markers of one producer are answered together, as by Apache Kafka.
    assert results == {
        PRODUCER: {("t", 0): NONE, ("t", 1): NONE},
        8: {("t", 2): NONE, (CONSUMER_OFFSETS_TOPIC, 4): ErrorCode.UNKNOWN_TOPIC_OR_PARTITION},
        9: {("u", 0): ErrorCode.UNKNOWN_TOPIC_OR_PARTITION},
    }
    assert [subject.markers(index) for index in range(3)] == [
        [(ControlType.COMMIT, 0)],
        [(ControlType.ABORT, 0)],
        [(ControlType.COMMIT, 3)],
    ]


async def test_no_markers_no_results(subject: Subject) -> None:
    assert await subject.write() == {}


@pytest.mark.parametrize("fields", [{"producer_id": -1}, {"epoch": -1}, {"version": -1}])
async def test_a_marker_of_no_producer_is_nonsense(subject: Subject, fields: dict[str, int]) -> None:
    results = await subject.write(marker({"t": [0], CONSUMER_OFFSETS_TOPIC: [0]}, **fields))
    (codes,) = results.values()
    assert set(codes.values()) == {ErrorCode.INVALID_REQUEST}
    assert subject.producing.end_offset() == 0
    assert subject.offsets.completed == []


async def test_an_older_epoch_is_refused(subject: Subject) -> None:
    await subject.begin(0, epoch=2)
    results = await subject.write(marker({"t": [0]}, epoch=1))
    assert results == {PRODUCER: {("t", 0): ErrorCode.INVALID_PRODUCER_EPOCH}}
    assert subject.stable() == 0


async def test_an_older_coordinator_is_refused(subject: Subject) -> None:
    await subject.begin(0)
    await subject.write(marker({"t": [0]}, coordinator_epoch=5))
    await subject.begin(0, sequence=1)
    results = await subject.write(marker({"t": [0]}, coordinator_epoch=4))
    assert results == {PRODUCER: {("t", 0): ErrorCode.TRANSACTION_COORDINATOR_FENCED}}
    assert subject.stable() == 2


async def test_a_repeated_marker_is_harmless_in_the_classic_protocol(subject: Subject) -> None:
    await subject.begin(0)
    for _ in range(2):
        assert await subject.write(marker({"t": [0]}, commit=False)) == {PRODUCER: {("t", 0): NONE}}
    log = subject.replicas.leader("t", 0).log
    assert len(log.aborted_transactions(0, log.log_end_offset)) == 1
    assert subject.stable() == log.log_end_offset == 3


async def test_a_repeated_marker_is_recognised_in_transactions_version_2(subject: Subject) -> None:
    await subject.begin(0)
    for _ in range(2):
        results = await subject.write(marker({"t": [0]}, epoch=1, version=2))
        assert results == {PRODUCER: {("t", 0): NONE}}
    assert subject.stable() == 3


async def test_a_late_marker_does_not_end_the_transaction_after_the_next_in_version_2(
    subject: Subject,
) -> None:
    await subject.begin(0)
    await subject.write(marker({"t": [0]}, epoch=1, version=2))
    await subject.begin(0, epoch=1)
    results = await subject.write(marker({"t": [0]}, epoch=1, version=2))
    assert results == {PRODUCER: {("t", 0): ErrorCode.INVALID_PRODUCER_EPOCH}}
    assert subject.stable() == 2


async def test_a_failed_disk_is_a_storage_error(subject: Subject) -> None:
    subject.replicas.leader("t", 1).mark_offline()
    results = await subject.write(marker({"t": [0, 1]}))
    assert results == {PRODUCER: {("t", 0): NONE, ("t", 1): ErrorCode.KAFKA_STORAGE_ERROR}}


# Offsets


def host_offsets(subject: Subject) -> None:
    subject.replicas.apply_topic(
        CONSUMER_OFFSETS_TOPIC,
        subject.replicas.topic_id("nothing"),
        [(index, State()) for index in range(3)],
        config=LogConfig(),
        min_in_sync_replicas=1,
    )


async def test_offsets_are_completed_by_the_group_coordinator(subject: Subject) -> None:
    host_offsets(subject)
    results = await subject.write(
        marker({CONSUMER_OFFSETS_TOPIC: [1]}, epoch=3, coordinator_epoch=6, version=2, commit=False)
    )
    assert results == {PRODUCER: {(CONSUMER_OFFSETS_TOPIC, 1): NONE}}
    assert subject.offsets.completed == [(1, (PRODUCER, 3), 6, False, 2)]


@pytest.mark.parametrize(
    ("code", "told"),
    [
        (ErrorCode.COORDINATOR_LOAD_IN_PROGRESS, ErrorCode.NOT_LEADER_OR_FOLLOWER),
        (ErrorCode.COORDINATOR_NOT_AVAILABLE, ErrorCode.NOT_LEADER_OR_FOLLOWER),
        (ErrorCode.NOT_COORDINATOR, ErrorCode.NOT_LEADER_OR_FOLLOWER),
        (ErrorCode.INVALID_PRODUCER_EPOCH, ErrorCode.INVALID_PRODUCER_EPOCH),
        (ErrorCode.TRANSACTION_COORDINATOR_FENCED, ErrorCode.TRANSACTION_COORDINATOR_FENCED),
    ],
)
async def test_a_group_coordinator_that_is_not_ready_is_a_partition_without_a_leader(
    subject: Subject, code: ErrorCode, told: ErrorCode
) -> None:
    host_offsets(subject)
    subject.offsets.errors = [code]
    results = await subject.write(marker({CONSUMER_OFFSETS_TOPIC: [1], "t": [0]}))
    assert results == {PRODUCER: {(CONSUMER_OFFSETS_TOPIC, 1): told, ("t", 0): NONE}}


async def test_offsets_of_one_partition_keep_the_order_of_the_markers(subject: Subject) -> None:
    host_offsets(subject)
    markers = [marker({CONSUMER_OFFSETS_TOPIC: [0]}, producer_id=1, epoch=epoch) for epoch in range(9)]
    await subject.write(*markers)
    assert [producer[1] for _, producer, *_ in subject.offsets.completed] == list(range(9))


async def test_offsets_of_several_partitions_wait_together(subject: Subject) -> None:
    host_offsets(subject)
    subject.offsets.gate = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(subject.write, marker({CONSUMER_OFFSETS_TOPIC: [0, 1, 2]}))
        await wait_all_tasks_blocked()
        assert len(subject.offsets.completed) == 3
        subject.offsets.gate.set()


# Waiting


async def test_a_marker_is_answered_when_it_is_committed(subject: Subject) -> None:
    hold_back(subject)
    results: list[Results] = []
    async with trio.open_nursery() as nursery:

        async def write() -> None:
            results.append(await subject.write(marker({"t": [0]})))

        nursery.start_soon(write)
        await wait_all_tasks_blocked()
        assert not results
        catch_up(subject)
    assert results == [{PRODUCER: {("t", 0): NONE}}]


async def test_replicas_that_do_not_follow_are_a_timeout(subject: Subject, autojump_clock: MockClock) -> None:
    hold_back(subject)
    assert await subject.write(marker({"t": [0]})) == {PRODUCER: {("t", 0): ErrorCode.REQUEST_TIMED_OUT}}
    assert trio.current_time() == pytest.approx(1)


async def test_a_partition_that_goes_away_is_told_so(subject: Subject) -> None:
    hold_back(subject)
    results: list[Results] = []
    async with trio.open_nursery() as nursery:

        async def write() -> None:
            results.append(await subject.write(marker({"t": [0]})))

        nursery.start_soon(write)
        await wait_all_tasks_blocked()
        subject.replicas.remove_topic("t")
    assert results == [{PRODUCER: {("t", 0): ErrorCode.NOT_LEADER_OR_FOLLOWER}}]


def hold_back(subject: Subject) -> None:
    """Another in-sync replica, which never fetches."""
    apply(subject, State(replicas=(1, 2), in_sync_replicas=(1, 2)))


def catch_up(subject: Subject) -> None:
    apply(subject, State(replicas=(1, 2), in_sync_replicas=(1,)))


def apply(subject: Subject, state: State) -> None:
    subject.replicas.apply_topic(
        "t",
        subject.replicas.topic_id("t"),
        [(0, state)],
        config=LogConfig(),
        min_in_sync_replicas=1,
    )


async def test_a_coordinator_of_this_broker_needs_no_connection(subject: Subject) -> None:
    await subject.begin(0)
    response = await subject.handlers.write_markers(1, WriteTxnMarkersRequest(markers=[marker({"t": [0]})]))
    assert response.markers[0].topics[0].partitions[0].error_code == 0
    assert subject.stable() == 2
