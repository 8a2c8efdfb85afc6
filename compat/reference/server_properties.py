"""The ``server.properties`` of a KRaft node: as little as a single node needs, and what a case overrides."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tests.broker_process import free_port

CLUSTER_ID = "AAAAAAAAAAAAAAAAAAAAAQ"
CONTROLLER_LISTENER = "CONTROLLER"


def server_properties(
    data_dir: Path, *, host: str, port: int, overrides: Mapping[str, str]
) -> dict[str, str]:
    """Settings of one node that is broker and controller; ``overrides`` win, but for kbroker's own keys."""
    node_id = overrides.get("node.id", "1")
    controller_port = free_port()
    settings = {
        "node.id": node_id,
        "process.roles": "broker,controller",
        "controller.quorum.voters": f"{node_id}@{host}:{controller_port}",
        "listeners": f"PLAINTEXT://{host}:{port},{CONTROLLER_LISTENER}://{host}:{controller_port}",
        "controller.listener.names": CONTROLLER_LISTENER,
        "log.dirs": str(data_dir),
        # A single node cannot hold the three copies that Apache Kafka's own defaults ask for.
        "offsets.topic.replication.factor": "1",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        "share.coordinator.state.topic.replication.factor": "1",
        "share.coordinator.state.topic.min.isr": "1",
    }
    settings.update((key, value) for key, value in overrides.items() if not key.startswith("kbroker."))
    return settings
