"""Three broker processes with one etcd: partitions that are moved, elected and deleted, disks that are lost."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import confluent_kafka
import pytest
from confluent_kafka import ElectionType
from confluent_kafka.admin import AdminClient

from tests.broker_process import BrokerProcess, BrokerStartError
from tests.cluster_load import Load, check_exactly_once
from tests.cluster_processes import ClusterProcesses, PartitionView, partitions_at, running_cluster
from tests.e2e.clients.confluent import ConfluentClient
from tests.e2e.clients.interface import Message, Setting, TopicPartition, consume, poll_until
from tests.e2e.clients.kafka_python import kafka
from tests.etcd_process import EtcdCluster

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("kbroker_itself")]

NewTopic = Callable[..., str]
Numbered = Callable[..., list[Message]]

CLIENT = ConfluentClient()
EARLIEST: dict[str, Setting] = {"auto.offset.reset": "earliest"}


def partition(servers: str, topic: str, index: int = 0) -> PartitionView:
    return partitions_at(servers, topic)[topic, index]


@contextmanager
def kafka_python_admin(servers: str) -> Iterator[Any]:
    """It can do what confluent-kafka's cannot."""
    admin = kafka.KafkaAdminClient(bootstrap_servers=servers.split(","))
    try:
        yield admin
    finally:
        admin.close()


def reassign(servers: str, targets: dict[tuple[str, int], Sequence[int]]) -> None:
    """Have the partitions moved, and wait until that is done."""
    with kafka_python_admin(servers) as admin:
        errors = admin.alter_partition_reassignments(
            {kafka.TopicPartition(*name): list(replicas) for name, replicas in targets.items()}
        )
        assert all(error is None for error in errors.values()), errors
        poll_until(admin.list_partition_reassignments, lambda pending: not pending, what="the end of it")


def elect(servers: str, kind: ElectionType, topic: str, index: int = 0) -> str:
    """The name of the error, or ``_NO_ERROR``."""
    admin = AdminClient({"bootstrap.servers": servers, "log_level": 0})
    asked = confluent_kafka.TopicPartition(topic, index)
    (error,) = admin.elect_leaders(kind, [asked]).result().values()
    return "_NO_ERROR" if error is None else str(error.name())


def records_at(directory: Path) -> bytes:
    """What the segments of one replica hold."""
    return b"".join(path.read_bytes() for path in sorted(directory.glob("*.log")))


def wait_until_equal(cluster: ClusterProcesses, name: str, node_ids: Sequence[int]) -> set[bytes]:
    """Until these replicas are the same to the byte."""
    paths = [cluster.brokers[node_id].data_dir / name for node_id in node_ids]
    return poll_until(lambda: {records_at(path) for path in paths}, lambda found: len(found) == 1)


# Moving and electing


def test_a_partition_is_moved_to_another_broker_under_load(
    cluster: ClusterProcesses, replicated_topic: NewTopic
) -> None:
    topic, servers = replicated_topic(1, 2), cluster.bootstrap_servers
    before = partition(servers, topic).replicas
    (newcomer,) = set(cluster.brokers) - set(before)
    with Load(servers, topic, producer={"enable.idempotence": "true"}) as load:
        reassign(servers, {(topic, 0): (newcomer, before[1])})
        load.wait_for(100)
    check_exactly_once(load.report)
    after = partition(servers, topic)
    assert after.replicas == (newcomer, before[1]) and set(after.in_sync) == set(after.replicas)
    assert after.leader != before[0]
    gone = cluster.brokers[before[0]].data_dir / f"{topic}-0"
    poll_until(gone.exists, lambda exists: not exists, what="the old log's removal")


