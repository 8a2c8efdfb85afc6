"""The transaction coordinator of this broker: requests in, responses out (Kafka's ``TransactionCoordinator``).

Finds the shard that a transactional id belongs to, has the runtime call it, carries out the shards' effects, and
turns errors into what the version of the request has a code for.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Awaitable, Callable, Container, Iterable, Sequence
from typing import Any, TypeVar

import trio

from kbroker.config.topic_names import TRANSACTION_STATE_TOPIC
from kbroker.coordination.machine import Caller, Result
from kbroker.coordination.partitioning import partition_for
from kbroker.coordination.ports import MarkerChannel, Producer, RequestOrigin, ShardLog, WaitingClock
from kbroker.coordination.runtime import CoordinatorRuntime
from kbroker.coordination.transaction.completion import MarkersToSend
from kbroker.coordination.transaction.config import TransactionConfig
from kbroker.coordination.transaction.description import DescribedTransaction, TransactionFilter
from kbroker.coordination.transaction.expiration import TransactionTimedOut
from kbroker.coordination.transaction.markers import MarkerSender
from kbroker.coordination.transaction.pattern import Pattern
from kbroker.coordination.transaction.registry import ProducerAnswer, ProducerIdNeeded, TransactionChanged
from kbroker.coordination.transaction.shard import TransactionShard
from kbroker.coordination.transaction.states import STATES_BY_LABEL
from kbroker.coordination.transaction.transaction import NO_PRODUCER_EPOCH, NO_PRODUCER_ID, TopicPartition
from wire.errors import ApiError, ErrorCode
from wire.messages.producer_ids import InitProducerIdRequest, InitProducerIdResponse
from wire.messages.transactions import (
    DescribeTransactionsRequest,
    DescribeTransactionsResponse,
    EndTxnRequest,
    EndTxnResponse,
    ListTransactionsRequest,
    ListTransactionsResponse,
)

logger = logging.getLogger(__name__)

ResponseT = TypeVar("ResponseT")

COMMIT_TIMEOUT_MS = 30_000
"""How long a client waits for a change to be committed, before it is told to ask again."""

_PRODUCER_FENCED_SINCE = {InitProducerIdRequest: 4, EndTxnRequest: 2}
_TRANSACTIONS_V2_SINCE = 5
_CLASSIC, _TRANSACTIONS_V2 = 0, 2


class TransactionCoordinator:
    """The transactional ids of every partition of ``__transaction_state`` that this broker leads."""

    def __init__(
        self,
        *,
        clock: WaitingClock,
        config: TransactionConfig,
        log_for: Callable[[int], ShardLog],
        partition_count: Callable[[], int],
        next_producer_id: Callable[[], Awaitable[int]],
        markers: MarkerChannel,
        leader_of: Callable[[str, int], int | None],
        transaction_version: Callable[[], int],
    ) -> None:
        """Ports of the broker.

        partition_count: of ``__transaction_state``: of the topic, or as it would be created.
        next_producer_id: one that nobody ever had; may raise ApiError.
        leader_of: the broker that leads a partition; -1 while there is none, None if it does not exist.
        transaction_version: the one that the cluster agreed on, 0 to 2.
        """
        self._clock = clock
        self._partition_count = partition_count
        self._next_producer_id = next_producer_id
        self._config = config
        self._nursery: trio.Nursery | None = None
        self._changes: dict[tuple[int, str], trio.Event] = {}
        self._runtime: CoordinatorRuntime[TransactionShard] = CoordinatorRuntime(
            name=TRANSACTION_STATE_TOPIC,
            clock=clock,
            machine_for=lambda partition: TransactionShard(
                config=config, transaction_version=transaction_version
            ),
            log_for=log_for,
            commit_timeout_ms=COMMIT_TIMEOUT_MS,
            carry_out=self._carry_out,
            # A broker that was killed may have left a decision that is not on the disk; markers would outlive it.
            loaded_when_committed=True,
        )
        self._markers = MarkerSender(clock=clock, channel=markers, owner=self, leader_of=leader_of)

    # Life

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until ``stop``."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            try:
                await nursery.start(self._markers.run)
                await self._runtime.run(task_status=task_status)
            finally:
                self._nursery = None
                nursery.cancel_scope.cancel()

    def stop(self) -> None:
        """Answer everybody who waits; all later calls get COORDINATOR_NOT_AVAILABLE."""
        self._runtime.stop()
        self._wake_all(range(self._partition_count()))

    def load(self, partition: int, leader_epoch: int) -> None:
        """This broker leads a partition of ``__transaction_state`` since ``leader_epoch``."""
        self._runtime.load(partition, leader_epoch)

    def unload(self, partition: int, leader_epoch: int | None = None) -> None:
        """It is led elsewhere since ``leader_epoch``, or was deleted; its markers are no longer sent."""
        self._runtime.unload(partition, leader_epoch)
        self._wake_all([partition])

    def _wake_all(self, partitions: Container[int]) -> None:
        """Whoever waits for a change in one of these will find that there is nothing to wait for."""
        for key in [key for key in self._changes if key[0] in partitions]:
            self._changes.pop(key).set()

    def topics_deleted(self, topics: Sequence[tuple[str, uuid.UUID]]) -> None:
        """Partitions of deleted topics stay in their transactions; they need no markers."""

    def partition_for(self, transactional_id: str) -> int:
        """The partition of ``__transaction_state`` that the transactional id belongs to."""
        return partition_for(transactional_id, self._partition_count())

    # Producers

    async def init_producer_id(
        self, request: InitProducerIdRequest, origin: RequestOrigin
    ) -> InitProducerIdResponse:
        """A producer id and epoch, for transactional and for merely idempotent producers."""
        try:
            answer = await self._init_producer_id(request)
        except ApiError as error:
            answer = ProducerAnswer(error.code)
        return InitProducerIdResponse(
            error_code=_error_for(request, origin.api_version, answer.error),
            producer_id=answer.producer_id,
            producer_epoch=answer.producer_epoch,
        )

    async def _init_producer_id(self, request: InitProducerIdRequest) -> ProducerAnswer:
        has_id = request.producer_id != NO_PRODUCER_ID
        if has_id != (request.producer_epoch != NO_PRODUCER_EPOCH):
            raise ApiError(ErrorCode.INVALID_REQUEST)
        transactional_id = request.transactional_id
        if transactional_id is None:
            return ProducerAnswer(producer_id=await self._next_producer_id(), producer_epoch=0)
        expected = Producer(request.producer_id, request.producer_epoch) if has_id else None

        def initialize(
            shard: TransactionShard, spare_producer_id: int | None, now_ms: int
        ) -> Result[ProducerAnswer]:
            return shard.initialize(
                transactional_id,
                timeout_ms=request.transaction_timeout_ms,
                two_phase_commit=request.enable2_pc,
                keep_prepared=request.keep_prepared_txn,
                expected=expected,
                spare_producer_id=spare_producer_id,
                now_ms=now_ms,
            )

        partition = self.partition_for(transactional_id)
        return await self._write_with_producer_id(partition, initialize)

    async def _after_changes(
        self, partition: int, transactional_id: str, call: Callable[[], Awaitable[ResponseT]]
    ) -> ResponseT:
        """``call``, again and again while a change is under way; CONCURRENT_TRANSACTIONS if that takes long.

        A producer begins its next transaction the moment it has the answer for the last one, whose markers are
        being written then. Sent away, it would come back after a pause much longer than that takes.
        """
        patience_s = self._config.add_partitions_to_txn_retry_backoff_max_ms / 1000
        give_up_at = self._clock.monotonic() + patience_s
        while True:
            try:
                return await call()
            except ApiError as error:
                if (
                    error.code is not ErrorCode.CONCURRENT_TRANSACTIONS
                    or self._clock.monotonic() >= give_up_at
                ):
                    raise
            with trio.move_on_at(give_up_at):
                await self._changes.setdefault((partition, transactional_id), trio.Event()).wait()

    async def _write_with_producer_id(
        self, partition: int, operation: Callable[[TransactionShard, int | None, int], Result[ResponseT]]
    ) -> ResponseT:
        """Call a shard, and once more with a producer id if it turns out to need one."""
        spare_producer_id: int | None = None
        while True:

            def with_spare(
                shard: TransactionShard, caller: Caller, now_ms: int, spare: int | None = spare_producer_id
            ) -> Result[ResponseT]:
                return operation(shard, spare, now_ms)

            try:
                return await self._runtime.write(partition, with_spare)
            except ProducerIdNeeded:
                spare_producer_id = await self._next_producer_id()

    # Transactions

    async def add_partitions(
        self,
        transactional_id: str,
        producer_id: int,
        producer_epoch: int,
        partitions: Sequence[TopicPartition],
        *,
        verify_only: bool,
        transaction_version: int,
        is_patient: bool = True,
    ) -> dict[TopicPartition, ErrorCode]:
        """One code per partition; what is wrong with the whole request is told for each of them.

        verify_only: nothing is added; TRANSACTION_ABORTABLE for partitions that are not in the transaction.
        transaction_version: in which generation the client works.
        is_patient: wait a little where the producer's transaction before is being completed.
        """
        producer = Producer(producer_id, producer_epoch)
        partition = self.partition_for(transactional_id)

        async def add() -> ErrorCode:
            return await self._runtime.write(
                partition,
                lambda shard, caller, now_ms: shard.add_partitions(
                    transactional_id,
                    producer,
                    partitions,
                    client_transaction_version=transaction_version,
                    now_ms=now_ms,
                ),
            )

        try:
            if verify_only:
                return self._runtime.read(
                    partition,
                    lambda shard: shard.verify_partitions(transactional_id, producer, partitions),
                )
            code = await (self._after_changes(partition, transactional_id, add) if is_patient else add())
        except ApiError as error:
            code = error.code
        return dict.fromkeys(partitions, code)

    async def end_transaction(self, request: EndTxnRequest, origin: RequestOrigin) -> EndTxnResponse:
        version = _TRANSACTIONS_V2 if origin.api_version >= _TRANSACTIONS_V2_SINCE else _CLASSIC
        producer = Producer(request.producer_id, request.producer_epoch)

        def end(
            shard: TransactionShard, spare_producer_id: int | None, now_ms: int
        ) -> Result[ProducerAnswer]:
            return shard.end(
                request.transactional_id,
                producer,
                committed=request.committed,
                client_transaction_version=version,
                spare_producer_id=spare_producer_id,
                now_ms=now_ms,
            )

        try:
            answer = await self._write_with_producer_id(self.partition_for(request.transactional_id), end)
        except ApiError as error:
            answer = ProducerAnswer(error.code)
        return EndTxnResponse(
            error_code=_error_for(request, origin.api_version, answer.error),
            producer_id=answer.producer_id,
            producer_epoch=answer.producer_epoch,
        )

    # What can be seen

    def describe_transactions(self, request: DescribeTransactionsRequest) -> DescribeTransactionsResponse:
        return DescribeTransactionsResponse(
            transaction_states=[self._describe(name) for name in request.transactional_ids]
        )

    def _describe(self, transactional_id: str) -> DescribedTransaction:
        try:
            if not transactional_id and not self._runtime.stopped:
                raise ApiError(ErrorCode.INVALID_REQUEST)
            return self._runtime.read(
                self.partition_for(transactional_id), lambda shard: shard.describe(transactional_id)
            )
        except ApiError as error:
            return DescribedTransaction(transactional_id=transactional_id, error_code=error.code)

    def list_transactions(self, request: ListTransactionsRequest) -> ListTransactionsResponse:
        """The transactional ids that this broker coordinates, or COORDINATOR_LOAD_IN_PROGRESS."""
        response = ListTransactionsResponse()
        now_ms = self._clock.wall_clock_ms()
        try:
            shards = self._runtime.read_all(lambda shard: shard)
            wanted = _filter(request)
        except ApiError as error:
            return ListTransactionsResponse(error_code=error.code)
        response.unknown_state_filters = [
            label for label in dict.fromkeys(request.state_filters) if label not in STATES_BY_LABEL
        ]
        for shard in shards:
            response.transaction_states.extend(shard.list(wanted, now_ms))
        return response

    # Effects

    def _carry_out(self, partition: int, effect: Any) -> None:
        match effect:
            case MarkersToSend():
                self._markers.send(partition, effect)
            case TransactionChanged():
                waiting = self._changes.pop((partition, effect.transactional_id), None)
                if waiting is not None:
                    waiting.set()
            case TransactionTimedOut():
                assert self._nursery is not None, "shards are served only while the coordinator runs"
                self._nursery.start_soon(self._abort_timed_out, partition, effect.transactional_id)
            case _:
                raise AssertionError(f"nobody carries out {effect!r}")

    async def _abort_timed_out(self, partition: int, transactional_id: str) -> None:
        def abort(shard: TransactionShard, spare_producer_id: int | None, now_ms: int) -> Result[bool]:
            return shard.abort_timed_out(transactional_id, spare_producer_id=spare_producer_id, now_ms=now_ms)

        try:
            if await self._write_with_producer_id(partition, abort):
                logger.info("the transaction of %r is aborted, as it took too long", transactional_id)
        except ApiError as error:
            # The next look for transactions that take too long will find it again.
            logger.warning("the transaction of %r could not be aborted: %s", transactional_id, error)

    # MarkerOwner

    def coordinator_epoch(self, shard: int, markers: MarkersToSend) -> int | None:
        try:
            # What is decided stands, also while this broker may not lead: the partitions fence who is late.
            if self._runtime.ask(shard, lambda machine: machine.is_sending(markers)):
                return self._runtime.leader_epoch(shard)
        except ApiError:
            pass  # not served here any more
        return None

    def markers_written(
        self, shard: int, markers: MarkersToSend, partitions: Iterable[TopicPartition]
    ) -> None:
        self._tell(shard, lambda machine, now_ms: machine.markers_written(markers, partitions, now_ms))

    def markers_refused(self, shard: int, markers: MarkersToSend) -> None:
        self._tell(shard, lambda machine, now_ms: machine.markers_refused(markers))

    def _tell(self, shard: int, operation: Callable[[TransactionShard, int], Result[None]]) -> None:
        try:
            self._runtime.post(shard, operation)
        except ApiError as error:
            logger.info("markers were written for a shard that is no longer served here: %s", error)


def _error_for(request: InitProducerIdRequest | EndTxnRequest, version: int, error: ErrorCode) -> ErrorCode:
    """Clients before KIP-588 do not know PRODUCER_FENCED."""
    if error is ErrorCode.PRODUCER_FENCED and version < _PRODUCER_FENCED_SINCE[type(request)]:
        return ErrorCode.INVALID_PRODUCER_EPOCH
    return error


def _filter(request: ListTransactionsRequest) -> TransactionFilter:
    """ApiError INVALID_REGULAR_EXPRESSION."""
    states = None
    if request.state_filters:
        states = {STATES_BY_LABEL[label] for label in request.state_filters if label in STATES_BY_LABEL}
    return TransactionFilter(
        states=states,
        producer_ids=frozenset(request.producer_id_filters) or None,
        longer_than_ms=request.duration_filter if request.duration_filter >= 0 else None,
        pattern=Pattern(request.transactional_id_pattern) if request.transactional_id_pattern else None,
    )
