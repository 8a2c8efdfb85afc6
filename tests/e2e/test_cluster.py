"""Three broker processes with one etcd: what clients see while brokers stop, die and come back.

How partitions are moved, elected and deleted: ``test_cluster_control.py``. A cluster in one process:
``test_local_cluster.py``.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import confluent_kafka
import pytest
from confluent_kafka.admin import AdminClient

from kbroker.coordination.partitioning import partition_for
from tests.cluster_load import Load, check_exactly_once, check_nothing_lost
from tests.cluster_processes import (
    SESSION_TIMEOUT_MS,
    ClusterProcesses,
    partitions_at,
    running_cluster,
    wait_until_whole,
)
from tests.e2e.clients.confluent import ConfluentClient
from tests.e2e.clients.interface import (
    Client,
    KafkaFailure,
    Message,
    Setting,
    TopicPartition,
    consume,
    poll_until,
)
from tests.etcd_process import EtcdCluster, running_etcd

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("kbroker_itself")]

UniqueName = Callable[[str], str]
NewTopic = Callable[..., str]
Numbered = Callable[..., list[Message]]

CLIENT = ConfluentClient()
EARLIEST: dict[str, Setting] = {"auto.offset.reset": "earliest"}
UNCOMMITTED: dict[str, Setting] = {**EARLIEST, "isolation.level": "read_uncommitted"}
COMMITTED: dict[str, Setting] = {**EARLIEST, "isolation.level": "read_committed"}
IDEMPOTENT = {"enable.idempotence": "true"}
SAFE = {"min.insync.replicas": "2"}
# As in test_transactions_restart.py: librdkafka must not forget the brokers that it knows.
STEADY: dict[str, Setting] = {"metadata.recovery.strategy": "none", "reconnect.backoff.max.ms": 200}
FAILOVER_S_MAX = SESSION_TIMEOUT_MS / 1000 + 1
KCAT = shutil.which("kcat") or shutil.which("kafkacat")


def leader_of(cluster: ClusterProcesses, topic: str, index: int = 0) -> int:
    return partitions_at(cluster.bootstrap_servers, topic)[topic, index].leader


def coordinator_of(cluster: ClusterProcesses, topic: str, key: str) -> int:
    """The broker that coordinates a group, or a transactional id."""
    found = partitions_at(cluster.bootstrap_servers, topic)
    return found[topic, partition_for(key, len(found))].leader


def values(servers: str, topic: str, count: int, settings: dict[str, Setting] = COMMITTED) -> list[int]:
    """Of a topic with one partition: ``count`` values, and whatever else comes."""
    with CLIENT.consumer(servers, settings=settings) as consumer:
        consumer.assign(TopicPartition(topic, 0))
        records = (consume(consumer, count, deadline_s=60.0) if count else []) + consumer.poll(0.5)
    return [int(record.value or b"-1") for record in records]


# Everybody is there


def test_the_users_own_example(cluster: ClusterProcesses) -> None:
    admin = AdminClient({"bootstrap.servers": cluster.bootstrap_servers})
    new = confluent_kafka.admin.NewTopic("my-topic", num_partitions=6, replication_factor=2)
    for created in admin.create_topics([new]).values():
        created.result()
    found = partitions_at(cluster.bootstrap_servers, "my-topic")
    assert len(found) == 6
    assert all(len(partition.replicas) == 2 and partition.is_whole for partition in found.values())
    assert sorted(partition.leader for partition in found.values()) == [1, 1, 2, 2, 3, 3]
    failures: list[object] = []
    producer = confluent_kafka.Producer({"bootstrap.servers": cluster.bootstrap_servers})
    for number in range(600):
        producer.produce(
            "my-topic",
            key=str(number),
            value=str(number),
            on_delivery=lambda error, _: failures.append(error) if error else None,
        )
    assert producer.flush(30) == 0
    assert not failures
    with CLIENT.consumer(cluster.bootstrap_servers, "my-group", EARLIEST) as consumer:
        consumer.subscribe("my-topic")
        records = consume(consumer, 600)
        consumer.commit()
    assert sorted(int(record.value or b"") for record in records) == list(range(600))


def test_every_client_produces_consumes_and_joins_groups(
    client: Client, cluster: ClusterProcesses, replicated_topic: NewTopic, numbered: Numbered
) -> None:
    topic, servers = replicated_topic(6), cluster.bootstrap_servers
    with contextlib.ExitStack() as stack:
        # By itself a member would commit what it has to give up, and who gets that would have nothing left to commit.
        settings = EARLIEST | {"enable.auto.commit": False}
        members = [stack.enter_context(client.consumer(servers, topic, settings)) for _ in range(2)]
        for member in members:
            member.subscribe(topic)
        seen: list[int] = []

        # One at a time, a member's poll would end in the midst of the join that waits for the other's.
        threads = stack.enter_context(ThreadPoolExecutor(len(members)))

        def poll() -> list[int]:
            for records in threads.map(lambda member: member.poll(1.0), members):
                seen.extend(int(record.value or b"") for record in records)
            return [len(member.assignment()) for member in members]

        poll_until(poll, lambda shares: shares == [3, 3], what="half of the partitions for each")
        with client.producer(servers) as producer:
            placed = producer.send(topic, numbered(300, partitions=6))
        assert sorted(place.offset for place in placed) == sorted(list(range(50)) * 6)
        poll_until(poll, lambda _: len(seen) >= 300, what="300 records")
        assert sorted(seen) == list(range(300))
        for member in members:
            member.commit()
    with client.admin(servers) as admin:
        assert admin.group_offsets(topic) == {TopicPartition(topic, index): 50 for index in range(6)}


def test_every_client_reads_processes_and_writes_exactly_once(
    client: Client, cluster: ClusterProcesses, replicated_topic: NewTopic, numbered: Numbered
) -> None:
    source, target, servers = replicated_topic(), replicated_topic(), cluster.bootstrap_servers
    with client.producer(servers) as producer:
        producer.send(source, numbered(20))
    partition = TopicPartition(source, 0)
    with (
        client.transactional_producer(servers, target) as producer,
        client.consumer(servers, source, COMMITTED | {"enable.auto.commit": False}) as consumer,
    ):
        consumer.subscribe(source)
        consume(consumer, 20)
        for is_kept in (False, True):
            producer.begin()
            producer.send(target, numbered(20))
            producer.send_offsets({partition: 20}, consumer.group_metadata())
            if is_kept:
                producer.commit()
            else:
                producer.abort()
        poll_until(lambda: consumer.committed(partition), lambda offset: offset == 20)
    assert values(servers, target, 20) == list(range(20))
    assert len(values(servers, target, 40, UNCOMMITTED)) == 40


@pytest.mark.skipif(KCAT is None, reason="kcat is not installed (Debian package kcat)")
def test_kcat_sees_brokers_and_replicas(cluster: ClusterProcesses, replicated_topic: NewTopic) -> None:
    topic = replicated_topic(2)

    def kcat(*arguments: str, stdin: str = "") -> str:
        line = [str(KCAT), "-b", cluster.bootstrap_servers, *arguments]
        done = subprocess.run(line, input=stdin, capture_output=True, text=True, timeout=60, check=True)
        return done.stdout

    kcat("-P", "-t", topic, "-X", "acks=all", stdin="\n".join(f"line {number}" for number in range(50)))
    assert len(kcat("-C", "-t", topic, "-e", "-q", "-o", "beginning").splitlines()) == 50
    listed = json.loads(kcat("-L", "-J", "-t", topic))
    assert sorted(broker["id"] for broker in listed["brokers"]) == [1, 2, 3]
    for partition in listed["topics"][0]["partitions"]:
        assert sorted(replica["id"] for replica in partition["isrs"]) == [1, 2, 3]


# A broker dies


def test_a_killed_leader_is_replaced_in_time_and_nothing_is_lost(
    cluster: ClusterProcesses, replicated_topic: NewTopic
) -> None:
    topic = replicated_topic(6)
    victim = leader_of(cluster, topic)
    others = cluster.bootstrap_without(victim)
    with Load(cluster.bootstrap_servers, topic, producer=IDEMPOTENT) as load:
        cluster.brokers[victim].kill()
        killed = time.monotonic()
        found = poll_until(
            lambda: partitions_at(others, topic),
            lambda found: all(partition.leader not in (-1, victim) for partition in found.values()),
            what="new leaders",
        )
        assert time.monotonic() - killed < FAILOVER_S_MAX
        assert all(victim not in partition.in_sync for partition in found.values())
        load.wait_for(500)
        cluster.start()
        wait_until_whole(cluster.bootstrap_servers)
        load.wait_for(200)
    check_exactly_once(load.report)


def test_a_consumer_goes_on_from_committed_offsets_when_its_coordinator_dies(
    client: Client, cluster: ClusterProcesses, replicated_topic: NewTopic, numbered: Numbered
) -> None:
    topic, servers = replicated_topic(), cluster.bootstrap_servers
    partition = TopicPartition(topic, 0)
    with (
        CLIENT.producer(servers, IDEMPOTENT) as producer,
        client.consumer(servers, topic, EARLIEST) as member,
    ):
        producer.send(topic, numbered(100))
        member.subscribe(topic)
        assert len(consume(member, 100)) == 100
        member.commit()
        cluster.brokers[coordinator_of(cluster, "__consumer_offsets", topic)].kill()
        producer.send(topic, numbered(100, first=100))
        assert [int(one.value or b"") for one in consume(member, 100)] == list(range(100, 200))
        member.commit()
        assert member.committed(partition) == 200
    with client.consumer(servers, topic, EARLIEST) as another:
        another.subscribe(topic)
        assert another.poll(2.0) == []
        assert another.committed(partition) == 200


def test_transactions_in_flight_are_completed_or_aborted_when_their_coordinator_dies(
    cluster: ClusterProcesses, unique_name: UniqueName, replicated_topic: NewTopic, numbered: Numbered
) -> None:
    """Four at once, all of one coordinator: decided just before, committed after, aborted after, and left alone."""
    servers = cluster.bootstrap_servers
    decided, committed, aborted, left = _ids_of_one_coordinator(unique_name)
    topics = {name: replicated_topic() for name in (decided, committed, aborted, left)}
    with contextlib.ExitStack() as stack:
        producers = {
            name: stack.enter_context(CLIENT.transactional_producer(servers, name, STEADY))
            for name in (decided, committed, aborted)
        }
        abandoned = CLIENT.transactional_producer(servers, left, STEADY | {"transaction.timeout.ms": 2_000})
        for name, producer in {**producers, left: abandoned}.items():
            producer.begin()
            producer.send(topics[name], numbered(10))
        victim = coordinator_of(cluster, "__transaction_state", decided)
        producers[decided].commit()
        cluster.brokers[victim].kill()
        for name in (committed, aborted):
            producers[name].send(topics[name], numbered(10, first=10))
        producers[committed].commit()
        producers[aborted].abort()
        for name in (decided, committed, aborted):
            producers[name].begin()
            producers[name].send(topics[name], numbered(10, first=20))
            producers[name].commit()
        with CLIENT.producer(servers) as producer:
            producer.send(topics[left], numbered(10, first=20))
    first, second, third = range(10), range(10, 20), range(20, 30)
    assert values(servers, topics[decided], 20) == [*first, *third]
    assert values(servers, topics[committed], 30) == [*first, *second, *third]
    assert values(servers, topics[aborted], 10) == [*third]
    assert values(servers, topics[left], 10) == [*third]
    with contextlib.suppress(KafkaFailure):
        abandoned.close()


def _ids_of_one_coordinator(unique_name: UniqueName) -> list[str]:
    ids: list[str] = []
    while len(ids) < 4:
        name = unique_name("id")
        if partition_for(name, 5) == 3:
            ids.append(name)
    return ids


# A broker stops


def test_a_stopped_broker_hands_over_first_and_nobody_notices(
    cluster: ClusterProcesses, replicated_topic: NewTopic
) -> None:
    topic = replicated_topic(6)
    victim = leader_of(cluster, topic)
    with Load(cluster.bootstrap_servers, topic) as load:
        assert cluster.brokers[victim].terminate() == 0
        found = partitions_at(cluster.bootstrap_without(victim))
        assert all(partition.leader not in (-1, victim) for partition in found.values())
        load.wait_for(300)
    check_nothing_lost(load.report)
    moved = [line for line in cluster.stderr().splitlines() if f"{topic}-" in line and " -> " in line]
    assert moved and all(f"controlled shutdown of {victim}" in line for line in moved), moved


def test_a_rolling_restart_loses_and_errors_nothing(
    cluster: ClusterProcesses, replicated_topic: NewTopic
) -> None:
    """With confluent-kafka's own defaults, and beside it with an idempotent producer."""
    default, idempotent, servers = replicated_topic(6), replicated_topic(6), cluster.bootstrap_servers
    with Load(servers, default) as load, Load(servers, idempotent, producer=IDEMPOTENT) as strict:
        for node_id, broker in cluster.brokers.items():
            assert broker.terminate() == 0, broker.stderr
            load.wait_for(100)
            broker.start()
            assert node_id in wait_until_whole(servers)[default, 0].in_sync
            strict.wait_for(100)
    check_nothing_lost(load.report)
    check_exactly_once(strict.report)


