"""One seed: draw a cluster, let it live through faults, heal it, and judge what came of it."""

from __future__ import annotations

import gc
import random
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import trio

from kbroker.metadata.image import ClusterImage, PartitionState
from kbroker.metadata.image_update import next_image
from kbroker.metadata.store import WatchBatch
from kbroker.replication.partition import Partition, ReplicaState
from tests.anomalies.checker import check, report
from tests.anomalies.history import Assigned, Operation, Poll
from tests.sim.cluster import settings as draws
from tests.sim.cluster.aftermath import Aftermath, Stuck, within
from tests.sim.cluster.agenda import Agenda, virtual_clock
from tests.sim.cluster.clients.client import Client
from tests.sim.cluster.clients.member import Member
from tests.sim.cluster.clients.producer import AcksOneProducer, IdempotentProducer
from tests.sim.cluster.clients.reader import Reader
from tests.sim.cluster.clients.topics import create_topics
from tests.sim.cluster.clients.transformer import Transformer
from tests.sim.cluster.faults import Faults
from tests.sim.cluster.invariants import Invariants
from tests.sim.cluster.logs import LogWatch
from tests.sim.cluster.machine import PORT, Machine
from tests.sim.cluster.network import SimulatedNetwork
from tests.sim.cluster.processes import Livelock, Scheduler
from tests.sim.cluster.small_segments import segments_of
from tests.sim.cluster.store import STORE, StoreServer
from tests.sim.cluster.trace import Trace
from tests.sim.cluster.world import DiskTime
from tests.sim.coverage import Coverage

_START_S = 60.0
_FINDINGS_MAX = 8


@dataclass(slots=True)
class Outcome:
    """What became of one seed. ``trace`` is the same whenever the seed is run."""

    seed: int
    trace: int
    coverage: Coverage
    failure: str = ""
    story: list[str] = field(default_factory=list)
    """The last events before the end."""
    virtual_s: float = 0.0


