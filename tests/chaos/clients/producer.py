"""An idempotent producer with acks=all that sends at a steady rate, in turn to all its partitions."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import cycle

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from tests.anomalies.history import Send
from tests.chaos.clients.client import Assignment, Client

_TICK_S = 0.02
_FLUSH_S = 120.0
_QUEUED_MAX = 3_000
# Whoever gives up earlier has asked for duplicates: librdkafka then sends what was under way again, as another epoch.
_PATIENCE_MS = 180_000


class IdempotentProducer(Client):
    def __init__(self, assignment: Assignment) -> None:
        super().__init__(assignment)
        self._number = 0
        self._incarnations = 0
        self._producer = self._new_producer()

    def _new_producer(self) -> Producer:
        self._incarnations += 1
        return Producer(
            self.settings(
                **{
                    "enable.idempotence": True,
                    "acks": "all",
                    "linger.ms": 5,
                    "batch.num.messages": 20,
                    "queue.buffering.max.messages": _QUEUED_MAX,
                    "message.timeout.ms": _PATIENCE_MS,
                    "request.timeout.ms": 4_000,
                }
            )
        )

    def run(self) -> int:
        began = time.monotonic()
        due = 0.0
        for topic, partition in cycle(self.assignment.partitions):
            while not self.stopping and due > (time.monotonic() - began) * self.assignment.rate:
                self._poll()
            if self.stopping:
                break
            due += 1
            if not self._send(topic, partition):
                # The queue is full: what was due meanwhile is not made up for.
                due = (time.monotonic() - began) * self.assignment.rate
                self._poll()
        left = 0
        with contextlib.suppress(KafkaException):
            left = self._producer.flush(_FLUSH_S)
        if left:
            self.found(f"{left} records were neither acknowledged nor given up in {_FLUSH_S:.0f} s")
        return 0

    def _send(self, topic: str, partition: int) -> bool:
        self._number += 1
        send = Send(
            process=self.process,
            begun=time.monotonic(),
            ended=None,
            topic=topic,
            partition=partition,
            value=f"{self.process}:{self._number}",
            outcome="unknown",
            producer=f"{self.process}#{self._incarnations}",
            sequence=self._number,
        )
        self.history.write(send)
        try:
            self._producer.produce(topic, send.value, partition=partition, on_delivery=self._noting(send))
        except BufferError:
            self.history.write(replace(send, ended=time.monotonic(), outcome="failed"))
            return False
        except KafkaException:
            self.history.write(replace(send, ended=time.monotonic(), outcome="failed"))
            self._replace()
        return True

    def _poll(self) -> None:
        try:
            self._producer.poll(_TICK_S)
        except KafkaException:
            self._replace()

    def _replace(self) -> None:
        """An idempotent producer that fell out of step with a broker is past use; another one goes on."""
        dead, self._producer = self._producer, self._new_producer()
        dead.purge()
        with contextlib.suppress(KafkaException):
            dead.poll(0)

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
