"""Consumer groups: joining, rebalances, static members, commits, sessions that end."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from typing import TypeVar

import pytest

from tests.broker_process import REPOSITORY, BrokerProcess
from tests.e2e.clients.asyncio_kafka import AiokafkaClient
from tests.e2e.clients.confluent import ConfluentAdmin, ConfluentClient
from tests.e2e.clients.interface import (
    Client,
    Consumed,
    Consumer,
    KafkaFailure,
    Message,
    Setting,
    TopicPartition,
    consume,
    poll_until,
)
from tests.e2e.clients.kafka_python import KafkaPythonClient

NewTopic = Callable[..., str]
Numbered = Callable[..., list[Message]]
UniqueName = Callable[[str], str]
StartBroker = Callable[..., BrokerProcess]

ValueT = TypeVar("ValueT")

CONFLUENT, KAFKA_PYTHON, AIOKAFKA = ConfluentClient(), KafkaPythonClient(), AiokafkaClient()
EARLIEST: dict[str, Setting] = {"auto.offset.reset": "earliest"}
# The clients' default is three seconds, which the case with all of them together keeps.
QUICK: dict[str, Setting] = {**EARLIEST, "heartbeat.interval.ms": 300}


class Member:
    """A consumer that a thread of its own polls all the time, as applications do.

    Members that one thread polls in turn would keep one another waiting in a rebalance; two of kafka-python's never
    come to an end of it.
    """

    def __init__(self, consumer: Consumer, topic: str) -> None:
        self.records: list[Consumed] = []
        self.owned: set[TopicPartition] = set()
        self.failure: KafkaFailure | None = None
        self._consumer = consumer
        self._calls: SimpleQueue[tuple[Callable[[Consumer], object], Future[object]]] = SimpleQueue()
        self._leaving = threading.Event()
        consumer.subscribe(topic)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def call(self, function: Callable[[Consumer], ValueT]) -> ValueT:
        """Let the member's thread, which alone may use the consumer, call the function with it."""
        answer: Future[object] = Future()
        self._calls.put((function, answer))
        return answer.result(60.0)  # type: ignore[return-value]

    def leave(self) -> None:
        self._leaving.set()
        self._thread.join(60.0)
        assert not self._thread.is_alive(), "the consumer did not close"

    def _run(self) -> None:
        try:
            while not self._leaving.is_set() and self.failure is None:
                try:
                    self.records += self._consumer.poll(0.2)
                except KafkaFailure as failure:
                    self.failure = failure
                self.owned = self._consumer.assignment()
                self._answer_calls()
        finally:
            self._consumer.close()

    def _answer_calls(self) -> None:
        with contextlib.suppress(Empty):
            while True:
                function, answer = self._calls.get_nowait()
                try:
                    answer.set_result(function(self._consumer))
                except BaseException as error:
                    answer.set_exception(error)


class Group:
    """The members of one group, and every record that any of them got, also those that left."""

    def __init__(self, topic: str, partitions: int) -> None:
        self.topic = topic
        self.partitions = {TopicPartition(topic, index) for index in range(partitions)}
        self.members: list[Member] = []
        self._everybody: list[Member] = []

    def join(self, consumer: Consumer) -> Member:
        member = Member(consumer, self.topic)
        self.members.append(member)
        self._everybody.append(member)
        return member

    def leave(self, member: Member) -> None:
        self.members.remove(member)
        member.leave()

    def settle(self, deadline_s: float = 40.0) -> list[set[TopicPartition]]:
        """Wait until every partition has one owner and every member has some; who owns what."""

        def owned() -> list[set[TopicPartition]]:
            failures = [member.failure for member in self.members if member.failure is not None]
            assert not failures, failures
            return [member.owned for member in self.members]

        def fits(owned: list[set[TopicPartition]]) -> bool:
            together = set().union(*owned)
            return all(owned) and sum(map(len, owned)) == len(together) and together == self.partitions

        return poll_until(owned, fits, deadline_s=deadline_s, what="an assignment of all partitions")

    def await_values(self, expected: set[bytes], deadline_s: float = 30.0) -> None:
        """Wait until the members have got all of these values between them."""

        def missing() -> list[bytes]:
            got = {record.value for member in self._everybody for record in member.records}
            return sorted(expected - got)

        poll_until(missing, lambda values: not values, deadline_s=deadline_s, what="every record")