# Too few brokers


def test_acks_all_is_refused_while_too_few_are_in_sync(
    cluster: ClusterProcesses, replicated_topic: NewTopic, numbered: Numbered
) -> None:
    topic, servers = replicated_topic(min__insync__replicas="3"), cluster.bootstrap_servers
    leader = leader_of(cluster, topic)
    victim = next(node_id for node_id in cluster.brokers if node_id != leader)
    with CLIENT.producer(servers, {"retries": 0}) as impatient, CLIENT.producer(servers) as patient:
        impatient.send(topic, numbered(1))
        cluster.brokers[victim].kill()
        poll_until(
            lambda: partitions_at(cluster.brokers[leader].bootstrap_server, topic)[topic, 0],
            lambda partition: victim not in partition.in_sync,
        )
        with pytest.raises(KafkaFailure) as refused:
            impatient.send(topic, numbered(1, first=100))
        assert refused.value.name == "NOT_ENOUGH_REPLICAS"
        with CLIENT.producer(servers, {"acks": 1}) as careless:
            careless.send(topic, numbered(1, first=1))
        cluster.brokers[victim].launch()
        patient.send(topic, numbered(1, first=2))
        cluster.brokers[victim].wait_until_ready()
    assert values(servers, topic, 3) == [0, 1, 2]


