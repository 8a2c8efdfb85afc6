"""The kill test itself: clients, killer, and the reading of what is left at the end.

Everything that is random comes from the seed: when the broker is killed, how long it stays down, and when the group
consumer is replaced. What the clients and the kernel make of that is not in our hands, so a seed names a run of
the killer, not of the broker.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from tests.broker_process import BrokerProcess
from tests.kill.history import Commit, History, Place, Seen, Session

TOPIC = "kill"
GROUP = "readers"
PARTITIONS = 4
RECORDS_PER_ROUND = 100
# Many small requests keep the broker busy, so that a kill has something to interrupt: an append whose answer
# never arrives is what makes an idempotent producer send a batch again.
RECORDS_PER_BATCH = 2
QUEUED_RECORDS_MAX = 4_000
ROUND_S = 0.01
COMMIT_EVERY = 200
DEADLINE_S = 120.0

# That the broker is down every second is no news.
_SILENT = logging.getLogger("tests.kill.clients")
_SILENT.disabled = True


@dataclass(frozen=True)
class Plan:
    """How often the broker is killed, and the seed of the killer's choices."""

    kills: int
    seed: int


class Writer(threading.Thread):
    """An idempotent producer with acks=all that never stops while the broker dies under it."""

    def __init__(
        self,
        bootstrap: str,
        history: History,
        *,
        topic: str = TOPIC,
        partitions: int = PARTITIONS,
        records_per_round: int = RECORDS_PER_ROUND,
        pause_s: float = 0.0,
    ) -> None:
        super().__init__(name="writer", daemon=True)
        self._history = history
        self._topic, self._partitions = topic, partitions
        self._records_per_round, self._pause_s = records_per_round, pause_s
        self._stopping = threading.Event()
        self._producer = Producer(
            {
                "bootstrap.servers": bootstrap,
                "enable.idempotence": True,
                "acks": "all",
                "linger.ms": 0,
                "batch.num.messages": RECORDS_PER_BATCH,
                # What waits here at the end is sent two by two, each pair waiting for the disk.
                "queue.buffering.max.messages": QUEUED_RECORDS_MAX,
                "message.timeout.ms": int(DEADLINE_S * 1000),
                "reconnect.backoff.ms": 20,
                "reconnect.backoff.max.ms": 100,
                "logger": _SILENT,
            }
        )

    def run(self) -> None:
        number = 0
        while not self._stopping.is_set():
            for _ in range(self._records_per_round):
                value, partition = b"%d" % number, number % self._partitions
                try:
                    self._producer.produce(
                        self._topic, value, partition=partition, on_delivery=self._delivered
                    )
                except BufferError:
                    break
                self._history.sent[value] = partition
                number += 1
            self._producer.poll(ROUND_S)
            time.sleep(self._pause_s)

    def _delivered(self, error: KafkaError | None, message: Message) -> None:
        value = message.value()
        assert isinstance(value, bytes)
        if error is None:
            partition, offset = message.partition(), message.offset()
            assert partition is not None and offset is not None
            self._history.acknowledged[value] = Place(partition, offset)
        else:
            self._history.refused[value] = str(error)

    def finish(self) -> None:
        """Stop sending and wait until everything is acknowledged."""
        self._stopping.set()
        self.join(DEADLINE_S)
        left = self._producer.flush(DEADLINE_S)
        assert left == 0, f"{left} records were neither acknowledged nor refused"


class _Reader(threading.Thread):
    """A consumer of the group: reads, commits now and then, and notes both."""

    def __init__(self, bootstrap: str, session: Session) -> None:
        super().__init__(name="reader", daemon=True)
        self._bootstrap_servers = bootstrap
        self._events = session.events
        self._stopping = threading.Event()
        self.failure: BaseException | None = None

    def run(self) -> None:
        consumer = Consumer(
            {
                "bootstrap.servers": self._bootstrap_servers,
                "group.id": GROUP,
                "auto.offset.reset": "earliest",
                "enable.auto.commit": False,
                "session.timeout.ms": 6000,
                "heartbeat.interval.ms": 500,
                "reconnect.backoff.ms": 20,
                "reconnect.backoff.max.ms": 100,
                "logger": _SILENT,
            }
        )
        try:
            consumer.subscribe([TOPIC])
            since_commit = 0
            while not self._stopping.is_set():
                for message in consumer.consume(100, 0.1):
                    since_commit += self._note(message)
                if since_commit >= COMMIT_EVERY:
                    since_commit = 0
                    self._commit(consumer)
        except BaseException as error:
            self.failure = error
        finally:
            consumer.close()

    def _note(self, message: Message) -> int:
        if message.error() is not None:
            return 0
        partition, offset, value = message.partition(), message.offset(), message.value()
        assert partition is not None and offset is not None and isinstance(value, bytes)
        self._events.append(Seen(Place(partition, offset), value))
        return 1

    def _commit(self, consumer: Consumer) -> None:
        try:
            committed = consumer.commit(asynchronous=False)
        except KafkaException:
            return  # the broker is down, or the group is in between: nothing was acknowledged
        for partition in committed or ():
            if partition.error is None:
                self._events.append(Commit(partition.partition, partition.offset))

    def finish(self) -> None:
        self._stopping.set()
        self.join(DEADLINE_S)
        assert not self.is_alive(), "the reader does not end"
        if self.failure is not None:
            raise self.failure


