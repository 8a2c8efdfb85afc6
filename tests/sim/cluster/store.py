"""The cluster's metadata store in memory: one history that all see, reached over links that fail.

``StoreServer`` is the store itself: transactions, leases on virtual time, what watches read, compaction. A lease may
last longer than its time (as after a change of etcd's leader), never shorter.

``SimulatedStore`` is one process's access. A request takes its time on the way there and back. What is lost on
either way is told after ``TIMEOUT_S`` as StoreUnavailableError, when the store may have acted on it, or may do so
yet: a request that stood at a cut link can come through when the caller has long given up.
"""

from __future__ import annotations

import random
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from types import TracebackType
from typing import Any, Protocol, TypeVar

import trio

from kbroker.metadata.store import (
    ABSENT,
    NO_LEASE,
    Compare,
    Delete,
    DeletePrefix,
    Event,
    KeyDeleted,
    KeyPut,
    KeyRange,
    KeyValue,
    LeaseExpiredError,
    Operation,
    Put,
    StoreError,
    StoreUnavailableError,
    TransactionResult,
    WatchBatch,
    WatchCompactedError,
    check_operations,
)
from tests.sim.cluster.agenda import Agenda
from tests.sim.cluster.network import Link
from tests.sim.cluster.processes import Process
from tests.sim.cluster.trace import Trace
from tests.sim.coverage import Coverage

STORE = "store"
TIMEOUT_S = 2.5
_WATCH_PATIENCE_S = (1.0, 20.0)

_T = TypeVar("_T")


@dataclass(slots=True)
class _Lease:
    ttl_seconds: float
    expires_at: float


class StoreServer:
    """The store; every method takes effect at once."""

    def __init__(self, agenda: Agenda, generator: random.Random, now: Callable[[], float]) -> None:
        self.revision = 0
        self.keys: dict[str, KeyValue] = {}
        self.history: list[tuple[float, WatchBatch]] = []
        self.compacted_to = 0
        """The last revision that watches cannot read any more."""
        self.changed = trio.Event()
        self.extra_lease_s = 0.0
        """How much longer than their time leases may last."""
        self.on_change: Callable[[WatchBatch], None] = lambda batch: None
        self._agenda = agenda
        self._random = generator
        self._now = now
        self._leases: dict[int, _Lease] = {}
        self._lease_ids = count(1)

    def get(self, key: str) -> KeyValue | None:
        return self.keys.get(key)

    def range(self, prefix: str) -> KeyRange:
        found = sorted(key for key in self.keys if key.startswith(prefix))
        return KeyRange(self.revision, tuple(self.keys[key] for key in found))

    def transact(self, compares: Sequence[Compare], operations: Sequence[Operation]) -> TransactionResult:
        check_operations(compares, operations)
        for operation in operations:
            if isinstance(operation, Put) and operation.lease_id != NO_LEASE:
                self._living(operation.lease_id)
        for compare in compares:
            found = self.keys.get(compare.key)
            if compare.mod_revision != (ABSENT if found is None else found.mod_revision):
                return TransactionResult(False, self.revision)
        events: list[Event] = []
        for operation in operations:
            events += self._operate(operation)
        self._remember(events)
        return TransactionResult(True, self.revision)

    def _operate(self, operation: Operation) -> list[Event]:
        revision = self.revision + 1
        if isinstance(operation, Put):
            before = self.keys.get(operation.key)
            created = revision if before is None else before.create_revision
            made = KeyValue(operation.key, operation.value, created, revision, operation.lease_id)
            self.keys[operation.key] = made
            return [KeyPut(made)]
        if isinstance(operation, DeletePrefix):
            doomed = sorted(key for key in self.keys if key.startswith(operation.prefix))
        else:
            assert isinstance(operation, Delete)
            doomed = [operation.key] if operation.key in self.keys else []
        return self._delete(doomed)

    def _delete(self, doomed: list[str]) -> list[Event]:
        for key in doomed:
            del self.keys[key]
        return [KeyDeleted(key) for key in doomed]

    def _remember(self, events: list[Event]) -> None:
        if events:
            self.revision += 1
            batch = WatchBatch(self.revision, tuple(events))
            self.history.append((self._now(), batch))
            self.on_change(batch)
            self.announce()

    def announce(self) -> None:
        self.changed.set()
        self.changed = trio.Event()

    # Leases

    def grant_lease(self, ttl_seconds: float) -> int:
        lease_id = next(self._lease_ids)
        self._leases[lease_id] = _Lease(ttl_seconds, 0.0)
        self.keep_alive(lease_id)
        return lease_id

    def keep_alive(self, lease_id: int) -> None:
        lease = self._living(lease_id)
        extra_s = self._random.random() * self.extra_lease_s
        lease.expires_at = self._now() + lease.ttl_seconds + extra_s
        self._agenda.at(lease.expires_at, lambda: self._expire(lease_id))

    def revoke_lease(self, lease_id: int) -> None:
        if self._leases.pop(lease_id, None) is not None:
            self._remember(self._delete(sorted(k for k, v in self.keys.items() if v.lease_id == lease_id)))

    def lives(self, lease_id: int) -> bool:
        return lease_id in self._leases

    def _expire(self, lease_id: int) -> None:
        lease = self._leases.get(lease_id)
        if lease is not None and lease.expires_at <= self._now():
            self.revoke_lease(lease_id)

    def _living(self, lease_id: int) -> _Lease:
        lease = self._leases.get(lease_id)
        if lease is None:
            raise LeaseExpiredError(f"lease {lease_id} is gone")
        return lease

    # Watches

    def compact(self) -> None:
        """Forget the history up to now."""
        self.compacted_to = self.revision
        self.history.clear()
        self.announce()

    def next_change(self, prefix: str, revision: int) -> tuple[float, WatchBatch] | None:
        """The first change under the prefix at this revision or later, and when it happened."""
        if revision <= self.compacted_to:
            raise WatchCompactedError(f"revision {revision} is compacted, as all up to {self.compacted_to}")
        start = bisect_left(self.history, revision, key=lambda entry: entry[1].revision)
        for happened, batch in self.history[start:]:
            events = tuple(event for event in batch.events if event.key.startswith(prefix))
            if events:
                return happened, WatchBatch(batch.revision, events)
        return None


