"""The client libraries that the end-to-end cases run with."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cluster_processes import ClusterProcesses, running_cluster
from tests.e2e.clients.asyncio_kafka import AiokafkaClient
from tests.e2e.clients.confluent import ConfluentAdmin, ConfluentClient
from tests.e2e.clients.interface import Client, Message
from tests.e2e.clients.kafka_python import KafkaPythonClient
from tests.etcd_process import EtcdCluster

CLIENTS: tuple[Client, ...] = (ConfluentClient(), KafkaPythonClient(), AiokafkaClient())


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # kafka-python leaves a socket open whose connection was refused or broken off.
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            item.add_marker(pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"))


@pytest.fixture(scope="module", autouse=True)
def leaked_sockets_collected() -> Iterator[None]:
    """Collects the sockets that kafka-python left, lest their warnings fail some later test."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        for _ in range(5):  # some are freed only by the finalizers of an earlier round
            gc.collect()


@pytest.fixture(params=CLIENTS, ids=lambda client: client.name)
def client(request: pytest.FixtureRequest) -> Client:
    """Each client library in turn."""
    chosen: Client = request.param
    return chosen


@pytest.fixture
def admin(bootstrap_server: str) -> Iterator[ConfluentAdmin]:
    """For preparing a case, whichever client it is about."""
    with ConfluentClient().admin(bootstrap_server) as one:
        yield one


@pytest.fixture
def new_topic(admin: ConfluentAdmin, unique_name: Callable[[str], str]) -> Callable[..., str]:
    """Creates a topic with a name of its own and returns the name; takes ``create_topic``'s arguments."""

    def create(partitions: int = 1, **arguments: object) -> str:
        topic = unique_name("topic")
        admin.create_topic(topic, partitions, **arguments)  # type: ignore[arg-type]
        return topic

    return create


@pytest.fixture
def numbered() -> Callable[..., list[Message]]:
    """Small records that can be told apart: ``numbered(3)`` has the values b"0", b"1", b"2"."""

    def make(count: int, *, first: int = 0, partitions: int = 1) -> list[Message]:
        return [
            Message(b"%d" % number, partition=number % partitions) for number in range(first, first + count)
        ]

    return make


@pytest.fixture(scope="module")
def processes(etcd: EtcdCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterProcesses]:
    """Three broker processes that the cases of a module share."""
    with running_cluster(tmp_path_factory.mktemp("cluster"), etcd.endpoints) as cluster:
        yield cluster
        assert "Traceback" not in cluster.stderr(), cluster.stderr()


@pytest.fixture
def cluster(processes: ClusterProcesses) -> ClusterProcesses:
    """These brokers with everything in sync; a case may stop them as it likes."""
    processes.make_whole()
    return processes


@pytest.fixture
def replicated_topic(cluster: ClusterProcesses, unique_name: Callable[[str], str]) -> Callable[..., str]:
    """Creates a topic on them and returns its name: ``replicated_topic(6, min__insync__replicas="3")``."""

    def create(partitions: int = 1, replication_factor: int = 3, **configs: str) -> str:
        topic = unique_name("topic")
        settings = {"min.insync.replicas": "2"} | {
            name.replace("__", "."): value for name, value in configs.items()
        }
        with ConfluentClient().admin(cluster.bootstrap_servers) as admin:
            admin.create_topic(topic, partitions, replication_factor=replication_factor, configs=settings)
        return topic

    return create