def run(plan: Plan, directory: Path) -> History:
    """Carry out ``plan`` on a new broker in ``directory``."""
    chance = random.Random(plan.seed)
    history = History()
    overrides = {"group.initial.rebalance.delay.ms": 100}
    with BrokerProcess(directory, overrides=overrides).start() as broker:
        admin = AdminClient({"bootstrap.servers": broker.bootstrap_server, "logger": _SILENT})
        admin.create_topics([NewTopic(TOPIC, PARTITIONS, 1)])[TOPIC].result(DEADLINE_S)
        writer = Writer(broker.bootstrap_server, history)
        writer.start()
        reader = _new_reader(broker, history)
        for _ in range(plan.kills):
            time.sleep(chance.uniform(0.1, 1.5))
            broker.kill()
            time.sleep(chance.choice((0.0, chance.uniform(0.0, 0.5))))
            broker.start()
            if chance.random() < 0.3:
                reader.finish()
                reader = _new_reader(broker, history)
        time.sleep(0.5)
        writer.finish()
        _await_all_read(reader, history)
        reader.finish()
        broker.kill()
        broker.start()
        history.committed = _committed(broker.bootstrap_server)
        history.log = read_everything(broker.bootstrap_server, TOPIC, PARTITIONS)
        broker.terminate()
    return history


def _new_reader(broker: BrokerProcess, history: History) -> _Reader:
    history.sessions.append(Session())
    reader = _Reader(broker.bootstrap_server, history.sessions[-1])
    reader.start()
    return reader


def _await_all_read(reader: _Reader, history: History) -> None:
    """The group keeps up: it reads the last acknowledged record of every partition, kills or not."""
    last: dict[int, int] = {}
    for partition, offset in history.acknowledged.values():
        last[partition] = max(offset, last.get(partition, -1))
    deadline = time.monotonic() + DEADLINE_S
    while last:
        seen = {event.place for event in history.sessions[-1].events if isinstance(event, Seen)}
        last = {
            partition: offset for partition, offset in last.items() if Place(partition, offset) not in seen
        }
        assert time.monotonic() < deadline, f"the group never read up to {last}"
        assert reader.is_alive(), f"the reader ended: {reader.failure}"
        time.sleep(0.05)


def _committed(bootstrap: str) -> dict[int, int]:
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": GROUP, "logger": _SILENT})
    wanted = [TopicPartition(TOPIC, partition) for partition in range(PARTITIONS)]
    found = consumer.committed(wanted, timeout=DEADLINE_S)
    consumer.close()
    return {partition.partition: partition.offset for partition in found if partition.offset >= 0}


def read_everything(bootstrap: str, topic: str, partitions: int) -> list[Seen]:
    """Every record of a topic whose offsets are dense."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "checker",
            "enable.auto.commit": False,
            "logger": _SILENT,
        }
    )
    ends = {}
    for partition in range(partitions):
        _, ends[partition] = consumer.get_watermark_offsets(
            TopicPartition(topic, partition), timeout=DEADLINE_S
        )
    consumer.assign([TopicPartition(topic, partition, 0) for partition in ends])
    log: list[Seen] = []
    deadline = time.monotonic() + DEADLINE_S
    while len(log) < sum(ends.values()):
        for message in consumer.consume(10_000, 1.0):
            partition, offset, value = message.partition(), message.offset(), message.value()
            assert partition is not None and offset is not None and isinstance(value, bytes)
            log.append(Seen(Place(partition, offset), value))
        assert time.monotonic() < deadline, f"{len(log)} of {sum(ends.values())} records could be read"
    consumer.close()
    return log
