"""TransactionCoordinator: whole requests, markers on their way, restarts, on a mock clock."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import NamedTuple

import pytest
import trio
import trio.testing

from kbroker.coordination.transaction.service import COMMIT_TIMEOUT_MS, TransactionCoordinator
from tests.kbroker.coordination.memory_log import MemoryShardLog, TrioWorld
from tests.kbroker.coordination.transaction.harness import FixedConfig
from wire.errors import ApiError, ErrorCode
from wire.messages.producer_ids import InitProducerIdRequest, InitProducerIdResponse
from wire.messages.transactions import (
    DescribeTransactionsRequest,
    EndTxnRequest,
    EndTxnResponse,
    ListTransactionsRequest,
    WriteTxnMarkersRequest,
    WriteTxnMarkersResponse,
)

PARTITIONS = 4
ID, OTHER_ID = "a", "b"  # of partitions 1 and 2
A, B, C = ("t", 0), ("t", 1), ("u", 0)

_Result = WriteTxnMarkersResponse.WritableTxnMarkerResult


class Origin(NamedTuple):
    api_version: int
    client_id: str | None = None
    client_host: str = "127.0.0.1"


class Written(NamedTuple):
    """One marker as it reached a broker."""

    node_id: int
    producer: tuple[int, int]
    committed: bool
    partitions: frozenset[tuple[str, int]]
    coordinator_epoch: int
    transaction_version: int


class Channel:
    """The other brokers. ``answers`` are given first: errors by partition, or an exception."""

    def __init__(self) -> None:
        self.requests: list[list[Written]] = []
        self.answers: list[Mapping[tuple[str, int], int] | Exception] = []
        self.gate = trio.Event()
        self.gate.set()

    @property
    def written(self) -> list[Written]:
        return [marker for request in self.requests for marker in request]

    def hold(self) -> None:
        self.gate = trio.Event()

    async def write_markers(self, node_id: int, request: WriteTxnMarkersRequest) -> WriteTxnMarkersResponse:
        self.requests.append(
            [
                Written(
                    node_id,
                    (marker.producer_id, marker.producer_epoch),
                    marker.transaction_result,
                    frozenset((t.name, index) for t in marker.topics for index in t.partition_indexes),
                    marker.coordinator_epoch,
                    marker.transaction_version,
                )
                for marker in request.markers
            ]
        )
        await self.gate.wait()
        answer = self.answers.pop(0) if self.answers else {}
        if isinstance(answer, Exception):
            raise answer
        topic_class = _Result.WritableTxnMarkerTopicResult
        return WriteTxnMarkersResponse(
            markers=[
                _Result(
                    producer_id=marker.producer_id,
                    topics=[
                        topic_class(
                            name=topic.name,
                            partitions=[
                                topic_class.WritableTxnMarkerPartitionResult(
                                    partition_index=index,
                                    error_code=answer.get((topic.name, index), ErrorCode.NONE),
                                )
                                for index in topic.partition_indexes
                            ],
                        )
                        for topic in marker.topics
                    ],
                )
                for marker in request.markers
            ]
        )


class Stage:
    """``leaders``: partition -> broker; -1 for none now; absent for no such partition."""

    def __init__(
        self, logs: list[MemoryShardLog] | None = None, channel: Channel | None = None, **config: int
    ) -> None:
        self.logs = logs or [MemoryShardLog() for _ in range(PARTITIONS)]
        self.channel = channel or Channel()
        self.leaders: dict[tuple[str, int], int] = {A: 1, B: 1, C: 2}
        self.leaders_asked = 0
        self.producer_ids = 100
        self.producer_id_error: ApiError | None = None
        self.transaction_version = 2
        self.transactions = TransactionCoordinator(
            clock=TrioWorld(),
            config=replace(FixedConfig(), **config),
            log_for=lambda partition: self.logs[partition],
            partition_count=lambda: PARTITIONS,
            next_producer_id=self.next_producer_id,
            markers=self.channel,
            leader_of=self.leader_of,
            transaction_version=lambda: self.transaction_version,
        )

    def leader_of(self, topic: str, index: int) -> int | None:
        self.leaders_asked += 1
        return self.leaders.get((topic, index))

    async def next_producer_id(self) -> int:
        await trio.lowlevel.checkpoint()
        if self.producer_id_error is not None:
            raise self.producer_id_error
        self.producer_ids += 1
        return self.producer_ids

    @property
    def log(self) -> MemoryShardLog:
        return self.logs[self.transactions.partition_for(ID)]

    async def init(self, name: str | None = ID, *, version: int = 5, **values: int) -> InitProducerIdResponse:
        request = InitProducerIdRequest(
            transactional_id=name,
            **{"transaction_timeout_ms": 60_000, "producer_id": -1, "producer_epoch": -1, **values},  # type: ignore[arg-type]
        )
        return await self.transactions.init_producer_id(request, Origin(version))

    async def producer(self, name: str = ID) -> tuple[int, int]:
        response = await self.init(name)
        assert response.error_code == ErrorCode.NONE, response
        return response.producer_id, response.producer_epoch

    async def add(
        self,
        producer: tuple[int, int],
        *partitions: tuple[str, int],
        name: str = ID,
        verify_only: bool = False,
        version: int = 2,
    ) -> list[ErrorCode]:
        codes = await self.transactions.add_partitions(
            name, *producer, partitions or (A,), verify_only=verify_only, transaction_version=version
        )
        return [codes[partition] for partition in partitions or (A,)]

    async def end(
        self, producer: tuple[int, int], *, committed: bool = True, name: str = ID, version: int = 5
    ) -> EndTxnResponse:
        request = EndTxnRequest(
            transactional_id=name, producer_id=producer[0], producer_epoch=producer[1], committed=committed
        )
        return await self.transactions.end_transaction(request, Origin(version))

    async def prepared(self, *partitions: tuple[str, int], committed: bool = True) -> tuple[int, int]:
        """A transaction that is decided; the producer for the next one."""
        producer = await self.producer()
        assert set(await self.add(producer, *partitions)) == {ErrorCode.NONE}
        response = await self.end(producer, committed=committed)
        assert response.error_code == ErrorCode.NONE, response
        return response.producer_id, response.producer_epoch

    def state(self, name: str = ID) -> str:
        request = DescribeTransactionsRequest(transactional_ids=[name])
        return self.transactions.describe_transactions(request).transaction_states[0].transaction_state


@asynccontextmanager
async def serving(stage: Stage, leader_epoch: int = 7) -> AsyncIterator[Stage]:
    async with trio.open_nursery() as nursery:
        await nursery.start(stage.transactions.run)
        for partition in range(PARTITIONS):
            stage.transactions.load(partition, leader_epoch)
        await trio.testing.wait_all_tasks_blocked()
        yield stage
        stage.transactions.stop()


async def settle() -> None:
    await trio.testing.wait_all_tasks_blocked()


# A transaction from its beginning to its end


async def test_a_transaction_is_committed_everywhere() -> None:
    async with serving(Stage()) as stage:
        following = await stage.prepared(A, C, B)
        assert following == (101, 1)
        await settle()
        assert sorted(stage.channel.written, key=lambda marker: marker.node_id) == [
            Written(1, (101, 1), True, frozenset({A, B}), 7, 2),
            Written(2, (101, 1), True, frozenset({C}), 7, 2),
        ]
        assert stage.state() == "CompleteCommit"


async def test_the_answer_to_the_end_does_not_wait_for_the_markers(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with serving(Stage()) as stage:
        stage.channel.hold()
        following = await stage.prepared(A)
        await settle()
        assert stage.state() == "PrepareCommit"
        assert await stage.add(following) == [ErrorCode.CONCURRENT_TRANSACTIONS]
        assert (await stage.init()).error_code == ErrorCode.CONCURRENT_TRANSACTIONS
        stage.channel.gate.set()
        await settle()
        assert await stage.add(following) == [ErrorCode.NONE]


async def test_the_next_transaction_waits_for_the_completion_of_the_last_a_little(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with serving(Stage()) as stage:
        stage.channel.hold()
        following = await stage.prepared(A)
        began = trio.current_time()
        async with trio.open_nursery() as nursery:

            async def add() -> None:
                assert await stage.add(following) == [ErrorCode.NONE]

            nursery.start_soon(add)
            await trio.sleep(0.05)
            stage.channel.gate.set()
        assert trio.current_time() - began < 0.06
        assert stage.state() == "Ongoing"


@pytest.mark.parametrize("loss", ["unload", "stop"])
async def test_who_waits_for_a_completion_is_told_when_the_shard_is_lost(
    loss: str, autojump_clock: trio.testing.MockClock
) -> None:
    async with serving(Stage()) as stage:
        stage.channel.hold()
        following = await stage.prepared(A)
        began = trio.current_time()
        codes: list[ErrorCode] = []
        async with trio.open_nursery() as nursery:

            async def add() -> None:
                codes.extend(await stage.add(following))

            nursery.start_soon(add)
            await settle()
            if loss == "unload":
                stage.transactions.unload(stage.transactions.partition_for(ID))
            else:
                stage.transactions.stop()
        lost = {"unload": ErrorCode.NOT_COORDINATOR, "stop": ErrorCode.COORDINATOR_NOT_AVAILABLE}
        assert codes == [lost[loss]]
        assert trio.current_time() - began < 0.05


async def test_a_completion_that_is_not_committed_yet_does_not_hold_up_the_next_transaction() -> None:
    async with serving(Stage()) as stage:
        stage.channel.hold()
        following = await stage.prepared(A)
        await settle()
        stage.log.holding = True
        stage.channel.gate.set()
        await settle()
        assert stage.state() == "CompleteCommit"
        async with trio.open_nursery() as nursery:

            async def add() -> None:
                assert await stage.add(following) == [ErrorCode.NONE]

            nursery.start_soon(add)
            await settle()
            assert stage.state() == "CompleteCommit"  # neither is committed, and nobody was told
            stage.log.commit_all()
        assert stage.state() == "Ongoing"


async def test_what_is_decided_while_a_broker_is_busy_goes_with_its_next_request() -> None:
    async with serving(Stage()) as stage:
        producers = [await stage.producer(f"id-{number}") for number in range(5)]
        for number, producer in enumerate(producers):
            await stage.add(producer, name=f"id-{number}")
        stage.channel.hold()
        for number, producer in enumerate(producers):
            await stage.end(producer, name=f"id-{number}", committed=bool(number % 2))
            await settle()
        stage.channel.gate.set()
        await settle()
        assert [len(request) for request in stage.channel.requests] == [1, 4]
        assert {stage.state(f"id-{number}") for number in range(5)} == {"CompleteCommit", "CompleteAbort"}


# Markers that do not arrive


@pytest.mark.parametrize(
    "error",
    [
        ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
        ErrorCode.NOT_LEADER_OR_FOLLOWER,
        ErrorCode.NOT_ENOUGH_REPLICAS,
        ErrorCode.NOT_ENOUGH_REPLICAS_AFTER_APPEND,
        ErrorCode.REQUEST_TIMED_OUT,
        ErrorCode.KAFKA_STORAGE_ERROR,
        ErrorCode.CORRUPT_MESSAGE,
        ErrorCode.UNKNOWN_SERVER_ERROR,
    ],
)
async def test_a_partition_that_cannot_take_its_marker_now_is_asked_again(
    error: ErrorCode, autojump_clock: trio.testing.MockClock
) -> None:
    async with serving(Stage()) as stage:
        stage.channel.answers = [{A: error}, {A: error}]
        await stage.prepared(A, B)
        await trio.sleep(5)
        assert [marker.partitions for marker in stage.channel.written] == [{A, B}, {A}, {A}]
        assert stage.state() == "CompleteCommit"


@pytest.mark.parametrize(
    "failure", [ApiError(ErrorCode.NETWORK_EXCEPTION), ConnectionError("gone"), RuntimeError("a bug")]
)
async def test_a_broker_that_does_not_answer_is_asked_again(
    failure: Exception, autojump_clock: trio.testing.MockClock
) -> None:
    async with serving(Stage()) as stage:
        stage.channel.answers = [failure] * 8
        await stage.prepared(A)
        began = trio.current_time()
        await trio.sleep(10)
        assert stage.state() == "CompleteCommit"
        assert len(stage.channel.requests) == 9
        assert trio.current_time() - began < 11


async def test_an_answer_with_an_error_that_is_not_known_here_counts_as_none(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with serving(Stage()) as stage:
        stage.channel.answers = [{A: 32_000}]
        await stage.prepared(A)
        await trio.sleep(5)
        assert len(stage.channel.requests) == 2
        assert stage.state() == "CompleteCommit"


async def test_a_partition_moves_to_another_broker_while_its_marker_is_on_the_way(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with serving(Stage()) as stage:
        stage.channel.answers = [{A: ErrorCode.NOT_LEADER_OR_FOLLOWER}]
        stage.channel.hold()
        await stage.prepared(A)
        await settle()
        stage.leaders[A] = 2
        stage.channel.gate.set()
        await trio.sleep(1)
        assert [marker.node_id for marker in stage.channel.written] == [1, 2]


async def test_a_partition_without_a_leader_is_waited_for(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with serving(Stage()) as stage:
        stage.leaders[A] = -1
        await stage.prepared(A)
        await trio.sleep(60)
        assert stage.state() == "PrepareCommit"
        stage.leaders[A] = 2
        await trio.sleep(2)
        assert stage.state() == "CompleteCommit"


async def test_a_deleted_partition_needs_no_marker() -> None:
    async with serving(Stage()) as stage:
        stage.channel.hold()
        producer = await stage.producer()
        await stage.add(producer, A, B)
        del stage.leaders[A]
        await stage.end(producer)
        await settle()
        assert stage.channel.written[0].partitions == {B}
        stage.channel.gate.set()
        await settle()
        assert stage.state() == "CompleteCommit"


async def test_a_transaction_of_deleted_partitions_completes() -> None:
    async with serving(Stage()) as stage:
        stage.leaders.clear()
        await stage.prepared(A, B)
        await settle()
        assert stage.state() == "CompleteCommit"
        assert not stage.channel.requests


@pytest.mark.parametrize(
    "error", [ErrorCode.INVALID_PRODUCER_EPOCH, ErrorCode.TRANSACTION_COORDINATOR_FENCED]
)
async def test_a_coordinator_that_was_replaced_gives_up(
    error: ErrorCode, autojump_clock: trio.testing.MockClock
) -> None:
    async with serving(Stage()) as stage:
        stage.channel.answers = [{A: error}]
        await stage.prepared(A, B)
        await trio.sleep(60)
        assert len(stage.channel.requests) == 1
        assert stage.state() == "PrepareCommit"


@pytest.mark.parametrize("error", [ErrorCode.UNSUPPORTED_FOR_MESSAGE_FORMAT, ErrorCode.UNSUPPORTED_VERSION])
async def test_a_partition_that_can_have_no_transactions_needs_no_marker(error: ErrorCode) -> None:
    async with serving(Stage()) as stage:
        stage.channel.answers = [{A: error}]
        await stage.prepared(A)
        await settle()
        assert stage.state() == "CompleteCommit"


# Losing the shard, and getting it back


async def test_markers_of_a_shard_that_was_lost_are_not_sent_again(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with serving(Stage()) as stage:
        stage.channel.hold()
        stage.channel.answers = [{A: ErrorCode.NOT_LEADER_OR_FOLLOWER}]
        await stage.prepared(A)
        await settle()
        stage.transactions.unload(stage.transactions.partition_for(ID))
        log_end = stage.log.end
        stage.channel.gate.set()
        await trio.sleep(60)
        assert len(stage.channel.requests) == 1
        assert stage.log.end == log_end


async def test_markers_that_wait_for_a_busy_broker_are_not_sent_once_their_shard_is_lost() -> None:
    async with serving(Stage()) as stage:
        other = await stage.producer(OTHER_ID)
        await stage.add(other, name=OTHER_ID)
        stage.channel.hold()
        await stage.end(other, name=OTHER_ID)
        await settle()
        await stage.prepared(A)
        await settle()
        stage.transactions.unload(stage.transactions.partition_for(ID))
        stage.channel.gate.set()
        await settle()
        assert [len(request) for request in stage.channel.requests] == [1]
        assert stage.state(OTHER_ID) == "CompleteCommit"


async def test_nobody_looks_for_the_leader_of_a_marker_that_is_no_longer_wanted(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with serving(Stage()) as stage:
        stage.leaders[A] = -1
        await stage.prepared(A)
        await trio.sleep(10)
        assert stage.leaders_asked > 5
        stage.transactions.unload(stage.transactions.partition_for(ID))
        asked = stage.leaders_asked
        await trio.sleep(10)
        assert stage.leaders_asked == asked


async def test_markers_that_are_written_after_the_shard_was_lost_complete_nothing() -> None:
    async with serving(Stage()) as stage:
        stage.channel.hold()
        await stage.prepared(A)
        await settle()
        partition = stage.transactions.partition_for(ID)
        stage.transactions.unload(partition)
        log_end = stage.log.end
        stage.channel.gate.set()
        await settle()
        assert stage.log.end == log_end
        stage.transactions.load(partition, leader_epoch=9)
        await settle()
        assert [marker.coordinator_epoch for marker in stage.channel.written] == [7, 9]
        assert stage.state() == "CompleteCommit"


async def test_a_shard_that_comes_back_sends_its_markers_under_its_new_epoch() -> None:
    async with serving(Stage()) as stage:
        stage.channel.hold()
        await stage.prepared(A)
        await settle()
        partition = stage.transactions.partition_for(ID)
        stage.transactions.unload(partition)
        stage.transactions.load(partition, leader_epoch=8)
        await settle()
        stage.channel.gate.set()
        await settle()
        assert [marker.coordinator_epoch for marker in stage.channel.written] == [7, 8]
        assert stage.state() == "CompleteCommit"
        completions = stage.log.end
        await settle()
        assert stage.log.end == completions


@pytest.mark.parametrize("committed", [True, False])
async def test_the_next_broker_finishes_what_a_crash_interrupted(committed: bool) -> None:
    async with serving(Stage()) as before:
        before.channel.hold()
        following = await before.prepared(A, C, committed=committed)
        await settle()
    async with serving(Stage(before.logs)) as after:
        await settle()
        assert {marker.partitions for marker in after.channel.written} == {frozenset({A}), frozenset({C})}
        assert {marker.committed for marker in after.channel.written} == {committed}
        assert after.state() == ("CompleteCommit" if committed else "CompleteAbort")
        # The answer that got lost can be had again.
        again = await after.end((following[0], following[1] - 1), committed=committed)
        assert (again.producer_id, again.producer_epoch) == following


async def test_the_next_coordinator_fences_the_one_before(autojump_clock: trio.testing.MockClock) -> None:
    """The old one does not know yet that it is deposed, and its markers arrive last."""
    async with serving(Stage()) as old:
        old.channel.hold()
        old.channel.answers = [{A: ErrorCode.TRANSACTION_COORDINATOR_FENCED}]
        following = await old.prepared(A)
        await settle()
        async with serving(Stage(old.logs), leader_epoch=8) as new:
            await settle()
            assert [marker.coordinator_epoch for marker in new.channel.written] == [8]
            assert new.state() == "CompleteCommit"
            assert await new.add(following) == [ErrorCode.NONE]
            log_end = old.log.end
            old.channel.gate.set()
            await trio.sleep(60)
            assert [marker.coordinator_epoch for marker in old.channel.written] == [7]
            assert old.log.end == log_end
            assert new.state() == "Ongoing"


async def test_markers_are_sent_on_while_it_is_not_clear_who_leads(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with serving(Stage()) as stage:
        stage.channel.hold()
        stage.channel.answers = [{A: ErrorCode.NOT_LEADER_OR_FOLLOWER}]
        await stage.prepared(A)
        await settle()
        stage.log.lose()
        stage.channel.gate.set()
        await trio.sleep(10)
        assert len(stage.channel.requests) == 2
        request = DescribeTransactionsRequest(transactional_ids=[ID])
        described = stage.transactions.describe_transactions(request).transaction_states[0]
        assert described.error_code == ErrorCode.NOT_COORDINATOR
        stage.log.lost = False
        await trio.sleep(2)
        assert stage.state() == "CompleteCommit"


async def test_a_decision_whose_fate_is_unknown_is_looked_up_in_the_log(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with serving(Stage()) as stage:
        producer = await stage.producer()
        await stage.add(producer, A)
        stage.log.holding = True
        async with trio.open_nursery() as nursery:

            async def end() -> None:
                assert (await stage.end(producer)).error_code == ErrorCode.NOT_COORDINATOR

            nursery.start_soon(end)
            await settle()
            stage.log.lose()
        await trio.sleep(5)
        assert stage.channel.requests == []
        stage.log.lost = stage.log.holding = False
        stage.log.commit_all()
        await trio.sleep(5)
        assert [marker.committed for marker in stage.channel.written] == [True]
        assert (await stage.end(producer)).error_code == ErrorCode.NONE, "a retry is told how it went"


async def test_what_a_crash_left_uncommitted_is_not_acted_on_before_it_is_committed() -> None:
    """Else a power loss could take the decision away whose markers, in other logs, it leaves."""
    async with serving(Stage()) as before:
        producer = await before.producer()
        await before.add(producer, A)
        before.log.holding = True
        with trio.move_on_after(0.01):
            await before.end(producer)
    async with serving(Stage(before.logs)) as after:
        await settle()
        assert after.channel.requests == []
        assert await after.add(producer, A) == [ErrorCode.COORDINATOR_LOAD_IN_PROGRESS]
        after.log.holding = False
        after.log.commit_all()
        await settle()
        assert [marker.committed for marker in after.channel.written] == [True]
        assert after.state() == "CompleteCommit"


async def test_a_shard_that_is_not_served_here_knows_nobody() -> None:
    stage = Stage()
    async with serving(stage):
        stage.transactions.unload(stage.transactions.partition_for(ID))
        assert (await stage.init()).error_code == ErrorCode.NOT_COORDINATOR
        assert await stage.add((1, 0)) == [ErrorCode.NOT_COORDINATOR]
        assert await stage.add((1, 0), verify_only=True) == [ErrorCode.NOT_COORDINATOR]
        assert (await stage.end((1, 0))).error_code == ErrorCode.NOT_COORDINATOR
        described = stage.transactions.describe_transactions(
            DescribeTransactionsRequest(transactional_ids=[ID, ""])
        )
        assert [each.error_code for each in described.transaction_states] == [
            ErrorCode.NOT_COORDINATOR,
            ErrorCode.INVALID_REQUEST,
        ]
        assert (await stage.init(OTHER_ID)).error_code == ErrorCode.NONE
    assert (await stage.init()).error_code == ErrorCode.COORDINATOR_NOT_AVAILABLE


# A log that is slow or fails


async def test_a_change_that_is_late_is_waited_for_but_its_client_is_not_kept_waiting(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with serving(Stage()) as stage:
        producer = await stage.producer()
        await stage.add(producer)
        stage.log.holding = True
        response = await stage.end(producer)
        assert trio.current_time() >= COMMIT_TIMEOUT_MS / 1000
        assert response.error_code == ErrorCode.COORDINATOR_NOT_AVAILABLE
        # It is in the log, and may still count: nothing else may be decided.
        answer = await stage.end(producer, committed=False)
        assert answer.error_code == ErrorCode.CONCURRENT_TRANSACTIONS
        assert stage.state() == "Ongoing"
        stage.log.holding = False
        stage.log.commit_all()
        await trio.sleep(1)
        assert stage.state() == "CompleteCommit"
        assert (await stage.end(producer)).error_code == ErrorCode.NONE


async def test_a_shard_that_is_lost_while_a_change_is_written_answers_at_once() -> None:
    async with serving(Stage()) as stage:
        producer = await stage.producer()
        await stage.add(producer)
        stage.log.holding = True
        async with trio.open_nursery() as nursery:

            async def end() -> None:
                assert (await stage.end(producer)).error_code == ErrorCode.NOT_COORDINATOR

            nursery.start_soon(end)
            await settle()
            stage.transactions.unload(stage.transactions.partition_for(ID))


async def test_a_log_that_refuses_is_told_to_the_client() -> None:
    async with serving(Stage()) as stage:
        stage.log.errors = [ApiError(ErrorCode.NOT_ENOUGH_REPLICAS)]
        assert (await stage.init()).error_code == ErrorCode.COORDINATOR_NOT_AVAILABLE
        assert (await stage.init()).error_code == ErrorCode.NONE


async def test_completion_survives_a_log_that_refuses(autojump_clock: trio.testing.MockClock) -> None:
    async with serving(Stage()) as stage:
        stage.channel.hold()
        await stage.prepared(A)
        stage.log.errors = [ApiError(ErrorCode.NOT_ENOUGH_REPLICAS), ApiError(ErrorCode.KAFKA_STORAGE_ERROR)]
        stage.channel.gate.set()
        await trio.sleep(5)
        assert stage.state() == "CompleteCommit"


# Time


async def test_a_transaction_that_takes_too_long_is_aborted(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with serving(Stage()) as stage:
        producer = await stage.producer()
        await stage.add(producer)
        await trio.sleep(71)
        assert stage.state() == "CompleteAbort"
        assert (await stage.end(producer)).error_code == ErrorCode.INVALID_TXN_STATE
        assert stage.channel.written == [Written(1, (101, 1), False, frozenset({A}), 7, 2)]


async def test_an_abort_waits_for_producer_ids_if_it_has_to(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with serving(Stage()) as stage:
        await stage.producer()
        shard = stage.transactions._runtime._shards[stage.transactions.partition_for(ID)].machine
        transaction = shard.transactions.get(ID)
        assert transaction is not None
        transaction.metadata = replace(transaction.metadata, producer_epoch=32_766)
        await stage.add((101, 32_766))
        stage.producer_id_error = ApiError(ErrorCode.COORDINATOR_LOAD_IN_PROGRESS)
        await trio.sleep(120)
        assert stage.state() == "Ongoing"
        stage.producer_id_error = None
        await trio.sleep(11)
        assert stage.state() == "CompleteAbort"
        completed = shard.transactions.get(ID)
        assert completed is not None
        assert completed.metadata.producer_id == 102


# Versions


@pytest.mark.parametrize(
    ("version", "code"), [(3, ErrorCode.INVALID_PRODUCER_EPOCH), (4, ErrorCode.PRODUCER_FENCED)]
)
async def test_init_producer_id_knows_producer_fenced_since_version_4(version: int, code: ErrorCode) -> None:
    async with serving(Stage()) as stage:
        await stage.producer()
        response = await stage.init(producer_id=5, producer_epoch=5, version=version)
        assert response.error_code == code
        assert (response.producer_id, response.producer_epoch) == (-1, -1)


@pytest.mark.parametrize(
    ("version", "code"), [(1, ErrorCode.INVALID_PRODUCER_EPOCH), (2, ErrorCode.PRODUCER_FENCED)]
)
async def test_end_txn_knows_producer_fenced_since_version_2(version: int, code: ErrorCode) -> None:
    async with serving(Stage()) as stage:
        producer_id, epoch = await stage.producer()
        assert (await stage.end((producer_id, epoch + 1), version=version)).error_code == code


@pytest.mark.parametrize("version", range(6))
async def test_end_txn_version_5_means_transactions_v2(version: int) -> None:
    async with serving(Stage()) as stage:
        producer = await stage.producer()
        await stage.add(producer)
        response = await stage.end(producer, version=version)
        expected = (101, 1) if version == 5 else (-1, -1)
        assert (response.producer_id, response.producer_epoch) == expected


@pytest.mark.parametrize(("producer_id", "producer_epoch"), [(1, -1), (-1, 1)])
async def test_a_producer_id_and_its_epoch_come_together(producer_id: int, producer_epoch: int) -> None:
    async with serving(Stage()) as stage:
        response = await stage.init(producer_id=producer_id, producer_epoch=producer_epoch)
        assert response.error_code == ErrorCode.INVALID_REQUEST


async def test_a_producer_without_a_transactional_id_gets_an_id_of_its_own() -> None:
    async with serving(Stage()) as stage:
        first, second = await stage.init(None), await stage.init(None, producer_id=3, producer_epoch=4)
        assert [(each.producer_id, each.producer_epoch) for each in (first, second)] == [(101, 0), (102, 0)]
        assert not any(log.end for log in stage.logs)


# What can be seen


async def test_transactions_are_listed_across_shards(mock_clock: trio.testing.MockClock) -> None:
    async with serving(Stage()) as stage:
        await stage.producer(OTHER_ID)
        stage.channel.hold()
        await stage.prepared(A)

        def names(**values: object) -> list[str]:
            request = ListTransactionsRequest(duration_filter=-1)
            for field, value in values.items():
                setattr(request, field, value)
            response = stage.transactions.list_transactions(request)
            assert response.error_code == ErrorCode.NONE
            return sorted(each.transactional_id for each in response.transaction_states)

        assert names() == [ID, OTHER_ID]
        assert names(state_filters=["PrepareCommit"]) == [ID]
        assert names(state_filters=["Empty", "Nonsense"]) == [OTHER_ID]
        assert names(state_filters=["Nonsense"]) == []
        assert names(producer_id_filters=[101]) == [OTHER_ID]
        assert names(duration_filter=10) == [OTHER_ID]  # it never began: since 1970, as in Kafka
        assert names(transactional_id_pattern="[^b]") == [ID]
        assert names(transactional_id_pattern="") == [ID, OTHER_ID]
        request = ListTransactionsRequest(state_filters=["Nonsense", "Empty"], duration_filter=-1)
        response = stage.transactions.list_transactions(request)
        assert response.unknown_state_filters == ["Nonsense"]
        request = ListTransactionsRequest(state_filters=["Nonsense"], transactional_id_pattern="(")
        response = stage.transactions.list_transactions(request)
        assert response.error_code == ErrorCode.INVALID_REGULAR_EXPRESSION
        assert response.unknown_state_filters == []


async def test_a_transaction_is_described(mock_clock: trio.testing.MockClock) -> None:
    async with serving(Stage()) as stage:
        producer = await stage.producer()
        await stage.add(producer, C, B, A)
        request = DescribeTransactionsRequest(transactional_ids=[ID, "unknown", ""])
        described = stage.transactions.describe_transactions(request).transaction_states
        assert [each.error_code for each in described] == [
            ErrorCode.NONE,
            ErrorCode.TRANSACTIONAL_ID_NOT_FOUND,
            ErrorCode.INVALID_REQUEST,
        ]
        first = described[0]
        assert (first.producer_id, first.producer_epoch) == producer
        assert (first.transaction_state, first.transaction_timeout_ms) == ("Ongoing", 60_000)
        assert first.transaction_start_time_ms == TrioWorld().wall_clock_ms()
        assert [(topic.topic, topic.partitions) for topic in first.topics] == [("t", [0, 1]), ("u", [0])]
