"""After everything is healed: the cluster makes progress, everybody reaches the end, and the end is read.

``Aftermath`` collects in ``findings`` what did not happen in time; what it reads goes to its own history file.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

from tests.anomalies.history import FetchOffsets, FinalRead, HistoryFile, Isolation, Position, Record, Send
from tests.chaos.clients.client import SILENT, record_of
from tests.chaos.clients.member import GROUP as MEMBERS
from tests.chaos.clients.transformer import GROUP as TRANSFORMERS
from tests.chaos.clients.transformer import INPUT
from tests.chaos.workshop import PLAIN, TOPICS

PROGRESS_DEADLINE_S = 60.0
_READ_DEADLINE_S = 120.0
Partition = tuple[str, int]
Bounds = tuple[int, int]

_ISOLATIONS: tuple[Isolation, Isolation] = ("read_uncommitted", "read_committed")


class Aftermath:
    def __init__(self, bootstrap_servers: str, history: Path) -> None:
        self._common: dict[str, Any] = {
            "bootstrap.servers": bootstrap_servers,
            "socket.timeout.ms": 6_000,
            "socket.connection.setup.timeout.ms": 2_000,
            "reconnect.backoff.max.ms": 500,
            "logger": SILENT,
        }
        self._history = HistoryFile(history)
        self._admin = AdminClient(self._common)
        self.findings: list[str] = []

    def create_topics(self, replication_factor: int) -> None:
        topics = [NewTopic(topic, count, replication_factor) for topic, count in TOPICS.items()]
        for created in self._admin.create_topics(topics, operation_timeout=30.0).values():
            created.result(PROGRESS_DEADLINE_S)

    def not_in_sync(self, replication_factor: int) -> list[str]:
        """Partitions, internal ones too, that lack a leader or replicas in sync; or why nobody can tell."""
        try:
            metadata = self._admin.list_topics(timeout=5.0)
        except KafkaException as failure:
            return [str(failure)]
        return [
            f"{topic}-{number}: leader {partition.leader}, in sync {sorted(partition.isrs)}"
            for topic, found in sorted(metadata.topics.items())
            for number, partition in sorted(found.partitions.items())
            if partition.leader < 0 or len(partition.isrs) < replication_factor
        ]

    def await_progress(self, process: str = "probe") -> float:
        """Every partition acknowledges a record; how long it took, in seconds."""
        began = time.monotonic()
        producer = Producer(
            {
                **self._common,
                "enable.idempotence": True,
                "message.timeout.ms": int(PROGRESS_DEADLINE_S * 1000),
                "request.timeout.ms": 4_000,
            }
        )
        failed: list[str] = []
        partitions = [(topic, number) for topic, count in TOPICS.items() for number in range(count)]
        # The outputs have records of transformers only: what stands there is one to one with the input.
        for sequence, (topic, partition) in enumerate(
            each for each in partitions if each[0] in (PLAIN, INPUT)
        ):
            send = Send(
                process=process,
                begun=time.monotonic(),
                ended=None,
                topic=topic,
                partition=partition,
                value=f"{process}:{sequence}",
                outcome="unknown",
                producer=process,
                sequence=sequence,
            )
            self._history.write(send)
            producer.produce(topic, send.value, partition=partition, on_delivery=self._noting(send, failed))
        left = producer.flush(PROGRESS_DEADLINE_S + 5)
        if left or failed:
            self.findings.append(
                f"no progress {PROGRESS_DEADLINE_S:.0f} s after everything was healed: {failed or left}"
            )
        return time.monotonic() - began

    def _noting(self, send: Send, failed: list[str]) -> Callable[[KafkaError | None, Message], None]:
        def delivered(error: KafkaError | None, message: Message) -> None:
            now = time.monotonic()
            if error is None:
                self._history.write(replace(send, ended=now, outcome="ok", offset=message.offset()))
            else:
                self._history.write(replace(send, ended=now))
                failed.append(f"{send.topic}-{send.partition}: {error.str()}")

        return delivered

    def await_all_in_sync(self, replication_factor: int) -> float:
        """Every replica is in sync again; how long it took, in seconds."""
        began = time.monotonic()
        while lacking := self.not_in_sync(replication_factor):
            if time.monotonic() > began + PROGRESS_DEADLINE_S:
                self.findings.append(f"not in sync {PROGRESS_DEADLINE_S:.0f} s after healing: {lacking}")
                break
            time.sleep(0.2)
        return time.monotonic() - began

    def await_consumed(self, meanwhile: Callable[[], None]) -> None:
        """Both groups commit the end of what they read; it is late when nothing has moved for the deadline."""
        for group, topic in ((TRANSFORMERS, INPUT), (MEMBERS, PLAIN)):
            moved, last = time.monotonic(), dict[Partition, int]()
            while True:
                ends = {
                    partition: end for partition, (_, end) in self._ends("read_committed", [topic]).items()
                }
                committed = self._committed(group, topic)
                if ends and all(committed.get(partition, 0) >= end for partition, end in ends.items()):
                    break
                if committed != last:
                    moved, last = time.monotonic(), committed
                if time.monotonic() > moved + PROGRESS_DEADLINE_S:
                    self.findings.append(f"group {group} stays at {committed}, the end is {ends}")
                    break
                meanwhile()
                time.sleep(0.3)

    def read_everything(self) -> None:
        """Final reads of all topics and final offsets of both groups, to the history."""
        self._await_no_open_transaction()
        for isolation in _ISOLATIONS:
            self._read(isolation)
        for group, topic in ((TRANSFORMERS, INPUT), (MEMBERS, PLAIN)):
            begun = time.monotonic()
            committed = self._committed(group, topic)
            self._history.write(
                FetchOffsets(
                    process="aftermath",
                    begun=begun,
                    ended=time.monotonic(),
                    group=group,
                    positions=tuple(Position(*partition, offset) for partition, offset in committed.items()),
                    final=True,
                )
            )

    def close(self) -> None:
        self._history.close()

    def _await_no_open_transaction(self) -> None:
        """Transactions that nobody ends are aborted by the coordinator; the checker finds those that are not."""
        deadline = time.monotonic() + PROGRESS_DEADLINE_S
        while self._ends("read_committed", TOPICS) != self._ends("read_uncommitted", TOPICS):
            if time.monotonic() > deadline:
                break
            time.sleep(0.3)

    def _consumer(self, isolation: Isolation, group: str = "aftermath") -> Consumer:
        return Consumer(
            {
                **self._common,
                "group.id": group,
                "enable.auto.commit": False,
                "isolation.level": isolation,
                "enable.partition.eof": True,
                "auto.offset.reset": "error",
            }
        )

    def _ends(self, isolation: Isolation, topics: Sequence[str] | dict[str, int]) -> dict[Partition, Bounds]:
        """First offset and end of every partition, as far as the isolation lets one read.

        Empty where a partition stays unavailable until the deadline.
        """
        consumer = self._consumer(isolation)
        deadline = time.monotonic() + PROGRESS_DEADLINE_S
        partitions = [TopicPartition(topic, number) for topic in topics for number in range(TOPICS[topic])]
        try:
            while True:
                try:
                    return {
                        (each.topic, each.partition): consumer.get_watermark_offsets(each, timeout=10.0)
                        for each in partitions
                    }
                except KafkaException:
                    if time.monotonic() > deadline:
                        return {}
        finally:
            consumer.close()

    def _committed(self, group: str, topic: str) -> dict[Partition, int]:
        """A group's offsets; empty where some stay pending, or the coordinator away, until the deadline."""
        consumer = self._consumer("read_committed", group)
        wanted = [TopicPartition(topic, partition) for partition in range(TOPICS[topic])]
        deadline = time.monotonic() + PROGRESS_DEADLINE_S
        try:
            while time.monotonic() < deadline:
                try:
                    found = consumer.committed(wanted, timeout=5.0)
                except KafkaException:
                    time.sleep(0.1)
                else:
                    return {(each.topic, each.partition): each.offset for each in found if each.offset >= 0}
            return {}
        finally:
            consumer.close()

    def _read(self, isolation: Isolation) -> None:
        limits = self._ends(isolation, TOPICS)
        high_watermarks = self._ends("read_uncommitted", TOPICS)
        if not (limits and high_watermarks):
            self.findings.append(f"the ends of the partitions cannot be had ({isolation})")
            return
        consumer = self._consumer(isolation)
        consumer.assign([TopicPartition(*partition, start) for partition, (start, _) in limits.items()])
        records: dict[Partition, list[Record]] = {partition: [] for partition in limits}
        unread = {partition for partition, (start, end) in limits.items() if start < end}
        deadline = time.monotonic() + _READ_DEADLINE_S
        while unread and time.monotonic() < deadline:
            for message in consumer.consume(5_000, 0.2):
                error = message.error()
                if error is None:
                    record = record_of(message)
                    records[record[:2]].append(record)
                elif error.code() == KafkaError._PARTITION_EOF:
                    unread -= _ended(message, limits)
        consumer.close()
        if unread:
            self.findings.append(f"not read to the end ({isolation}): {sorted(unread)}, ends {limits}")
        for partition, (start, end) in limits.items():
            if partition not in unread:
                self._history.write(
                    FinalRead(
                        topic=partition[0],
                        partition=partition[1],
                        isolation=isolation,
                        records=tuple(each for each in records[partition] if each.offset < end),
                        log_start=start,
                        end=end,
                        high_watermark=max(end, high_watermarks[partition][1]),
                    )
                )


def _ended(message: Message, limits: dict[Partition, Bounds]) -> set[Partition]:
    """The partition whose end was told, if that is not an earlier one."""
    topic, partition, offset = message.topic(), message.partition(), message.offset()
    assert topic is not None and partition is not None and offset is not None
    return {(topic, partition)} if offset >= limits[topic, partition][1] else set()
