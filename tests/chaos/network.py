"""Hosts on one switch, as network namespaces; nothing of them is connected to anything else.

The process that builds a ``Network`` must be in a namespace of its own already (``in_own_namespace``): the switch, a
bridge, is made there, so clients in that namespace are hosts too. A host is held by a process that does nothing;
without names there is nothing to clean up, whatever happens to the test.

A packet from one host to another is dropped by sending it to a hardware address that nobody has: silently, in one
direction, for new and old connections alike, and with nothing but iproute2. A slow host sends through a token bucket.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.broker_process import die_with_parent

PREFIX = "10.77.0"
CLIENTS_ADDRESS = f"{PREFIX}.1"
_NOBODY = "02:00:00:00:00:ff"
_INSIDE = "KBROKER_CHAOS_NAMESPACE_OF"

_TOOLS = ("ip", "tc", "unshare", "nsenter", "setpriv")


def missing() -> str | None:
    """Why hosts cannot be made here; None where they can."""
    absent = [tool for tool in _TOOLS if shutil.which(tool) is None]
    if absent:
        return f"{', '.join(absent)} not installed"
    if os.geteuid() != 0:
        return "network namespaces need root"
    probe = ["unshare", "--net", "ip", "link", "add", "probe", "type", "bridge"]
    if subprocess.run(probe, capture_output=True, timeout=30, check=False).returncode != 0:
        return "no network namespace with a bridge can be made here"
    return None


def in_own_namespace() -> bool:
    """Whether ``enter_own_namespace`` put this very process into a namespace of its own."""
    return os.environ.get(_INSIDE) == str(os.getpid())


def enter_own_namespace(arguments: Sequence[str]) -> None:
    """Replace this process by the same module, started in a new network namespace."""
    environment = {**os.environ, _INSIDE: str(os.getpid())}
    os.execvpe("unshare", ["unshare", "--net", sys.executable, *arguments], environment)


class Host:
    """One namespace with the address ``address`` on the switch."""

    def __init__(self, name: str, address: str) -> None:
        self.name = name
        self.address = address
        self.slow = False
        self._cuts: Counter[str] = Counter()
        holder = [*die_with_parent(), "unshare", "--net", "sleep", "infinity"]
        self._holder = subprocess.Popen(holder, stdin=subprocess.DEVNULL)

    @property
    def pid(self) -> int:
        """A process that is in the namespace as long as the host exists."""
        return self._holder.pid

    @property
    def prefix(self) -> list[str]:
        """What makes a command run on this host."""
        return ["nsenter", f"--net=/proc/{self.pid}/ns/net", "--"]

    def connect(self) -> None:
        """Plug it into the switch."""
        self._await_namespace()
        port = f"port{self.address.rpartition('.')[2]}"
        _run(
            *("ip", "link", "add", port, "type", "veth"),
            *("peer", "name", "eth0", "netns", str(self.pid)),
        )
        _run("ip", "link", "set", port, "master", "switch", "up")
        self._on_host("ip", "link", "set", "lo", "up")
        self._on_host("ip", "addr", "add", f"{self.address}/24", "dev", "eth0")
        self._on_host("ip", "link", "set", "eth0", "up")

    def drop_packets_to(self, address: str) -> None:
        """From now on; as many times as this is called, ``deliver_packets_to`` must be to undo it."""
        self._cuts[address] += 1
        if self._cuts[address] == 1:
            self._on_host(
                *("ip", "neigh", "replace", address, "lladdr", _NOBODY, "dev", "eth0", "nud", "permanent")
            )

    def deliver_packets_to(self, address: str) -> None:
        self._cuts[address] -= 1
        assert self._cuts[address] >= 0, f"{self.name} was not cut off from {address}"
        if self._cuts[address] == 0:
            self._on_host("ip", "neigh", "del", address, "dev", "eth0")

    def slow_down(self, *, kilobits_per_second: int, wait_ms_max: int) -> None:
        """Send at this rate; what would have to wait longer is dropped."""
        rate = ("rate", f"{kilobits_per_second}kbit", "burst", "32kb", "latency", f"{wait_ms_max}ms")
        self._on_host("tc", "qdisc", "replace", "dev", "eth0", "root", "tbf", *rate)
        self.slow = True

    def speed_up(self) -> None:
        if self.slow:
            self._on_host("tc", "qdisc", "del", "dev", "eth0", "root")
            self.slow = False

    def close(self) -> None:
        self._holder.kill()
        self._holder.wait()

    def _on_host(self, *command: str) -> None:
        _run(*self.prefix, *command)

    def _await_namespace(self) -> None:
        """Until the holder has left the namespace that it was started in."""
        own = Path("/proc/self/ns/net").readlink()
        while Path(f"/proc/{self.pid}/ns/net").readlink() == own:
            assert self._holder.poll() is None, f"the holder of {self.name} ended"


class Network:
    """The switch, with the clients' address in this process's own namespace, and the hosts."""

    def __init__(self) -> None:
        assert in_own_namespace(), "the switch would be made in a namespace that is not ours"
        self.hosts: list[Host] = []

    def __enter__(self) -> Self:
        _run("ip", "link", "set", "lo", "up")
        _run("ip", "link", "add", "switch", "type", "bridge")
        _run("ip", "addr", "add", f"{CLIENTS_ADDRESS}/24", "dev", "switch")
        _run("ip", "link", "set", "switch", "up")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for host in self.hosts:
            host.close()

    def add(self, name: str, number: int) -> Host:
        """A new host with the address that ends in ``number``."""
        host = Host(name, f"{PREFIX}.{number}")
        self.hosts.append(host)
        host.connect()
        return host


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
