"""A member of a consumer group that records where it stands, what it reads and what the coordinator tells it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from confluent_kafka import Consumer, KafkaException, TopicPartition

from tests.anomalies.history import Assigned, CommitOffsets, FetchOffsets, Isolation, Poll, Position, Record
from tests.chaos.clients.client import Client, record_of, watched

_FETCH_OFFSETS_S = 5.0


class GroupConsumer:
    """``process`` names this life of it in the history; ``positions`` has the next offset by partition, where known.

    Rebalances happen only inside ``poll``. ``epoch`` counts them: records of an earlier one are another's by now.
    """

    def __init__(
        self,
        client: Client,
        process: str,
        group: str,
        topics: Sequence[str],
        isolation: Isolation,
        **more: Any,
    ) -> None:
        self._client = client
        self._process = process
        self._group = group
        self._isolation: Isolation = isolation
        self._unrecorded: list[Record] = []
        self._begun = time.monotonic()
        self.positions: dict[tuple[str, int], int] = {}
        self.epoch = 0
        self.metadata: Any = None
        self.consumer = Consumer(
            client.settings(
                **{
                    "group.id": group,
                    "enable.auto.commit": False,
                    "auto.offset.reset": "earliest",
                    "isolation.level": isolation,
                    "partition.assignment.strategy": "range",
                    "session.timeout.ms": 6_000,
                    "heartbeat.interval.ms": 500,
                    "max.poll.interval.ms": 60_000,
                    "fetch.wait.max.ms": 100,
                    # A short queue keeps the reader close to what it has committed.
                    "queued.min.messages": 200,
                    **more,
                }
            )
        )
        self.consumer.subscribe(
            list(topics), on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._lost
        )

    def collect(self, count: int, seconds: float) -> list[Record]:
        """Up to ``count`` records of the present assignment; they are in the history when this returns."""
        records: list[Record] = []
        epoch = self.epoch
        deadline = time.monotonic() + seconds
        while len(records) < count and (left := deadline - time.monotonic()) > 0:
            message = self.consumer.poll(left)
            if epoch != self.epoch:
                records.clear()
                epoch = self.epoch
            if message is not None and message.error() is None:
                record = record_of(message)
                records.append(record)
                self._unrecorded.append(record)
                self.positions[record[:2]] = record.offset + 1
        self._record()
        return records

    def commit(self) -> None:
        """Commit where it stands, and record the answer."""
        positions = tuple(Position(*partition, offset) for partition, offset in self.positions.items())
        if not positions:
            return
        begun = time.monotonic()
        offsets = [TopicPartition(*position) for position in positions]
        try:
            with watched():
                answered = self.consumer.commit(offsets=offsets, asynchronous=False) or []
        except KafkaException:
            return  # nothing was acknowledged
        acknowledged = tuple(
            Position(each.topic, each.partition, each.offset) for each in answered if each.error is None
        )
        self._client.history.write(
            CommitOffsets(
                process=self._process,
                begun=begun,
                ended=time.monotonic(),
                group=self._group,
                positions=acknowledged,
                outcome="ok",
            )
        )

    def committed(self, partitions: Sequence[tuple[str, int]]) -> dict[tuple[str, int], int]:
        """What the coordinator says; KafkaException where it says nothing in time."""
        begun = time.monotonic()
        asked = [TopicPartition(*partition) for partition in partitions]
        answered = self.consumer.committed(asked, timeout=_FETCH_OFFSETS_S)
        if any(each.error is not None for each in answered):
            raise KafkaException(next(each.error for each in answered if each.error is not None))
        found = {(each.topic, each.partition): each.offset for each in answered if each.offset >= 0}
        self._client.history.write(
            FetchOffsets(
                process=self._process,
                begun=begun,
                ended=time.monotonic(),
                group=self._group,
                positions=tuple(Position(*partition, offset) for partition, offset in found.items()),
            )
        )
        return found

    def stand_at(self, positions: dict[tuple[str, int], int]) -> None:
        """Record that it goes on from here."""
        self._record()
        self.positions = dict(positions)
        self._write_assigned([(*partition, offset) for partition, offset in positions.items()])

    def close(self) -> None:
        with watched():
            self.consumer.close()
        self._record()

    def _assigned(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._record()
        self.epoch += 1
        # Who commits later must say which generation its records came from, not which one it is in by then.
        self.metadata = consumer.consumer_group_metadata()
        owned = [(each.topic, each.partition) for each in partitions]
        try:
            committed = self.committed(owned)
        except KafkaException:
            # The client asks by itself, for as long as it takes.
            self.positions = {}
            self._write_assigned([(*partition, None) for partition in owned])
            return
        self.stand_at({partition: committed.get(partition, 0) for partition in owned})
        consumer.assign([TopicPartition(*partition, offset) for partition, offset in self.positions.items()])

    def _revoked(self, _consumer: Consumer, _partitions: list[TopicPartition]) -> None:
        self._give_up()

    def _lost(self, _consumer: Consumer, _partitions: list[TopicPartition]) -> None:
        self._give_up()

    def _give_up(self) -> None:
        self._record()
        self.epoch += 1
        self.positions = {}
        self._write_assigned([])

    def _write_assigned(self, positions: list[tuple[str, int, int | None]]) -> None:
        self._client.history.write(
            Assigned(
                process=self._process, at=time.monotonic(), positions=tuple(positions), group=self._group
            )
        )

    def _record(self) -> None:
        """The records since the last time, before anything else is done with them."""
        now = time.monotonic()
        if self._unrecorded:
            self._client.history.write(
                Poll(
                    process=self._process,
                    begun=self._begun,
                    ended=now,
                    isolation=self._isolation,
                    records=tuple(self._unrecorded),
                    group=self._group,
                )
            )
            self._unrecorded = []
        self._begun = now
