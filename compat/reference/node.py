"""One KRaft node, broker and controller in one: its properties, its formatted directory, its command line."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from compat.reference.maven import NoReferenceError, class_path
from compat.reference.server_properties import CLUSTER_ID, server_properties

DEFAULT_HEAP = "-Xmx1G -Xms1G"
"""What kafka-server-start.sh gives a broker; KAFKA_HEAP_OPTS says otherwise, as there."""
DEFAULT_JVM_FLAGS = (
    "-server -XX:+UseG1GC -XX:MaxGCPauseMillis=20 -XX:InitiatingHeapOccupancyPercent=35 "
    "-XX:+ExplicitGCInvokesConcurrent"
)
"""What kafka-run-class.sh adds; KAFKA_JVM_PERFORMANCE_OPTS says otherwise, as there."""


@dataclass(frozen=True)
class Node:
    """A node that can be started with ``command``; clients connect to ``bootstrap``."""

    command: list[str]
    bootstrap: str


def prepare(data_dir: Path, *, host: str, port: int, overrides: Mapping[str, str]) -> Node:
    """Write the node's properties beside ``data_dir`` and format it if it is empty. NoReferenceError."""
    path = class_path()
    data_dir = data_dir.resolve()
    data_dir.mkdir(parents=True, exist_ok=True)
    settings = server_properties(data_dir, host=host, port=port, overrides=overrides)
    properties = data_dir.parent / f"{data_dir.name}.server.properties"
    properties.write_text("".join(f"{key}={value}\n" for key, value in settings.items()), encoding="utf-8")
    directories = settings["log.dirs"].split(",")
    if not any((Path(directory) / "meta.properties").exists() for directory in directories):
        _format(path, properties)
    heap = os.environ.get("KAFKA_HEAP_OPTS", DEFAULT_HEAP).split()
    flags = os.environ.get("KAFKA_JVM_PERFORMANCE_OPTS", DEFAULT_JVM_FLAGS).split()
    command = [
        "java", *heap, *flags, "-Djava.awt.headless=true", "-cp", path, "kafka.Kafka", str(properties)
    ]  # fmt: skip
    return Node(command, settings["listeners"].split(",")[0].rpartition("://")[2])


def _format(path: str, properties: Path) -> None:
    line = ["java", "-XX:TieredStopAtLevel=1", "-cp", path, "kafka.tools.StorageTool", "format"]
    done = subprocess.run([*line, "-t", CLUSTER_ID, "-c", str(properties)], capture_output=True, text=True)
    if done.returncode != 0:
        raise NoReferenceError(f"it cannot format its directory: {done.stdout}{done.stderr}")
