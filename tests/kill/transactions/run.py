"""The kill test with transactions: broker, filler, workers, what is done to them, and what is left at the end.

The seed decides what is done to whom and when; what clients and kernel make of it is not in our hands.
"""

from __future__ import annotations

import json
import logging
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from confluent_kafka import Consumer, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

from tests import java_programs
from tests.broker_process import REPOSITORY, BrokerProcess, die_with_parent
from tests.kill.run import DEADLINE_S, Writer, read_everything
from tests.kill.transactions.history import Output, Place, TransactionHistory, Visible
from tests.kill.transactions.worker import GROUP, INPUT, OUTPUTS, Assignment

PARTITIONS = 6
WORKERS = 3
JAVA_WORKER = "worker-0"
# Some three hundred records a second, which the workers keep up with.
INPUT_RECORDS_PER_ROUND = 4
INPUT_PAUSE_S = 0.012
ABANDONED_TIMEOUT_MS = 2_000
# How long the end of all transactions may take once nobody begins one any more.
SETTLE_DEADLINE_S = 60.0

OVERRIDES: dict[str, str | int] = {
    "group.initial.rebalance.delay.ms": 100,
    "group.min.session.timeout.ms": 1_000,
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": 500,
    # Small segments of the internal topics and a busy cleaner: state is restored from compacted logs too.
    "offsets.topic.segment.bytes": 1 << 20,
    "transaction.state.log.segment.bytes": 1 << 20,
    "log.segment.bytes": 1 << 20,
    "log.cleaner.backoff.ms": 500,
}

_SILENT = logging.getLogger("tests.kill.transactions.clients")
_SILENT.disabled = True


@dataclass(frozen=True)
class Plan:
    """How often the broker is killed, the seed of what is decided here, and the command of another broker."""

    kills: int
    seed: int
    command: Sequence[str] | None = None
    # Between two kills, at least and at most.
    pause_s: tuple[float, float] = (0.5, 4.0)
    settle_deadline_s: float = SETTLE_DEADLINE_S
    # With the class path of ``tests.java_programs`` the first worker is one of Apache Kafka's own client.
    java_class_path: str | None = None


def faulty_command(fault: str) -> list[str]:
    """The command of kbroker with one of ``faulty_broker.FAULTS`` planted."""
    return [sys.executable, "-m", "tests.kill.transactions.faulty_broker", fault, "serve"]


