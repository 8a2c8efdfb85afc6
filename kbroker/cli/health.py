"""``kbroker health``: ask a broker one small question; the exit code says whether it answered well.

A container that is a controller and no broker has an etcd member, which is asked for its health instead.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from kbroker.cli.command import DEFAULT_HOST, DEFAULT_PORT
from kbroker.cli.container import DATA_DIR, mounted_config
from kbroker.cli.quorum.voters import quorum_part, reachable
from kbroker.client import BrokerClient
from kbroker.config.broker_config import BrokerConfig
from kbroker.config.definition import ConfigError
from kbroker.config.sources import gather
from kbroker.tools import alone
from kbroker.tools.waiting import Waiting, here
from kbroker.world import Address, ConnectionLost, Network
from wire.errors import ApiError, ProtocolError
from wire.messages.metadata import MetadataRequest, MetadataResponse

_EXIT_HEALTHY = 0
_EXIT_UNHEALTHY = 1
_HOST_FOR_ANY = {"": DEFAULT_HOST, "0.0.0.0": DEFAULT_HOST, "::": "::1"}


class Unhealthy(Exception):
    """The broker does not answer, or not as a broker that can serve."""


def health(options: argparse.Namespace) -> int:
    """Print one line and return 0 if the broker is well; 1 with the reason on standard error if it is not."""
    try:
        if options.bootstrap_server is not None:
            address = Address.parse(options.bootstrap_server.split(",", 1)[0])
        else:
            config = mounted_config()
            properties = Path(config).read_bytes() if config is not None else None
            controller = own_controller(os.environ, properties)
            if controller is not None:
                print(_controller_answer(controller, options.timeout))
                return _EXIT_HEALTHY
            address = own_address(os.environ, properties)
        answer = alone.run(partial(check, here(), address, options.timeout))
    except (Unhealthy, ConfigError, ValueError, OSError) as error:
        print(f"kbroker health: {error}", file=sys.stderr)
        return _EXIT_UNHEALTHY
    print(answer)
    return _EXIT_HEALTHY


async def check(waiting: Waiting, address: Address, timeout_s: float) -> str:
    """Agree on versions and ask for the cluster's brokers; one line about them, or Unhealthy."""
    with waiting.move_on_after(timeout_s):
        try:
            client = await BrokerClient.connect(
                waiting.network, address.host, address.port, client_id="kbroker-health"
            )
            async with client:
                response = await client.request(MetadataRequest(topics=[]), MetadataResponse)
        except (ConnectionLost, ProtocolError, ApiError) as error:
            raise Unhealthy(f"{address} is not well: {error}") from error
        if not response.brokers:
            raise Unhealthy(f"{address} knows of no broker")
        node_ids = ",".join(str(broker.node_id) for broker in response.brokers)
        return f"healthy bootstrap={address} node.ids={node_ids} cluster.id={response.cluster_id}"
    raise Unhealthy(f"{address} did not answer within {timeout_s:g} s")


def _controller_answer(address: Address, timeout_s: float) -> str:
    import trio

    from kbroker.os_world import OsNetwork

    return trio.run(check_controller, OsNetwork(), address, timeout_s)


async def check_controller(network: Network, address: Address, timeout_s: float) -> str:
    """One line about the etcd member of a controller, or Unhealthy."""
    from kbroker.cli.quorum.member import check_etcd
    from kbroker.cli.quorum.voter_port import NoAnswer

    try:
        await check_etcd(network, address.host, address.port, timeout_s=timeout_s)
    except NoAnswer as error:
        raise Unhealthy(f"{address} is not well: {error}") from error
    return f"healthy controller={address}"


def own_controller(environment: Mapping[str, str], properties: bytes | None) -> Address | None:
    """Where a node with these settings is a controller; None if it is a broker."""
    settings = gather(properties=properties, environment=environment, default_data_directory=DATA_DIR)
    part = quorum_part(settings, environment)
    if part is None or part.is_broker or part.voter is None:
        return None
    return Address(reachable(part.voter.listen_host), part.voter.listen_port)


def own_address(environment: Mapping[str, str], properties: bytes | None) -> Address:
    """Where a broker with this environment and this properties file listens first, as seen from beside it."""
    config = BrokerConfig.load(
        properties=properties,
        environment=environment,
        default_host=DEFAULT_HOST,
        default_port=DEFAULT_PORT,
    )
    endpoint = config.endpoints[0]
    return Address(_HOST_FOR_ANY.get(endpoint.host, endpoint.host), endpoint.port)
