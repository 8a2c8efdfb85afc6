"""Transactions across brokers: markers to partitions led elsewhere, questions to coordinators elsewhere.

``ClusterMarkers`` is the MarkerChannel of the transaction coordinator, ``ClusterTransactions`` the Transactions port of
the data path. Both take the short way where the broker in question is this one.

To each coordinator one AddPartitionsToTxn (version 4 or newer) is under way at a time; whatever is to be asked
meanwhile goes together into the next one (Kafka: AddPartitionsToTxnManager). A request names a transactional id once:
where a producer has two questions at the same time, about a partition and about a group's offsets perhaps, the second
one waits for its turn. (Kafka answers the first one with NETWORK_EXCEPTION then.)

    the coordinator's answer           what the data path hears of each partition
    an error for the whole request     that error; INVALID_TXN_STATE in place of CLUSTER_AUTHORIZATION_FAILED
    an error for the partition         that error; NETWORK_EXCEPTION in place of OPERATION_NOT_ATTEMPTED, which tells
                                       that another partition of the question is not known there yet
    nothing about the partition        NETWORK_EXCEPTION
    none, or none in time              NETWORK_EXCEPTION
    (nobody leads its partition)       COORDINATOR_NOT_AVAILABLE
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, Protocol, TypeVar

import trio

from kbroker.config.topic_names import TRANSACTION_STATE_TOPIC
from kbroker.coordination.ports import MarkerChannel
from kbroker.handlers.ports import Transactions
from kbroker.metadata.image import ClusterImage
from wire.errors import ErrorCode
from wire.messages.transactions import (
    AddPartitionsToTxnRequest,
    AddPartitionsToTxnResponse,
    WriteTxnMarkersRequest,
    WriteTxnMarkersResponse,
)
from wire.schema import Message, Request

logger = logging.getLogger(__name__)

ResponseT = TypeVar("ResponseT", bound=Message)
TopicPartition = tuple[str, int]

TRANSACTIONS_PER_REQUEST_MAX: Final = 1_000

_Transaction = AddPartitionsToTxnRequest.AddPartitionsToTxnTransaction
_Topic = AddPartitionsToTxnRequest.AddPartitionsToTxnTopic


class Peers(Protocol):
    """The other brokers."""

    async def request(
        self, node_id: int, request: Request, response_class: type[ResponseT], timeout_s: float
    ) -> ResponseT:
        """ConnectionLost: nothing is known of what became of the request. ApiError UNSUPPORTED_VERSION."""
        ...


class ClusterMarkers:
    """MarkerChannel of ``coordination``: writes markers wherever their partitions are led."""

    def __init__(
        self, *, node_id: int, local: MarkerChannel, peers: Peers, request_timeout_ms: Callable[[], int]
    ) -> None:
        self._node_id = node_id
        self._local = local
        self._peers = peers
        self._request_timeout_ms = request_timeout_ms

    async def write_markers(self, node_id: int, request: WriteTxnMarkersRequest) -> WriteTxnMarkersResponse:
        """Version 1 leaves the version of the transactions protocol out: a peer that speaks no other knows no other."""
        if node_id == self._node_id:
            return await self._local.write_markers(node_id, request)
        timeout_s = self._request_timeout_ms() / 1000
        return await self._peers.request(node_id, request, WriteTxnMarkersResponse, timeout_s)


class _Question(NamedTuple):
    """One transaction that somebody asks about; ``codes`` is filled before ``answered`` is set."""

    transaction: _Transaction
    codes: dict[TopicPartition, ErrorCode]
    answered: trio.Event

    def answer_all(self, code: ErrorCode) -> None:
        for topic in self.transaction.topics:
            for index in topic.partitions:
                self.codes[topic.name, index] = code

    def answer(self, codes: dict[TopicPartition, ErrorCode]) -> None:
        self.answer_all(ErrorCode.NETWORK_EXCEPTION)
        for partition in self.codes:
            code = codes.get(partition, ErrorCode.NETWORK_EXCEPTION)
            if code is not ErrorCode.OPERATION_NOT_ATTEMPTED:
                self.codes[partition] = code


class ClusterTransactions:
    """Transactions port of ``handlers``: the coordinator of a transactional id, wherever it is."""

    def __init__(
        self,
        *,
        node_id: int,
        local: Transactions,
        peers: Peers,
        current_image: Callable[[], ClusterImage],
        partition_for: Callable[[str], int],
        request_timeout_ms: Callable[[], int],
    ) -> None:
        """``partition_for(transactional_id)`` is a partition of ``__transaction_state``."""
        self._node_id = node_id
        self._local = local
        self._peers = peers
        self._current_image = current_image
        self._partition_for = partition_for
        self._request_timeout_ms = request_timeout_ms
        self._waiting: dict[int, list[_Question]] = {}
        """By coordinator; one that is in here has a task that asks it."""
        self._nursery: trio.Nursery | None = None

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Ask until cancelled."""
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                task_status.started()
                await trio.sleep_forever()
        finally:
            self._nursery = None
            for questions in self._waiting.values():
                _answer_all(questions, ErrorCode.COORDINATOR_NOT_AVAILABLE)
            self._waiting.clear()

    async def add_partitions(
        self,
        transactional_id: str,
        producer_id: int,
        producer_epoch: int,
        partitions: Sequence[TopicPartition],
        *,
        verify_only: bool,
        transaction_version: int,
    ) -> dict[TopicPartition, ErrorCode]:
        """As the port says. Elsewhere it is the version of the request that stands for ``transaction_version``."""
        coordinator = self._coordinator_of(transactional_id)
        if coordinator == self._node_id:
            return await self._local.add_partitions(
                transactional_id,
                producer_id,
                producer_epoch,
                partitions,
                verify_only=verify_only,
                transaction_version=transaction_version,
            )
        if coordinator is None or self._nursery is None:
            return dict.fromkeys(partitions, ErrorCode.COORDINATOR_NOT_AVAILABLE)
        question = _Question(
            _Transaction(
                transactional_id=transactional_id,
                producer_id=producer_id,
                producer_epoch=producer_epoch,
                verify_only=verify_only,
                topics=_by_topic(partitions),
            ),
            {},
            trio.Event(),
        )
        self._enqueue(coordinator, question)
        try:
            await question.answered.wait()
        except trio.Cancelled:
            waiting = self._waiting.get(coordinator, [])
            if question in waiting:
                waiting.remove(question)
            raise
        return question.codes

    def _coordinator_of(self, transactional_id: str) -> int | None:
        """The broker that leads its partition and can be reached; None if there is none now."""
        image = self._current_image()
        state = image.partition(TRANSACTION_STATE_TOPIC, self._partition_for(transactional_id))
        leader = None if state is None else image.brokers.get(state.leader)
        return None if leader is None or leader.fenced else leader.node_id

    def _enqueue(self, coordinator: int, question: _Question) -> None:
        assert self._nursery is not None
        waiting = self._waiting.get(coordinator)
        if waiting is None:
            self._waiting[coordinator] = [question]
            self._nursery.start_soon(self._ask_all, coordinator)
        else:
            waiting.append(question)

    async def _ask_all(self, coordinator: int) -> None:
        """Ask one coordinator whatever there is to ask, until there is nothing."""
        while self._waiting[coordinator]:
            questions, self._waiting[coordinator] = _take_batch(self._waiting[coordinator])
            try:
                await self._ask(coordinator, questions)
            finally:
                _answer_all(questions, ErrorCode.NETWORK_EXCEPTION)  # those that have no answer
        del self._waiting[coordinator]

    async def _ask(self, coordinator: int, questions: list[_Question]) -> None:
        request = AddPartitionsToTxnRequest(transactions=[question.transaction for question in questions])
        timeout_s = self._request_timeout_ms() / 1000
        try:
            response = await self._peers.request(coordinator, request, AddPartitionsToTxnResponse, timeout_s)
            codes_by_id = _codes_by_id(response)
            error_of_all = _error_of_all(response.error_code)
        except Exception as error:
            # Whatever went wrong, producers can ask again, and others have questions too.
            logger.warning("broker %d, a transaction coordinator, does not answer: %r", coordinator, error)
            return
        if error_of_all is not ErrorCode.NONE:
            _answer_all(questions, error_of_all)
            return
        for question in questions:
            question.answer(codes_by_id.get(question.transaction.transactional_id, {}))
            question.answered.set()


