"""Three network namespaces that look as an engine's network does, closed to everything else.

    engine      a bridge with the gateway's address; here live clients that use a published port
    container   the broker's
    neighbour   another container's

The addresses are of a range for documentation, which is nowhere routed.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
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


@contextlib.contextmanager
def engine_network() -> Iterator[EngineNetwork]:
    """Set the three up, and take them down again."""
    network = EngineNetwork(
        *(f"kbroker-{os.getpid()}-{role}" for role in ("engine", "container", "neighbour"))
    )
    namespaces = (network.engine, network.container, network.neighbour)
    with contextlib.ExitStack() as made:
        for namespace in namespaces:
            _ip("netns", "add", namespace)
            made.callback(_ip, "netns", "del", namespace)
            _ip("-n", namespace, "link", "set", "lo", "up")
        engine = network.engine
        _ip("-n", engine, "link", "add", "bridge", "type", "bridge")
        _ip("-n", engine, "addr", "add", f"{GATEWAY}/24", "dev", "bridge")
        _ip("-n", engine, "link", "set", "bridge", "up")
        for namespace, address in ((network.container, CONTAINER), (network.neighbour, NEIGHBOUR)):
            port = f"port{address.rpartition('.')[2]}"
            _ip("-n", engine, "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", namespace)
            _ip("-n", engine, "link", "set", port, "master", "bridge", "up")
            _ip("-n", namespace, "addr", "add", f"{address}/24", "dev", "eth0")
            _ip("-n", namespace, "link", "set", "eth0", "up")
            _ip("-n", namespace, "route", "add", "default", "via", GATEWAY)
        yield network


def _ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, f"ip {' '.join(arguments)}: {done.stderr}"
