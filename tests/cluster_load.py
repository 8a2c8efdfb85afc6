"""Load on a cluster while things happen to it: one producer and one consumer of confluent-kafka, in threads.

Each record's value is its number. The consumer reads in a group of its own, so that a group coordinator takes part.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import confluent_kafka

_PAUSE_S = 0.02
_RECORDS_PER_PAUSE = 2
_DEADLINE_S = 60.0
_QUIET = {"log_level": 0}


@dataclass
class LoadReport:
    """What came of it."""

    acknowledged: dict[int, tuple[int, int]] = field(default_factory=dict)
    consumed: list[tuple[int, int, int]] = field(default_factory=list)
    """(number, partition, offset)"""
    errors: list[str] = field(default_factory=list)


class Load:
    """Produces and consumes from entering to leaving the block; leaving it waits until all has come through."""

    def __init__(
        self,
        bootstrap_servers: str,
        topic: str,
        *,
        producer: Mapping[str, str | int] | None = None,
        consumer: Mapping[str, str | int] | None = None,
    ) -> None:
        """Settings beyond ``bootstrap.servers`` and the group: without them the library's own."""
        common: dict[str, Any] = {"bootstrap.servers": bootstrap_servers, **_QUIET}
        self._topic = topic
        self._producer_settings = {**common, **(producer or {})}
        self._consumer_settings = {
            **common,
            "group.id": f"load-of-{topic}",
            "auto.offset.reset": "earliest",
            **(consumer or {}),
        }
        self._stopping = threading.Event()
        self._produced = threading.Event()
        self._producing = threading.Thread(target=self._guarded, args=(self._produce,), daemon=True)
        self._consuming = threading.Thread(target=self._guarded, args=(self._consume,), daemon=True)
        self.sent = 0
        self.report = LoadReport()

    def __enter__(self) -> Self:
        self._producing.start()
        self._consuming.start()
        self.wait_for(100)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        self._producing.join(_DEADLINE_S)
        self._consuming.join(_DEADLINE_S)
        if error is None:
            assert not self._producing.is_alive() and not self._consuming.is_alive(), self.report.errors

    def wait_for(self, more: int, *, deadline_s: float = _DEADLINE_S) -> None:
        """Until so many more records were acknowledged and consumed."""
        report = self.report
        acknowledged, consumed = len(report.acknowledged) + more, len(report.consumed) + more
        deadline = time.monotonic() + deadline_s
        while len(report.acknowledged) < acknowledged or len(report.consumed) < consumed:
            assert not report.errors, report.errors
            assert time.monotonic() < deadline, (
                f"{acknowledged - len(report.acknowledged)} acknowledgements and "
                f"{consumed - len(report.consumed)} records are missing"
            )
            time.sleep(_PAUSE_S)

    def _guarded(self, work: Any) -> None:
        try:
            work()
        except Exception as error:  # or the thread would end in silence
            self.report.errors.append(f"{work.__name__}: {error!r}")

    def _produce(self) -> None:
        producer = confluent_kafka.Producer(self._producer_settings)
        try:
            while not self._stopping.wait(_PAUSE_S):
                for _ in range(_RECORDS_PER_PAUSE):
                    self._send_one(producer)
                producer.poll(0)
            left = producer.flush(_DEADLINE_S)
            if left:
                self.report.errors.append(f"{left} records were not acknowledged in time")
        finally:
            self._produced.set()

    def _send_one(self, producer: Any) -> None:
        number = self.sent

        def delivered(error: Any, message: Any) -> None:
            if error is not None:
                self.report.errors.append(f"delivery of {number}: {error}")
                return
            self.report.acknowledged[number] = (message.partition(), message.offset())

        producer.produce(self._topic, b"%d" % number, b"%d" % (number % 97), on_delivery=delivered)
        self.sent += 1

    def _consume(self) -> None:
        consumer = confluent_kafka.Consumer(self._consumer_settings)
        consumer.subscribe([self._topic])
        seen: set[int] = set()
        deadline = None
        try:
            while not (self._produced.is_set() and len(seen) >= len(self.report.acknowledged)):
                for message in consumer.consume(1_000, 0.05):
                    if message.error():
                        self.report.errors.append(f"consumer: {message.error()}")
                        continue
                    number = int(message.value())
                    seen.add(number)
                    self.report.consumed.append((number, message.partition(), message.offset()))
                if self._produced.is_set():
                    deadline = deadline or time.monotonic() + _DEADLINE_S
                    if time.monotonic() > deadline:
                        missing = sorted(set(self.report.acknowledged) - seen)
                        self.report.errors.append(f"{len(missing)} records never came: {missing[:10]}")
                        return
        finally:
            consumer.close()


def check_nothing_lost(report: LoadReport) -> None:
    """No error; whatever was acknowledged was read from where the acknowledgement said; one value at one offset."""
    assert not report.errors, report.errors[:10]
    at: dict[tuple[int, int], int] = {}
    for number, partition, offset in report.consumed:
        assert at.setdefault((partition, offset), number) == number, (partition, offset)
    lost = {number: place for number, place in report.acknowledged.items() if at.get(place) != number}
    assert not lost, sorted(lost.items())[:10]


def check_exactly_once(report: LoadReport) -> None:
    """As above; and each record once, those of a key in their order: what an idempotent producer may expect."""
    check_nothing_lost(report)
    at = {(partition, offset): number for number, partition, offset in report.consumed}
    numbers = list(at.values())
    assert sorted(numbers) == sorted(report.acknowledged), "duplicates, or records that nobody acknowledged"
    last: dict[int, int] = {}
    for (partition, _), number in sorted(at.items()):
        assert last.get(partition, -1) < number, f"{number} came after {last[partition]} in {partition}"
        last[partition] = number
