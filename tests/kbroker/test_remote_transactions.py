"""Markers and questions about transactions between brokers, over a network in memory."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from kbroker.config.topic_names import TRANSACTION_STATE_TOPIC
from kbroker.handlers.table import RequestContext, handles
from kbroker.handlers.transactions import TransactionHandlers
from kbroker.metadata.image import ClusterImage, Endpoint, PartitionState, TopicImage
from kbroker.peers import UPKEEP_INTERVAL_S
from kbroker.remote_transactions import ClusterMarkers, ClusterTransactions
from kbroker.world import ConnectionLost
from tests.kbroker.coordination.transaction.test_service import ID, Stage, serving
from tests.kbroker.fake_brokers import FakeCluster, fake_cluster
from tests.kbroker.handlers.fake_transactions import Asked, FakeTransactions
from wire.errors import ErrorCode
from wire.messages.transactions import (
    AddPartitionsToTxnRequest,
    AddPartitionsToTxnResponse,
    WriteTxnMarkersRequest,
    WriteTxnMarkersResponse,
)

OK, NETWORK = ErrorCode.NONE, ErrorCode.NETWORK_EXCEPTION
LOCAL, ELSEWHERE = 1, 2
A, B, C = ("t", 0), ("t", 1), ("u", 0)
LEADERS = (LOCAL, ELSEWHERE, 3, -1)
"""Of the partitions of ``__transaction_state``; a transactional id ends with the number of its partition."""

_Result = AddPartitionsToTxnResponse.AddPartitionsToTxnResult
_TopicResult = AddPartitionsToTxnResponse.AddPartitionsToTxnTopicResult
_PartitionResult = AddPartitionsToTxnResponse.AddPartitionsToTxnPartitionResult


class Coordinator:
    """Another broker: says NONE of all partitions, or what ``answer`` says, after ``gate`` is open."""

    def __init__(self) -> None:
        self.requests: list[list[AddPartitionsToTxnRequest.AddPartitionsToTxnTransaction]] = []
        self.versions: list[int] = []
        self.codes: dict[tuple[str, int], int] = {}
        self.error = 0
        self.is_silent_about: set[str] = set()
        self.gate = trio.Event()
        self.gate.set()

    @property
    def asked(self) -> list[list[str]]:
        return [[each.transactional_id for each in request] for request in self.requests]

    @handles(AddPartitionsToTxnRequest)
    async def add(
        self, request: AddPartitionsToTxnRequest, context: RequestContext
    ) -> AddPartitionsToTxnResponse:
        self.requests.append(request.transactions)
        self.versions.append(context.api_version)
        await self.gate.wait()
        if self.error:
            return AddPartitionsToTxnResponse(error_code=self.error)
        return AddPartitionsToTxnResponse(
            results_by_transaction=[
                _Result(
                    transactional_id=transaction.transactional_id,
                    topic_results=[
                        _TopicResult(
                            name=topic.name,
                            results_by_partition=[
                                _PartitionResult(
                                    partition_index=index,
                                    partition_error_code=self.codes.get((topic.name, index), OK),
                                )
                                for index in topic.partitions
                            ],
                        )
                        for topic in transaction.topics
                    ],
                )
                for transaction in request.transactions
                if transaction.transactional_id not in self.is_silent_about
            ]
        )


class Subject:
    def __init__(self, cluster: FakeCluster) -> None:
        self.cluster = cluster
        self.coordinator = Coordinator()
        self.local = FakeTransactions()
        self.lead(*LEADERS)
        self.transactions = ClusterTransactions(
            node_id=LOCAL,
            local=self.local,
            peers=cluster.peers,
            current_image=lambda: cluster.image,
            partition_for=lambda transactional_id: int(transactional_id[-1]),
            request_timeout_ms=lambda: 30_000,
        )
        self.answers: dict[str, list[ErrorCode]] = {}

    def lead(self, *leaders: int) -> None:
        states = tuple(PartitionState((1, 2, 3), (1, 2, 3), leader) for leader in leaders)
        topic = TopicImage(TRANSACTION_STATE_TOPIC, uuid.UUID(int=1), states, 1)
        self.cluster.image = self.cluster.image._replace(topics={TRANSACTION_STATE_TOPIC: topic})

    async def add(
        self, name: str, partitions: Sequence[tuple[str, int]] = (A,), *, verify_only: bool = True
    ) -> list[ErrorCode]:
        codes = await self.transactions.add_partitions(
            name, 7, 1, partitions, verify_only=verify_only, transaction_version=0 if verify_only else 2
        )
        assert set(codes) == set(partitions)
        return [codes[partition] for partition in partitions]

    async def ask(self, key: str, name: str, partitions: Sequence[tuple[str, int]] = (A,)) -> None:
        self.answers[key] = await self.add(name, partitions)


@asynccontextmanager
async def asking() -> AsyncIterator[tuple[Subject, trio.Nursery]]:
    async with fake_cluster() as cluster, trio.open_nursery() as nursery:
        subject = Subject(cluster)
        cluster.register(LOCAL, Endpoint("10.0.0.1", 1))
        await cluster.start(ELSEWHERE, subject.coordinator)
        await nursery.start(subject.transactions.run)
        yield subject, nursery
        nursery.cancel_scope.cancel()


class TestWhoIsAsked:
    async def test_this_broker_itself(self) -> None:
        async with asking() as (subject, _):
            subject.local.answers = [ErrorCode.INVALID_TXN_STATE]
            assert await subject.add("id-0", [A, B]) == [ErrorCode.INVALID_TXN_STATE] * 2
            assert subject.local.asked == [Asked("id-0", (7, 1), [A, B], True, 0)]
            assert subject.cluster.network.connected == []

    async def test_another_broker(self) -> None:
        async with asking() as (subject, _):
            subject.coordinator.codes = {B: ErrorCode.TRANSACTION_ABORTABLE}
            assert await subject.add("id-1", [A, C, B]) == [OK, OK, ErrorCode.TRANSACTION_ABORTABLE]
            assert await subject.add("id-1", [A], verify_only=False) == [OK]
            (first,), (second,) = subject.coordinator.requests
            assert (first.producer_id, first.producer_epoch, first.verify_only) == (7, 1, True)
            assert [(topic.name, topic.partitions) for topic in first.topics] == [("t", [0, 1]), ("u", [0])]
            assert not second.verify_only
            assert subject.coordinator.versions == [5, 5]

    @pytest.mark.parametrize("why", ["not registered", "no leader", "fenced", "no such topic"])
    async def test_nobody_now(self, why: str) -> None:
        async with asking() as (subject, _):
            name = "id-3" if why == "no leader" else "id-2"
            if why == "fenced":
                subject.cluster.register(3, Endpoint("h", 1), fenced=True)
            elif why == "no such topic":
                subject.cluster.image = ClusterImage(brokers=subject.cluster.image.brokers)
            assert await subject.add(name, [A, B]) == [ErrorCode.COORDINATOR_NOT_AVAILABLE] * 2

    async def test_while_it_does_not_run(self) -> None:
        async with fake_cluster() as cluster:
            subject = Subject(cluster)
            await cluster.start(ELSEWHERE, subject.coordinator)
            assert await subject.add("id-1") == [ErrorCode.COORDINATOR_NOT_AVAILABLE]


class TestAnswers:
    @pytest.mark.parametrize(
        ("told", "heard"),
        [
            (ErrorCode.NOT_COORDINATOR, ErrorCode.NOT_COORDINATOR),
            (ErrorCode.COORDINATOR_LOAD_IN_PROGRESS, ErrorCode.COORDINATOR_LOAD_IN_PROGRESS),
            (ErrorCode.PRODUCER_FENCED, ErrorCode.PRODUCER_FENCED),
            (ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION),
            (ErrorCode.OPERATION_NOT_ATTEMPTED, NETWORK),
        ],
    )
    async def test_of_partitions(self, told: ErrorCode, heard: ErrorCode) -> None:
        async with asking() as (subject, _):
            subject.coordinator.codes = {A: told}
            assert await subject.add("id-1", [A, B]) == [heard, OK]

    @pytest.mark.parametrize(
        ("told", "heard"),
        [
            (ErrorCode.CLUSTER_AUTHORIZATION_FAILED, ErrorCode.INVALID_TXN_STATE),
            (ErrorCode.COORDINATOR_NOT_AVAILABLE, ErrorCode.COORDINATOR_NOT_AVAILABLE),
            (12345, NETWORK),
        ],
    )
    async def test_of_the_whole_request(self, told: int, heard: ErrorCode) -> None:
        async with asking() as (subject, _):
            subject.coordinator.error = told
            assert await subject.add("id-1", [A, B]) == [heard, heard]

    async def test_about_something_else(self) -> None:
        async with asking() as (subject, _):
            subject.coordinator.is_silent_about = {"id-1"}
            assert await subject.add("id-1", [A]) == [NETWORK]
            subject.coordinator.is_silent_about = set()
            subject.coordinator.codes = {A: 12345}
            assert await subject.add("id-1", [A, B]) == [NETWORK, NETWORK]

    async def test_none(self, autojump_clock: MockClock) -> None:
        async with asking() as (subject, _):
            subject.coordinator.gate = trio.Event()
            began = trio.current_time()
            assert await subject.add("id-1", [A, B]) == [NETWORK, NETWORK]
            assert trio.current_time() - began == pytest.approx(30)
            subject.coordinator.gate.set()
            assert await subject.add("id-1", [A]) == [OK], "the next one is asked all the same"

    async def test_none_since_the_coordinator_is_gone(self, autojump_clock: MockClock) -> None:
        async with asking() as (subject, nursery):
            subject.coordinator.gate = trio.Event()
            nursery.start_soon(subject.ask, "first", "id-1")
            await trio.sleep(2)
            subject.cluster.unregister(ELSEWHERE)
            await trio.sleep(UPKEEP_INTERVAL_S + 0.01)
            assert subject.answers == {"first": [NETWORK]}

    async def test_who_waits_when_the_broker_stops(self) -> None:
        async with fake_cluster() as cluster, trio.open_nursery() as callers:
            subject = Subject(cluster)
            subject.coordinator.gate = trio.Event()
            await cluster.start(ELSEWHERE, subject.coordinator)
            async with trio.open_nursery() as nursery:
                await nursery.start(subject.transactions.run)
                for name in ("a-1", "b-1"):
                    callers.start_soon(subject.ask, name, name)
                    await wait_all_tasks_blocked()
                nursery.cancel_scope.cancel()
            await wait_all_tasks_blocked()
            assert subject.answers == {"a-1": [NETWORK], "b-1": [ErrorCode.COORDINATOR_NOT_AVAILABLE]}


class TestBatches:
    async def test_what_is_asked_meanwhile_goes_together(self) -> None:
        async with asking() as (subject, nursery):
            subject.coordinator.gate = trio.Event()
            for name in ("a-1", "b-1", "c-1"):
                nursery.start_soon(subject.ask, name, name)
                await wait_all_tasks_blocked()
            assert subject.coordinator.asked == [["a-1"]]
            subject.coordinator.gate.set()
            await wait_all_tasks_blocked()
            assert subject.coordinator.asked == [["a-1"], ["b-1", "c-1"]]
            assert subject.answers == {"a-1": [OK], "b-1": [OK], "c-1": [OK]}

    async def test_a_transactional_id_is_named_once_in_a_request(self) -> None:
        async with asking() as (subject, nursery):
            subject.coordinator.gate = trio.Event()
            subject.coordinator.codes = {B: ErrorCode.INVALID_TXN_STATE}
            for key, partition in (("first", A), ("second", A), ("third", B)):
                nursery.start_soon(subject.ask, key, "a-1", [partition])
                await wait_all_tasks_blocked()
            nursery.start_soon(subject.ask, "other", "b-1")
            await wait_all_tasks_blocked()
            subject.coordinator.gate.set()
            await wait_all_tasks_blocked()
            assert subject.coordinator.asked == [["a-1"], ["a-1", "b-1"], ["a-1"]]
            assert subject.answers == {
                "first": [OK],
                "second": [OK],
                "third": [ErrorCode.INVALID_TXN_STATE],
                "other": [OK],
            }

    async def test_who_is_cancelled_is_not_asked_for(self) -> None:
        async with asking() as (subject, nursery):
            subject.coordinator.gate = trio.Event()
            nursery.start_soon(subject.ask, "a", "a-1")
            await wait_all_tasks_blocked()
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as cancelled:
                    cancelled.start_soon(subject.ask, "b", "b-1")
                    await wait_all_tasks_blocked()
                    scope.cancel()
            subject.coordinator.gate.set()
            await wait_all_tasks_blocked()
            assert subject.coordinator.asked == [["a-1"]]

    async def test_one_slow_coordinator_keeps_nobody_else_waiting(self) -> None:
        async with asking() as (subject, nursery):
            other = Coordinator()
            await subject.cluster.start(3, other)
            subject.coordinator.gate = trio.Event()
            nursery.start_soon(subject.ask, "slow", "a-1")
            assert await subject.add("b-2") == [OK]
            assert subject.answers == {}


async def test_a_real_coordinator_is_asked_by_another_broker(autojump_clock: MockClock) -> None:
    """Version 4 or newer stands for transactions v2; what has to wait is the asking broker's to repeat."""
    async with fake_cluster() as cluster, serving(Stage()) as stage, trio.open_nursery() as nursery:
        subject = Subject(cluster)
        subject.transactions._partition_for = lambda transactional_id: ELSEWHERE - 1
        handlers = TransactionHandlers(
            transactions=stage.transactions,
            has_partition=lambda topic, index: (topic, index) in (A, B, C),
            offsets_partition_for=lambda group_id: 0,
        )
        await cluster.start(ELSEWHERE, handlers)
        await nursery.start(subject.transactions.run)
        producer = await stage.producer()

        async def ask(*partitions: tuple[str, int], verify_only: bool) -> dict[tuple[str, int], ErrorCode]:
            return await subject.transactions.add_partitions(
                ID, *producer, partitions, verify_only=verify_only, transaction_version=2
            )

        assert await ask(A, C, verify_only=False) == {A: OK, C: OK}
        assert await ask(A, B, verify_only=True) == {A: OK, B: ErrorCode.TRANSACTION_ABORTABLE}
        assert await ask(A, ("nope", 0), verify_only=True) == {
            A: NETWORK,
            ("nope", 0): ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
        }
        stage.channel.hold()
        response = await stage.end(producer)
        producer = response.producer_id, response.producer_epoch
        began = trio.current_time()
        assert await ask(A, verify_only=False) == {A: ErrorCode.CONCURRENT_TRANSACTIONS}
        assert trio.current_time() == began
        nursery.cancel_scope.cancel()


