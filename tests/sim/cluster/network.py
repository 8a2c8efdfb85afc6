"""A network of hosts with ordered byte streams between them, and what goes wrong in networks.

* Each message takes a time drawn from the seed; large ones may come in pieces. Streams keep their order.
* A link (from one host to another, one way) may be cut. What arrives at a cut is kept, as TCP would send it again,
  and comes through some time after the link has healed, unless the connection is given up instead.
* Connecting over a cut link repeats itself for some seconds and then fails.
* When a process is killed its host says so to the peers (an end or a reset). When a host loses power nobody hears
  anything: the peer's connection is half open until it sends something and the host, up again, answers with a reset.
* A connection may break by itself: both sides learn of it, each in its own time, and bytes under way may be lost.

Messages that are no streams (to the metadata store) go by ``post``.
"""

from __future__ import annotations

import errno
import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum

import trio

from kbroker.world import Address, Connection, ConnectionLost, Listener, Part
from storage.file_slice import FileSlice
from tests.sim.cluster.agenda import Agenda
from tests.sim.cluster.processes import Process
from tests.sim.cluster.trace import Trace
from tests.sim.coverage import Coverage

_WINDOW_BYTES = 256 * 1024
_CONNECT_RETRIES_S = (1.0, 2.0, 4.0)
_RETRANSMISSION_S_MAX = 2.0
_YIELD_CHANCE = 0.15


class Mark(Enum):
    """What a stream carries besides bytes."""

    END = "end"
    RESET = "reset"


