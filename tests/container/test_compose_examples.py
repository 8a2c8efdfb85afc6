"""Apache Kafka's published compose examples, with nothing but the image's name replaced (``compat/container``)."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.container.buildah import Buildah
from tests.container.compose import Project, project
from tests.container.conftest import REPOSITORY

pytestmark = pytest.mark.container

EXAMPLES = REPOSITORY / "compat" / "container"
NODES = ("kafka-1", "kafka-2", "kafka-3")
BIN = "/opt/kafka/bin"

OpenProject = Callable[[str], Project]


@pytest.fixture
def open_project(buildah: Buildah, image: str, tmp_path: Path) -> Iterator[OpenProject]:
    """Opens an example by its file's name; it ends with the case."""
    opened = []

    def open_one(name: str) -> Project:
        context = project(buildah, image, EXAMPLES / f"{name}.yml", tmp_path / "volumes")
        opened.append(context)
        return context.__enter__()

    yield open_one
    for context in opened:
        context.__exit__(None, None, None)


@pytest.fixture
def topic() -> str:
    return f"topic-{uuid.uuid4().hex[:10]}"


def said_by(running: Project, service: str, *command: str) -> str:
    done = running[service].run(*command)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def leader_of_etcd(running: Project, names: tuple[str, ...]) -> str:
    """The voter whose etcd member leads the quorum."""
    for name in names:
        found = said_by(
            running,
            name,
            "/opt/kbroker/bin/python",
            "-c",
            "import httpx; said = httpx.post('http://127.0.0.1:9093/v3/maintenance/status', json={}).json(); "
            "print(said['leader'] == said['header']['member_id'])",
        )
        if found.strip() == "True":
            return name
    raise AssertionError("no voter leads")


def test_a_single_node(open_project: OpenProject, topic: str) -> None:
    running = open_project("single-node")
    running.up()
    with running.client() as client:
        assert client.brokers() == {"1": "localhost:9092"}
        client.create_topic(topic, partitions=2, replication_factor=1)
        client.produce(topic, 0, 100)
        assert client.consume(topic, 100) == list(range(100))
    listed = said_by(
        running, "broker", f"{BIN}/kafka-topics.sh", "--bootstrap-server", "broker:19092", "--list"
    )
    assert topic in listed.split()
    assert running["broker"].terminate() == 0
    assert not [line for line in running["broker"].output if "Traceback" in line]


@pytest.mark.parametrize("example", ["cluster-combined", "cluster-isolated"])
def test_three_brokers_replicate_and_survive_the_loss_of_any_one(
    open_project: OpenProject, topic: str, example: str
) -> None:
    running = open_project(example)
    voters = NODES if example == "cluster-combined" else ("controller-1", "controller-2", "controller-3")
    running.up()
    with running.client() as client:
        assert list(client.brokers().values()) == ["localhost:29092", "localhost:39092", "localhost:49092"]
        client.create_topic(topic, partitions=6, replication_factor=3, **{"min.insync.replicas": "2"})
        client.produce(topic, 0, 300)

        # The node that leads the metadata quorum, and in the combined example leads partitions too.
        lost = leader_of_etcd(running, voters)
        running[lost].kill()
        client.produce(topic, 300, 300)
        client.create_topic_in_time(f"{topic}-later", partitions=1, replication_factor=2)
        running.launch(lost).wait_ready()

        # A broker, with everything that its container had.
        running.remove("kafka-2")
        client.produce(topic, 600, 300)
        running.launch("kafka-2").wait_ready()
        assert client.consume(topic, 900) == list(range(900))

        described = f"{BIN}/kafka-topics.sh --bootstrap-server kafka-3:19092 --describe --topic {topic}"
        until_succeeds = (
            f"until [ $({described} | grep -c 'Isr: [0-9],[0-9],[0-9]') = 6 ]; do sleep 0.5; done"
        )
        said_by(running, "kafka-1", "sh", "-c", until_succeeds)
        assert client.in_sync(topic) == [3] * 6


def test_three_brokers_stop_together_and_go_on(open_project: OpenProject, topic: str) -> None:
    running = open_project("cluster-combined")
    running.up()
    with running.client() as client:
        client.create_topic(topic, partitions=3, replication_factor=3)
        client.produce(topic, 0, 100)
    for name in NODES:
        running[name].signal(15)
    for name in NODES:
        # Engines send SIGKILL after ten seconds.
        assert running[name].wait(deadline_s=10.0) == 0
    running.up()
    with running.client() as client:
        assert client.consume(topic, 100) == list(range(100))