def test_leaders_return_to_the_preferred_brokers_when_asked(
    cluster: ClusterProcesses, replicated_topic: NewTopic
) -> None:
    topic, servers = replicated_topic(3), cluster.bootstrap_servers
    first = {name: one.replicas[0] for name, one in partitions_at(servers, topic).items()}
    assert elect(servers, ElectionType.PREFERRED, topic) == "ELECTION_NOT_NEEDED"
    victim = first[topic, 0]
    assert cluster.brokers[victim].terminate() == 0
    assert elect(cluster.bootstrap_without(victim), ElectionType.PREFERRED, topic) == (
        "PREFERRED_LEADER_NOT_AVAILABLE"
    )
    cluster.make_whole()
    assert partition(servers, topic).leader != victim
    assert elect(servers, ElectionType.PREFERRED, topic) == "_NO_ERROR"
    found = poll_until(lambda: partition(servers, topic), lambda one: one.leader == victim)
    assert set(found.in_sync) == set(found.replicas)


def test_leaders_return_to_the_preferred_brokers_by_themselves(etcd: EtcdCluster, tmp_path: Path) -> None:
    overrides = {"leader.imbalance.check.interval.seconds": 1}
    with running_cluster(tmp_path, etcd.endpoints, overrides=overrides) as cluster:
        servers = cluster.bootstrap_servers
        with CLIENT.admin(servers) as admin:
            admin.create_topic("t", 3, replication_factor=3)
        assert cluster.brokers[1].terminate() == 0
        cluster.start()
        poll_until(
            lambda: partitions_at(servers, "t"),
            lambda found: all(one.leader == one.replicas[0] for one in found.values()),
        )
        assert "preferred leader election" in cluster.stderr()


def test_only_an_unclean_election_brings_back_a_partition_whose_in_sync_replica_is_gone(
    cluster: ClusterProcesses, replicated_topic: NewTopic, numbered: Numbered
) -> None:
    topic = replicated_topic(1, 2, min__insync__replicas="1")
    leader, follower = partition(cluster.bootstrap_servers, topic).replicas
    with CLIENT.producer(cluster.bootstrap_servers) as producer:
        producer.send(topic, numbered(10))
        cluster.brokers[follower].kill()
        producer.send(topic, numbered(10, first=10))
    cluster.brokers[leader].kill()
    cluster.brokers[follower].start()
    others = cluster.bootstrap_without(leader)
    poll_until(lambda: partition(others, topic), lambda one: one.leader == -1, deadline_s=10)
    assert elect(others, ElectionType.PREFERRED, topic) == "PREFERRED_LEADER_NOT_AVAILABLE"
    time.sleep(0.5)
    assert partition(others, topic).leader == -1
    assert elect(others, ElectionType.UNCLEAN, topic) == "_NO_ERROR"
    assert poll_until(lambda: partition(others, topic), lambda one: one.leader >= 0).leader == follower
    with CLIENT.producer(others) as producer:
        producer.send(topic, numbered(1, first=100))
    cluster.make_whole()
    with CLIENT.consumer(cluster.bootstrap_servers, settings=EARLIEST) as consumer:
        consumer.assign(TopicPartition(topic, 0))
        found = [int(one.value or b"") for one in consume(consumer, 11) + consumer.poll(0.5)]
    assert found == [*range(10), 100]  # what only the lost leader had is lost: that is what unclean means
    wait_until_equal(cluster, f"{topic}-0", [leader, follower])


# Disks


def test_a_broker_with_an_empty_disk_copies_everything_and_never_leads_before(
    cluster: ClusterProcesses, replicated_topic: NewTopic, numbered: Numbered
) -> None:
    topic, servers = replicated_topic(3), cluster.bootstrap_servers
    first = partitions_at(servers, topic)[topic, 0]
    victim = first.leader
    with CLIENT.producer(servers) as producer:
        producer.send(topic, [Message(b"%d" % n * 2000, partition=n % 3) for n in range(600)])
        cluster.brokers[victim].kill()
        cluster.lose_disk(victim)
        cluster.brokers[victim].launch()
        others = cluster.bootstrap_without(victim)

        def is_whole() -> bool:
            found = partitions_at(others)
            for one in found.values():
                assert one.leader != victim or len(one.replicas) == 1 or victim in one.in_sync
            return all(one.is_whole for one in found.values())

        poll_until(is_whole, bool, what="everything in sync")
        producer.send(topic, numbered(3, partitions=3))
    cluster.brokers[victim].wait_until_ready()
    for index in range(3):
        (content,) = wait_until_equal(cluster, f"{topic}-{index}", list(cluster.brokers))
        assert len(content) > 200_000


