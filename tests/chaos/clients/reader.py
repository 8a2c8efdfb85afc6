"""A consumer without a group: reads all its partitions, seeks back now and then, and begins anew."""

from __future__ import annotations

import time

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from tests.anomalies.history import Assigned, Isolation, Poll, Position, Record
from tests.chaos.clients.client import Assignment, Client, record_of

_ROUND_S = 0.2
_RECORDS_MAX = 500
_BACK_MAX = 150
_SEEK_EVERY_S = 6.0
_CATCH_UP_S = 60.0


class Reader(Client):
    def __init__(self, assignment: Assignment) -> None:
        super().__init__(assignment)
        self._isolation: Isolation = (
            "read_committed" if assignment.isolation == "read_committed" else "read_uncommitted"
        )
        self._next = dict.fromkeys(assignment.partitions, 0)
        self._lost: set[str] = set()
        self._told: set[str] = set()
        self._consumer = self._begin()

    def _begin(self) -> Consumer:
        consumer = Consumer(
            self.settings(
                **{
                    "group.id": "none",
                    "enable.auto.commit": False,
                    "isolation.level": self._isolation,
                    # Nothing is ever removed: who is out of range was shown what is not there any more.
                    "auto.offset.reset": "error",
                    "enable.partition.eof": True,
                    "fetch.wait.max.ms": 100,
                    "queued.min.messages": 500,
                }
            )
        )
        self._assign(consumer)
        return consumer

    def _assign(self, consumer: Consumer) -> None:
        consumer.assign([TopicPartition(*partition, offset) for partition, offset in self._next.items()])
        positions = tuple((*partition, offset) for partition, offset in self._next.items())
        self.history.write(Assigned(process=self.process, at=time.monotonic(), positions=positions))

    def run(self) -> int:
        seek_at = time.monotonic() + _SEEK_EVERY_S
        while not self.stopping:
            self._read()
            if time.monotonic() > seek_at:
                seek_at = time.monotonic() + self.chance.uniform(0.5, 1.5) * _SEEK_EVERY_S
                self._go_back()
        self._catch_up()
        self._consumer.close()
        return 0

    def _read(self) -> None:
        begun = time.monotonic()
        records: list[Record] = []
        ends: dict[tuple[str, int], int] = {}
        for message in self._consumer.consume(_RECORDS_MAX, _ROUND_S):
            if message.error() is None:
                record = record_of(message)
                records.append(record)
                self._next[record[:2]] = record.offset + 1
                ends.pop(record[:2], None)
            else:
                ends |= self._end_or_error(message)
        self._next |= ends
        if records or ends:
            poll = Poll(
                process=self.process,
                begun=begun,
                ended=time.monotonic(),
                isolation=self._isolation,
                records=tuple(records),
                positions=tuple(Position(*partition, offset) for partition, offset in ends.items()),
            )
            self.history.write(poll)
        if self._lost:
            for finding in self._lost - self._told:
                self.found(finding)
            self._told |= self._lost
            self._lost = set()
            # It would stay in this state; what else there is to find is found from here on.
            self._assign(self._consumer)

    def _end_or_error(self, message: Message) -> dict[tuple[str, int], int]:
        """The partition and position, if the message is the end of one."""
        error = message.error()
        assert error is not None
        topic, partition, offset = message.topic(), message.partition(), message.offset()
        if error.code() in (KafkaError._AUTO_OFFSET_RESET, KafkaError._LOG_TRUNCATION):
            self._lost.add(f"out of range at {topic}-{partition}@{offset}: {error.str()}")
        elif error.code() == KafkaError._PARTITION_EOF:
            assert topic is not None and partition is not None and offset is not None
            return {(topic, partition): offset}
        return {}

    def _go_back(self) -> None:
        """Some records of one partition again, in this life of the consumer or in another."""
        partition = self.chance.choice(list(self._next))
        self._next[partition] = max(0, self._next[partition] - self.chance.randrange(_BACK_MAX))
        if self.chance.random() < 0.3:
            self._consumer.close()
            self._consumer = self._begin()
        else:
            self._assign(self._consumer)

    def _catch_up(self) -> None:
        """At the end, everything is healed: the reader reaches the end of every partition."""
        deadline = time.monotonic() + _CATCH_UP_S
        while behind := self._behind():
            self._read()
            if time.monotonic() > deadline:
                self.found(f"did not reach the end within {_CATCH_UP_S:.0f} s: {behind}")
                return

    def _behind(self) -> list[str]:
        """The partitions whose end it has not reached."""
        found = []
        for (topic, partition), position in self._next.items():
            try:
                _, end = self._consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=5.0)
            except KafkaException as failure:
                found.append(f"{topic}-{partition}: {failure}")
                continue
            if position < end:
                found.append(f"{topic}-{partition} at {position} of {end}")
        return found
