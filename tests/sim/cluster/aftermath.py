"""What must hold when everything has healed: progress within bounded time, full reads, replicas that agree."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import trio

from kbroker.replication.partition import Partition
from tests.anomalies.history import FetchOffsets, FinalRead, Isolation, Position, Record
from tests.sim.cluster.clients.brokers import Unanswered
from tests.sim.cluster.clients.client import Client
from tests.sim.cluster.clients.fetching import EARLIEST, Place, Truncated, fetch, list_offset
from tests.sim.cluster.clients.offsets import committed_offsets
from wire.records import iterate_batches

if TYPE_CHECKING:
    from tests.sim.cluster.simulation import Simulation

RECOVERY_S = 90.0
"""How long all replicas of all partitions may take to be in sync again after everything has healed."""
FINISH_S = 120.0
"""How long clients may take to bring what they have begun to its end."""
READ_S = 60.0


class Stuck(Exception):
    """There is no progress although nothing is broken any more."""


async def within(seconds: float, what: Callable[[], str], condition: Callable[[], bool]) -> None:
    """Wait for it; Stuck, with what is missing."""
    deadline = trio.current_time() + seconds
    while not condition():
        if trio.current_time() > deadline:
            raise Stuck(what())
        await trio.sleep(0.5)


class Aftermath(Client):
    """Waits, reads everything, compares replicas."""

    def __init__(self, simulation: Simulation) -> None:
        super().__init__(simulation, "aftermath")
        self.brokers.request_timeout_s = 5.0

    async def work(self) -> None:
        await within(RECOVERY_S, self._not_in_sync, lambda: not self._not_in_sync())
        before = {client.name: client.progress for client in self.simulation.clients}
        producers = [client for client in self.simulation.clients if client.must_progress]
        await within(
            FINISH_S,
            lambda: f"no progress of {[c.name for c in producers if c.progress == before[c.name]]}",
            lambda: all(client.progress > before[client.name] for client in producers),
        )
        for client in self.simulation.clients:
            client.is_finishing = True
        await within(
            FINISH_S,
            lambda: f"{[c.name for c in self.simulation.clients if not c.finished.is_set()]} do not finish",
            lambda: all(client.finished.is_set() for client in self.simulation.clients),
        )
        await self._read_everything()
        for group in self.simulation.groups:
            await self._fetch_offsets(group)
        self._compare_replicas()

    def _not_in_sync(self) -> str:
        """Of every partition: a leader, and all its replicas in sync; what is missing."""
        image = self.simulation.truth
        missing = [
            f"{topic.name}-{index}: leader {state.leader}, in sync {state.in_sync_replicas} of {state.replicas}"
            for topic in image.topics.values()
            for index, state in enumerate(topic.partitions)
            if state.leader < 0 or set(state.in_sync_replicas) != set(state.replicas)
        ]
        return "; ".join(missing)

    async def _read_everything(self) -> None:
        for topic in self.simulation.settings.topics:
            for partition in topic.all_partitions:
                for isolation in ("read_uncommitted", "read_committed"):
                    await self._read(partition, isolation)

    async def _read(self, partition: tuple[str, int], isolation: Isolation) -> None:
        deadline = self.now + READ_S
        records: list[Record] = []
        place: Place | None = None
        stands = 0
        while self.now < deadline:
            try:
                if place is None:
                    start = await list_offset(self.brokers, partition, EARLIEST)
                    place = None if start is None else Place(partition, start)
                    if place is None:
                        await self.brokers.pause()
                        continue
                    log_start = place.offset
                found = await fetch(self.brokers, place, isolation, max_wait_ms=100)
            except Unanswered:
                await self.brokers.pause()
                continue
            except Truncated as truncated:
                self.found(f"the final read failed: {truncated}")
                return
            if found is None:
                await self.brokers.pause()
                continue
            records += found.records
            stands = stands + 1 if place.offset < found.high_watermark and not found.records else 0
            # A transaction that nobody ends is aborted after its timeout: until then the end may be late.
            if place.offset >= found.high_watermark or stands > 300:
                self.record(
                    FinalRead(
                        topic=partition[0],
                        partition=partition[1],
                        isolation=isolation,
                        records=tuple(records),
                        log_start=log_start,
                        end=place.offset,
                        high_watermark=found.high_watermark,
                    )
                )
                return
        raise Stuck(f"{partition} cannot be read to its end ({isolation}): {place}")

    async def _fetch_offsets(self, group: str) -> None:
        begun = self.now
        try:
            committed = await committed_offsets(self.brokers, group, attempts=int(READ_S / 0.3))
        except Unanswered as error:
            raise Stuck(str(error)) from error
        positions = tuple(Position(*partition, offset) for partition, offset in committed.items())
        self.record(
            FetchOffsets(
                process=self.name, begun=begun, ended=self.now, group=group, positions=positions, final=True
            )
        )

    # Replicas

    def _compare_replicas(self) -> None:
        """Below the high watermark every replica has the same bytes, as far as compaction cannot have been there."""
        for topic in self.simulation.truth.topics.values():
            for index, state in enumerate(topic.partitions):
                replicas = [
                    (node_id, replica)
                    for node_id in state.replicas
                    if (replica := self.simulation.replica(node_id, topic.name, index)) is not None
                ]
                self._compare(f"{topic.name}-{index}", replicas)

    def _compare(self, name: str, replicas: list[tuple[int, Partition]]) -> None:
        start = max(replica.log.log_start_offset for _, replica in replicas)
        if self.simulation.settings.is_cleaner_enabled and any(r.log.config.compact for _, r in replicas):
            start = max(start, *(replica.log.active_segment_base_offset for _, replica in replicas))
        end = min(replica.log.high_watermark for _, replica in replicas)
        if end <= start:
            return
        contents = [(node_id, _bytes_of(replica, start, end)) for node_id, replica in replicas]
        first_id, first = contents[0]
        for node_id, content in contents[1:]:
            if content != first:
                self.found(
                    f"brokers {first_id} and {node_id} have different bytes of {name} between {start} and {end}"
                )


def _bytes_of(replica: Partition, start: int, end: int) -> bytes:
    content = b""
    offset = start
    while offset < end:
        found = replica.log.read(offset, 1 << 24, max_offset=end, min_one_message=True)
        if found.records is None or not len(found.records):
            break
        with found.records as piece:
            data = piece.read()
        content += data
        offset = [header for _, header in iterate_batches(data)][-1].next_offset
    return content