class Simulation:
    """All of one run; ``run`` drives it."""

    def __init__(self, seed: int, *, verbose: bool = False, faults: bool = True) -> None:
        self.seed = seed
        self.verbose = verbose
        self.settings = settings_of(seed)
        if not faults:
            self.settings = replace(self.settings, faults={})
        self.coverage = Coverage()
        self.agenda = Agenda()
        self.scheduler = Scheduler(seed)
        self.clock = virtual_clock(self.agenda, self.scheduler.moved_on)
        self.now: Callable[[], float] = self.clock.current_time
        self.trace = Trace(verbose=verbose, now=self.now)
        self.history: list[Operation] = []
        self.findings: list[str] = []
        self.network = SimulatedNetwork(
            self.agenda, random.Random(f"{seed} network"), self.trace, self.coverage, self.settings.latency
        )
        self.network.add_host(STORE, "10.0.1.1")
        self.store = StoreServer(self.agenda, random.Random(f"{seed} store"), self.now)
        self.store.extra_lease_s = self.settings.extra_lease_s
        self.store.on_change = self._metadata_changed
        self.truth = ClusterImage()
        self.may_take_back_reads = False
        self._took_back_at = -1.0
        self.machines: list[Machine] = []
        self.bootstrap: list[tuple[str, int]] = []
        self._client_count = 0
        for node_id in range(1, self.settings.nodes + 1):
            self._add_machine(node_id)
        self.faults = Faults(self)
        self.clients: list[Client] = []
        self.groups: list[str] = []
        self._add_clients()

    def _add_machine(self, node_id: int) -> None:
        address = f"10.0.0.{node_id}"
        settings = self.settings
        host = self.network.add_host(f"broker-{node_id}", address)
        listeners = {"listeners": f"PLAINTEXT://{address}:{PORT}", "node.id": str(node_id)}
        disk_time = DiskTime(settings.disk_wait_chance, settings.disk_wait_s)
        self.machines.append(Machine(self, node_id, host, {**settings.broker, **listeners}, disk_time))
        self.bootstrap.append((address, PORT))

    def next_client_address(self) -> str:
        self._client_count += 1
        return f"10.0.2.{self._client_count}"

    def _add_clients(self) -> None:
        source, target = self.settings.topics
        for topic in (source, target):
            for partition in topic.all_partitions:
                name = f"producer-{partition[0]}-{partition[1]}"
                self.clients.append(IdempotentProducer(self, name, partition))
        if self.settings.has_acks_one:
            self.clients.append(AcksOneProducer(self, "acks-one", (source.name, 0)))
        for number in range(self.settings.transformers):
            name = f"transformer-{number + 1}"
            self.clients.append(Transformer(self, name, source.all_partitions, target.all_partitions))
        partitions = [*source.all_partitions, *target.all_partitions]
        if self.settings.members:
            self.groups.append("members")
        for number in range(self.settings.members):
            self.clients.append(Member(self, f"member-{number + 1}", "members", partitions))
        self.clients.append(Reader(self, "reader", partitions, "read_uncommitted"))
        self.clients.append(Reader(self, "committed", partitions, "read_committed"))

    # What everybody asks and tells

    def replica(self, node_id: int, topic: str, index: int) -> Partition | None:
        """The replica of a broker that lives and serves it."""
        life = self.machines[node_id - 1].life
        parts = None if life is None or life.process.is_dead else life.broker._parts
        partition = None if parts is None else parts.replicas.get(topic, index)
        if partition is None or partition.state in (ReplicaState.OFFLINE, ReplicaState.CLOSED):
            return None
        return partition

    def found(self, finding: str, error: BaseException | None = None) -> None:
        """Something is wrong."""
        if error is not None:
            finding += "\n" + "".join(traceback.format_exception(error, limit=-12))
        if len(self.findings) < _FINDINGS_MAX and finding not in self.findings:
            self.findings.append(f"{self.now():.3f}: {finding}")
            self.trace.comment(f"FOUND {finding}")

    def took_back_reads(self) -> None:
        """Something happens that may take back what was read and not acknowledged."""
        self.may_take_back_reads = True
        self._took_back_at = self.now()

    def _metadata_changed(self, batch: WatchBatch) -> None:
        before = self.truth
        image = self.truth = next_image(before, batch.revision, batch.events)
        self.faults.lost.saw(image)
        for topic in image.topics.values():
            known = before.topics.get(topic.name)
            for index, state in enumerate(topic.partitions):
                old = known.partitions[index] if known is not None and index < len(known.partitions) else None
                if old != state:
                    self._partition_changed(f"{topic.name}-{index}", old, state)
        if before.controller != image.controller:
            self.coverage.count("controller", "left" if image.controller is None else "elected")
        if before.brokers.keys() != image.brokers.keys():
            self.trace.tell(f"store: brokers {sorted(image.brokers)}")

    def _partition_changed(self, name: str, old: PartitionState | None, state: PartitionState) -> None:
        is_election = old is not None and old.leader_epoch < state.leader_epoch
        self.coverage.count(
            "partition", "created" if old is None else "election" if is_election else "in-sync set"
        )
        eligible, replicas = list(state.eligible_leader_replicas), list(state.replicas)
        self.trace.tell(
            f"store: {name} leader {state.leader} epoch {state.leader_epoch} "
            f"in sync {list(state.in_sync_replicas)} elr {eligible} of {replicas}"
        )

    # The run

    async def run(self) -> None:
        self.trace.tell(f"seed {self.seed}: {self.settings}")
        with trio.CancelScope() as everything:

            def end() -> None:
                self.found("livelock: time stands still")
                everything.cancel()

            self.scheduler.on_livelock = end
            async with trio.open_nursery() as nursery:
                for machine in self.machines:
                    nursery.start_soon(machine.run)
                try:
                    await self._live(nursery)
                except Stuck as stuck:
                    if self.faults.lost.took_the_last(self.truth):
                        self.coverage.count("ended", "a partition is offline, as its last replica was lost")
                    else:
                        self.found(f"no progress: {stuck}")
                self.faults.heal()
                for machine in self.machines:
                    machine.kill(0)
                    machine.stay_down()
                nursery.cancel_scope.cancel()
        if everything.cancelled_caught:
            raise Livelock

    async def _live(self, nursery: trio.Nursery) -> None:
        await within(
            _START_S,
            lambda: "the cluster does not start",
            lambda: all(m.life is not None and m.life.ready is not None for m in self.machines),
        )
        await create_topics(self)
        for client in self.clients:
            nursery.start_soon(client.run)
        if self.settings.faults:
            nursery.start_soon(self.faults.run, nursery)
        await trio.sleep(self.settings.safety_s)
        self.trace.tell("HEAL")
        self.faults.heal()
        await Aftermath(self).run()

    def judge(self) -> None:
        """Look through the history."""
        history = self.history
        if self._took_back_at >= 0:
            kept = [each for each in history if not _may_be_taken_back(each, self._took_back_at)]
            history = kept
        anomalies = check(history)
        if anomalies:
            self.findings.append(report(anomalies, per_kind_max=3))


def _may_be_taken_back(operation: Operation, until: float) -> bool:
    """Polls of before, and the positions that rest on them."""
    if isinstance(operation, Assigned):
        return operation.at <= until or operation.group is not None
    return isinstance(operation, Poll) and (operation.begun <= until or operation.group is not None)


def settings_of(seed: int) -> draws.Settings:
    return draws.draw(random.Random(f"{seed} settings"))


def run_seed(seed: int, *, verbose: bool = False, faults: bool = True) -> Outcome:
    """Run one seed; what is wrong is in ``failure``."""
    simulation = Simulation(seed, verbose=verbose, faults=faults)
    # When garbage is found depends on what was run before; and a run of its own makes little.
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        with (
            simulation.scheduler.installed(),
            LogWatch(simulation).installed(),
            Invariants(simulation).watching(),
            segments_of(simulation.settings.segment_bytes),
        ):
            trio.run(simulation.run, clock=simulation.clock)
        simulation.judge()
    except (Exception, trio.TrioInternalError) as error:
        simulation.found("the simulation failed", error)
    finally:
        gc.enable()
        gc.unfreeze()
    simulation.coverage.count("simulated", "seeds")
    trace = simulation.trace
    for machine in simulation.machines:
        trace.add(f"disk {machine.disk_trace}")
    return Outcome(
        seed,
        trace.checksum,
        simulation.coverage,
        "\n".join([f"seed {seed}, {simulation.settings}", *simulation.findings])
        if simulation.findings
        else "",
        list(trace.story),
        simulation.now(),
    )