class Ways(Protocol):
    """The part of the network that leads to the store."""

    def post(self, source: str, target: str, arrive: Callable[[], None]) -> None: ...

    def delay(self, source: str, target: str) -> float: ...

    def link(self, source: str, target: str) -> Link: ...


class SimulatedStore:
    """One process's access to the store (the MetadataStore port)."""

    leases_outlive_pauses = False

    def __init__(
        self,
        server: StoreServer,
        ways: Ways,
        host_name: str,
        process: Process,
        generator: random.Random,
        trace: Trace,
        coverage: Coverage,
    ) -> None:
        self.server = server
        self.ways = ways
        self.host_name = host_name
        self.process = process
        self.random = generator
        self.coverage = coverage
        self._trace = trace
        self._closed = False

    async def get(self, key: str) -> KeyValue | None:
        return await self._ask("get", lambda: self.server.get(key))

    async def range(self, prefix: str) -> KeyRange:
        return await self._ask("range", lambda: self.server.range(prefix))

    async def transact(
        self, compares: Sequence[Compare], operations: Sequence[Operation]
    ) -> TransactionResult:
        return await self._ask("transact", lambda: self.server.transact(compares, operations))

    async def barrier(self) -> int:
        return await self._ask("barrier", lambda: self.server.revision)

    def watch(self, prefix: str, from_revision: int) -> SimulatedWatch:
        return SimulatedWatch(self, prefix, from_revision)

    async def grant_lease(self, ttl_seconds: float) -> int:
        return await self._ask("grant lease", lambda: self.server.grant_lease(ttl_seconds))

    async def keep_alive(self, lease_id: int) -> None:
        await self._ask("keep alive", lambda: self.server.keep_alive(lease_id))

    async def revoke_lease(self, lease_id: int) -> None:
        await self._ask("revoke lease", lambda: self.server.revoke_lease(lease_id))

    async def close(self) -> None:
        self._closed = True
        self.server.announce()

    def check_open(self) -> None:
        self.process.check()
        if self._closed:
            raise StoreUnavailableError("the store is closed")

    async def _ask(self, what: str, act: Callable[[], _T]) -> _T:
        await self.process.step("store")
        self.check_open()
        answered = trio.Event()
        answer: list[Any] = []

        def arrive() -> None:
            self._trace.add(f"{self.host_name} {what}")
            try:
                outcome: Any = act()
            except StoreError as error:
                outcome = error
            self.ways.post(STORE, self.host_name, lambda: come_back(outcome))

        def come_back(outcome: Any) -> None:
            answer.append(outcome)
            answered.set()

        self.ways.post(self.host_name, STORE, arrive)
        with trio.move_on_after(TIMEOUT_S):
            await answered.wait()
        await self.process.step("store answer")
        if not answer:
            self.coverage.count("store", f"no answer to {what}")
            raise StoreUnavailableError("the store does not answer")
        if isinstance(answer[0], StoreError):
            raise answer[0]
        found: _T = answer[0]
        return found


class SimulatedWatch:
    """Reads the server's history, a little later; over a cut link nothing, until it notices or the link heals."""

    def __init__(self, store: SimulatedStore, prefix: str, from_revision: int) -> None:
        self._store = store
        self._prefix = prefix
        self._next_revision = from_revision
        self._arrived = 0.0

    async def __aenter__(self) -> SimulatedWatch:
        return self

    async def __aexit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        return None

    def __aiter__(self) -> SimulatedWatch:
        return self

    async def __anext__(self) -> WatchBatch:
        store = self._store
        server, ways = store.server, store.ways
        await trio.lowlevel.checkpoint()
        patience_until = trio.current_time() + store.random.uniform(*_WATCH_PATIENCE_S)
        while True:
            await store.process.step("watch")
            store.check_open()
            changed = server.changed
            if ways.link(STORE, store.host_name).cuts or ways.link(store.host_name, STORE).cuts:
                # Links do not tell when they heal: look now and then, as keep-alives do.
                await trio.sleep(0.3)
                if trio.current_time() > patience_until:
                    store.coverage.count("store", "watch broke")
                    raise StoreUnavailableError("the watch broke")
                continue
            found = self._find()
            if found is None:
                await changed.wait()
                continue
            happened, batch = found
            now = trio.current_time()
            self._arrived = max(self._arrived, happened + ways.delay(STORE, store.host_name))
            if self._arrived > now:
                await trio.sleep_until(self._arrived)
                if ways.link(STORE, store.host_name).cuts:
                    continue
                await store.process.step("watch")
            self._next_revision = batch.revision + 1
            return batch

    def _find(self) -> tuple[float, WatchBatch] | None:
        try:
            return self._store.server.next_change(self._prefix, self._next_revision)
        except WatchCompactedError:
            self._store.coverage.count("store", "watch compacted")
            raise


class SimulatedStoreAccess:
    """How a broker comes by the store (the StoreAccess port)."""

    def __init__(self, store: SimulatedStore) -> None:
        self._store = store

    async def open(self) -> SimulatedStore:
        return self._store

    async def run(self) -> None:
        return

    async def close(self) -> None:
        await self._store.close()
