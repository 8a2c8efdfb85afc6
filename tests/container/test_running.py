"""A container of the image: real clients, ``KAFKA_*`` variables, health, data that stays, and its end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import uuid
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType

from tests.broker_process import free_port
from tests.container.buildah import Container
from tests.container.conftest import IMAGE_USER_ID, REPOSITORY, Measured, StartContainer
from tests.container.network import CONTAINER, EngineNetwork
from tests.container.published_client import PublishedClient
from tests.container.round_trip import RECORDS, brokers, consume, produce, produce_and_consume

pytestmark = pytest.mark.container

START_S_MAX = 1.5
BIN = "/opt/kafka/bin"
EXIT_BAD_SETTINGS = 2


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def topic() -> str:
    return f"topic-{uuid.uuid4().hex[:10]}"


def listening_on(port: int, **variables: str) -> dict[str, str]:
    """Variables for a container that shares this machine's network."""
    return {"KAFKA_LISTENERS": f"PLAINTEXT://127.0.0.1:{port}", **variables}


def admin_of(port: int) -> AdminClient:
    return AdminClient({"bootstrap.servers": f"127.0.0.1:{port}", "log_level": 0})


def broker_config(port: int, node_id: int, name: str) -> tuple[str, str]:
    """Value of a broker config, and where the broker says that it comes from."""
    resource = ConfigResource(ResourceType.BROKER, str(node_id))
    admin = admin_of(port)
    (answer,) = admin.describe_configs([resource]).values()
    entry = answer.result(10.0)[name]
    return entry.value, str(entry.source)


def client_in(namespace: str, bootstrap_server: str, *, publish: str | None = None) -> dict[str, list[str]]:
    """What ``round_trip`` saw from a network namespace."""
    command = ["ip", "netns", "exec", namespace, sys.executable, "-m", "tests.container.round_trip"]
    command += ["--bootstrap-server", bootstrap_server, "--topic", f"topic-{uuid.uuid4().hex[:10]}"]
    if publish:
        command += ["--publish", publish]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=90,
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    seen: dict[str, list[str]] = json.loads(done.stdout)
    return seen


def test_a_client_produces_and_consumes(start_container: StartContainer, port: int, topic: str) -> None:
    container = start_container(environment=listening_on(port))
    assert container.ready_line is not None and f"127.0.0.1:{port}" in container.ready_line
    assert produce_and_consume(f"127.0.0.1:{port}", topic) == list(RECORDS)
    assert container.terminate() == 0
    assert "Traceback" not in "\n".join(container.output)


def test_the_broker_runs_as_the_images_user(start_container: StartContainer, port: int) -> None:
    container = start_container(environment=listening_on(port))
    status = Path(f"/proc/{container.process_id}/status").read_text()
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert fields["Uid"].split() == [str(IMAGE_USER_ID)] * 4
    assert fields["Gid"].split() == [str(IMAGE_USER_ID)] * 4


def test_variables_act(start_container: StartContainer, port: int, topic: str) -> None:
    cluster_id = "Q2hlZXNlQW5kQ3JhY2tlcg"
    start_container(
        environment=listening_on(
            port,
            CLUSTER_ID=cluster_id,
            KAFKA_NODE_ID="7",
            KAFKA_NUM_PARTITIONS="3",
            KAFKA_LOG_RETENTION_HOURS="5",
            KAFKA_HEAP_OPTS="-Xmx1G",
        )
    )
    cluster = admin_of(port).list_topics(timeout=10.0)
    assert cluster.cluster_id == cluster_id
    assert list(cluster.brokers) == [7]
    assert broker_config(port, 7, "log.retention.hours") == ("5", "4")
    produce(f"127.0.0.1:{port}", topic)
    assert len(admin_of(port).list_topics(topic, timeout=10.0).topics[topic].partitions) == 3


def test_a_mounted_file_acts_and_variables_win_over_it(
    start_container: StartContainer, port: int, tmp_path: Path
) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "server.properties").write_text(
        f"listeners=PLAINTEXT://127.0.0.1:{port}\nnum.partitions=3\nlog.retention.hours=5\n"
    )
    start_container(environment={"KAFKA_NUM_PARTITIONS": "4"}, volumes=[f"{tmp_path}:/mnt/shared/config:ro"])
    assert broker_config(port, 1, "num.partitions")[0] == "4"
    assert broker_config(port, 1, "log.retention.hours")[0] == "5"