class WorkerProcess:
    """One life of a worker; ``expected`` once something was done to it that may end it."""

    def __init__(
        self, assignment: Assignment, history: TransactionHistory, java_class_path: str | None = None
    ) -> None:
        self.assignment = assignment
        command = [sys.executable, "-m", "tests.kill.transactions.worker", json.dumps(asdict(assignment))]
        if java_class_path is not None:
            arguments = [str(value) for value in asdict(assignment).values()]
            command = [*java_programs.command(java_class_path, "TransformingWorker"), *arguments]
        self.expected = False
        self._history = history
        self._process = subprocess.Popen(
            [*die_with_parent(), *command],
            cwd=REPOSITORY,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._errors: list[str] = []
        assert self._process.stdout is not None and self._process.stderr is not None
        self._threads = [
            threading.Thread(target=self._note, args=(self._process.stdout,), daemon=True),
            threading.Thread(target=self._errors.extend, args=(self._process.stderr,), daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def _note(self, lines: IO[str]) -> None:
        ends = {"committed": self._history.committed, "aborted": self._history.aborted}
        for line in lines:
            # A killed process may leave half a line.
            if line.endswith("\n"):
                outcome, transaction = line.split()
                ends[outcome].add(transaction)

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def signal(self, number: signal.Signals) -> None:
        if self.running:
            self._process.send_signal(number)

    def kill(self) -> None:
        self.expected = True
        self._process.kill()
        self.finish()

    def finish(self) -> int:
        """Wait for its end; the exit code. One that was not expected to end is noted."""
        code = self._process.wait(DEADLINE_S)
        for thread in self._threads:
            thread.join(DEADLINE_S)
        for stream in (self._process.stdout, self._process.stderr):
            assert stream is not None
            stream.close()
        if code != 0 and not self.expected:
            last = " ".join(self._errors).strip()[-600:]
            self._history.unexpected.append(
                f"worker: {self.assignment.transactional_id}, life {self.assignment.life}, ended with {code}: {last}"
            )
        return code


class Workshop:
    """The workers: one running for each transactional id, and the zombies of earlier lives."""

    def __init__(
        self,
        bootstrap_servers: str,
        chance: random.Random,
        history: TransactionHistory,
        java_class_path: str | None = None,
    ) -> None:
        self._bootstrap_servers = bootstrap_servers
        self._java_class_path = java_class_path
        self._chance = chance
        self._history = history
        self._lives = 0
        self._zombies: list[WorkerProcess] = []
        self._current = [self._new(f"worker-{number}") for number in range(WORKERS)]

    def _new(self, transactional_id: str) -> WorkerProcess:
        self._lives += 1
        assignment = Assignment(
            self._bootstrap_servers,
            transactional_id,
            self._lives,
            PARTITIONS,
            self._chance.randrange(1 << 30),
        )
        java = self._java_class_path if transactional_id == JAVA_WORKER else None
        return WorkerProcess(assignment, self._history, java)

    def kill_one(self) -> None:
        """``kill -9``, mostly in the middle of a transaction; the next life aborts it."""
        number = self._chance.randrange(WORKERS)
        self._current[number].kill()
        self._replace(number)

    def make_zombie(self) -> None:
        """Stop one in mid-air and give its transactional id to another; it wakes up later, fenced."""
        number = self._chance.randrange(WORKERS)
        zombie = self._current[number]
        zombie.expected = True
        zombie.signal(signal.SIGSTOP)
        self._zombies.append(zombie)
        self._replace(number)

    def wake_zombies(self) -> None:
        for zombie in self._zombies:
            zombie.signal(signal.SIGCONT)

    def leave_one(self) -> None:
        """A worker that leaves in good order, and comes back as another."""
        number = self._chance.randrange(WORKERS)
        leaving = self._current[number]
        leaving.signal(signal.SIGTERM)
        self._zombies.append(leaving)
        # The new one may well be there before the old one has finished its last transaction.
        leaving.expected = True
        self._replace(number)

    def restart_ended(self) -> None:
        """A worker whose client gave up is started again, as a service manager would."""
        for number, worker in enumerate(self._current):
            if not worker.running:
                worker.finish()
                self._replace(number)

    def _replace(self, number: int) -> None:
        self._current[number] = self._new(self._current[number].assignment.transactional_id)

    def close(self) -> None:
        self.wake_zombies()
        everybody = [*self._current, *self._zombies]
        for worker in everybody:
            worker.signal(signal.SIGTERM)
        for worker in everybody:
            worker.finish()

    def abort(self) -> None:
        """End all of them by force, whatever state the test is in."""
        for worker in (*self._current, *self._zombies):
            worker.kill()


class Watcher(threading.Thread):
    """A read_committed reader of the outputs that looks on all the time."""

    def __init__(self, bootstrap_servers: str, history: TransactionHistory) -> None:
        super().__init__(name="watcher", daemon=True)
        self._consumer = _reader(bootstrap_servers)
        self._history = history
        self._stopping = threading.Event()

    def run(self) -> None:
        self._consumer.assign(_outputs(0))
        while not self._stopping.is_set():
            self._history.seen += visible(self._consumer.consume(500, 0.1))
        self._consumer.close()

    def finish(self) -> None:
        self._stopping.set()
        self.join(DEADLINE_S)


def run(plan: Plan, directory: Path) -> TransactionHistory:
    """Carry out ``plan`` on a new broker in ``directory``."""
    chance = random.Random(plan.seed)
    history = TransactionHistory()
    with BrokerProcess(directory, overrides=OVERRIDES, command=plan.command).start() as broker:
        server = broker.bootstrap_server
        _create_topics(server)
        writer = Writer(
            server,
            history.input,
            topic=INPUT,
            partitions=PARTITIONS,
            records_per_round=INPUT_RECORDS_PER_ROUND,
            pause_s=INPUT_PAUSE_S,
        )
        writer.start()
        watcher = Watcher(server, history)
        watcher.start()
        workshop = Workshop(server, chance, history, plan.java_class_path)
        try:
            for number in range(plan.kills):
                time.sleep(chance.uniform(*plan.pause_s))
                _trouble(chance, workshop, server, history, number)
                broker.kill()
                time.sleep(chance.choice((0.0, chance.uniform(0.0, 1.0))))
                broker.start()
                workshop.restart_ended()
            time.sleep(0.5)
            writer.finish()
            _await_input_consumed(server, workshop, plan.settle_deadline_s)
            workshop.close()
        finally:
            workshop.abort()
        history.hanging = _await_stable_ends(server, plan.settle_deadline_s)
        watcher.finish()
        broker.kill()
        broker.start()
        history.group_offsets = _committed(server, plan.settle_deadline_s)
        history.input.log = read_everything(server, INPUT, PARTITIONS)
        history.output = _read_output(server)
        broker.terminate()
    return history


def _trouble(
    chance: random.Random, workshop: Workshop, server: str, history: TransactionHistory, number: int
) -> None:
    """Something that goes wrong beside the broker's death, or nothing."""
    workshop.wake_zombies()
    kind = chance.random()
    if kind < 0.2:
        workshop.kill_one()
    elif kind < 0.35:
        workshop.make_zombie()
    elif kind < 0.45:
        workshop.leave_one()
    elif kind < 0.6:
        _leave_open(server, history, number)


def _create_topics(server: str) -> None:
    admin = AdminClient({"bootstrap.servers": server, "logger": _SILENT})
    topics = [NewTopic(topic, PARTITIONS, 1) for topic in (INPUT, *OUTPUTS)]
    for created in admin.create_topics(topics).values():
        created.result(DEADLINE_S)


def _leave_open(server: str, history: TransactionHistory, number: int) -> None:
    """A transaction whose producer vanishes: the broker has to notice by itself."""
    transaction = f"abandoned-{number}-1"
    producer = Producer(
        {
            "bootstrap.servers": server,
            "transactional.id": f"abandoned-{number}",
            "transaction.timeout.ms": ABANDONED_TIMEOUT_MS,
            "logger": _SILENT,
        }
    )
    try:
        producer.init_transactions(10.0)
        producer.begin_transaction()
        for topic in OUTPUTS:
            for partition in range(PARTITIONS):
                output = Output(-1, transaction, 2 * PARTITIONS)
                producer.produce(topic, output.encode(), partition=partition)
        producer.flush(5.0)
    except KafkaException:
        return  # the broker was too busy coming up; nothing is left open then, or it is
    finally:
        history.left_open.add(transaction)


def _outputs(offset: int | None = None) -> list[TopicPartition]:
    return [
        TopicPartition(topic, partition) if offset is None else TopicPartition(topic, partition, offset)
        for topic in OUTPUTS
        for partition in range(PARTITIONS)
    ]


def _reader(server: str, **settings: Any) -> Consumer:
    return Consumer(
        {
            "bootstrap.servers": server,
            "group.id": "watcher",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "enable.partition.eof": False,
            "reconnect.backoff.ms": 20,
            "reconnect.backoff.max.ms": 100,
            "logger": _SILENT,
            **settings,
        }
    )


def visible(messages: Sequence[Message]) -> Iterator[Visible]:
    """The records among the messages."""
    for message in messages:
        if message.error() is None:
            topic, partition, offset, value = (
                message.topic(),
                message.partition(),
                message.offset(),
                message.value(),
            )
            assert topic is not None and partition is not None and offset is not None
            assert isinstance(value, bytes)
            yield Visible(Place(topic, partition, offset), Output.decode(value))


def _await_input_consumed(server: str, workshop: Workshop, deadline_s: float) -> None:
    """Wait until the group has committed the end of the input, or nothing has moved for the deadline."""
    consumer = _reader(server, **{"group.id": GROUP})
    ends = {
        partition: consumer.get_watermark_offsets(TopicPartition(INPUT, partition), timeout=DEADLINE_S)[1]
        for partition in range(PARTITIONS)
    }
    consumer.close()
    moved, last = time.monotonic(), dict[int, int]()
    while (now := _committed(server, deadline_s)) != ends and time.monotonic() < moved + deadline_s:
        if now != last:
            moved, last = time.monotonic(), now
        workshop.restart_ended()
        time.sleep(0.2)


def _committed(server: str, deadline_s: float) -> dict[int, int]:
    """The group's committed offsets by input partition; empty where some stay pending until the deadline."""
    consumer = _reader(server, **{"group.id": GROUP})
    wanted = [TopicPartition(INPUT, partition) for partition in range(PARTITIONS)]
    deadline = time.monotonic() + deadline_s
    try:
        while time.monotonic() < deadline:
            try:
                found = consumer.committed(wanted, timeout=5.0)
            except KafkaException:
                # The coordinator is still loading, or an open transaction has offsets pending.
                time.sleep(0.1)
            else:
                return {partition.partition: partition.offset for partition in found if partition.offset >= 0}
        return {}
    finally:
        consumer.close()


def _ends(server: str) -> dict[tuple[str, int], tuple[int, int]]:
    """Last stable offset and end of every output partition."""
    found: dict[tuple[str, int], list[int]] = {}
    for isolation in ("read_committed", "read_uncommitted"):
        consumer = _reader(server, **{"isolation.level": isolation})
        for partition in _outputs():
            _, end = consumer.get_watermark_offsets(partition, timeout=DEADLINE_S)
            found.setdefault((partition.topic, partition.partition), []).append(end)
        consumer.close()
    return {partition: (stable, end) for partition, (stable, end) in found.items()}


def _await_stable_ends(server: str, deadline_s: float) -> dict[tuple[str, int], tuple[int, int]]:
    """Wait until no transaction is open any more; the partitions where one stays open past the deadline."""
    deadline = time.monotonic() + deadline_s
    while True:
        open_ones = {place: ends for place, ends in _ends(server).items() if ends[0] != ends[1]}
        if not open_ones or time.monotonic() > deadline:
            return open_ones
        time.sleep(0.2)


def _read_output(server: str) -> list[Visible]:
    """Everything that read_committed gives, up to the last stable offset of every output partition."""
    ends = {place: stable for place, (stable, _) in _ends(server).items()}
    consumer = _reader(server, **{"enable.partition.eof": False})
    consumer.assign(_outputs(0))
    found: list[Visible] = []
    deadline = time.monotonic() + DEADLINE_S
    while any(_position(consumer, place) < end for place, end in ends.items()):
        found += visible(consumer.consume(5_000, 0.2))
        assert time.monotonic() < deadline, f"{len(found)} output records could be read, up to {ends}"
    consumer.close()
    return found


def _position(consumer: Consumer, place: tuple[str, int]) -> int:
    (found,) = consumer.position([TopicPartition(*place)])
    return max(found.offset, 0)