@pytest.fixture
def group_of(new_topic: NewTopic) -> Iterator[Callable[[int], Group]]:
    """Makes groups whose members are closed at the end of the case."""
    groups: list[Group] = []

    def make(partitions: int) -> Group:
        groups.append(Group(new_topic(partitions), partitions))
        return groups[-1]

    yield make
    for group in groups:
        for member in list(group.members):
            group.leave(member)


def values(messages: Sequence[Message]) -> set[bytes]:
    return {message.value for message in messages if message.value is not None}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("library", "strategy"),
    [
        (CONFLUENT, "range"),
        (CONFLUENT, "roundrobin"),
        (CONFLUENT, "cooperative-sticky"),
        (KAFKA_PYTHON, "range"),
        (KAFKA_PYTHON, "sticky"),
        (KAFKA_PYTHON, "cooperative-sticky"),
        (AIOKAFKA, "roundrobin"),
        (AIOKAFKA, "sticky"),
    ],
    ids=lambda one: one if isinstance(one, str) else one.name,
)
def test_partitions_move_and_nothing_is_lost(
    library: Client,
    strategy: str,
    bootstrap_server: str,
    group_of: Callable[[int], Group],
    unique_name: UniqueName,
    numbered: Numbered,
) -> None:
    group = group_of(6)
    group_id = unique_name("moving")
    settings = {**QUICK, "partition.assignment.strategy": strategy}
    sent = numbered(900, partitions=6)
    with library.producer(bootstrap_server) as producer:
        first = group.join(library.consumer(bootstrap_server, group_id, settings))
        producer.send(group.topic, sent[:300])
        assert group.settle() == [group.partitions]

        second = group.join(library.consumer(bootstrap_server, group_id, settings))
        producer.send(group.topic, sent[300:600])
        assert sorted(map(len, group.settle())) == [3, 3]

        group.leave(second)
        producer.send(group.topic, sent[600:])
        assert group.settle() == [group.partitions]
        group.await_values(values(sent))
        first.call(lambda consumer: consumer.commit())
        committed = [
            first.call(lambda consumer, asked=partition: consumer.committed(asked))  # type: ignore[misc]
            for partition in sorted(group.partitions)
        ]
        assert committed == [150] * 6


@pytest.mark.slow
def test_clients_of_all_libraries_share_a_group_with_default_settings(
    bootstrap_server: str,
    admin: ConfluentAdmin,
    group_of: Callable[[int], Group],
    unique_name: UniqueName,
    numbered: Numbered,
) -> None:
    group = group_of(6)
    group_id = unique_name("mixed")
    sent = numbered(600, partitions=6)
    for library in (CONFLUENT, KAFKA_PYTHON, AIOKAFKA):
        group.join(library.consumer(bootstrap_server, group_id, EARLIEST))
        group.settle()
    with CONFLUENT.producer(bootstrap_server) as producer:
        producer.send(group.topic, sent[:300])
        assert list(map(len, group.settle())) == [2, 2, 2]
        # roundrobin is the only assignor that all three offer unasked.
        described = admin.describe_group(group_id)
        assert (described.state, described.protocol) == ("Stable", "roundrobin")
        assert sorted(map(len, described.assignments.values())) == [2, 2, 2]
        producer.send(group.topic, sent[300:])
        group.await_values(values(sent))


@pytest.mark.slow
def test_static_member_comes_back_to_its_partitions_without_a_rebalance(
    client: Client,
    bootstrap_server: str,
    admin: ConfluentAdmin,
    group_of: Callable[[int], Group],
    unique_name: UniqueName,
    numbered: Numbered,
) -> None:
    group = group_of(4)
    group_id = unique_name("static")

    def consumer(instance_id: str) -> Consumer:
        return client.consumer(bootstrap_server, group_id, {**QUICK, "group.instance.id": instance_id})

    group.join(consumer("one"))
    group.settle()
    second = group.join(consumer("two"))
    first_owns, second_owns = group.settle()
    assert admin.describe_group(group_id).instance_ids == {"one", "two"}

    group.leave(second)
    # A static member that closes stays in the group until its session ends.
    described = admin.describe_group(group_id)
    assert described.state == "Stable"
    assert described.instance_ids == {"one", "two"}

    group.join(consumer("two"))
    assert group.settle() == [first_owns, second_owns]
    sent = numbered(40, partitions=4)
    with client.producer(bootstrap_server) as producer:
        producer.send(group.topic, sent)
    group.await_values(values(sent))


