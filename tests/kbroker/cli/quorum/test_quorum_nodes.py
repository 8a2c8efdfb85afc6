"""``kbroker container`` as the nodes of a quorum, with real etcd members, on loopback addresses of their own."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.broker_process import BrokerProcess, BrokerStartError, free_port
from tests.e2e.clients.confluent import ConfluentClient
from tests.e2e.clients.interface import KafkaFailure, Message
from tests.etcd_process import MISSING as ETCD_MISSING

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(ETCD_MISSING is not None, reason=str(ETCD_MISSING)),
]

CLIENT = ConfluentClient()


class Node(BrokerProcess):
    """One node; its etcd member is a child of its process, and ends with it as in a container."""

    def __init__(self, directory: Path, port: int, environment: Mapping[str, str], host: str) -> None:
        super().__init__(directory, port=port, host=host, environment=environment)

    def _command_line(self) -> list[str]:
        return [*self._command[:-1], "container", "--data-dir", str(self.data_dir)]

    @property
    def children(self) -> list[int]:
        """Whichever of its threads has started them."""
        tasks = Path(f"/proc/{self.pid}/task").glob("*/children")
        return [int(child) for task in tasks for child in task.read_text(encoding="ascii").split()]

    def kill(self) -> None:
        self._kill_with_children()
        self.wait()

    def close(self) -> None:
        if self.running:
            self._kill_with_children()
        super().close()

    def _kill_with_children(self) -> None:
        """The children before anybody waits: they hold the ends of the pipes that are read until they close."""
        children: list[int] = []
        with contextlib.suppress(OSError):
            children = self.children
        for process_id in (self.pid, *children):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process_id, signal.SIGKILL)


class Nodes:
    """Three nodes with the addresses 127.0.0.1 to 127.0.0.3, and the same ports on each."""

    def __init__(self, directory: Path, roles: Mapping[int, str]) -> None:
        self._directory = directory
        self._roles = roles
        self._broker_port, self._controller_port, self._peer_port = _ports(3)
        self.nodes = {node_id: self.node(node_id) for node_id in roles}

    def node(self, node_id: int, **changes: str) -> Node:
        host, roles = f"127.0.0.{node_id}", self._roles[node_id]
        voters = [number for number, roles in self._roles.items() if "controller" in roles]
        listeners = {
            "broker": f"PLAINTEXT://{host}:{self._broker_port}",
            "controller": f"CONTROLLER://{host}:{self._controller_port}",
        }
        environment = {
            "CLUSTER_ID": "a-cluster-of-nodes",
            "KAFKA_NODE_ID": str(node_id),
            "KAFKA_PROCESS_ROLES": roles,
            "KAFKA_CONTROLLER_QUORUM_VOTERS": ",".join(
                f"{voter}@127.0.0.{voter}:{self._controller_port}" for voter in voters
            ),
            "KAFKA_LISTENERS": ",".join(listeners[role] for role in roles.split(",")),
            "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
            "KAFKA_CONTROLLER_LISTENER_NAMES": "CONTROLLER",
            "KBROKER_QUORUM_PEER_PORT": str(self._peer_port),
            # Until a dead node's session is over it may be the controller that clients are sent to.
            "KAFKA_BROKER_SESSION_TIMEOUT_MS": "3000",
            "KAFKA_BROKER_HEARTBEAT_INTERVAL_MS": "500",
            **changes,
        }
        return Node(self._directory / str(node_id), self._broker_port, environment, host)

    def launch(self, *node_ids: int) -> None:
        for node_id in node_ids:
            self.nodes[node_id].launch()

    def wait_until_ready(self, *node_ids: int) -> None:
        for node_id in node_ids:
            self.nodes[node_id].wait_until_ready(deadline_s=90.0)

    def wait_for_warning(self, node_id: int, text: str) -> None:
        deadline = time.monotonic() + 60.0
        while text not in self.nodes[node_id].stderr:
            assert time.monotonic() < deadline, self.nodes[node_id].stderr
            time.sleep(0.05)

    def create_topic(self, node_id: int, name: str) -> None:
        with CLIENT.admin(self.nodes[node_id].bootstrap_server) as admin:
            admin.create_topic(name, 1, replication_factor=1)

    def create_topic_in_time(self, node_id: int, name: str, *, deadline_s: float = 30.0) -> None:
        """While the quorum elects a leader a broker answers that it cannot reach it."""
        deadline = time.monotonic() + deadline_s
        while True:
            try:
                return self.create_topic(node_id, name)
            except KafkaFailure as failure:
                if "REQUEST_TIMED_OUT" not in str(failure) or time.monotonic() > deadline:
                    raise

    def topics(self, node_id: int) -> set[str]:
        with CLIENT.admin(self.nodes[node_id].bootstrap_server) as admin:
            return set(admin.list_topics())


def _ports(count: int) -> list[int]:
    found: set[int] = set()
    while len(found) < count:
        found.add(free_port())
    return sorted(found)


@pytest.fixture
def nodes(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Nodes]:
    all_nodes = Nodes(tmp_path, getattr(request, "param", dict.fromkeys((1, 2, 3), "broker,controller")))
    yield all_nodes
    for node in all_nodes.nodes.values():
        node.close()


def test_a_quorum_needs_all_of_its_voters_once_and_a_majority_later(nodes: Nodes) -> None:
    nodes.launch(1, 2)
    nodes.wait_for_warning(1, "waiting for voters")
    assert "3@127.0.0.3" in nodes.nodes[1].stderr
    assert "2@127.0.0.2" not in nodes.nodes[1].stderr
    assert nodes.nodes[1].running and nodes.nodes[1].ready_line is None

    nodes.launch(3)
    nodes.wait_until_ready(1, 2, 3)
    nodes.create_topic(1, "by-all")

    for node in nodes.nodes.values():
        node.kill()
    nodes.launch(2, 3)
    nodes.wait_until_ready(2, 3)
    nodes.create_topic(2, "by-a-majority")
    assert nodes.topics(3) == {"by-all", "by-a-majority"}


def test_a_lost_disk_is_filled_anew_but_not_two_of_three(nodes: Nodes, tmp_path: Path) -> None:
    nodes.launch(1, 2, 3)
    nodes.wait_until_ready(1, 2, 3)
    nodes.create_topic(1, "before")

    def lose_disk(node_id: int) -> None:
        nodes.nodes[node_id].kill()
        (tmp_path / str(node_id)).rename(tmp_path / f"lost-{node_id}-{time.monotonic_ns()}")

    lose_disk(3)
    nodes.launch(3)
    nodes.wait_until_ready(3)
    assert "this disk is empty" in nodes.nodes[3].stderr
    nodes.create_topic(3, "with-the-new-disk")

    # The new member counts: with it, any two of the three go on.
    for victim, asked in ((1, 3), (2, 1)):
        nodes.nodes[victim].kill()
        nodes.create_topic_in_time(asked, f"without-{victim}")
        nodes.launch(victim)
        nodes.wait_until_ready(victim)

    lose_disk(1)
    lose_disk(2)
    nodes.launch(1, 2)
    nodes.wait_for_warning(1, "waiting for voters")
    nodes.wait_for_warning(2, "does not take this voter in yet")
    assert nodes.nodes[1].ready_line is None and nodes.nodes[2].ready_line is None


@pytest.mark.parametrize("nodes", [{1: "controller", 2: "broker"}], indirect=True)
def test_a_controller_of_its_own_serves_a_broker(nodes: Nodes) -> None:
    nodes.launch(2)  # it waits for the controller
    nodes.launch(1)
    nodes.wait_until_ready(1, 2)
    assert nodes.nodes[1].ready_line is not None and "controller=127.0.0.1" in nodes.nodes[1].ready_line
    nodes.create_topic(2, "kept")
    for node_id in (2, 1):
        assert nodes.nodes[node_id].terminate() == 0
    nodes.launch(1, 2)
    nodes.wait_until_ready(1, 2)
    assert nodes.topics(2) == {"kept"}
    assert nodes.nodes[2].terminate() == 0


@pytest.mark.parametrize("nodes", [{1: "controller", 2: "broker"}], indirect=True)
def test_a_signal_ends_the_wait_for_others_at_once(nodes: Nodes) -> None:
    alone = nodes.nodes[1] = nodes.node(1, KAFKA_CONTROLLER_QUORUM_VOTERS="1@127.0.0.1:9093,3@127.0.0.3:9093")
    alone.launch()
    nodes.wait_for_warning(1, "waiting for voters")
    assert alone.terminate(deadline_s=5.0) == 0


def test_the_end_of_etcd_is_the_end_of_the_node(nodes: Nodes) -> None:
    nodes.launch(1, 2, 3)
    nodes.wait_until_ready(1, 2, 3)
    with CLIENT.admin(nodes.nodes[2].bootstrap_server) as admin:
        admin.create_topic("replicated", 3, replication_factor=3)
    (etcd,) = nodes.nodes[1].children
    os.kill(etcd, signal.SIGKILL)
    assert nodes.nodes[1].wait(deadline_s=60.0) == 1
    assert "etcd ended by itself" in nodes.nodes[1].stderr
    with CLIENT.producer(nodes.nodes[2].bootstrap_server) as producer:
        producer.send("replicated", [Message(b"x", partition=number) for number in range(3)])


def test_a_voter_of_another_quorum_is_told_apart(nodes: Nodes) -> None:
    nodes.nodes[3] = nodes.node(3, CLUSTER_ID="another-cluster")
    nodes.launch(1, 2, 3)
    told = "CLUSTER_ID another-cluster and voters"
    nodes.wait_for_warning(1, f"voter 3: it means another quorum: {told}")
    nodes.wait_for_warning(2, told)
    nodes.wait_for_warning(3, "CLUSTER_ID a-cluster-of-nodes and voters")
    nodes.nodes[3].close()
    nodes.nodes[3] = nodes.node(3)
    nodes.launch(3)
    nodes.wait_until_ready(1, 2, 3)


def test_a_disk_that_is_another_voters_is_refused(nodes: Nodes, tmp_path: Path) -> None:
    nodes.launch(1, 2, 3)
    nodes.wait_until_ready(1, 2, 3)
    nodes.nodes[3].kill()
    (tmp_path / "3" / "kbroker-quorum").rename(tmp_path / "quorum-of-3")
    nodes.nodes[2].kill()
    (tmp_path / "2" / "kbroker-quorum").rename(tmp_path / "quorum-of-2")
    (tmp_path / "quorum-of-3").rename(tmp_path / "2" / "kbroker-quorum")
    with pytest.raises(BrokerStartError) as refusal:
        nodes.nodes[2].start()
    assert refusal.value.exit_code == 1
    assert "belongs to another voter" in refusal.value.output


def test_without_etcd_a_voter_says_what_to_do(nodes: Nodes) -> None:
    without = nodes.nodes[1] = nodes.node(1, PATH="/nonexistent")
    with pytest.raises(BrokerStartError) as refusal:
        without.start()
    assert refusal.value.exit_code == 2
    assert "WITH_ETCD=1" in refusal.value.output