def test_a_mounted_file_that_the_user_may_not_read_is_named(
    start_container: StartContainer, tmp_path: Path
) -> None:
    tmp_path.chmod(0o700)
    container = start_container(wait=False, volumes=[f"{tmp_path}:/mnt/shared/config:ro"])
    assert container.wait() == EXIT_BAD_SETTINGS
    said = "\n".join(container.output)
    assert "/mnt/shared/config/server.properties" in said
    assert "Traceback" not in said


def test_a_malformed_variable_stops_the_start_with_a_clear_message(start_container: StartContainer) -> None:
    container = start_container(wait=False, environment={"KAFKA_LOG_SEGMENT_BYTES": "many"})
    assert container.wait() == EXIT_BAD_SETTINGS
    said = "\n".join(container.output)
    assert "log.segment.bytes" in said and "many" in said
    assert "Traceback" not in said


def test_the_volume_keeps_data_over_containers(
    start_container: StartContainer, port: int, topic: str, data_volume: Path
) -> None:
    volumes = [f"{data_volume}:/var/lib/kafka/data"]
    first = start_container(environment=listening_on(port), volumes=volumes)
    produce(f"127.0.0.1:{port}", topic)
    cluster_id = admin_of(port).list_topics(timeout=10.0).cluster_id
    assert first.terminate() == 0
    assert (data_volume / f"{topic}-0" / "00000000000000000000.log").stat().st_size > 0

    second = start_container(environment=listening_on(port), volumes=volumes)
    assert admin_of(port).list_topics(timeout=10.0).cluster_id == cluster_id
    assert consume(f"127.0.0.1:{port}", topic) == list(RECORDS)
    second.signal(signal.SIGKILL)
    second.wait()

    start_container(environment=listening_on(port), volumes=volumes)
    assert consume(f"127.0.0.1:{port}", topic) == list(RECORDS)


def test_a_volume_that_the_user_may_not_write_is_named(
    start_container: StartContainer, port: int, tmp_path: Path
) -> None:
    tmp_path.chmod(0o755)
    foreign = tmp_path / "foreign"
    foreign.mkdir(mode=0o755)
    container = start_container(
        wait=False, environment=listening_on(port), volumes=[f"{foreign}:/var/lib/kafka/data"]
    )
    assert container.wait() != 0
    said = "\n".join(container.output)
    assert "/var/lib/kafka/data" in said
    assert "Traceback" not in said


def test_the_health_check_follows_the_brokers_health(start_container: StartContainer, port: int) -> None:
    container = start_container(environment=listening_on(port))
    well = container.health_check()
    assert (well.returncode, well.stdout.startswith("healthy ")) == (0, True), well.stderr

    container.signal(signal.SIGSTOP)
    hanging = container.health_check()
    container.signal(signal.SIGCONT)
    assert hanging.returncode == 1
    assert "did not answer" in hanging.stderr
    assert container.health_check().returncode == 0

    assert container.terminate() == 0
    gone = container.health_check()
    assert gone.returncode == 1
    assert "no connection" in gone.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_it_cleanly(
    start_container: StartContainer, port: int, number: signal.Signals
) -> None:
    container = start_container(environment=listening_on(port))
    client = admin_of(port)
    client.list_topics(timeout=10.0)  # and stays connected
    container.signal(number)
    # Engines send SIGKILL after ten seconds.
    assert container.wait(deadline_s=9.0) == 0


def test_process_1_is_stopped_by_the_signal_too(start_container: StartContainer, port: int) -> None:
    """The kernel keeps every signal from process 1 that it has no handler for."""
    container = start_container(environment=listening_on(port), as_process_1=True)
    status = Path(f"/proc/{container.process_id}/status").read_text()
    (in_spaces,) = [line.split()[1:] for line in status.splitlines() if line.startswith("NSpid:")]
    assert in_spaces[-1] == "1"
    assert container.terminate(deadline_s=9.0) == 0