@pytest.mark.parametrize("count", [1, 2, 3])
def test_internal_topics_have_as_many_replicas_as_there_are_brokers(
    count: int, etcd: EtcdCluster, tmp_path: Path, numbered: Numbered
) -> None:
    with running_cluster(tmp_path, etcd.endpoints, count=count) as cluster:
        servers = cluster.bootstrap_servers
        with CLIENT.admin(servers) as admin:
            admin.create_topic("t", replication_factor=count)
        with CLIENT.transactional_producer(servers, "id") as producer:
            producer.begin()
            producer.send("t", numbered(1))
            producer.commit()
        with CLIENT.consumer(servers, "group", EARLIEST) as consumer:
            consumer.subscribe("t")
            consume(consumer, 1)
            consumer.commit()
        found = partitions_at(servers)
        assert {name for name, _ in found} == {"t", "__consumer_offsets", "__transaction_state"}
        assert all(len(partition.replicas) == count for partition in found.values())
        warnings = [line for line in cluster.stderr().splitlines() if "WARNING internal topic" in line]
    if count == 3:
        assert not warnings
    else:
        # Each broker that creates one of them says so once.
        assert 1 <= len(warnings) <= count, warnings
        assert all(f"replication factor {count} instead of 3" in line for line in warnings)


# etcd is gone