def test_a_broker_with_an_empty_disk_is_not_elected_while_the_good_replica_is_away(
    cluster: ClusterProcesses, replicated_topic: NewTopic, numbered: Numbered
) -> None:
    # With two, whichever session ends first, both stay eligible; with one, the last to go would be the only one.
    topic = replicated_topic(1, 2, min__insync__replicas="2")
    leader, follower = partition(cluster.bootstrap_servers, topic).replicas
    (third,) = set(cluster.brokers) - {leader, follower}
    server = cluster.brokers[third].bootstrap_server
    with CLIENT.producer(cluster.bootstrap_servers) as producer:
        producer.send(topic, numbered(10))
    for node_id in (leader, follower):  # both are in sync when they go
        cluster.brokers[node_id].signal(9)  # type: ignore[arg-type]
    for node_id in (leader, follower):
        cluster.brokers[node_id].wait()
    cluster.lose_disk(leader)
    cluster.brokers[leader].start()
    poll_until(lambda: partition(server, topic), lambda one: one.leader == -1, deadline_s=10)
    time.sleep(1)
    assert partition(server, topic).leader == -1
    cluster.brokers[follower].start()
    assert poll_until(lambda: partition(server, topic), lambda one: one.leader != -1).leader == follower
    with CLIENT.consumer(cluster.bootstrap_servers, settings=EARLIEST) as consumer:
        consumer.assign(TopicPartition(topic, 0))
        assert [int(one.value or b"") for one in consume(consumer, 10)] == list(range(10))


def test_a_second_broker_with_a_node_id_that_is_taken_changes_nothing(
    cluster: ClusterProcesses, replicated_topic: NewTopic, tmp_path: Path
) -> None:
    topic = replicated_topic(3)
    before = partitions_at(cluster.bootstrap_servers)
    taken = cluster.brokers[2].overrides
    twin = BrokerProcess(tmp_path, overrides={**taken, "initial.broker.registration.timeout.ms": 1_000})
    with twin, pytest.raises(BrokerStartError) as refused:
        twin.start()
    assert refused.value.exit_code == 1
    assert "Another broker with node id 2 is running" in refused.value.output
    assert partitions_at(cluster.bootstrap_servers) == before
    assert cluster.brokers[2].running and topic in {name for name, _ in before}


# Deleting


def test_a_deletion_that_a_broker_slept_through_is_finished_when_it_returns(
    cluster: ClusterProcesses, replicated_topic: NewTopic, numbered: Numbered
) -> None:
    topic, kept = replicated_topic(3), replicated_topic(3)
    with CLIENT.producer(cluster.bootstrap_servers) as producer:
        for name in (topic, kept):
            producer.send(name, numbered(30, partitions=3))
    assert len(cluster.logs(topic)) == 9
    cluster.brokers[2].kill()
    others = cluster.bootstrap_without(2)
    with CLIENT.admin(others) as admin:
        admin.delete_topic(topic)
        poll_until(lambda: cluster.logs(topic), lambda logs: all(log.startswith("broker-2/") for log in logs))
        assert len(cluster.logs(topic)) == 3
        assert topic not in admin.list_topics()
        # A new topic of that name is another one.
        admin.create_topic(topic, 1, replication_factor=2)
    with CLIENT.producer(others) as producer:
        producer.send(topic, numbered(5))
    cluster.make_whole()
    poll_until(lambda: cluster.logs(topic), lambda logs: len(logs) == 2)
    assert len(cluster.logs(kept)) == 9
    with CLIENT.consumer(cluster.bootstrap_servers, settings=EARLIEST) as consumer:
        consumer.assign(TopicPartition(topic, 0))
        assert len(consume(consumer, 5) + consumer.poll(0.5)) == 5
    with CLIENT.admin(cluster.bootstrap_servers) as admin:
        admin.delete_topic(topic)
    poll_until(lambda: cluster.logs(topic), lambda logs: logs == [])


