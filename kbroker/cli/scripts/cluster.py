"""``kafka-cluster.sh``: the cluster's id, and brokers that are gone for good (Kafka's ClusterTool)."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import NoReturn

from kbroker.cli.scripts.argparse4j import Program
from kbroker.tools.arguments import read_properties
from kbroker.tools.cluster import Cluster
from kbroker.tools.session import Connected, run
from wire.errors import ApiError, ErrorCode
from wire.messages.broker_lifecycle import UnregisterBrokerRequest, UnregisterBrokerResponse


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    options = _parser().parse_args(arguments)

    async def work() -> None:
        properties = read_properties(options.command_config or options.config)
        async with Connected(options.bootstrap_server, properties) as cluster:
            await execute(options, cluster)

    run(work, to_stderr=True)


async def execute(options: argparse.Namespace, cluster: Cluster) -> None:
    if options.command == "cluster-id":
        cluster_id = (await cluster.metadata([])).cluster_id
        print(f"Cluster ID: {cluster_id}")
        return
    request = UnregisterBrokerRequest(broker_id=options.id)
    response = await cluster.controller(
        request, UnregisterBrokerResponse, errors=lambda response: [response.error_code]
    )
    if response.error_code:
        raise ApiError(ErrorCode(response.error_code), response.error_message)
    print(f"Broker {options.id} is no longer registered.")


def _parser() -> argparse.ArgumentParser:
    parser = Program("kafka-cluster", "The Kafka cluster tool.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="{cluster-id,unregister}")
    cluster_id = commands.add_parser("cluster-id", help="Get information about the ID of a cluster.")
    unregister = commands.add_parser("unregister", help="Unregister a broker.")
    for one in (cluster_id, unregister):
        one.add_argument("--bootstrap-server", "-b", required=True, help="HOST:PORT,... of brokers.")
        one.add_argument("--command-config", "-c", help="Property file with configs for the admin client.")
        one.add_argument("--config", help="The same, by its older name.")
    unregister.add_argument("--id", "-i", type=int, required=True, help="The broker's node id.")
    return parser