def test_with_defaults_neighbours_and_published_ports_work(
    start_container: StartContainer, network: EngineNetwork
) -> None:
    """Nothing set at all: 0.0.0.0:9092 inside, and each client is told an address that it can use."""
    container = start_container(namespace=network.container)
    assert container.ready_line is not None and ":9092" in container.ready_line
    assert container.health_check().returncode == 0

    neighbour = client_in(network.neighbour, f"{CONTAINER}:9092")
    assert neighbour == {"brokers": [f"{CONTAINER}:9092"], "consumed": list(RECORDS)}

    published = client_in(network.engine, "localhost:9092", publish=f"9092={CONTAINER}:9092")
    assert published == {"brokers": ["localhost:9092"], "consumed": list(RECORDS)}

    inside = client_in(network.container, "127.0.0.1:9092")
    assert inside == {"brokers": ["127.0.0.1:9092"], "consumed": list(RECORDS)}


def test_a_published_port_may_have_a_number_of_its_own(
    start_container: StartContainer, network: EngineNetwork
) -> None:
    """What docs/CONTAINER.md gives for clients on both sides of it."""
    start_container(
        namespace=network.container,
        environment={
            "KAFKA_LISTENERS": "PLAINTEXT://:9092,OUTSIDE://:9093",
            "KAFKA_ADVERTISED_LISTENERS": f"PLAINTEXT://{CONTAINER}:9092,OUTSIDE://localhost:29092",
            "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP": "PLAINTEXT:PLAINTEXT,OUTSIDE:PLAINTEXT",
        },
    )
    neighbour = client_in(network.neighbour, f"{CONTAINER}:9092")
    assert neighbour == {"brokers": [f"{CONTAINER}:9092"], "consumed": list(RECORDS)}
    published = client_in(network.engine, "localhost:29092", publish=f"29092={CONTAINER}:9093")
    assert published == {"brokers": ["localhost:29092"], "consumed": list(RECORDS)}


def test_three_brokers_in_one_container(start_container: StartContainer, network: EngineNetwork) -> None:
    """Their ports are published as they are, and nothing else is set; neighbours reach them at the container."""
    container = start_container(namespace=network.container, environment={"KBROKER_BROKERS": "3"})
    assert container.ready_line is not None and "node.id=1,2,3" in container.ready_line
    assert container.health_check().returncode == 0
    ports = (9092, 9093, 9094)
    with PublishedClient(network.engine, {port: f"{CONTAINER}:{port}" for port in ports}) as client:
        assert client.brokers() == {
            str(number): f"localhost:{port}" for number, port in enumerate(ports, start=1)
        }
        client.create_topic("replicated", partitions=6, replication_factor=3, **{"min.insync.replicas": "3"})
        client.produce("replicated", 0, 100)
        assert client.consume("replicated", 100) == list(range(100))
    neighbour = client_in(network.neighbour, f"{CONTAINER}:9094")
    assert sorted(neighbour["brokers"]) == [f"{CONTAINER}:{port}" for port in ports]
    assert neighbour["consumed"] == list(RECORDS)
    assert container.terminate(deadline_s=9.0) == 0


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(["/etc/kafka/docker/run"], id="its own command"),
        pytest.param(["/etc/kafka/docker/run", "KAFKA_NUM_PARTITIONS=5"], id="with a variable"),
        pytest.param(
            [
                "bash",
                "-c",
                "echo export KAFKA_NUM_PARTITIONS=5 >/tmp/s; . /tmp/s; exec /etc/kafka/docker/run",
            ],
            id="from a script",
        ),
    ],
)
def test_it_starts_as_an_apache_kafka_container_does(
    start_container: StartContainer, port: int, command: list[str]
) -> None:
    container = start_container(environment=listening_on(port), command=command)
    expected = "5" if "KAFKA_NUM_PARTITIONS=5" in " ".join(command) else "1"
    assert broker_config(port, 1, "num.partitions")[0] == expected
    # Testcontainers and others wait until they see one of these.
    container.wait_for_output("Transitioning from RECOVERY to RUNNING")
    container.wait_for_output("Kafka Server started")
    assert container.terminate() == 0