# Adding and removing


def test_a_broker_is_added_and_another_is_removed(
    etcd: EtcdCluster, tmp_path: Path, numbered: Numbered
) -> None:
    with running_cluster(tmp_path, etcd.endpoints) as cluster:
        with CLIENT.admin(cluster.bootstrap_servers) as admin:
            admin.create_topic("t", 3, replication_factor=3)
        with CLIENT.producer(cluster.bootstrap_servers) as producer:
            producer.send("t", numbered(300, partitions=3))
        cluster.add(4)
        cluster.start()
        servers = cluster.bootstrap_servers
        moved = {
            name: [4 if node_id == 1 else node_id for node_id in one.replicas]
            for name, one in partitions_at(servers).items()
        }
        reassign(servers, moved)
        found = partitions_at(servers)
        assert {name: list(one.replicas) for name, one in found.items()} == moved
        poll_until(
            lambda: [log for log in cluster.logs("t") if log.startswith("broker-1/")], lambda logs: not logs
        )
        assert cluster.brokers.pop(1).terminate() == 0
        with CLIENT.admin(cluster.bootstrap_servers) as admin:
            assert set(admin.describe_cluster().brokers) == {2, 3, 4}
        with CLIENT.consumer(cluster.bootstrap_servers, settings=EARLIEST) as consumer:
            consumer.assign(*(TopicPartition("t", index) for index in range(3)))
            assert sorted(int(one.value or b"") for one in consume(consumer, 300)) == list(range(300))


# Racks


def test_consumers_read_from_the_replica_in_their_rack(
    etcd: EtcdCluster, tmp_path: Path, numbered: Numbered
) -> None:
    racks = {node_id: {"broker.rack": f"rack-{node_id}"} for node_id in (1, 2, 3)}
    selector = "org.apache.kafka.common.replica.RackAwareReplicaSelector"
    with running_cluster(
        tmp_path, etcd.endpoints, overrides={"replica.selector.class": selector}, own_overrides=racks
    ) as cluster:
        servers = cluster.bootstrap_servers
        with CLIENT.admin(servers) as admin:
            admin.create_topic("t", 1, replication_factor=3)
        leader = partition(servers, "t").leader
        follower = next(node_id for node_id in racks if node_id != leader)
        with CLIENT.producer(servers) as producer:
            producer.send("t", numbered(50))
            for node_id in (leader, follower):
                assert _read_from(servers, f"rack-{node_id}", 50) == node_id
            assert _read_from(servers, "another rack", 50) == leader
            # The follower's end: the consumer goes back to the leader.
            cluster.brokers[follower].kill()
            assert _read_from(cluster.bootstrap_without(follower), f"rack-{follower}", 50) == leader


def _read_from(servers: str, rack: str, count: int) -> int:
    """Consume so many records in a rack; the broker that the last ones were fetched from, by the client's word."""
    told: list[int] = []

    def note(statistics: str) -> None:
        told.append(json.loads(statistics)["topics"]["t"]["partitions"]["0"]["broker"])

    consumer = confluent_kafka.Consumer(
        {
            "bootstrap.servers": servers,
            "group.id": "never-joined",
            "client.rack": rack,
            "statistics.interval.ms": 100,
            "stats_cb": note,
            "log_level": 0,
        }
    )
    consumer.assign([confluent_kafka.TopicPartition("t", 0, confluent_kafka.OFFSET_BEGINNING)])
    try:
        seen = 0
        deadline = time.monotonic() + 30
        while seen < count:
            assert time.monotonic() < deadline, seen
            message = consumer.poll(0.1)
            if message is not None:
                assert message.error() is None, message.error()
                seen += 1
        told.clear()
        while not told:
            consumer.poll(0.1)
        return told[-1]
    finally:
        consumer.close()