@pytest.mark.slow
def test_second_owner_of_an_instance_id_fences_the_first(
    bootstrap_server: str, group_of: Callable[[int], Group], unique_name: UniqueName
) -> None:
    group = group_of(2)
    group_id = unique_name("fenced")
    settings: Mapping[str, Setting] = {**QUICK, "group.instance.id": "the-one"}
    first = group.join(CONFLUENT.consumer(bootstrap_server, group_id, settings))
    group.settle()
    group.members.remove(first)
    group.join(CONFLUENT.consumer(bootstrap_server, group_id, settings))
    failure = poll_until(lambda: first.failure, bool, what="the first member's error")
    assert "fenced" in str(failure)
    first.leave()
    assert group.settle() == [group.partitions]


def test_committed_offset_is_where_the_next_member_resumes(
    client: Client, bootstrap_server: str, new_topic: NewTopic, unique_name: UniqueName, numbered: Numbered
) -> None:
    topic, group_id = new_topic(), unique_name("resuming")
    partition = TopicPartition(topic, 0)
    with client.producer(bootstrap_server) as producer:
        producer.send(topic, numbered(50))
        with client.consumer(bootstrap_server, group_id, QUICK) as consumer:
            consumer.subscribe(topic)
            assert len(consume(consumer, 50)) == 50
            consumer.commit()
            assert consumer.committed(partition) == 50
        producer.send(topic, numbered(50, first=50))
        with client.consumer(bootstrap_server, group_id, QUICK) as consumer:
            consumer.subscribe(topic)
            assert [int(record.value or b"-1") for record in consume(consumer, 50)] == list(range(50, 100))


def test_closing_commits_what_was_read(
    client: Client, bootstrap_server: str, new_topic: NewTopic, unique_name: UniqueName, numbered: Numbered
) -> None:
    topic, group_id = new_topic(), unique_name("closing")
    with client.producer(bootstrap_server) as producer:
        producer.send(topic, numbered(20))
    with client.consumer(bootstrap_server, group_id, QUICK) as consumer:
        consumer.subscribe(topic)
        assert len(consume(consumer, 20)) == 20
    with client.admin(bootstrap_server) as admin:
        assert admin.group_offsets(group_id) == {TopicPartition(topic, 0): 20}


def test_groups_do_not_disturb_one_another(
    client: Client, bootstrap_server: str, new_topic: NewTopic, unique_name: UniqueName, numbered: Numbered
) -> None:
    topic = new_topic()
    with client.producer(bootstrap_server) as producer:
        producer.send(topic, numbered(30))
    with contextlib.ExitStack() as stack:
        consumers = [
            stack.enter_context(client.consumer(bootstrap_server, unique_name("apart"), QUICK))
            for _ in range(3)
        ]
        for consumer in consumers:
            consumer.subscribe(topic)
        for consumer in consumers:
            assert [int(record.value or b"-1") for record in consume(consumer, 30)] == list(range(30))


@pytest.mark.slow
def test_killed_member_loses_its_partitions_when_its_session_ends(
    bootstrap_server: str,
    external_bootstrap_server: str | None,
    admin: ConfluentAdmin,
    group_of: Callable[[int], Group],
    unique_name: UniqueName,
    numbered: Numbered,
) -> None:
    # A broker that the tests did not start has Kafka's lower bound of six seconds.
    session_timeout_ms = 1_500 if external_bootstrap_server is None else 6_000
    settings = {**QUICK, "session.timeout.ms": session_timeout_ms}
    group = group_of(4)
    group_id = unique_name("killed")
    group.join(CONFLUENT.consumer(bootstrap_server, group_id, settings))
    doomed = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys, confluent_kafka as kafka\n"
            "consumer = kafka.Consumer({'bootstrap.servers': sys.argv[1], 'group.id': sys.argv[2],"
            " 'session.timeout.ms': int(sys.argv[4]), 'heartbeat.interval.ms': 300})\n"
            "consumer.subscribe([sys.argv[3]])\n"
            "while True: consumer.poll(0.1)\n",
            bootstrap_server,
            group_id,
            group.topic,
            str(session_timeout_ms),
        ],
        cwd=REPOSITORY,
    )
    try:

        def shared() -> list[int]:
            return sorted(map(len, admin.describe_group(group_id).assignments.values()))

        poll_until(shared, lambda counts: counts == [2, 2], deadline_s=40.0)
    finally:
        doomed.kill()
        doomed.wait()
    assert group.settle() == [group.partitions]
    sent = numbered(40, partitions=4)
    with CONFLUENT.producer(bootstrap_server) as producer:
        producer.send(group.topic, sent)
    group.await_values(values(sent))


