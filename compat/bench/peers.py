"""The brokers that are compared, each started the way its users start it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from compat.contestants import REFERENCE_COMMAND
from compat.reference.maven import KEPT
from compat.reference.node import prepare
from tests.broker_process import OWN_COMMAND, BrokerProcess, free_port

APACHE_KAFKA = "Apache Kafka"
KBROKER = "kbroker"
KFAKE = "kfake"
_KFAKE_SOURCE = Path(__file__).with_name("kfake")


class PeerMissingError(Exception):
    """A peer cannot run here; the message says why."""


@dataclass(frozen=True)
class Peer:
    """One kind of broker. ``flushing``: settings with which acks=all waits for the disk, ``relaxed``: without."""

    name: str
    command: tuple[str, ...]
    flushing: Mapping[str, str | int] | None = field(default_factory=dict)
    relaxed: Mapping[str, str | int] = field(default_factory=dict)

    def broker(self, directory: Path, *, flushing: bool = False) -> BrokerProcess:
        """Not started yet, with everything else at its defaults (Apache Kafka's heap included)."""
        overrides = self.flushing if flushing else self.relaxed
        assert overrides is not None, f"{self.name} never flushes"
        return BrokerProcess(directory, overrides=overrides, command=self.command)

    def start_command(self, directory: Path) -> tuple[list[str], str]:
        """What is executed to start one on ``directory``, formatted where it must be, and its address."""
        port = free_port()
        if self.name == APACHE_KAFKA:
            node = prepare(directory, host="127.0.0.1", port=port, overrides={})
            return node.command, node.bootstrap
        line = [*self.command, "--data-dir", str(directory), "--host", "127.0.0.1", "--port", str(port)]
        return line, f"127.0.0.1:{port}"


def peers() -> list[Peer]:
    """All three; PeerMissingError."""
    return [
        Peer(APACHE_KAFKA, REFERENCE_COMMAND, flushing={"log.flush.interval.messages": 1}),
        Peer(KBROKER, OWN_COMMAND, relaxed={"kbroker.acks.all.sync": "false"}),
        Peer(KFAKE, (str(_build_kfake()),), flushing=None),
    ]


def versions() -> dict[str, str]:
    """What was measured, by name."""
    from importlib.metadata import version

    pom = (Path(__file__).parent.parent / "reference" / "pom.xml").read_text(encoding="utf-8")
    kafka = pom.partition("<kafka.version>")[2].partition("<")[0]
    modules = (_KFAKE_SOURCE / "go.mod").read_text(encoding="utf-8")
    kfake = modules.partition("pkg/kfake ")[2].split()[0]
    python = ".".join(map(str, sys.version_info[:3]))
    return {APACHE_KAFKA: kafka, KBROKER: f"{version('kbroker')} on Python {python}", KFAKE: kfake}


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far."""
    fields = (
        Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
    )
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _build_kfake() -> Path:
    if shutil.which("go") is None:
        raise PeerMissingError("go is not installed")
    binary = KEPT / "kfake"
    KEPT.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        ["go", "build", "-o", str(binary), "."], cwd=_KFAKE_SOURCE, capture_output=True, text=True
    )
    if done.returncode != 0:
        raise PeerMissingError(f"kfake cannot be built: {done.stderr.strip()[-300:]}")
    return binary
