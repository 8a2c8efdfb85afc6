"""Consumer groups: joining, rebalances, static members, commits, sessions that end."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

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

CONFLUENT, KAFKA_PYTHON, AIOKAFKA = ConfluentClient(), KafkaPythonClient(), AiokafkaClient()
EARLIEST: dict[str, Setting] = {"auto.offset.reset": "earliest"}
# The clients' default is three seconds, which the case with all of them together keeps.
QUICK: dict[str, Setting] = {**EARLIEST, "heartbeat.interval.ms": 300}


class Group:
    """Members of one group, polled in turn by one thread; keeps every record that any of them got."""

    def __init__(self, topic: str, partitions: int) -> None:
        self.topic = topic
        self.partitions = {TopicPartition(topic, index) for index in range(partitions)}
        self.members: list[Consumer] = []
        self.records: list[Consumed] = []

    def join(self, consumer: Consumer) -> Consumer:
        consumer.subscribe(self.topic)
        self.members.append(consumer)
        return consumer

    def leave(self, consumer: Consumer) -> None:
        self.members.remove(consumer)
        consumer.close()

    def poll(self) -> None:
        for member in self.members:
            self.records += member.poll(0.1)

    def settle(self, deadline_s: float = 40.0) -> list[set[TopicPartition]]:
        """Poll until every partition has one owner and every member has some, for three rounds in a row."""
        deadline = time.monotonic() + deadline_s
        settled_rounds = 0
        while settled_rounds < 3:
            self.poll()
            owned = [member.assignment() for member in self.members]
            together = sum(map(len, owned))
            fits = all(owned) and together == len(self.partitions) and set().union(*owned) == self.partitions
            settled_rounds = settled_rounds + 1 if fits else 0
            assert time.monotonic() < deadline, f"the group did not settle: {owned}"
        return owned

    def await_values(self, expected: set[bytes], deadline_s: float = 30.0) -> None:
        deadline = time.monotonic() + deadline_s
        while missing := expected - {record.value for record in self.records if record.value is not None}:
            self.poll()
            assert time.monotonic() < deadline, f"{len(missing)} records never came, e.g. {sorted(missing)[:5]}"


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
        first.commit()
        assert [first.committed(partition) for partition in sorted(group.partitions)] == [150] * 6


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

    def member(instance_id: str) -> Consumer:
        return client.consumer(bootstrap_server, group_id, {**QUICK, "group.instance.id": instance_id})

    group.join(member("one"))
    group.settle()
    second = group.join(member("two"))
    first_owns, second_owns = group.settle()
    assert admin.describe_group(group_id).instance_ids == {"one", "two"}

    group.leave(second)
    # A static member that closes stays in the group until its session ends.
    described = admin.describe_group(group_id)
    assert (described.state, described.instance_ids) == ("Stable", {"one", "two"})

    group.join(member("two"))
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

    def fenced() -> str:
        group.poll()
        try:
            first.poll(0.05)
        except KafkaFailure as failure:
            return str(failure)
        return ""

    try:
        assert "fenced" in poll_until(fenced, bool, what="the first member's error")
    finally:
        first.close()
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
            stack.enter_context(client.consumer(bootstrap_server, unique_name("apart"), QUICK)) for _ in range(3)
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
            group.poll()
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
        members = [CONFLUENT.consumer(broker.bootstrap_server, group_id, QUICK) for _ in range(2)]
        for member in members:
            stack.callback(member.close)
            member.subscribe(topic)
        started = time.monotonic()

        def owned() -> list[int]:
            for member in members:
                member.poll(0.05)
            return [len(member.assignment()) for member in members]

        # Both are in the first generation: neither ever owns all four partitions.
        first_seen = poll_until(owned, any)
        # The delay starts anew once, for the member that came within the first one.
        assert 2.5 <= time.monotonic() - started <= 8.0
        assert max(first_seen) <= 2
        poll_until(owned, lambda counts: counts == [2, 2])

        third = CONFLUENT.consumer(broker.bootstrap_server, group_id, QUICK)
        stack.callback(third.close)
        third.subscribe(topic)

        def refused() -> str:
            owned()
            try:
                third.poll(0.05)
            except KafkaFailure as failure:
                return failure.name
            return ""

        assert poll_until(refused, bool) == "GROUP_MAX_SIZE_REACHED"