def test_a_script_that_formats_and_starts_works(start_container: StartContainer, port: int) -> None:
    script = f"""
        file=/opt/kafka/config/server.properties
        {BIN}/kafka-storage.sh format -t "$({BIN}/kafka-storage.sh random-uuid)" -c $file &&
        exec {BIN}/kafka-server-start.sh $file --override listeners=PLAINTEXT://127.0.0.1:{port}
    """
    # Whoever names a file does not mean the variables.
    container = start_container(environment={"KAFKA_NUM_PARTITIONS": "5"}, command=["bash", "-c", script])
    assert broker_config(port, 1, "num.partitions")[0] == "1"
    stopped = container.run(f"{BIN}/kafka-server-stop.sh")
    assert container.wait() == 0, stopped.stderr


HEALTH_CHECKS = [
    "{bin}/kafka-broker-api-versions.sh --bootstrap-server {address}",
    "{bin}/kafka-topics.sh --bootstrap-server {address} --list",
    "{bin}/kafka-cluster.sh cluster-id --bootstrap-server {address}",
    "{bin}/kafka-metadata-quorum.sh --bootstrap-server {address} describe --status",
    "kafka-broker-api-versions --bootstrap-server {address} || exit 1",
    "nc -z 127.0.0.1 {port} || exit 1",
    "bash -c 'echo > /dev/tcp/127.0.0.1/{port}'",
    "bash -c '</dev/tcp/127.0.0.1/{port}' || exit 1",
    "timeout 5 {bin}/kafka-topics.sh --list --bootstrap-server {address} > /dev/null 2>&1",
]
"""As compose files for the apache/kafka image have them."""


def test_health_checks_made_for_apache_kafka_tell_it_too(start_container: StartContainer, port: int) -> None:
    container = start_container(environment=listening_on(port))
    checks = [check.format(bin=BIN, address=f"127.0.0.1:{port}", port=port) for check in HEALTH_CHECKS]
    for check in checks:
        done = container.run("/bin/sh", "-c", check)
        assert done.returncode == 0, f"{check}\n{done.stdout}{done.stderr}"
    assert container.terminate() == 0
    for check in checks[5:8]:  # the others wait for a broker for a minute, as Kafka's own commands do
        assert container.run("/bin/sh", "-c", check).returncode != 0, check


def test_a_volume_where_kafka_keeps_its_data_is_used(
    start_container: StartContainer, port: int, data_volume: Path
) -> None:
    start_container(environment=listening_on(port), volumes=[f"{data_volume}:/tmp/kafka-logs"])
    assert (data_volume / "meta.properties").exists()


def test_a_controller_says_how_it_is(start_container: StartContainer, port: int) -> None:
    container = start_container(
        environment={
            "KAFKA_NODE_ID": "1",
            "KAFKA_PROCESS_ROLES": "controller",
            "KAFKA_CONTROLLER_QUORUM_VOTERS": f"1@127.0.0.1:{port}",
            "KAFKA_CONTROLLER_LISTENER_NAMES": "CONTROLLER",
            "KAFKA_LISTENERS": f"CONTROLLER://127.0.0.1:{port}",
            "KBROKER_QUORUM_PEER_PORT": str(free_port()),
        }
    )
    well = container.health_check()
    assert (well.returncode, well.stdout) == (0, f"healthy controller=127.0.0.1:{port}\n"), well.stderr
    assert container.terminate(deadline_s=9.0) == 0
    assert container.health_check().returncode == 1


def test_advertised_listeners_are_told_to_everybody(
    start_container: StartContainer, port: int, topic: str
) -> None:
    start_container(environment={"KAFKA_ADVERTISED_LISTENERS": f"PLAINTEXT://127.0.0.2:{port}"})
    assert brokers(f"127.0.0.1:{port}") == [f"127.0.0.2:{port}"]
    assert produce_and_consume(f"127.0.0.1:{port}", topic) == list(RECORDS)


def test_it_is_ready_soon(start_container: StartContainer, port: int, measured: Measured) -> None:
    containers: list[Container] = []
    for _ in range(3):
        containers.append(start_container(environment=listening_on(port)))
        assert containers[-1].terminate() == 0
    fastest_s = min(container.started_in_s for container in containers)
    measured(
        f"start-up: {fastest_s:.2f} s from `buildah run` to the ready line (fastest of {len(containers)})"
    )
    assert fastest_s < START_S_MAX
