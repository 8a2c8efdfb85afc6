"""Consume, transform, produce: each input record is to take effect exactly once (KIP-98, KIP-447, KIP-890).

    start    InitProducerId, which ends what an earlier life has left open; then the group's stable offsets
    round    read, produce one record for each, add the offsets, commit (or abort, now and then)
    trouble  anything unexpected ends the life; the next one begins at ``start``

With transactions v1 partitions and offsets are added to the transaction by requests of their own; with v2 Produce and
TxnOffsetCommit do that, and EndTxn tells the epoch of the next transaction.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from tests.anomalies.history import Assigned, Poll, Position, Record, Send, Transaction
from tests.sim.cluster.clients.brokers import GROUP, TRANSACTION, Partition, Unanswered
from tests.sim.cluster.clients.client import Client
from tests.sim.cluster.clients.fetching import Place, Truncated, fetch
from tests.sim.cluster.clients.offsets import committed_offsets
from tests.sim.cluster.clients.producer import AGAIN, encode_batch, produce
from tests.sim.cluster.world import EPOCH_MS
from wire.errors import ErrorCode
from wire.messages.producer_ids import InitProducerIdRequest, InitProducerIdResponse
from wire.messages.transactions import (
    AddOffsetsToTxnRequest,
    AddOffsetsToTxnResponse,
    AddPartitionsToTxnRequest,
    AddPartitionsToTxnResponse,
    EndTxnRequest,
    EndTxnResponse,
    TxnOffsetCommitRequest,
    TxnOffsetCommitResponse,
)
from wire.schema import Message, Request

if TYPE_CHECKING:
    from tests.sim.cluster.simulation import Simulation

TRANSACTION_TIMEOUT_S = 20.0
ResponseT = TypeVar("ResponseT", bound=Message)
_EXPECTED = frozenset(
    {
        ErrorCode.INVALID_PRODUCER_EPOCH,
        ErrorCode.PRODUCER_FENCED,
        ErrorCode.INVALID_TXN_STATE,
        ErrorCode.TRANSACTION_ABORTABLE,
        ErrorCode.INVALID_PRODUCER_ID_MAPPING,
        ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER,
        ErrorCode.UNKNOWN_PRODUCER_ID,
        ErrorCode.UNSTABLE_OFFSET_COMMIT,
    }
)
"""After a transaction that timed out, or when another life has taken over."""


class LifeOver(Exception):
    """This life cannot go on; the next one sorts it out."""


class Transformer(Client):
    """One transactional id; the group's offsets are committed without members."""

    must_progress = True

    def __init__(
        self, simulation: Simulation, name: str, source: list[Partition], target: list[Partition]
    ) -> None:
        super().__init__(simulation, name)
        self._source = source
        self._target = target
        self._group = f"group-of-{name}"
        simulation.groups.append(self._group)
        self._version = simulation.settings.transactions_version
        self._life = 0
        self._transactions = 0
        self._producer_id = self._epoch = -1
        self._sequences: dict[Partition, int] = {}
        self._places: list[Place] = []

    async def work(self) -> None:
        while not self.is_finishing:
            self._life += 1
            try:
                await self._begin_life()
                while not self.is_finishing:
                    await self._round()
            except (LifeOver, Unanswered) as error:
                self.simulation.coverage.count("transformer", f"life over: {type(error).__name__}")
                await self.brokers.pause(0.5)
            except Truncated as truncated:
                if not self.simulation.may_take_back_reads:
                    self.found(str(truncated))
                await self.brokers.pause(0.5)

    @property
    def _process(self) -> str:
        return f"{self.name}.{self._life}"

    # The beginning of a life

    async def _begin_life(self) -> None:
        request = InitProducerIdRequest(
            transactional_id=self.name, transaction_timeout_ms=int(TRANSACTION_TIMEOUT_S * 1000)
        )
        response = await self._coordinated(request, InitProducerIdResponse)
        self._producer_id, self._epoch = response.producer_id, response.producer_epoch
        self._sequences.clear()
        committed = await committed_offsets(self.brokers, self._group, self._source)
        self._places = [Place(partition, committed.get(partition, 0)) for partition in self._source]
        positions = tuple((*place.partition, place.offset) for place in self._places)
        self.record(Assigned(process=self._process, at=self.now, positions=positions, group=self._group))

    # One transaction

    async def _round(self) -> None:
        await self.brokers.pause(1.0)
        records = await self._read()
        if not records:
            return
        self._transactions += 1
        transaction = Transaction(
            id=f"{self.name}-{self._transactions}",
            process=self._process,
            begun=self.now,
            ended=None,
            outcome="open",
            group=self._group,
        )
        self.record(transaction)
        await self._produce(transaction, records)
        await self._commit_offsets(records)
        await self._end(transaction, records)

    async def _read(self) -> list[Record]:
        place = self.random.choice(self._places)
        begun = self.now
        found = await fetch(self.brokers, place, "read_committed")
        if found is None or not found.records:
            return []
        records = found.records[: self.random.choice((1, 3, 10))]
        if len(records) < len(found.records):
            place.offset = records[-1].offset + 1
        self.record(
            Poll(
                process=self._process,
                begun=begun,
                ended=self.now,
                isolation="read_committed",
                records=tuple(records),
                group=self._group,
                positions=(Position(*place.partition, place.offset),),
            )
        )
        return records

    async def _produce(self, transaction: Transaction, records: list[Record]) -> None:
        by_partition: dict[Partition, list[str]] = {}
        for record in records:
            value = f"{transaction.id}/{record.partition}-{record.offset}"
            by_partition.setdefault(self.random.choice(self._target), []).append(value)
        if self._version == 1:
            await self._add_partitions(list(by_partition))
        for partition, values in by_partition.items():
            sends = [
                Send(
                    process=self._process,
                    begun=self.now,
                    ended=None,
                    topic=partition[0],
                    partition=partition[1],
                    value=value,
                    outcome="unknown",
                    producer=f"{self._producer_id}/{self._epoch}",
                    sequence=self._sequences.get(partition, 0) + at,
                    transaction=transaction.id,
                )
                for at, value in enumerate(values)
            ]
            for send in sends:
                self.record(send)
            offset = await self._append(partition, values)
            for at, send in enumerate(sends):
                known = offset + at if offset >= 0 else None
                self.record(replace(send, ended=self.now, outcome="ok", offset=known))

    async def _append(self, partition: Partition, values: list[str]) -> int:
        """The offset of the first record, -1 if it is not told."""
        sequence = self._sequences.get(partition, 0)
        batch = encode_batch(
            values,
            EPOCH_MS + int(self.now * 1000),
            producer_id=self._producer_id,
            producer_epoch=self._epoch,
            base_sequence=sequence,
            is_transactional=True,
        )
        for _ in range(12):
            try:
                code, offset = await produce(
                    self.brokers,
                    partition,
                    bytearray(batch),
                    transactional_id=self.name,
                    version_max=12 if self._version == 2 else 11,
                )
            except Unanswered:
                await self.brokers.pause()
                continue
            if code in (ErrorCode.NONE, ErrorCode.DUPLICATE_SEQUENCE_NUMBER):
                self._sequences[partition] = sequence + len(values)
                return offset
            self._check(code, AGAIN)
            await self.brokers.pause()
        raise LifeOver

    async def _add_partitions(self, partitions: list[Partition]) -> None:
        topics: dict[str, list[int]] = {}
        for topic, index in partitions:
            topics.setdefault(topic, []).append(index)
        request = AddPartitionsToTxnRequest(
            v3_and_below_transactional_id=self.name,
            v3_and_below_producer_id=self._producer_id,
            v3_and_below_producer_epoch=self._epoch,
            v3_and_below_topics=[
                AddPartitionsToTxnRequest.AddPartitionsToTxnTopic(name=name, partitions=indexes)
                for name, indexes in topics.items()
            ],
        )
        for _ in range(20):
            response = await self._coordinated(request, AddPartitionsToTxnResponse, version_max=3)
            codes = [
                ErrorCode(row.partition_error_code)
                for topic in response.results_by_topic_v3_and_below
                for row in topic.results_by_partition
            ]
            bad = next((code for code in codes if code is not ErrorCode.NONE), None)
            if bad is None:
                return
            self.brokers.answered(AddPartitionsToTxnRequest, bad)
            self._check(bad, AGAIN)
            await self.brokers.pause()
        raise LifeOver

    async def _commit_offsets(self, records: list[Record]) -> None:
        if self._version == 1:
            add = AddOffsetsToTxnRequest(
                transactional_id=self.name,
                producer_id=self._producer_id,
                producer_epoch=self._epoch,
                group_id=self._group,
            )
            await self._coordinated(add, AddOffsetsToTxnResponse)
        behind: dict[Partition, int] = {}
        for record in records:
            behind[record[:2]] = record.offset + 1
        topic_class = TxnOffsetCommitRequest.TxnOffsetCommitRequestTopic
        request = TxnOffsetCommitRequest(
            transactional_id=self.name,
            group_id=self._group,
            producer_id=self._producer_id,
            producer_epoch=self._epoch,
            topics=[
                topic_class(
                    name=topic,
                    partitions=[
                        topic_class.TxnOffsetCommitRequestPartition(
                            partition_index=index, committed_offset=offset, committed_metadata=None
                        )
                    ],
                )
                for (topic, index), offset in behind.items()
            ],
        )
        for _ in range(20):
            try:
                node_id = await self.brokers.coordinator(self._group, GROUP)
                response = await self.brokers.request(
                    node_id, request, TxnOffsetCommitResponse, version_max=5 if self._version == 2 else 4
                )
            except Unanswered:
                await self.brokers.pause()
                continue
            codes = [
                self.brokers.answered(TxnOffsetCommitRequest, row.error_code)
                for topic in response.topics
                for row in topic.partitions
            ]
            bad = next((code for code in codes if code is not ErrorCode.NONE), None)
            if bad is None:
                return
            self._check(bad, AGAIN)
            await self.brokers.pause()
        raise LifeOver

    async def _end(self, transaction: Transaction, records: list[Record]) -> None:
        commits = self.random.random() < 0.85
        ending = transaction
        if commits:
            inputs = tuple(Position(*record[:3]) for record in records)
            ending = replace(transaction, outcome="unknown", commit_begun=self.now, inputs=inputs)
            self.record(ending)
        request = EndTxnRequest(
            transactional_id=self.name,
            producer_id=self._producer_id,
            producer_epoch=self._epoch,
            committed=commits,
        )
        response = await self._coordinated(
            request, EndTxnResponse, version_max=5 if self._version == 2 else 4
        )
        self.record(replace(ending, ended=self.now, outcome="committed" if commits else "aborted"))
        if self._version == 2:
            if response.producer_id != self._producer_id or response.producer_epoch != self._epoch:
                self._sequences.clear()
            self._producer_id, self._epoch = response.producer_id, response.producer_epoch
        if commits:
            self.progress += 1
            return
        # What was read is to be done again.
        raise LifeOver

    # Requests to the transaction coordinator

    async def _coordinated(
        self, request: Request, response_class: type[ResponseT], *, version_max: int | None = None
    ) -> ResponseT:
        """Ask until there is an answer without a retriable error; LifeOver for another error."""
        for _ in range(25):
            try:
                node_id = await self.brokers.coordinator(self.name, TRANSACTION)
                response = await self.brokers.request(
                    node_id, request, response_class, version_max=version_max
                )
            except Unanswered:
                await self.brokers.pause()
                continue
            code = self.brokers.answered(type(request), getattr(response, "error_code", 0))
            if code is ErrorCode.NONE:
                return response
            self._check(code, AGAIN)
            await self.brokers.pause()
        raise LifeOver

    def _check(self, code: ErrorCode, retriable: frozenset[ErrorCode]) -> None:
        """LifeOver unless it can be tried again; some errors must not come at all."""
        if code in retriable:
            return
        if code not in _EXPECTED:
            self.found(f"was answered with {code.name}")
        raise LifeOver