class MarkerBroker:
    """A broker that writes markers."""

    def __init__(self) -> None:
        self.requests: list[tuple[int, WriteTxnMarkersRequest]] = []
        self.answer: Callable[[], Awaitable[None]] = trio.lowlevel.checkpoint

    @handles(WriteTxnMarkersRequest)
    async def write(
        self, request: WriteTxnMarkersRequest, context: RequestContext
    ) -> WriteTxnMarkersResponse:
        self.requests.append((context.api_version, request))
        await self.answer()
        return WriteTxnMarkersResponse(
            markers=[WriteTxnMarkersResponse.WritableTxnMarkerResult(producer_id=7)]
        )

    async def write_markers(self, node_id: int, request: WriteTxnMarkersRequest) -> WriteTxnMarkersResponse:
        self.requests.append((-1, request))
        return WriteTxnMarkersResponse()


class TestMarkers:
    request = WriteTxnMarkersRequest(
        markers=[
            WriteTxnMarkersRequest.WritableTxnMarker(
                producer_id=7,
                producer_epoch=3,
                transaction_result=True,
                topics=[
                    WriteTxnMarkersRequest.WritableTxnMarker.WritableTxnMarkerTopic(
                        name="t", partition_indexes=[0, 1]
                    )
                ],
                coordinator_epoch=9,
                transaction_version=2,
            )
        ]
    )

    def markers(self, cluster: FakeCluster, local: MarkerBroker) -> ClusterMarkers:
        return ClusterMarkers(
            node_id=LOCAL, local=local, peers=cluster.peers, request_timeout_ms=lambda: 30_000
        )

    async def test_for_this_broker_and_for_another(self) -> None:
        async with fake_cluster() as cluster:
            local, other = MarkerBroker(), MarkerBroker()
            await cluster.start(ELSEWHERE, other)
            markers = self.markers(cluster, local)
            assert await markers.write_markers(LOCAL, self.request) == WriteTxnMarkersResponse()
            response = await markers.write_markers(ELSEWHERE, self.request)
            assert [marker.producer_id for marker in response.markers] == [7]
            assert local.requests == [(-1, self.request)]
            assert other.requests == [(2, self.request)]

    async def test_for_a_broker_that_does_not_know_the_newest_version(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with fake_cluster() as cluster:
            other = MarkerBroker()
            with monkeypatch.context() as older:
                older.setattr(WriteTxnMarkersRequest, "max_version", 1)
                await cluster.start(ELSEWHERE, other)
            await self.markers(cluster, MarkerBroker()).write_markers(ELSEWHERE, self.request)
            ((version, request),) = other.requests
            assert (version, request.markers[0].transaction_version) == (1, 0)
            assert request.markers[0].coordinator_epoch == 9

    async def test_for_a_broker_that_does_not_answer(self, autojump_clock: MockClock) -> None:
        async with fake_cluster() as cluster:
            other = MarkerBroker()
            other.answer = trio.sleep_forever
            await cluster.start(ELSEWHERE, other)
            markers = self.markers(cluster, MarkerBroker())
            for node_id in (ELSEWHERE, 3):
                with pytest.raises(ConnectionLost):
                    await markers.write_markers(node_id, self.request)
            assert len(other.requests) == 1

    async def test_whole_transactions_end_on_two_brokers(self) -> None:
        """The transaction coordinator itself over the wire, to the handlers of another broker."""
        async with fake_cluster() as cluster:
            stage = Stage()
            remote = RemoteChannel(stage)
            await cluster.start(ELSEWHERE, remote)
            stage.transactions._markers._channel = ClusterMarkers(
                node_id=LOCAL, local=stage.channel, peers=cluster.peers, request_timeout_ms=lambda: 30_000
            )
            async with serving(stage):
                await stage.prepared(A, C)  # led by brokers 1 and 2
                with trio.fail_after(5):
                    while stage.state() != "CompleteCommit":
                        await trio.lowlevel.checkpoint()
            assert sorted((marker.node_id, marker.partitions) for marker in stage.channel.written) == [
                (LOCAL, frozenset({A})),
                (ELSEWHERE, frozenset({C})),
            ]


class RemoteChannel:
    """Writes the markers that come over the wire to the stage's channel, as broker 2."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    @handles(WriteTxnMarkersRequest)
    async def write(
        self, request: WriteTxnMarkersRequest, context: RequestContext
    ) -> WriteTxnMarkersResponse:
        return await self._stage.channel.write_markers(ELSEWHERE, request)
