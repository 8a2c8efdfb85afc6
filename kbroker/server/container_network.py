"""How a client of a broker in a container reached it.

A container's published port is forwarded by its engine: the broker sees a connection from the gateway of its
own network (Docker, Podman as root) or from its own address (Podman without root, whose port forwarder lives
in the container's network) to an address that means nothing outside. Such a client used a port of the
engine's host, so it is told ``localhost``. Another container of the same network comes from an address of its own and
is told the address that it used.

What cannot be seen from inside: which address a client on another host used, and a published port whose
number differs from the listener's. Those need ``advertised.listeners``.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path

LOCALHOST = "localhost"

_MARKER_VARIABLES = ("KBROKER_IN_CONTAINER", "container")
_MARKER_FILES = (".dockerenv", "run/.containerenv")
_ROUTE_IS_UP = 0x1
_ROUTE_HAS_GATEWAY = 0x2


def advertised_local_host(local_host: str, peer_host: str, gateway: str | None) -> str:
    """The host that a client is told which connected from ``peer_host`` to ``local_host``.

    ``gateway`` is what ``container_gateway`` found when the broker started; with None, outside of containers,
    it is always ``local_host``. All hosts are numeric.
    """
    if gateway is None or local_host.startswith("127.") or local_host == "::1":
        return local_host
    return LOCALHOST if peer_host in (gateway, local_host) else local_host


def container_gateway(environment: Mapping[str, str], root: Path = Path("/")) -> str | None:
    """The IPv4 default gateway if this process runs in a container; None elsewhere or if there is none.

    Reads small files below ``root``; to be called once, when the broker starts.
    """
    if not _runs_in_container(environment, root):
        return None
    try:
        return default_gateway((root / "proc/net/route").read_text(encoding="ascii", errors="replace"))
    except OSError:
        return None


def _runs_in_container(environment: Mapping[str, str], root: Path) -> bool:
    return any(environment.get(name) for name in _MARKER_VARIABLES) or any(
        (root / name).exists() for name in _MARKER_FILES
    )


def default_gateway(route_table: str) -> str | None:
    """The gateway of the default route with the lowest metric in the text of Linux's ``/proc/net/route``.

    Columns: Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT; addresses are hexadecimal
    numbers whose bytes in memory are the address in network order. Lines that do not look so are passed over.
    """
    best: tuple[int, str] | None = None
    for line in route_table.splitlines()[1:]:
        columns = line.split()
        try:
            destination, gateway, flags = (int(column, 16) for column in columns[1:4])
            metric, mask = int(columns[6]), int(columns[7], 16)
            address = ".".join(map(str, struct.pack("=I", gateway)))
        except (ValueError, IndexError, struct.error):
            continue
        usable = flags & _ROUTE_IS_UP and flags & _ROUTE_HAS_GATEWAY
        if usable and destination == mask == 0 and (best is None or metric < best[0]):
            best = (metric, address)
    return best and best[1]
