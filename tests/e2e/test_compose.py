"""``compose.yaml`` without a container engine: what it says is consistent, and its commands and environment work.

Hosts become 127.0.0.1 and ports free ones; everything else of a service is taken as it stands there.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.broker_process import REPOSITORY, BrokerProcess, die_with_parent, free_port
from tests.cluster_processes import partitions_at
from tests.e2e.clients.confluent import ConfluentClient
from tests.e2e.clients.interface import Message, consume
from tests.etcd_process import MISSING as ETCD_MISSING

CLIENT = ConfluentClient()
BROKERS = ("broker-1", "broker-2", "broker-3")
MEMBERS = ("etcd-1", "etcd-2", "etcd-3")
IN_CONTAINER = (sys.executable, "-m", "kbroker", "container")


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    text = (REPOSITORY / "compose.yaml").read_text(encoding="utf-8")
    loaded = yaml.safe_load(text)
    assert isinstance(loaded, dict)
    return loaded


def test_services_differ_in_what_must_differ_and_in_nothing_else(compose: dict[str, Any]) -> None:
    services = compose["services"]
    assert set(services) == {*BROKERS, *MEMBERS}
    for number, name in enumerate(BROKERS, start=1):
        broker = services[name]
        outside = f"localhost:{9091 + number}"
        assert broker["ports"] == [f"{9091 + number}:9092"]
        assert broker["environment"]["KAFKA_NODE_ID"] == str(number)
        assert broker["environment"]["KAFKA_ADVERTISED_LISTENERS"] == (
            f"INSIDE://{name}:29092,OUTSIDE://{outside}"
        )
        assert broker["volumes"] == [f"{name}:/var/lib/kafka/data"]
        assert broker["depends_on"] == list(MEMBERS)
    for name in MEMBERS:
        assert services[name]["volumes"] == [f"{name}:/var/lib/etcd"]
        assert services[name]["command"].replace(name, "NAME") == services["etcd-1"]["command"].replace(
            "etcd-1", "NAME"
        ).replace("NAME=http://NAME:2380,etcd-2=http://etcd-2:2380,etcd-3=http://etcd-3:2380", _members(name))
    assert set(compose["volumes"]) == set(services)


def _members(name: str) -> str:
    return ",".join(f"{member}=http://{member}:2380" for member in MEMBERS).replace(name, "NAME")


@dataclass
class Machine:
    """Stands in for the engine: where each (host, port) of the file is on this machine."""

    directory: Path
    ports: dict[tuple[str, int], int] = field(default_factory=dict)

    def port(self, host: str, port: int) -> int:
        return self.ports.setdefault((host, port), free_port())

    def here(self, service: str, text: str) -> str:
        """A command or setting of a service, with the addresses of this machine."""
        text = re.sub(
            r"\b((?:broker|etcd)-\d):(\d+)",
            lambda match: f"127.0.0.1:{self.port(match[1], int(match[2]))}",
            text,
        )
        text = re.sub(
            r"//0\.0\.0\.0:(\d+)", lambda match: f"//127.0.0.1:{self.port(service, int(match[1]))}", text
        )
        # A listener on every address, and the port of the host that is published for it.
        text = re.sub(r"//:(\d+)", lambda match: f"//:{self.port(service, int(match[1]))}", text)
        text = re.sub(r"localhost:\d+", lambda match: f"localhost:{self.port(service, 9092)}", text)
        return text.replace("/var/lib/etcd", str(self.directory / service))


class ComposedBroker(BrokerProcess):
    """A broker as its container would run it; of the command line there is only where the volume is."""

    def __init__(self, directory: Path, port: int, environment: Mapping[str, str]) -> None:
        super().__init__(directory, port=port, environment=environment, command=IN_CONTAINER)

    def _command_line(self) -> list[str]:
        return [*IN_CONTAINER, "--data-dir", str(self.data_dir)]


@contextlib.contextmanager
def running_member(machine: Machine, name: str, command: str) -> Iterator[None]:
    (machine.directory / name).mkdir()
    with (machine.directory / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(
            [*die_with_parent(), *shlex.split(machine.here(name, command))], stdout=log, stderr=log
        )
        try:
            yield
        finally:
            process.kill()
            process.wait()


def wait_until_healthy(machine: Machine) -> None:
    deadline = time.monotonic() + 60
    for name in MEMBERS:
        while True:
            with contextlib.suppress(OSError):
                address = f"http://127.0.0.1:{machine.port(name, 2379)}/health"
                with urllib.request.urlopen(address, timeout=2) as answer:
                    if b'"true"' in answer.read():
                        break
            assert time.monotonic() < deadline, (machine.directory / f"{name}.log").read_text()
            time.sleep(0.1)


@pytest.mark.slow
@pytest.mark.skipif(ETCD_MISSING is not None, reason=str(ETCD_MISSING))
@pytest.mark.usefixtures("kbroker_itself")
def test_its_commands_and_environment_make_a_cluster(compose: dict[str, Any], tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    services = compose["services"]
    with contextlib.ExitStack() as stack:
        for name in MEMBERS:
            stack.enter_context(running_member(machine, name, services[name]["command"]))
        wait_until_healthy(machine)
        brokers = []
        for name in BROKERS:
            environment = {
                variable: machine.here(name, value)
                for variable, value in services[name]["environment"].items()
            }
            broker = ComposedBroker(tmp_path / name, machine.port(name, 9092), environment)
            brokers.append(stack.enter_context(broker))
            broker.launch()
        for broker in brokers:
            broker.wait_until_ready()
        outside = ",".join(f"localhost:{machine.port(name, 9092)}" for name in BROKERS)
        with CLIENT.admin(outside) as admin:
            admin.create_topic("my-topic", 6, replication_factor=2)
            assert admin.describe_cluster().brokers == {
                number: ("localhost", machine.port(name, 9092))
                for number, name in enumerate(BROKERS, start=1)
            }
            assert admin.describe_topic_configs("my-topic")["min.insync.replicas"] == "2"
        inside = f"127.0.0.1:{machine.port('broker-2', 29092)}"
        with CLIENT.admin(inside) as admin:
            assert admin.describe_cluster().brokers == {
                number: ("127.0.0.1", machine.port(name, 29092))
                for number, name in enumerate(BROKERS, start=1)
            }
        with CLIENT.producer(outside) as producer:
            producer.send("my-topic", [Message(b"%d" % n, partition=n % 6) for n in range(60)])
            producer.send("by-default", [Message(b"x")])
        with CLIENT.consumer(inside, "group", {"auto.offset.reset": "earliest"}) as consumer:
            consumer.subscribe("my-topic")
            assert len(consume(consumer, 60)) == 60
        found = partitions_at(outside)
        assert {len(one.replicas) for (topic, _), one in found.items() if topic != "my-topic"} == {3}
        # The image's health check sees the same environment.
        healthy = subprocess.run(
            [sys.executable, "-m", "kbroker", "health"],
            cwd=REPOSITORY,
            env={**os.environ, **environment},
            check=False,
        )
        assert healthy.returncode == 0
        for broker in brokers:
            assert broker.terminate() == 0, broker.stderr
            assert "WARNING" not in broker.stderr, broker.stderr