def test_nobody_notices_that_etcd_is_away_for_less_than_the_session_timeout(tmp_path: Path) -> None:
    with (
        running_etcd(tmp_path / "etcd") as etcd,
        running_cluster(
            tmp_path, etcd.endpoints, overrides={"broker.session.timeout.ms": 2 * SESSION_TIMEOUT_MS}
        ) as cluster,
    ):
        with CLIENT.admin(cluster.bootstrap_servers) as admin:
            admin.create_topic("t", 3, replication_factor=3, configs=SAFE)
        before = partitions_at(cluster.bootstrap_servers, "t")
        with Load(cluster.bootstrap_servers, "t") as load:
            etcd.members[0].pause()
            time.sleep(SESSION_TIMEOUT_MS / 1000)
            etcd.members[0].resume()
            load.wait_for(200)
        check_nothing_lost(load.report)
        assert partitions_at(cluster.bootstrap_servers, "t") == before
        assert "ERROR" not in cluster.stderr()


def test_without_etcd_for_longer_nothing_is_acknowledged_and_then_all_goes_on(tmp_path: Path) -> None:
    with (
        running_etcd(tmp_path / "etcd") as etcd,
        running_cluster(tmp_path, etcd.endpoints) as cluster,
    ):
        with CLIENT.admin(cluster.bootstrap_servers) as admin:
            admin.create_topic("t", 3, replication_factor=3, configs=SAFE)
        with Load(cluster.bootstrap_servers, "t", producer=IDEMPOTENT) as load:
            etcd.members[0].kill()
            poll_until(
                cluster.stderr, lambda text: text.count("it leads nothing until it has") == 3, deadline_s=10
            )
            count = len(load.report.acknowledged)
            time.sleep(0.5)
            assert len(load.report.acknowledged) == count
            etcd.launch(etcd.members[0])
            load.wait_for(200)
            wait_until_whole(cluster.bootstrap_servers)
        check_exactly_once(load.report)
