"""Producers: an idempotent one that repeats a batch until it is acknowledged, and one with acks=1 that does not."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import inf
from typing import TYPE_CHECKING

import trio

from tests.anomalies.history import Send
from tests.sim.cluster.clients.brokers import Brokers, Partition, Unanswered
from tests.sim.cluster.clients.client import Client
from tests.sim.cluster.world import EPOCH_MS
from wire.errors import ErrorCode
from wire.messages.produce import ProduceRequest, ProduceResponse
from wire.messages.producer_ids import InitProducerIdRequest, InitProducerIdResponse
from wire.records import Record, build_batch

if TYPE_CHECKING:
    from tests.sim.cluster.simulation import Simulation

MOVED = frozenset(
    {
        ErrorCode.NOT_LEADER_OR_FOLLOWER,
        ErrorCode.LEADER_NOT_AVAILABLE,
        ErrorCode.FENCED_LEADER_EPOCH,
        ErrorCode.UNKNOWN_LEADER_EPOCH,
        ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
        ErrorCode.KAFKA_STORAGE_ERROR,
        ErrorCode.OFFSET_NOT_AVAILABLE,
    }
)
"""Somebody else leads, or soon will: ask for metadata and try again."""
AGAIN = MOVED | {
    ErrorCode.NOT_ENOUGH_REPLICAS,
    ErrorCode.NOT_ENOUGH_REPLICAS_AFTER_APPEND,
    ErrorCode.REQUEST_TIMED_OUT,
    ErrorCode.NETWORK_EXCEPTION,
    ErrorCode.COORDINATOR_LOAD_IN_PROGRESS,
    ErrorCode.COORDINATOR_NOT_AVAILABLE,
    ErrorCode.NOT_COORDINATOR,
    ErrorCode.CONCURRENT_TRANSACTIONS,
}
"""Retriable errors of a Produce request."""
CERTAINLY_NOT_APPENDED = frozenset({ErrorCode.NOT_ENOUGH_REPLICAS, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION})


def encode_batch(values: list[str], now_ms: int, **fields: int | bool) -> bytearray:
    records = [Record(at, now_ms, None, value.encode(), ()) for at, value in enumerate(values)]
    return build_batch(records, base_offset=0, **fields)  # type: ignore[arg-type]


async def produce(
    brokers: Brokers,
    partition: Partition,
    batch: bytearray,
    *,
    acks: int = -1,
    transactional_id: str | None = None,
    version_max: int = 12,
) -> tuple[ErrorCode, int]:
    """One attempt; (error, offset of the first record). Unanswered. Metadata is renewed where it helps."""
    (answer,) = await produce_all(
        brokers, partition, [batch], acks=acks, transactional_id=transactional_id, version_max=version_max
    )
    return answer


async def produce_all(
    brokers: Brokers,
    partition: Partition,
    batches: list[bytearray],
    *,
    acks: int = -1,
    transactional_id: str | None = None,
    version_max: int = 12,
) -> list[tuple[ErrorCode, int]]:
    """The same for several batches, each in a request of its own, all in flight at once."""
    leader = await brokers.leader(partition)
    requests = [
        ProduceRequest(
            transactional_id=transactional_id,
            acks=acks,
            timeout_ms=int(brokers.request_timeout_s * 800),
            topic_data=[
                ProduceRequest.TopicProduceData(
                    name=partition[0],
                    partition_data=[
                        ProduceRequest.TopicProduceData.PartitionProduceData(
                            index=partition[1], records=batch
                        )
                    ],
                )
            ],
        )
        for batch in batches
    ]
    try:
        responses = await brokers.request_all(
            leader.node_id, requests, ProduceResponse, version_max=version_max
        )
    except Unanswered:
        await brokers.refresh([partition[0]])
        raise
    answers: list[tuple[ErrorCode, int]] = []
    for response in responses:
        answer = response.responses[0].partition_responses[0]
        answers.append((brokers.answered(ProduceRequest, answer.error_code), answer.base_offset))
    if any(code in MOVED for code, _ in answers):
        await brokers.refresh([partition[0]])
    return answers


@dataclass
class _Batch:
    """A batch of an idempotent producer, and what became of it."""

    encoded: bytearray
    sends: list[Send]
    offset: int | None = None
    """None: not acknowledged; -1: acknowledged without being told where."""


class IdempotentProducer(Client):
    """One partition, acks=all, up to five batches in flight; a batch that is given up ends the producer id, too."""

    must_progress = True

    def __init__(self, simulation: Simulation, name: str, partition: Partition) -> None:
        super().__init__(simulation, name)
        self._partition = partition
        self._pace_s = self.random.choice((0.3, 1.0, 3.0))
        self._patience_s = self.random.choice((15.0, 60.0, inf))
        self._in_flight_max = self.random.choice((1, 3, 5))
        self._producer_id = -1
        self._sequence = 0
        self._sent = 0

    async def work(self) -> None:
        while not self.is_finishing:
            if self._producer_id < 0:
                await self._init_producer_id()
            await self._send()
            await self.brokers.pause(self._pace_s)

    async def _init_producer_id(self) -> None:
        request = InitProducerIdRequest(transactional_id=None, transaction_timeout_ms=60_000)
        while self._producer_id < 0:
            try:
                response = await self.brokers.request_any(request, InitProducerIdResponse)
            except Unanswered:
                await self.brokers.pause()
                continue
            if self.brokers.answered(InitProducerIdRequest, response.error_code) is ErrorCode.NONE:
                self._producer_id, self._sequence = response.producer_id, 0
            else:
                await self.brokers.pause()

    async def _send(self) -> None:
        batches = [self._next_batch() for _ in range(self.random.randint(1, self._in_flight_max))]
        await self._persistently(batches)
        if any(batch.offset is None for batch in batches):
            self._producer_id = -1

    def _next_batch(self) -> _Batch:
        topic, index = self._partition
        sends: list[Send] = []
        for _ in range(self.random.choice((1, 1, 2, 5))):
            self._sent += 1
            sends.append(
                Send(
                    process=self.name,
                    begun=self.now,
                    ended=None,
                    topic=topic,
                    partition=index,
                    value=f"{self.name}-{self._sent}",
                    outcome="unknown",
                    producer=f"{self.name}/{self._producer_id}",
                    sequence=self._sent,
                )
            )
            self.record(sends[-1])
        encoded = encode_batch(
            [send.value for send in sends],
            EPOCH_MS + int(self.now * 1000),
            producer_id=self._producer_id,
            producer_epoch=0,
            base_sequence=self._sequence,
        )
        self._sequence += len(sends)
        return _Batch(encoded, sends)

    async def _persistently(self, batches: list[_Batch]) -> None:
        """Send what is not acknowledged again, in order, until all is or patience has come to its end."""
        given_up_at = self.now + self._patience_s
        while self.is_finishing or self.now < given_up_at:
            missing = [batch for batch in batches if batch.offset is None]
            try:
                answers = await produce_all(
                    self.brokers, self._partition, [bytearray(batch.encoded) for batch in missing]
                )
            except Unanswered:
                await self.brokers.pause()
                continue
            for number, (batch, (code, offset)) in enumerate(zip(missing, answers, strict=True)):
                if code is ErrorCode.NONE:
                    self._acknowledged(batch, offset)
                elif code is ErrorCode.DUPLICATE_SEQUENCE_NUMBER:
                    self._acknowledged(batch, -1)
                elif code not in AGAIN and not (code is ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER and number):
                    # Out of order is what follows one that was refused: that is the first then.
                    self.found(f"Produce to {self._partition} was answered with {code.name}")
                    return
            if all(batch.offset is not None for batch in batches):
                return
            await self.brokers.pause()

    def _acknowledged(self, batch: _Batch, offset: int) -> None:
        batch.offset = offset
        self.progress += 1
        for at, send in enumerate(batch.sends):
            known = offset + at if offset >= 0 else None
            self.record(replace(send, ended=self.now, outcome="ok", offset=known))


class AcksOneProducer(Client):
    """One partition, acks=1, no idempotence and so no second attempt."""

    def __init__(self, simulation: Simulation, name: str, partition: Partition) -> None:
        super().__init__(simulation, name)
        self._partition = partition
        self._sent = 0

    async def work(self) -> None:
        topic, index = self._partition
        while not self.is_finishing:
            self._sent += 1
            send = Send(
                process=self.name,
                begun=self.now,
                ended=None,
                topic=topic,
                partition=index,
                value=f"{self.name}-{self._sent}",
                outcome="unknown",
                producer=self.name,
                acks_all=False,
            )
            self.record(send)
            batch = encode_batch([send.value], EPOCH_MS + int(self.now * 1000))
            try:
                with trio.fail_after(2 * self.brokers.request_timeout_s):
                    code, offset = await produce(self.brokers, self._partition, batch, acks=1)
            except (Unanswered, trio.TooSlowError):
                pass
            else:
                if code is ErrorCode.NONE:
                    self.progress += 1
                    self.record(replace(send, ended=self.now, outcome="ok", offset=offset))
            await self.brokers.pause(0.7)
