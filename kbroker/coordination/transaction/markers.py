"""Sends the markers of transactions to the leaders of their partitions, until all are written.

One request at a time goes to each broker; what is decided meanwhile goes with the next one, all transactions
together. So a broker that answers slowly gets larger requests, not more of them.

    partition's leader        what becomes of the marker
    unknown partition         counts as written: the partition was deleted
    no leader now             looked up again after a pause
    a broker                  sent; the answer for each partition:

    NONE                                                      written
    UNSUPPORTED_FOR_MESSAGE_FORMAT, UNSUPPORTED_VERSION       counts as written: it cannot have transactions
    INVALID_PRODUCER_EPOCH, TRANSACTION_COORDINATOR_FENCED    given up: a newer epoch, of the producer or of the
                                                              coordinator, has taken over
    all others, and no answer                                 sent again after a pause

The answers are those of Kafka's ``TransactionMarkerRequestCompletionHandler``. Before each attempt it is asked
whether the markers are still wanted: the shard may have been unloaded, or loaded anew.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from itertools import groupby
from typing import NamedTuple, Protocol

import trio

from kbroker.coordination.ports import MarkerChannel, WaitingClock
from kbroker.coordination.transaction.completion import MarkersToSend
from kbroker.coordination.transaction.transaction import TopicPartition
from wire.errors import ErrorCode
from wire.messages.transactions import WriteTxnMarkersRequest, WriteTxnMarkersResponse

logger = logging.getLogger(__name__)

_Marker = WriteTxnMarkersRequest.WritableTxnMarker

NO_LEADER = -1

FIRST_PAUSE_S = 0.02
LONGEST_PAUSE_S = 1.0

_WRITTEN = frozenset(
    {ErrorCode.NONE, ErrorCode.UNSUPPORTED_FOR_MESSAGE_FORMAT, ErrorCode.UNSUPPORTED_VERSION}
)
_REFUSED = frozenset({ErrorCode.INVALID_PRODUCER_EPOCH, ErrorCode.TRANSACTION_COORDINATOR_FENCED})


class MarkerOwner(Protocol):
    """Whoever wants markers written; ``shard`` is the partition of ``__transaction_state``."""

    def coordinator_epoch(self, shard: int, markers: MarkersToSend) -> int | None:
        """The epoch to send the markers under; None if they are no longer wanted."""
        ...

    def markers_written(
        self, shard: int, markers: MarkersToSend, partitions: Iterable[TopicPartition]
    ) -> None: ...

    def markers_refused(self, shard: int, markers: MarkersToSend) -> None: ...


class Outcome(NamedTuple):
    """What became of the markers for some partitions of one transaction."""

    written: list[TopicPartition]
    again: list[TopicPartition]
    is_refused: bool


class _Batch(NamedTuple):
    """Markers of one transaction for partitions of one broker."""

    shard: int
    markers: MarkersToSend
    partitions: list[TopicPartition]
    attempt: int


class MarkerSender:
    """Runs as long as its coordinator."""

    def __init__(
        self,
        *,
        clock: WaitingClock,
        channel: MarkerChannel,
        owner: MarkerOwner,
        leader_of: Callable[[str, int], int | None],
    ) -> None:
        """``leader_of(topic, partition)``: NO_LEADER while there is none, None if there is no such partition."""
        self._clock = clock
        self._channel = channel
        self._owner = owner
        self._leader_of = leader_of
        self._queues: dict[int, list[_Batch]] = {}
        self._nursery: trio.Nursery | None = None

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Send until cancelled."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            task_status.started()
            try:
                await trio.sleep_forever()
            finally:
                self._nursery = None

    def send(self, shard: int, markers: MarkersToSend) -> None:
        """Begin to send; returns at once, and calls nobody."""
        self._later(_Batch(shard, markers, sorted(markers.partitions), attempt=0), pause_s=0)

    def _later(self, batch: _Batch, pause_s: float) -> None:
        if self._nursery is not None:
            self._nursery.start_soon(self._place_after, batch, pause_s)

    async def _place_after(self, batch: _Batch, pause_s: float) -> None:
        if pause_s:
            await self._clock.sleep(pause_s)
        self._place(batch)

    def _place(self, batch: _Batch) -> None:
        """Put the markers to the queues of the brokers that lead their partitions now."""
        if self._owner.coordinator_epoch(batch.shard, batch.markers) is None:
            return
        by_leader: dict[int | None, list[TopicPartition]] = {}
        for topic, partition in batch.partitions:
            by_leader.setdefault(self._leader_of(topic, partition), []).append((topic, partition))
        gone = by_leader.pop(None, [])
        for node_id, partitions in by_leader.items():
            if node_id == NO_LEADER:
                self._again(batch, partitions)
            elif node_id is not None:
                self._enqueue(node_id, batch._replace(partitions=partitions))
        if gone:
            logger.info("the partitions %s are gone, and need no marker", gone)
            self._owner.markers_written(batch.shard, batch.markers, gone)

    def _enqueue(self, node_id: int, batch: _Batch) -> None:
        if self._nursery is None:
            return  # stopping
        queue = self._queues.get(node_id)
        if queue is None:
            self._queues[node_id] = [batch]
            self._nursery.start_soon(self._serve, node_id)
        else:
            queue.append(batch)

    async def _serve(self, node_id: int) -> None:
        """Send what there is for one broker, until there is nothing; ``_queues`` has it that long."""
        while batches := self._queues[node_id]:
            self._queues[node_id] = []
            await self._send(node_id, batches)
        del self._queues[node_id]

    async def _send(self, node_id: int, batches: list[_Batch]) -> None:
        wanted: list[_Batch] = []
        request = WriteTxnMarkersRequest()
        for batch in batches:
            epoch = self._owner.coordinator_epoch(batch.shard, batch.markers)
            if epoch is not None:
                wanted.append(batch)
                request.markers.append(marker(batch.markers, batch.partitions, epoch))
        if not wanted:
            return
        try:
            errors = errors_by_producer(await self._channel.write_markers(node_id, request))
        except Exception as error:
            # Whatever went wrong, the decision stands in the log: the markers have to get there.
            logger.warning("markers could not be sent to broker %d, and will be again: %r", node_id, error)
            errors = {}
        for batch in wanted:
            self._answered(batch, errors.get(batch.markers.producer_id, {}))

    def _answered(self, batch: _Batch, errors: dict[TopicPartition, ErrorCode]) -> None:
        outcome = judge(batch.partitions, errors)
        if outcome.is_refused:
            logger.warning(
                "a partition refuses the marker of %r, whose producer or coordinator has been replaced: %s",
                batch.markers.transactional_id,
                {partition: error.name for partition, error in errors.items() if error in _REFUSED},
            )
            self._owner.markers_refused(batch.shard, batch.markers)
            return
        if outcome.again:
            self._again(batch, outcome.again)
        if outcome.written:
            self._owner.markers_written(batch.shard, batch.markers, outcome.written)

    def _again(self, batch: _Batch, partitions: list[TopicPartition]) -> None:
        pause_s = min(FIRST_PAUSE_S * 2**batch.attempt, LONGEST_PAUSE_S)
        attempt = min(batch.attempt + 1, _ATTEMPTS_COUNTED_MAX)
        self._later(batch._replace(partitions=partitions, attempt=attempt), pause_s)


_ATTEMPTS_COUNTED_MAX = 16
"""More only make a number larger whose pause is the longest already."""


def marker(markers: MarkersToSend, partitions: list[TopicPartition], coordinator_epoch: int) -> _Marker:
    """``partitions`` are sorted."""
    return _Marker(
        producer_id=markers.producer_id,
        producer_epoch=markers.producer_epoch,
        transaction_result=markers.committed,
        topics=[
            _Marker.WritableTxnMarkerTopic(name=topic, partition_indexes=[index for _, index in members])
            for topic, members in groupby(partitions, key=lambda member: member[0])
        ],
        coordinator_epoch=coordinator_epoch,
        transaction_version=markers.transaction_version,
    )


def errors_by_producer(
    response: WriteTxnMarkersResponse,
) -> dict[int, dict[TopicPartition, ErrorCode]]:
    """Producer id -> partition -> error."""
    errors: dict[int, dict[TopicPartition, ErrorCode]] = {}
    for result in response.markers:
        of_producer = errors.setdefault(result.producer_id, {})
        for topic in result.topics:
            for partition in topic.partitions:
                of_producer[topic.name, partition.partition_index] = ErrorCode(partition.error_code)
    return errors


def judge(partitions: Iterable[TopicPartition], errors: dict[TopicPartition, ErrorCode]) -> Outcome:
    """What the answers mean; a partition that was not answered for has its marker sent again."""
    written: list[TopicPartition] = []
    again: list[TopicPartition] = []
    is_refused = False
    for partition in partitions:
        error = errors.get(partition)
        if error in _REFUSED:
            is_refused = True
        elif error in _WRITTEN:
            written.append(partition)
        else:
            again.append(partition)
    return Outcome(written, again, is_refused)
