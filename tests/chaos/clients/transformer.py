"""Consume, transform, produce: each input record becomes one record in each output topic, exactly once.

It ends with FENCED when somebody else has its transactional id, with FATAL when its client is past use for another
reason.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import replace

from confluent_kafka import KafkaError, KafkaException, Message, Producer, TopicPartition

from tests.anomalies.history import Position, Record, Send, Transaction
from tests.chaos.clients.client import CALL_DEADLINE_S, FATAL, FENCED, Assignment, Client, persistently
from tests.chaos.clients.group_consumer import GroupConsumer

INPUT = "numbers"
OUTPUTS = ("left", "right")
GROUP = "transformers"
TRANSACTION_TIMEOUT_MS = 15_000
_RECORDS_MAX = 60
_COLLECT_S = 0.1
_ABORT_SHARE = 0.1
_FENCED_CODES = {KafkaError._FENCED, KafkaError.PRODUCER_FENCED, KafkaError.INVALID_PRODUCER_EPOCH}


class Transformer(Client):
    def __init__(self, assignment: Assignment) -> None:
        super().__init__(assignment)
        self._serial = 0
        self._sequence = 0
        self._producer = Producer(
            self.settings(
                **{
                    "transactional.id": assignment.name,
                    "transaction.timeout.ms": TRANSACTION_TIMEOUT_MS,
                    "message.timeout.ms": TRANSACTION_TIMEOUT_MS,
                    "request.timeout.ms": 4_000,
                    "linger.ms": 0,
                    "batch.num.messages": 10,
                }
            )
        )
        self._consumer: GroupConsumer | None = None

    def run(self) -> int:
        try:
            persistently(lambda: self._producer.init_transactions(CALL_DEADLINE_S))
            self._consumer = GroupConsumer(self, self.process, GROUP, [INPUT], "read_committed")
            while not self.stopping:
                count = self.chance.randint(1, _RECORDS_MAX)
                records = self._consumer.collect(count, _COLLECT_S)
                if records:
                    self._transact(self._consumer, records)
            self._consumer.close()
        except KafkaException as failure:
            error = failure.args[0]
            print(f"{time.monotonic():.3f} ended: {error}", file=sys.stderr, flush=True)
            return FENCED if error.code() in _FENCED_CODES else FATAL
        return 0

    def _transact(self, consumer: GroupConsumer, records: list[Record]) -> None:
        self._serial += 1
        transaction = Transaction(
            id=f"{self.process}-{self._serial}",
            process=self.process,
            begun=time.monotonic(),
            ended=None,
            outcome="open",
            group=GROUP,
            inputs=tuple(Position(*record[:3]) for record in records),
        )
        self.history.write(transaction)
        offsets = [TopicPartition(*partition, offset) for partition, offset in consumer.positions.items()]
        metadata = consumer.metadata
        try:
            persistently(self._producer.begin_transaction)
            for record in records:
                self._produce(record, transaction)
            persistently(
                lambda: self._producer.send_offsets_to_transaction(offsets, metadata, CALL_DEADLINE_S)
            )
            if self.chance.random() < _ABORT_SHARE:
                self._abort(consumer, transaction)
                return
            transaction = replace(transaction, outcome="unknown", commit_begun=time.monotonic())
            self.history.write(transaction)
            persistently(lambda: self._producer.commit_transaction(CALL_DEADLINE_S))
            self.history.write(replace(transaction, outcome="committed", ended=time.monotonic()))
        except KafkaException as failure:
            error = failure.args[0]
            if error.fatal() or not error.txn_requires_abort():
                raise
            self._abort(consumer, transaction)

    def _produce(self, record: Record, transaction: Transaction) -> None:
        for topic in OUTPUTS:
            self._sequence += 1
            send = Send(
                process=self.process,
                begun=time.monotonic(),
                ended=None,
                topic=topic,
                # An output partition has records of several input partitions, and of several transformers.
                partition=(record.partition + self._serial) % self.assignment.topics[topic],
                value=f"{transaction.id}:{self._sequence}:{record.value}",
                outcome="unknown",
                producer=self.process,
                sequence=self._sequence,
                transaction=transaction.id,
            )
            self.history.write(send)
            while True:
                try:
                    self._producer.produce(
                        topic, send.value, partition=send.partition, on_delivery=self._noting(send)
                    )
                    break
                except BufferError:
                    self._producer.poll(0.1)

    def _noting(self, send: Send) -> Callable[[KafkaError | None, Message], None]:
        def delivered(error: KafkaError | None, message: Message) -> None:
            now = time.monotonic()
            if error is None:
                offset = message.offset()
                known = offset if offset is not None and offset >= 0 else None
                self.history.write(replace(send, ended=now, outcome="ok", offset=known))
            else:
                self.history.write(replace(send, ended=now))

        return delivered

    def _abort(self, consumer: GroupConsumer, transaction: Transaction) -> None:
        """Abort, and go back to what the group has committed, which the transaction must not have moved."""
        persistently(lambda: self._producer.abort_transaction(CALL_DEADLINE_S))
        self.history.write(replace(transaction, outcome="aborted", ended=time.monotonic()))
        owned = [(each.topic, each.partition) for each in consumer.consumer.assignment()]
        committed: dict[tuple[str, int], int] = {}
        persistently(lambda: committed.update(consumer.committed(owned)), whatever=True)
        positions = {partition: committed.get(partition, 0) for partition in owned}
        for partition, offset in positions.items():
            try:
                consumer.consumer.seek(TopicPartition(*partition, offset))
            except KafkaException:
                # Not ours any more: the next owner begins at the committed offset. If it is, records would be left out.
                if any((each.topic, each.partition) == partition for each in consumer.consumer.assignment()):
                    raise
        consumer.stand_at(positions)
