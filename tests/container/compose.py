"""As much of a compose engine as compose files of brokers need: reads a file, and runs its services as containers.

Services have a network of their own, in which they find each other by name, and reach it from outside at their
published ports. ``depends_on`` is the order of starting, ``healthcheck`` is there to be run. Named volumes are
directories that live as long as the project. A key that is not known here is refused, so that nothing is left out.
"""

from __future__ import annotations

import contextlib
import shlex
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.container.buildah import Buildah, Container
from tests.container.network import Bridge, bridge
from tests.container.published_client import PublishedClient

_KNOWN = frozenset(
    {
        *("image", "hostname", "container_name", "ports", "environment", "volumes"),
        *("command", "depends_on", "healthcheck", "restart"),
    }
)


@dataclass(frozen=True, slots=True)
class Service:
    """One service of a file. ``ports`` are the container's by the host's; a command of shell words, or none."""

    name: str
    hostname: str | None
    environment: Mapping[str, str]
    ports: Mapping[int, int]
    volumes: Sequence[str]
    command: Sequence[str]
    depends_on: Sequence[str]
    health_check: Sequence[str]


def read_services(path: Path) -> dict[str, Service]:
    """The services of a file, each after those that it depends on."""
    loaded = yaml.safe_load(path.read_text(encoding="utf-8"))["services"]
    services = {name: _service(name, fields) for name, fields in loaded.items()}
    ordered: dict[str, Service] = {}

    def add(name: str) -> None:
        for other in services[name].depends_on:
            add(other)
        ordered.setdefault(name, services[name])

    for name in services:
        add(name)
    return ordered


def _service(name: str, fields: Mapping[str, Any]) -> Service:
    assert not fields.keys() - _KNOWN, f"{name}: {sorted(fields.keys() - _KNOWN)} is not known here"
    assert fields["image"] == "${IMAGE}", f"{name} has another image"
    environment = fields.get("environment", {})
    if isinstance(environment, list):
        environment = dict(entry.split("=", 1) for entry in environment)
    ports = [str(port).split(":") for port in fields.get("ports", ())]
    test = fields.get("healthcheck", {}).get("test", [])
    return Service(
        name=name,
        hostname=fields.get("hostname"),
        environment={key: str(value) for key, value in environment.items()},
        ports={int(outside): int(inside) for outside, inside in ports},
        volumes=fields.get("volumes", []),
        command=_words(fields.get("command", [])),
        depends_on=list(fields.get("depends_on", [])),
        health_check=["CMD-SHELL", test] if isinstance(test, str) else test,
    )


def _words(command: str | Sequence[str]) -> list[str]:
    return shlex.split(command) if isinstance(command, str) else list(command)


class Project:
    """The services of a file, and their containers."""

    def __init__(
        self, buildah: Buildah, image: str, services: Mapping[str, Service], network: Bridge, volumes: Path
    ) -> None:
        self.services = services
        self.network = network
        self._buildah = buildah
        self._image = image
        self._volumes = volumes
        self._containers: dict[str, Container] = {}

    def __getitem__(self, name: str) -> Container:
        return self._containers[name]

    def up(self) -> None:
        """Start all that do not run, in order, and wait until all are ready: some wait for others."""
        for name in self.services:
            self.launch(name)
        for name in self.services:
            self[name].wait_ready()

    def launch(self, name: str) -> Container:
        """Start a service's container, which is made if need be."""
        if name not in self._containers:
            self._containers[name] = self._make(self.services[name])
        container = self._containers[name]
        return container if container.is_running else container.launch()

    def remove(self, name: str) -> None:
        """Kill a service's container and delete it, with everything that is not in a volume."""
        self._containers.pop(name).close()

    def health_check(self, name: str) -> int:
        """Exit code of the service's own health check."""
        kind, *command = self.services[name].health_check
        if kind == "CMD-SHELL":
            command = ["/bin/sh", "-c", *command]
        return self[name].run(*command).returncode

    def client(self) -> PublishedClient:
        """A client on the engine's side, with all published ports."""
        published = {
            outside: f"{self.network.addresses[service.name]}:{inside}"
            for service in self.services.values()
            for outside, inside in service.ports.items()
        }
        return PublishedClient(self.network.engine, published)

    def close(self) -> None:
        for container in self._containers.values():
            container.close()

    def _make(self, service: Service) -> Container:
        return Container(
            self._buildah,
            self._image,
            environment=service.environment,
            volumes=[self._volume(volume) for volume in service.volumes],
            namespace=self.network.namespaces[service.name],
            command=service.command,
            hosts=self.network.addresses,
            hostname=service.hostname or service.name,
        )

    def _volume(self, volume: str) -> str:
        """Named volumes belong to the image's user, as engines make them of a directory that the image has."""
        name, _, inside = volume.partition(":")
        directory = self._volumes / name
        if not directory.exists():
            directory.mkdir(parents=True)
            shutil.chown(directory, 1000, 1000)
        return f"{directory}:{inside}"


@contextlib.contextmanager
def project(buildah: Buildah, image: str, file: Path, volumes: Path) -> Iterator[Project]:
    """The project of a compose file, with nothing running yet; all of it is gone at the end."""
    services = read_services(file)
    with bridge(list(services)) as network:
        one = Project(buildah, image, services, network, volumes)
        try:
            yield one
        finally:
            one.close()