@dataclass(slots=True)
class Link:
    """The way from one host to another."""

    cuts: int = 0
    """How many faults cut it at present."""
    slowness: float = 1.0
    stalled: list[Callable[[], None]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Latency:
    """Of this many seconds on the average, plus ``spike_s`` with a chance."""

    mean_s: float = 0.001
    spike_chance: float = 0.0
    spike_s: float = 0.5
    pieces_chance: float = 0.05


class Host:
    """A computer in the network, identified by its address."""

    def __init__(self, network: SimulatedNetwork, name: str, address: str) -> None:
        self.network = network
        self.name = name
        self.address = address
        self.is_up = True
        self.listeners: dict[int, SimulatedListener] = {}
        self.endpoints: dict[int, SimulatedConnection] = {}
        self._unanswered: list[SimulatedConnection] = []
        self._next_port = 32_768

    def free_port(self) -> int:
        self._next_port += 1
        return self._next_port

    def end_of(self, process: Process, *, silently: bool) -> None:
        """A process of this host is no more: its connections and listeners go, without a word if ``silently``."""
        for port, listener in list(self.listeners.items()):
            if listener.process is process:
                listener.forget()
                del self.listeners[port]
        for endpoint in list(self.endpoints.values()):
            if endpoint.process is process:
                endpoint.abandon(silently=silently)

    def power_off(self) -> None:
        self.is_up = False

    def power_on(self) -> None:
        self.is_up = True
        unanswered, self._unanswered = self._unanswered, []
        for sender in unanswered:
            self.network.carry_reset_to(sender)

    def not_answering(self, sender: SimulatedConnection) -> None:
        """Something came for this host while it was off; it will be sent again until it is on."""
        self._unanswered.append(sender)


class SimulatedNetwork:
    """All hosts and what lies between them."""

    def __init__(
        self, agenda: Agenda, generator: random.Random, trace: Trace, coverage: Coverage, latency: Latency
    ) -> None:
        self.agenda = agenda
        self.random = generator
        self.trace = trace
        self.coverage = coverage
        self.latency = latency
        self.hosts: dict[str, Host] = {}
        self._links: dict[tuple[str, str], Link] = {}
        self._count = 0

    def add_host(self, name: str, address: str) -> Host:
        host = self.hosts[address] = Host(self, name, address)
        return host

    def number(self) -> int:
        self._count += 1
        return self._count

    # Links, by host name

    def link(self, source: str, target: str) -> Link:
        link = self._links.get((source, target))
        if link is None:
            link = self._links[source, target] = Link()
        return link

    def cut(self, source: str, target: str) -> None:
        self.link(source, target).cuts += 1

    def heal(self, source: str, target: str) -> None:
        link = self.link(source, target)
        link.cuts -= 1
        if link.cuts:
            return
        stalled, link.stalled = link.stalled, []
        now = trio.current_time()
        when = now
        for go_on in stalled:
            when = max(when, now + self.random.uniform(0, _RETRANSMISSION_S_MAX))
            self.agenda.at(when, go_on)

    def delay(self, source: str, target: str) -> float:
        latency = self.latency
        delay = 0.00005 + self.random.expovariate(1 / latency.mean_s)
        if latency.spike_chance and self.random.random() < latency.spike_chance:
            delay += self.random.random() * latency.spike_s
        return delay * self.link(source, target).slowness

    def post(self, source: str, target: str, arrive: Callable[[], None]) -> None:
        """A single message; at a cut it is lost, or arrives when the link is whole again."""
        link = self.link(source, target)

        def reach() -> None:
            if not link.cuts:
                arrive()
            elif self.random.random() < 0.5:
                link.stalled.append(arrive)

        self.agenda.at(trio.current_time() + self.delay(source, target), reach)

    # Streams

    def carry(self, sender: SimulatedConnection) -> None:
        """The next of what ``sender`` has sent is under way."""
        delay = self.delay(sender.host.name, sender.peer.host.name)
        sender.last_arrival = when = max(sender.last_arrival, trio.current_time() + delay)
        self.agenda.at(when, lambda: self._arrive(sender))

    def _arrive(self, sender: SimulatedConnection) -> None:
        link = self.link(sender.host.name, sender.peer.host.name)
        if link.cuts:
            link.stalled.append(lambda: self._arrive(sender))
            return
        if not sender.under_way:
            return
        item = sender.under_way.popleft()
        receiver = sender.peer
        if not receiver.host.is_up:
            receiver.host.not_answering(sender)
        elif receiver.is_gone:
            if not isinstance(item, Mark):
                self.carry_reset_to(sender)
        else:
            receiver.arrived(item)

    def carry_reset_to(self, endpoint: SimulatedConnection) -> None:
        """A reset comes from the other side, which has nothing of the connection any more."""
        peer = endpoint.peer
        peer.under_way.clear()
        peer.under_way.append(Mark.RESET)
        self.carry(peer)

    def break_connection(self, endpoint: SimulatedConnection) -> None:
        for side in (endpoint, endpoint.peer):
            kept = self.random.randint(0, len(side.under_way))
            while len(side.under_way) > kept:
                side.under_way.pop()
            side.under_way.append(Mark.RESET)
            self.carry(side)

    def connections(self) -> list[SimulatedConnection]:
        return [endpoint for host in self.hosts.values() for endpoint in host.endpoints.values()]


class SimulatedConnection:
    """One end of a connection (the Connection port)."""

    def __init__(self, host: Host, process: Process, local: Address, peer: Address) -> None:
        self.host = host
        self.process = process
        self.local_address = local
        self.peer_address = peer
        self.number = host.network.number()
        self.peer: SimulatedConnection = self
        self.under_way: deque[bytes | Mark] = deque()
        self.last_arrival = 0.0
        self.is_gone = False
        """Closed here, or its process is dead."""
        self._inbox = bytearray()
        self._has_ended = False
        self._is_broken = False
        self._unread_by_peer = 0
        self._changed: trio.Event | None = None
        host.endpoints[self.number] = self

    # The port

    async def receive_into(self, buffer: memoryview) -> int:
        network = self.host.network
        await self.process.step("receive")
        if network.random.random() < _YIELD_CHANCE:
            await self._yield()
        while True:
            if self.is_gone:
                raise ConnectionLost("the connection was closed here")
            if self._inbox:
                count = min(len(buffer), len(self._inbox))
                buffer[:count] = self._inbox[:count]
                del self._inbox[:count]
                self.peer.was_read(count)
                return count
            if self._is_broken:
                raise ConnectionLost("the connection broke")
            if self._has_ended:
                return 0
            await self._wait()

    async def send(self, parts: Sequence[Part]) -> None:
        try:
            data = b"".join(part.read() if isinstance(part, FileSlice) else bytes(part) for part in parts)
        except EOFError as error:  # the log was truncated since, as the kernel's own copying finds out too
            raise ConnectionLost(str(error)) from error
        await self.process.step("send")
        network = self.host.network
        if network.random.random() < _YIELD_CHANCE:
            await self._yield()
        while self._unread_by_peer > _WINDOW_BYTES and not (self.is_gone or self._is_broken):
            await self._wait()
        if self.is_gone or self._is_broken:
            raise ConnectionLost("the connection broke")
        network.trace.add(f"{self.host.name}>{self.peer.host.name}", data)
        if len(data) > 8 and network.random.random() < network.latency.pieces_chance:
            cut = network.random.randrange(1, len(data))
            self._transmit(data[:cut])
            self._transmit(data[cut:])
        elif data:
            self._transmit(data)

    def close(self) -> None:
        if not self.is_gone:
            self.abandon(silently=False)
            self._wake()

    # What the network does to it

    def _transmit(self, item: bytes | Mark) -> None:
        if not isinstance(item, Mark):
            self._unread_by_peer += len(item)
        self.under_way.append(item)
        self.host.network.carry(self)

    def abandon(self, *, silently: bool) -> None:
        """This end is no more."""
        if self.is_gone:
            return
        self.is_gone = True
        self.host.endpoints.pop(self.number, None)
        if silently:
            self.under_way.clear()
        elif not self._is_broken:
            self._transmit(Mark.RESET if self._inbox else Mark.END)

    def arrived(self, item: bytes | Mark) -> None:
        if item is Mark.END:
            self._has_ended = True
        elif item is Mark.RESET:
            self._is_broken = True
        else:
            self._inbox += item
        self._wake()

    def was_read(self, count: int) -> None:
        self._unread_by_peer -= count
        if self._unread_by_peer + count > _WINDOW_BYTES:
            self._wake()

    async def _wait(self) -> None:
        # Reader and writer share the event; whoever is woken in vain waits again.
        if self._changed is None:
            self._changed = trio.Event()
        await self._changed.wait()

    def _wake(self) -> None:
        if self._changed is not None:
            self._changed.set()
            self._changed = None

    async def _yield(self) -> None:
        """Let others run, without noticing a cancellation: what can be done at once is done."""
        await trio.lowlevel.cancel_shielded_checkpoint()


class SimulatedListener:
    """A listening port (the Listener port)."""

    def __init__(self, host: Host, process: Process, address: Address) -> None:
        self.host = host
        self.process = process
        self.address = address
        self._waiting: deque[SimulatedConnection] = deque()
        self._changed = trio.Event()
        self._is_closed = False

    async def accept(self) -> Connection:
        while True:
            await self.process.step("accept")
            if self._is_closed:
                raise ConnectionLost("the listener was closed")
            if self._waiting:
                return self._waiting.popleft()
            self._changed = trio.Event()
            await self._changed.wait()

    def offer(self, connection: SimulatedConnection) -> None:
        self._waiting.append(connection)
        self._changed.set()

    def forget(self) -> None:
        self._is_closed = True
        self._waiting.clear()

    def close(self) -> None:
        if not self._is_closed and not self.process.is_dead:
            self._is_closed = True
            if self.host.listeners.get(self.address.port) is self:
                del self.host.listeners[self.address.port]
            while self._waiting:
                self._waiting.popleft().close()
            self._changed.set()


class HostNetwork:
    """The network as one process of a host sees it (the Network port)."""

    def __init__(self, host: Host, process: Process) -> None:
        self._host = host
        self._process = process

    async def listen(self, host: str, port: int) -> Listener:
        await self._process.step("listen")
        listeners = self._host.listeners
        if port in listeners:
            raise OSError(errno.EADDRINUSE, "Address already in use")
        if port == 0:
            port = self._host.free_port()
        listener = listeners[port] = SimulatedListener(self._host, self._process, Address(host, port))
        return listener

    async def connect(self, host: str, port: int) -> Connection:
        await self._process.step("connect")
        network, ours = self._host.network, self._host
        theirs = network.hosts[host]
        for pause_s in (*_CONNECT_RETRIES_S, None):
            await trio.sleep(network.delay(ours.name, theirs.name))
            if theirs.is_up and not (
                network.link(ours.name, theirs.name).cuts or network.link(theirs.name, ours.name).cuts
            ):
                break
            network.coverage.count("network", "no answer to a connect")
            if pause_s is None:
                raise ConnectionLost(f"no connection to {host}:{port}: timed out")
            await trio.sleep(pause_s)
        listener = theirs.listeners.get(port)
        if listener is None:
            network.coverage.count("network", "connection refused")
            await trio.sleep(network.delay(theirs.name, ours.name))
            raise ConnectionLost(f"no connection to {host}:{port}: refused")
        network.trace.add(f"{ours.name} connects to {theirs.name}")
        local = Address(ours.address, ours.free_port())
        client = SimulatedConnection(ours, self._process, local, Address(theirs.address, port))
        server = SimulatedConnection(theirs, listener.process, client.peer_address, local)
        client.peer, server.peer = server, client
        listener.offer(server)
        try:
            await trio.sleep(network.delay(theirs.name, ours.name))
            self._process.check()
        except BaseException:
            client.close()
            raise
        return client

    def lock(self) -> trio.Lock:
        return trio.Lock()
