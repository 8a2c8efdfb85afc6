"""A producer for the commands: records gather by partition and go to the leaders, in order and once.

What happens to one partition's records is ``producer_queues``'s to decide. Here are the tasks that act on it: one for
each broker that leads some of the partitions, which keeps up to five requests under way; one that looks for leaders
that are not known or in doubt; one that gives up what has waited for too long.
"""

from __future__ import annotations

import math
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

import trio

from kbroker.client import RequestNotSent
from kbroker.tools.cluster import Cluster, NotReachable, Partition
from kbroker.tools.produced_topics import NO_LEADER, ProducedTopics
from kbroker.tools.producer_identity import ProducerIdentity
from kbroker.tools.producer_queues import Batch, Done, Headers, Outcome, PartitionQueue, record_size_max
from kbroker.tools.producer_settings import ProducerSettings
from kbroker.world import ConnectionLost
from wire.errors import ApiError, ErrorCode, ProtocolError
from wire.messages.produce import ProduceRequest, ProduceResponse
from wire.records import BATCH_HEADER_SIZE

_EXPIRY_CHECK_S: Final = 1.0
_ABORT_MAX_S: Final = 10.0

Parcel = list[tuple[PartitionQueue, Batch]]
"""What goes into one request: at most one batch of a partition."""


