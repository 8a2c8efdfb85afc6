"""What must hold at every moment, looked up inside the brokers while they run.

* Whoever acknowledges has a session that the store has not ended, and nobody else acknowledges in the same epoch.
* What is acknowledged is on the disk of every replica that the store takes for in sync at that moment: any of them
  may be the next leader.
* A leader's high watermark is not ahead of what the replicas in sync have: followers on disk, itself in its log.
* A follower does not truncate below its high watermark, unless a power loss may have taken back what was below it.

The brokers' ``Partition`` is watched by wrapping its methods for the time of a run. A replica whose process is down
cannot be looked at (what its disk was worth shows when it is back), and one whose disk lost what it had is known not
to have it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from kbroker.metadata import keys
from kbroker.metadata.image import PartitionState
from kbroker.replication.partition import Partition, ReplicaState
from tests.sim.cluster.processes import current_process

if TYPE_CHECKING:
    from tests.sim.cluster.machine import Life
    from tests.sim.cluster.simulation import Simulation


class Invariants:
    """Of one run; ``simulation.found`` is told what was violated."""

    def __init__(self, simulation: Simulation) -> None:
        self._simulation = simulation
        self._acknowledging: dict[tuple[str, int, int], str] = {}
        self._acknowledged: dict[tuple[str, int], int] = {}

    @contextmanager
    def watching(self) -> Iterator[None]:
        is_committed = Partition.is_committed
        advance = Partition._advance_high_watermark
        truncate = Partition._truncate_to
        invariants = self

        def watched_is_committed(partition: Partition, info: Any) -> bool:
            answer = is_committed(partition, info)
            if answer:
                invariants._check_acknowledgement(partition, info.last_offset)
            return answer

        def watched_advance(partition: Partition) -> None:
            before = partition.log.high_watermark
            advance(partition)
            if partition.log.high_watermark != before:
                invariants._check_high_watermark(partition)

        def watched_truncate(partition: Partition, offset: int, reason: str) -> None:
            invariants._check_truncation(partition, offset)
            truncate(partition, offset, reason)

        setattr(Partition, "is_committed", watched_is_committed)  # noqa: B010
        setattr(Partition, "_advance_high_watermark", watched_advance)  # noqa: B010
        setattr(Partition, "_truncate_to", watched_truncate)  # noqa: B010
        try:
            yield
        finally:
            setattr(Partition, "is_committed", is_committed)  # noqa: B010
            setattr(Partition, "_advance_high_watermark", advance)  # noqa: B010
            setattr(Partition, "_truncate_to", truncate)  # noqa: B010

    def _life(self) -> Life | None:
        process = current_process()
        if process is None or process.is_dead:
            return None
        return next(
            (
                machine.life
                for machine in self._simulation.machines
                if machine.life is not None and machine.life.process is process
            ),
            None,
        )

    def _state(self, partition: Partition) -> PartitionState | None:
        """What the store says."""
        return self._simulation.truth.partition(partition.topic, partition.index)

    def _check_acknowledgement(self, partition: Partition, offset: int) -> None:
        life, state = self._life(), self._state(partition)
        if life is None or state is None:
            return
        simulation, name = self._simulation, f"{partition.topic}-{partition.index}"
        owner = self._acknowledging.setdefault(
            (partition.topic, partition.index, partition.leader_epoch), life.name
        )
        if owner != life.name and len(state.replicas) > 1:
            simulation.found(
                f"{life.name} and {owner} both acknowledge in epoch {partition.leader_epoch} of {name}"
            )
        registration = simulation.store.get(keys.broker_key(life.machine.node_id))
        session = life.broker._parts.session if life.broker._parts is not None else None
        if session is None or registration is None or registration.lease_id != session.lease_id:
            simulation.found(f"{life.name} acknowledges {name}@{offset} without a session")
        key = (partition.topic, partition.index)
        self._acknowledged[key] = max(offset, self._acknowledged.get(key, -1))
        self._check_replicas(
            partition, state, offset + 1, f"{life.name} acknowledges {name}@{offset}", synced=True
        )

    def _check_high_watermark(self, partition: Partition) -> None:
        life, state = self._life(), self._state(partition)
        if life is None or state is None or partition.state is not ReplicaState.LEADER:
            return
        high_watermark = partition.log.high_watermark
        what = (
            f"{life.name} puts the high watermark of {partition.topic}-{partition.index} to {high_watermark}"
        )
        self._check_replicas(partition, state, high_watermark, what, synced=False)

    def _check_replicas(
        self, partition: Partition, state: PartitionState, end: int, what: str, *, synced: bool
    ) -> None:
        """Every replica in sync that lives has everything before ``end``."""
        for node_id in state.in_sync_replicas:
            replica = self._simulation.replica(node_id, partition.topic, partition.index)
            if replica is None or self._simulation.faults.lost.has(
                partition.topic_id, partition.index, node_id
            ):
                continue
            log = replica.log
            has = log.recovery_point if synced or replica is not partition else log.log_end_offset
            if has < end and self._simulation.machines[node_id - 1].has_synced(
                f"{partition.topic}-{partition.index}"
            ):
                has = log.log_end_offset  # its process has restarted, and does not know how far the disk is
            if has < end:
                self._simulation.found(
                    f"{what}, and broker {node_id}, in sync, has only what is before {has} of {log.log_end_offset} "
                    f"(the store: leader {state.leader} epoch {state.leader_epoch}, in sync {state.in_sync_replicas})"
                )

    def _check_truncation(self, partition: Partition, offset: int) -> None:
        life = self._life()
        log = partition.log
        if life is None or offset >= min(log.high_watermark, log.log_end_offset):
            return
        if not self._simulation.may_take_back_reads:
            self._simulation.found(
                f"{life.name} truncates {partition.topic}-{partition.index} from {log.log_end_offset} to {offset}, "
                f"below its high watermark {log.high_watermark}"
            )
