"""One worker of the kill test: ``python -m tests.kill.transactions.worker JSON`` until SIGTERM.

It prints a line for every transaction whose end was acknowledged to it (``committed 3-17``, ``aborted 3-18``), and ends
with FENCED when somebody else has its transactional id, with FATAL when its client is past use for another reason.
"""

from __future__ import annotations

import json
import logging
import random
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from tests.kill.transactions.history import Output

FENCED, FATAL = 3, 4
INPUT = "numbers"
OUTPUTS = ("left", "right")
GROUP = "transformers"
RECORDS_MAX = 150
COLLECT_S = 0.05
ABORT_SHARE = 0.1
CALL_DEADLINE_S = 60.0
_FENCED_CODES = {KafkaError._FENCED, KafkaError.PRODUCER_FENCED, KafkaError.INVALID_PRODUCER_EPOCH}
_SILENT = logging.getLogger("tests.kill.transactions.clients")
_SILENT.disabled = True


@dataclass(frozen=True)
class Assignment:
    """What a worker is told: who it is (``transactional_id``), which life of it this is, and where the broker is."""

    bootstrap_servers: str
    transactional_id: str
    life: int
    partitions: int
    seed: int


class Worker:
    def __init__(self, assignment: Assignment) -> None:
        self._assignment = assignment
        self._chance = random.Random(assignment.seed)
        self._stopping = False
        self._serial = 0
        self._group: Any = None
        self._revoked = False
        common: dict[str, Any] = {
            "bootstrap.servers": assignment.bootstrap_servers,
            "reconnect.backoff.ms": 20,
            "reconnect.backoff.max.ms": 100,
            # Else librdkafka 2.16 forgets its brokers when the only one goes away, and a later
            # send_offsets_to_transaction waits for one of those for ever (against any broker).
            "metadata.recovery.strategy": "none",
            "logger": _SILENT,
        }
        self._producer = Producer(
            {
                **common,
                "transactional.id": assignment.transactional_id,
                # Longer than anything that happens here: who is aborted by a timeout is an anomaly.
                "transaction.timeout.ms": 60_000,
                "linger.ms": 0,
                "batch.num.messages": 10,
            }
        )
        self._consumer = Consumer(
            {
                **common,
                "group.id": GROUP,
                "isolation.level": "read_committed",
                "auto.offset.reset": "earliest",
                "enable.auto.commit": False,
                "partition.assignment.strategy": "range",
                "session.timeout.ms": 3_000,
                "heartbeat.interval.ms": 300,
                "max.poll.interval.ms": 10_000,
                "fetch.wait.max.ms": 50,
                # A short queue keeps the reader close to what it has committed.
                "queued.min.messages": 200,
            }
        )

    def stop(self, *_: object) -> None:
        self._stopping = True

    def run(self) -> int:
        """Until told to stop; the exit code."""
        try:
            self._persistently(lambda: self._producer.init_transactions(CALL_DEADLINE_S))
            self._consumer.subscribe([INPUT], on_assign=self._assigned, on_revoke=self._taken_away)
            while not self._stopping:
                records = self._collect()
                if records:
                    self._transact(records)
        except KafkaException as failure:
            error = failure.args[0]
            print(f"ended: {error}", file=sys.stderr, flush=True)
            return FENCED if error.code() in _FENCED_CODES else FATAL
        self._consumer.close()
        return 0

    def _assigned(self, consumer: Consumer, _partitions: list[TopicPartition]) -> None:
        # Who commits later must say which generation its records came from, not which one it is in by then.
        self._group = consumer.consumer_group_metadata()

    def _taken_away(self, _consumer: Consumer, _partitions: list[TopicPartition]) -> None:
        self._revoked = True

    def _collect(self) -> list[Message]:
        """Some records that all belong to the present assignment."""
        records: list[Message] = []
        count = self._chance.randint(1, RECORDS_MAX)
        deadline = time.monotonic() + COLLECT_S
        while len(records) < count and (left := deadline - time.monotonic()) > 0:
            message = self._consumer.poll(left)
            if self._revoked:
                # Rebalances happen only inside poll: what came before is read again by whoever owns it now.
                records.clear()
                self._revoked = False
            if message is not None and message.error() is None:
                records.append(message)
        return records

    def _transact(self, records: list[Message]) -> None:
        self._serial += 1
        transaction = f"{self._assignment.transactional_id}-{self._assignment.life}-{self._serial}"
        try:
            self._persistently(self._producer.begin_transaction)
            for message in records:
                self._produce(message, transaction, len(records) * len(OUTPUTS))
            offsets = [TopicPartition(INPUT, *place) for place in _positions(records).items()]
            group = self._group
            self._persistently(
                lambda: self._producer.send_offsets_to_transaction(offsets, group, CALL_DEADLINE_S)
            )
            if self._chance.random() < ABORT_SHARE:
                self._abort(records, transaction)
                return
            self._persistently(lambda: self._producer.commit_transaction(CALL_DEADLINE_S))
            print("committed", transaction, flush=True)
        except KafkaException as failure:
            error = failure.args[0]
            if error.fatal() or not error.txn_requires_abort():
                raise
            self._abort(records, transaction)

    def _produce(self, message: Message, transaction: str, size: int) -> None:
        value, partition = message.value(), message.partition()
        assert isinstance(value, bytes) and partition is not None
        output = Output(int(value), transaction, size).encode()
        for shift, topic in enumerate(OUTPUTS):
            target = (partition + shift) % self._assignment.partitions
            while True:
                try:
                    self._producer.produce(topic, output, partition=target)
                    break
                except BufferError:
                    self._producer.poll(0.1)

    def _abort(self, records: list[Message], transaction: str) -> None:
        """Abort, and go back to what the group has committed, which the transaction must not have moved."""
        self._persistently(lambda: self._producer.abort_transaction(CALL_DEADLINE_S))
        print("aborted", transaction, flush=True)
        asked = [TopicPartition(INPUT, partition) for partition in _positions(records)]
        committed: list[TopicPartition] = []
        self._persistently(
            lambda: committed.extend(self._consumer.committed(asked, timeout=5.0)), whatever=True
        )
        for position in committed:
            if position.offset < 0:
                position.offset = 0
            try:
                self._consumer.seek(position)
            except KafkaException:
                # Not ours any more: the next owner begins at the committed offset. If it is, records would be left out.
                if any(owned.partition == position.partition for owned in self._consumer.assignment()):
                    raise

    @staticmethod
    def _persistently(call: Callable[[], object], whatever: bool = False) -> None:
        """Repeat a call for as long as its error says that repeating helps, or after any error."""
        deadline = time.monotonic() + CALL_DEADLINE_S
        while True:
            try:
                call()
            except KafkaException as failure:
                if not (whatever or failure.args[0].retriable()) or time.monotonic() > deadline:
                    raise
                time.sleep(0.02)
            else:
                return


def _positions(records: list[Message]) -> dict[int, int]:
    """By partition: the offset behind the last record."""
    positions: dict[int, int] = {}
    for message in records:
        partition, offset = message.partition(), message.offset()
        assert partition is not None and offset is not None
        positions[partition] = offset + 1
    return positions


def main() -> int:
    worker = Worker(Assignment(**json.loads(sys.argv[1])))
    signal.signal(signal.SIGTERM, worker.stop)
    return worker.run()


if __name__ == "__main__":
    sys.exit(main())