class Producer:
    """Made by ``producing``. ``send`` takes a record, ``flush`` waits until all were answered.

    ``fatal``: why nothing can be sent any more, if so (a transactional producer that has lost a record).
    """

    def __init__(self, cluster: Cluster, settings: ProducerSettings) -> None:
        self._cluster = cluster
        self._settings = settings
        self._topics = ProducedTopics(cluster, settings)
        self._identity = ProducerIdentity(cluster, settings)
        self._queues: dict[Partition, PartitionQueue] = {}
        self._doubted: set[Partition] = set()  # whose leader has failed, until it was looked up again
        self._buffered_bytes = 0
        self._flushing = 0
        self._is_running = True
        self._changed = trio.Event()  # replaced at each change
        self.fatal: ApiError | None = None

    # For users

    async def send(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        headers: Headers = (),
        *,
        partition: int | None = None,
        timestamp_ms: int | None = None,
        done: Done | None = None,
    ) -> None:
        """Queue a record. ``done`` is called once, with None or with what went wrong.

        Waits while the buffer is full or the topic or partition is not known. ApiError if that does not pass, or if
        the record is too large.
        """
        if self.fatal is not None:
            raise self.fatal
        size_bytes = record_size_max(key, value, headers)
        if size_bytes + BATCH_HEADER_SIZE > self._settings.max_request_bytes:
            raise ApiError(
                ErrorCode.MESSAGE_TOO_LARGE,
                f"The message is {size_bytes + BATCH_HEADER_SIZE} bytes when serialized which is larger than "
                f"{self._settings.max_request_bytes}, which is the value of the max.request.size configuration.",
            )
        found = await self._topics.find(topic, partition)
        if partition is None:
            partition = self._topics.choose(topic, found, key, size_bytes)
        await self._wait_for_room(size_bytes)
        if timestamp_ms is None:
            timestamp_ms = time.time_ns() // 1_000_000
        queue = self._queues.get((topic, partition))
        if queue is None:
            queue = self._queues[topic, partition] = PartitionQueue((topic, partition), self._settings)
        self._buffered_bytes += size_bytes
        if queue.add(trio.current_time(), timestamp_ms, key, value, headers, size_bytes, done):
            self._notify()

    async def flush(self) -> None:
        """Send all that is queued, and wait for the answers."""
        self._flushing += 1
        self._notify()
        try:
            while self._is_running and not all(queue.is_empty for queue in self._queues.values()):
                await self._changed.wait()
        finally:
            self._flushing -= 1

    # Transactions

    async def init_transactions(self) -> None:
        """Get the producer id of the transactional id. ApiError."""
        await self._identity.begin()

    async def commit(self) -> None:
        """Flush, and commit what was sent since the last commit. ApiError."""
        await self.flush()
        if self.fatal is not None:
            raise self.fatal
        await self._end_transaction(is_commit=True)

    async def _end_transaction(self, *, is_commit: bool) -> None:
        if not any(queue.in_transaction for queue in self._queues.values()):
            return
        renewed = await self._identity.end(is_commit=is_commit)
        for queue in self._queues.values():
            queue.in_transaction = False
            if not queue.needs_producer and queue.producer != renewed:
                queue.write_as(renewed)

    async def close(self) -> None:
        """Deliver what is queued, as far as that is possible, and abort what was not committed."""
        await self.flush()
        with trio.move_on_after(_ABORT_MAX_S):
            try:
                await self._end_transaction(is_commit=False)
            except ApiError:
                pass  # its coordinator aborts it in time, or somebody else's it is by now

    # Tasks

    async def run(self) -> None:
        """Deliver, for ever."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._find_leaders)
                nursery.start_soon(self._expire_now_and_then)
                served: set[int] = set()
                while True:
                    changed = self._changed
                    leaders = {self._topics.leader(partition) for partition in self._queues} - {NO_LEADER}
                    for leader in leaders - served:
                        served.add(leader)
                        nursery.start_soon(self._serve, leader)
                    await changed.wait()
        finally:
            self._is_running = False
            self._notify()

    async def _find_leaders(self) -> None:
        while True:
            changed = self._changed
            sought = [partition for partition, queue in self._queues.items() if self._lacks_leader(queue)]
            if not sought:
                await changed.wait()
                continue
            try:
                self._topics.take(await self._cluster.metadata(sorted({topic for topic, _ in sought})))
            except (NotReachable, ConnectionLost, ProtocolError):
                continue  # asking has taken its time already
            except ApiError:
                pass  # what is wrong with the topic its leader says, too
            self._doubted.difference_update(sought)
            self._notify()
            await trio.sleep(self._settings.retry_backoff_ms / 1000)

    def _lacks_leader(self, queue: PartitionQueue) -> bool:
        partition = queue.partition
        return bool(queue.waiting) and (
            partition in self._doubted or self._topics.leader(partition) == NO_LEADER
        )

    async def _expire_now_and_then(self) -> None:
        while True:
            now = trio.current_time()
            for queue in list(self._queues.values()):
                self._finish(queue.expired(now))
            await trio.sleep(_EXPIRY_CHECK_S)

    async def _serve(self, leader: int) -> None:
        while True:
            changed = self._changed
            parcels, look_again_at = self._take(leader)
            if parcels:
                await self._deliver(leader, parcels)
                continue
            with trio.move_on_at(look_again_at):
                await changed.wait()

    def _notify(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    async def _wait_for_room(self, size_bytes: int) -> None:
        if not self._is_full(size_bytes):
            return
        with trio.move_on_after(self._settings.max_block_ms / 1000):
            while self._is_full(size_bytes):
                await self._changed.wait()
            return
        raise ApiError(
            ErrorCode.REQUEST_TIMED_OUT,
            f"Failed to allocate {size_bytes} bytes within the configured max blocking time "
            f"{self._settings.max_block_ms} ms.",
        )

    def _is_full(self, size_bytes: int) -> bool:
        # A record that is larger than the whole buffer has it to itself.
        return bool(self._buffered_bytes) and (
            self._buffered_bytes + size_bytes > self._settings.buffer_memory_bytes
        )

    # Delivering

    def _take(self, leader: int) -> tuple[list[Parcel], float]:
        """What is to be sent now, request by request, and when to look again if that is nothing."""
        now = trio.current_time()
        hurry = bool(self._flushing) or self._buffered_bytes * 2 > self._settings.buffer_memory_bytes
        look_again_at = math.inf
        parcels: list[Parcel] = []
        sizes: list[int] = []
        for partition, queue in self._queues.items():
            if self._topics.leader(partition) != leader or partition in self._doubted:
                continue
            batches, next_at = queue.ready(now, hurry=hurry)
            look_again_at = min(look_again_at, next_at)
            place = 0
            for batch in batches:
                while (
                    place < len(parcels)
                    and sizes[place] + batch.size_bytes > self._settings.max_request_bytes
                ):
                    place += 1
                if place >= self._settings.requests_under_way_max:
                    break
                if place == len(parcels):
                    parcels.append([])
                    sizes.append(0)
                queue.start(batch)
                parcels[place].append((queue, batch))
                sizes[place] += batch.size_bytes
                place += 1
        return parcels, look_again_at

    async def _deliver(self, leader: int, parcels: Sequence[Parcel]) -> None:
        everything = [pair for parcel in parcels for pair in parcel]
        was_sent = True
        try:
            await self._prepare(everything)
            requests = [self._request(parcel) for parcel in parcels]
            if self._settings.acks == 0:
                for request in requests:
                    await self._cluster.tell(leader, request)
                errors: list[ApiError | None] = [None] * len(everything)
            else:
                timeout_s = self._settings.request_timeout_ms / 1000
                responses = await self._cluster.once_all(
                    leader, requests, ProduceResponse, timeout_s=timeout_s
                )
                errors = [
                    error
                    for parcel, request, response in zip(parcels, requests, responses, strict=True)
                    for error in _errors(parcel, request, response)
                ]
        except (ApiError, ConnectionLost, ProtocolError) as error:
            was_sent = not isinstance(error, RequestNotSent)  # waits for the broker as long as it may take
            errors = [_as_answer(error)] * len(everything)
        self._settle(everything, errors, was_sent=was_sent)

    async def _prepare(self, everything: Parcel) -> None:
        """Everything in the transaction, if there are such, and everything numbered. ApiError."""
        if self._settings.transactional_id is not None:
            added = {queue.partition: queue for queue, _ in everything if not queue.in_transaction}
            if added:
                await self._identity.add_partitions(list(added))
            for queue in added.values():
                queue.in_transaction = True
        for queue, batch in everything:
            if queue.needs_producer:
                queue.write_as(await self._identity.producer_id())
            queue.number(batch)

    def _request(self, parcel: Parcel) -> ProduceRequest:
        topic_class = ProduceRequest.TopicProduceData
        by_topic: dict[str, list[ProduceRequest.TopicProduceData.PartitionProduceData]] = {}
        for queue, batch in parcel:
            topic, index = queue.partition
            data = topic_class.PartitionProduceData(index=index, records=batch.encoded)
            by_topic.setdefault(topic, []).append(data)
        return ProduceRequest(
            transactional_id=self._settings.transactional_id,
            acks=self._settings.acks,
            timeout_ms=self._settings.request_timeout_ms,
            topic_data=[
                topic_class(name=topic, topic_id=self._topics.topic_id(topic), partition_data=partitions)
                for topic, partitions in by_topic.items()
            ],
        )

    def _settle(self, everything: Parcel, errors: Sequence[ApiError | None], *, was_sent: bool) -> None:
        """Tell the queues, which hold on to what is to be sent again. All that was under way is in here."""
        outcomes: dict[PartitionQueue, list[Outcome]] = {}
        for (queue, batch), error in zip(everything, errors, strict=True):
            outcomes.setdefault(queue, []).append((batch, error))
        now = trio.current_time()
        for queue, its in outcomes.items():
            former = queue.producer
            self._finish(queue.settle(its, now, was_sent=was_sent))
            if queue.producer != former:
                self._identity.give_up(former.number)
            if any(error is not None for _, error in its):
                self._doubted.add(queue.partition)
        self._notify()

    def _finish(self, outcomes: Sequence[Outcome]) -> None:
        for batch, error in outcomes:
            if error is not None and self._settings.transactional_id is not None:
                self.fatal = error
            self._buffered_bytes -= batch.buffered_bytes
            for done in batch.done:
                if done is not None:
                    done(error)
        if outcomes:
            self._notify()


def _errors(parcel: Parcel, request: ProduceRequest, response: ProduceResponse) -> Sequence[ApiError | None]:
    """What a response says about each batch of its request."""
    # Newer versions name topics by the ids that were asked with.
    names = {topic.topic_id: topic.name for topic in request.topic_data}
    answers = {
        (topic.name or names.get(topic.topic_id, ""), partition.index): partition
        for topic in response.responses
        for partition in topic.partition_responses
    }
    errors: list[ApiError | None] = []
    for queue, _ in parcel:
        answer = answers.get(queue.partition)
        if answer is None:
            # Whether it was written nobody knows, so ask again.
            errors.append(
                ApiError(ErrorCode.NETWORK_EXCEPTION, "the broker's response left the partition out")
            )
        elif answer.error_code:
            errors.append(ApiError(ErrorCode(answer.error_code), answer.error_message))
        else:
            errors.append(None)
    return errors


def _as_answer(error: Exception) -> ApiError:
    """What failed on the way, as if a broker had said it of each batch."""
    if not isinstance(error, ApiError):
        return ApiError(ErrorCode.NETWORK_EXCEPTION, str(error))
    if error.code is ErrorCode.BROKER_NOT_AVAILABLE:  # the leader moved, and its broker left
        return ApiError(ErrorCode.NOT_LEADER_OR_FOLLOWER, error.message)
    return error


@asynccontextmanager
async def producing(cluster: Cluster, settings: ProducerSettings) -> AsyncIterator[Producer]:
    """A producer for the length of a block. However it ends, what was sent in it is delivered, or given up, first."""
    producer = Producer(cluster, settings)
    tasks = trio.CancelScope(shield=True)  # an interrupted block has records to deliver, too

    async def run() -> None:
        with tasks:
            await producer.run()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        try:
            yield producer
        finally:
            try:
                with trio.CancelScope(shield=True):
                    await producer.close()
            finally:
                tasks.cancel()