def _answer_all(questions: list[_Question], code: ErrorCode) -> None:
    for question in questions:
        if not question.answered.is_set():
            question.answer_all(code)
            question.answered.set()


def _error_of_all(error_code: int) -> ErrorCode:
    code = ErrorCode(error_code)
    # The producer is not who lacks an authorization; that it was not verified is all it has to know.
    return ErrorCode.INVALID_TXN_STATE if code is ErrorCode.CLUSTER_AUTHORIZATION_FAILED else code


def _take_batch(waiting: list[_Question]) -> tuple[list[_Question], list[_Question]]:
    """The questions of the next request, each about another transactional id, and the rest."""
    batch: dict[str, _Question] = {}
    rest: list[_Question] = []
    for question in waiting:
        transactional_id = question.transaction.transactional_id
        if transactional_id in batch or len(batch) == TRANSACTIONS_PER_REQUEST_MAX:
            rest.append(question)
        else:
            batch[transactional_id] = question
    return list(batch.values()), rest


def _by_topic(partitions: Sequence[TopicPartition]) -> list[_Topic]:
    topics: dict[str, _Topic] = {}
    for topic, index in partitions:
        topics.setdefault(topic, _Topic(name=topic)).partitions.append(index)
    return list(topics.values())


def _codes_by_id(response: AddPartitionsToTxnResponse) -> dict[str, dict[TopicPartition, ErrorCode]]:
    """Transactional id -> partition -> error."""
    return {
        result.transactional_id: {
            (topic.name, partition.partition_index): ErrorCode(partition.partition_error_code)
            for topic in result.topic_results
            for partition in topic.results_by_partition
        }
        for result in response.results_by_transaction
    }