@pytest.mark.slow
def test_subscription_by_pattern_takes_in_a_new_topic(
    bootstrap_server: str, admin: ConfluentAdmin, unique_name: UniqueName
) -> None:
    stem = unique_name("pattern")
    admin.create_topic(f"{stem}-one")
    settings = {**QUICK, "topic.metadata.refresh.interval.ms": 300}
    with (
        CONFLUENT.producer(bootstrap_server) as producer,
        CONFLUENT.consumer(bootstrap_server, unique_name("pattern"), settings) as consumer,
    ):
        consumer.subscribe(f"^{stem}-.*")
        producer.send(f"{stem}-one", [Message(b"1")])
        assert [record.value for record in consume(consumer, 1)] == [b"1"]
        admin.create_topic(f"{stem}-two")
        producer.send(f"{stem}-two", [Message(b"2")])
        assert [record.topic for record in consume(consumer, 1)] == [f"{stem}-two"]


@pytest.mark.slow
def test_new_partitions_reach_the_members(
    bootstrap_server: str, admin: ConfluentAdmin, group_of: Callable[[int], Group], unique_name: UniqueName
) -> None:
    group = group_of(1)
    settings = {**QUICK, "topic.metadata.refresh.interval.ms": 300}
    group.join(CONFLUENT.consumer(bootstrap_server, unique_name("growing"), settings))
    group.settle()
    admin.create_partitions(group.topic, 3)
    group.partitions = {TopicPartition(group.topic, index) for index in range(3)}
    group.settle()
    with CONFLUENT.producer(bootstrap_server) as producer:
        producer.send(group.topic, [Message(b"%d" % index, partition=index) for index in range(3)])
    group.await_values({b"0", b"1", b"2"})


@pytest.mark.slow
def test_first_rebalance_waits_for_members_and_a_full_group_takes_no_more(
    start_broker: StartBroker, unique_name: UniqueName
) -> None:
    # Kafka's default delay before a new group's first rebalance is three seconds.
    broker = start_broker(overrides={"group.max.size": 2}).start()
    topic, group_id = "together", unique_name("together")
    with CONFLUENT.admin(broker.bootstrap_server) as admin, contextlib.ExitStack() as stack:
        admin.create_topic(topic, 4)
        # The offsets topic is made at the first use of a group, which would blur the measured delay.
        with CONFLUENT.consumer(broker.bootstrap_server, unique_name("early"), QUICK) as early:
            early.subscribe(topic)
            poll_until(lambda: (early.poll(0.05), early.assignment())[1], bool)
        members = [
            Member(CONFLUENT.consumer(broker.bootstrap_server, group_id, QUICK), topic) for _ in range(2)
        ]
        for member in members:
            stack.callback(member.leave)
        started = time.monotonic()

        def owned() -> list[int]:
            return [len(member.owned) for member in members]

        # Both are in the first generation: neither ever owns all four partitions.
        first_seen = poll_until(owned, any)
        # The delay starts anew once, for the member that came within the first one.
        assert 2.5 <= time.monotonic() - started <= 8.0
        assert max(first_seen) <= 2
        poll_until(owned, lambda counts: counts == [2, 2])

        third = Member(CONFLUENT.consumer(broker.bootstrap_server, group_id, QUICK), topic)
        stack.callback(third.leave)
        failure = poll_until(lambda: third.failure, bool)
        assert failure is not None and failure.name == "GROUP_MAX_SIZE_REACHED"
