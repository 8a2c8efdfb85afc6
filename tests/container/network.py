"""Network namespaces that look as an engine's network does, closed to everything else.

    engine      a bridge with the gateway's address; here live clients that use a published port
    the others  a container each, with an address of its own

The addresses are of a range for documentation, which is nowhere routed.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

GATEWAY = "198.51.100.1"
CONTAINER = "198.51.100.2"
NEIGHBOUR = "198.51.100.3"


@dataclass(frozen=True, slots=True)
class EngineNetwork:
    """The namespaces' names, for ``ip netns exec``."""

    engine: str
    container: str
    neighbour: str


@dataclass(frozen=True, slots=True)
class Bridge:
    """The engine's namespace, and for each container its namespace and its address, by the container's name."""

    engine: str
    namespaces: Mapping[str, str]
    addresses: Mapping[str, str]


@contextlib.contextmanager
def engine_network() -> Iterator[EngineNetwork]:
    """A container and a neighbour of it, at CONTAINER and NEIGHBOUR."""
    with bridge(("container", "neighbour")) as network:
        yield EngineNetwork(network.engine, network.namespaces["container"], network.namespaces["neighbour"])


@contextlib.contextmanager
def bridge(names: Sequence[str]) -> Iterator[Bridge]:
    """Set up a network for containers of these names, with the addresses from CONTAINER on; take it down again."""
    prefix = f"kbroker-{os.getpid()}"
    engine = f"{prefix}-engine"
    namespaces = {name: f"{prefix}-{name}" for name in names}
    first = int(CONTAINER.rpartition(".")[2])
    addresses = {
        name: f"{CONTAINER.rpartition('.')[0]}.{first + number}" for number, name in enumerate(names)
    }
    with contextlib.ExitStack() as made:
        for namespace in (engine, *namespaces.values()):
            _ip("netns", "add", namespace)
            made.callback(_ip, "netns", "del", namespace)
            _ip("-n", namespace, "link", "set", "lo", "up")
        _ip("-n", engine, "link", "add", "bridge", "type", "bridge")
        _ip("-n", engine, "addr", "add", f"{GATEWAY}/24", "dev", "bridge")
        _ip("-n", engine, "link", "set", "bridge", "up")
        for name, namespace in namespaces.items():
            address = addresses[name]
            port = f"port{address.rpartition('.')[2]}"
            _ip("-n", engine, "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", namespace)
            _ip("-n", engine, "link", "set", port, "master", "bridge", "up")
            _ip("-n", namespace, "addr", "add", f"{address}/24", "dev", "eth0")
            _ip("-n", namespace, "link", "set", "eth0", "up")
            _ip("-n", namespace, "route", "add", "default", "via", GATEWAY)
        yield Bridge(engine, namespaces, addresses)


def _ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, f"ip {' '.join(arguments)}: {done.stderr}"
