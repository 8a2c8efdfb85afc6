"""The metadata store inside the broker process: one SQLite file.

For one broker, or several in one process that share one ``EmbeddedMetadataStore``. A second process is
kept out by SQLite's own lock on the file, which the operating system drops when the process dies,
however it dies. Every transaction is on disk before it is answered (write-ahead log, synchronous=FULL).

The file is the only copy of the keys. Kept in memory are the last transactions, for watches, and the
leases: those belong to this process, so what an earlier process put under its leases is removed when
the file is opened.

SQLite does its own file access, the one exception from the rule that files belong to the World. Its
blocking calls go through the injected ``run_blocking``, one at a time. While one runs, the caller is
shielded from cancellation: a commit whose outcome nobody waited for would leave the history that
watches read without that transaction.
"""

from __future__ import annotations

import logging
import sqlite3
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import count
from types import TracebackType
from typing import Any, Final, Protocol, TypeVar

import trio

from kbroker.metadata.store import (
    ABSENT,
    NO_LEASE,
    Compare,
    Delete,
    Event,
    KeyDeleted,
    KeyPut,
    KeyRange,
    KeyValue,
    LeaseExpiredError,
    Operation,
    Put,
    StoreFormatError,
    StoreLockedError,
    StoreUnavailableError,
    TransactionResult,
    WatchBatch,
    WatchCompactedError,
    check_operations,
)

logger = logging.getLogger(__name__)

IN_MEMORY: Final = ":memory:"
"""A path for tests and for clusters that need not outlive their process."""

FORMAT_VERSION: Final = 1

_HISTORY_EVENTS_MAX: Final = 20_000
# A process that did not run for this long (stopped, or the machine asleep) could not keep leases alive.
_PAUSE_FORGIVEN_AFTER_S: Final = 0.5
_RETRY_DELAY_S: Final = 1.0

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS store (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS entries (
    key TEXT PRIMARY KEY,
    value BLOB NOT NULL,
    create_revision INTEGER NOT NULL,
    mod_revision INTEGER NOT NULL,
    lease_id INTEGER NOT NULL
) WITHOUT ROWID;
"""
_COLUMNS: Final = "key, value, create_revision, mod_revision, lease_id"

_T = TypeVar("_T")


class RunBlocking(Protocol):
    """How to run a function that blocks: in a thread in production, at once in a simulation."""

    def __call__(self, function: Callable[..., _T], /, *arguments: Any) -> Awaitable[_T]: ...


@dataclass(slots=True)
class _Lease:
    ttl_seconds: float
    expires_at: float


class EmbeddedMetadataStore:
    """A ``MetadataStore``; make one with ``open`` and run ``expire_leases`` beside it."""

    leases_outlive_pauses = True

    def __init__(
        self,
        connection: sqlite3.Connection,
        revision: int,
        *,
        run_blocking: RunBlocking,
        monotonic: Callable[[], float],
    ) -> None:
        self._connection = connection
        self._run_blocking = run_blocking
        self._monotonic = monotonic
        self._exclusive = trio.Lock()
        self._closed = False
        self._revision = revision
        self._history: deque[WatchBatch] = deque()
        self._history_events = 0
        self._history_start = revision + 1
        self._changed = trio.Event()
        self._leases: dict[int, _Lease] = {}
        self._lease_ids = count(1)
        self._leases_changed = trio.Event()

    @classmethod
    async def open(
        cls, path: str, *, run_blocking: RunBlocking, monotonic: Callable[[], float]
    ) -> EmbeddedMetadataStore:
        """Open the store in the file ``path``, whose directory exists; a new one if there is no file.

        StoreLockedError if another process (or another store object) has it open, StoreFormatError if
        the file is not a store or from a newer kbroker.
        """
        with trio.CancelScope(shield=True):
            connection, revision = await run_blocking(_open_connection, path)
        return cls(connection, revision, run_blocking=run_blocking, monotonic=monotonic)

    async def close(self) -> None:
        with trio.CancelScope(shield=True):
            async with self._exclusive:
                if not self._closed:
                    self._closed = True
                    await self._run_blocking(self._connection.close)
        self._announce()

    # Reading

    async def get(self, key: str) -> KeyValue | None:
        found: KeyValue | None = await self._query(_select_key, key)
        return found

    async def range(self, prefix: str) -> KeyRange:
        found: KeyRange = await self._query(_select_prefix, prefix)
        return found

    async def barrier(self) -> int:
        await trio.lowlevel.checkpoint()
        if self._closed:
            raise StoreUnavailableError("the metadata store is closed")
        # Set before the transaction that reached it returns; and every revision has a batch of its own.
        return self._revision

    async def _query(self, function: Callable[..., _T], *arguments: object) -> _T:
        with trio.CancelScope(shield=True):
            async with self._exclusive:
                answer = await self._call(function, *arguments)
        return answer

    async def _call(self, function: Callable[..., _T], *arguments: object) -> _T:
        if self._closed:
            raise StoreUnavailableError("the metadata store is closed")
        try:
            return await self._run_blocking(function, self._connection, *arguments)
        except sqlite3.Error as error:
            raise StoreUnavailableError(f"SQLite: {error}") from error

    # Writing

    async def transact(
        self, compares: Sequence[Compare], operations: Sequence[Operation]
    ) -> TransactionResult:
        check_operations(compares, operations)
        await trio.lowlevel.checkpoint_if_cancelled()
        with trio.CancelScope(shield=True):
            async with self._exclusive:
                for operation in operations:
                    if isinstance(operation, Put) and operation.lease_id != NO_LEASE:
                        self._living_lease(operation.lease_id)
                succeeded, revision, events = await self._call(_transact, compares, operations)
                if events:
                    self._remember(WatchBatch(revision, events))
        return TransactionResult(succeeded, revision)

    def _remember(self, batch: WatchBatch) -> None:
        self._revision = batch.revision
        self._history.append(batch)
        self._history_events += len(batch.events)
        while self._history_events > _HISTORY_EVENTS_MAX and len(self._history) > 1:
            dropped = self._history.popleft()
            self._history_events -= len(dropped.events)
            self._history_start = dropped.revision + 1
        self._announce()

    def _announce(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    # Watching

    def watch(self, prefix: str, from_revision: int) -> _EmbeddedWatch:
        return _EmbeddedWatch(self, prefix, from_revision)

    async def next_batch(self, prefix: str, from_revision: int) -> WatchBatch:
        """The first change under ``prefix`` at ``from_revision`` or later, waiting for it if need be."""
        await trio.lowlevel.checkpoint()
        while True:
            if self._closed:
                raise StoreUnavailableError("the metadata store is closed")
            if from_revision < self._history_start:
                raise WatchCompactedError(f"revision {from_revision} is before {self._history_start}")
            # Every change has a revision of its own and none is missing, so the position is known.
            for position in range(from_revision - self._history_start, len(self._history)):
                batch = self._history[position]
                events = tuple(event for event in batch.events if event.key.startswith(prefix))
                if events:
                    return WatchBatch(batch.revision, events)
            from_revision = max(from_revision, self._revision + 1)
            await self._changed.wait()

    # Leases

    async def grant_lease(self, ttl_seconds: float) -> int:
        await trio.lowlevel.checkpoint()
        lease_id = next(self._lease_ids)
        self._leases[lease_id] = _Lease(ttl_seconds, self._monotonic() + ttl_seconds)
        self._leases_changed.set()
        return lease_id

    async def keep_alive(self, lease_id: int) -> None:
        await trio.lowlevel.checkpoint()
        lease = self._living_lease(lease_id)
        lease.expires_at = self._monotonic() + lease.ttl_seconds

    async def revoke_lease(self, lease_id: int) -> None:
        await trio.lowlevel.checkpoint()
        if lease_id in self._leases:
            await self._end_lease(lease_id)

    async def expire_leases(self) -> None:
        """Runs for ever: takes away the keys of leases that ran out.

        When the whole process stood still, nobody in it could renew a lease, and nobody outside it
        waits for one: all leases are prolonged by the pause.
        """
        while True:
            self._leases_changed = trio.Event()
            next_expiry = min((lease.expires_at for lease in self._leases.values()), default=None)
            if next_expiry is None:
                await self._leases_changed.wait()
                continue
            with trio.move_on_after(max(0.0, next_expiry - self._monotonic())):
                await self._leases_changed.wait()
                continue
            pause = self._monotonic() - next_expiry
            if pause > _PAUSE_FORGIVEN_AFTER_S:
                for lease in self._leases.values():
                    lease.expires_at += pause
                continue
            await self._expire_due_leases()

    async def _expire_due_leases(self) -> None:
        now = self._monotonic()
        for lease_id in [key for key, lease in self._leases.items() if lease.expires_at <= now]:
            try:
                await self._end_lease(lease_id)
            except StoreUnavailableError as error:
                logger.error("the keys of an expired lease could not be removed: %s", error)
                lease = self._leases.get(lease_id)
                if lease is not None:
                    lease.expires_at = now + _RETRY_DELAY_S

    def _living_lease(self, lease_id: int) -> _Lease:
        lease = self._leases.get(lease_id)
        # Whether a lease's time is up is for expire_leases alone to say, which knows of pauses.
        if lease is None:
            raise LeaseExpiredError(f"lease {lease_id} is gone")
        return lease

    async def _end_lease(self, lease_id: int) -> None:
        """Remove the keys, then the lease: as long as there is the one there is the other."""
        with trio.CancelScope(shield=True):
            async with self._exclusive:
                revision, events = await self._call(_delete_lease, lease_id)
                self._leases.pop(lease_id, None)
                if events:
                    self._remember(WatchBatch(revision, events))


class _EmbeddedWatch:
    """Reads the store's history on its own; nothing is queued for it, so it cannot fill anything up."""

    def __init__(self, store: EmbeddedMetadataStore, prefix: str, from_revision: int) -> None:
        self._store = store
        self._prefix = prefix
        self._next_revision = from_revision

    async def __aenter__(self) -> _EmbeddedWatch:
        return self

    async def __aexit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        return None

    def __aiter__(self) -> _EmbeddedWatch:
        return self

    async def __anext__(self) -> WatchBatch:
        batch = await self._store.next_batch(self._prefix, self._next_revision)
        self._next_revision = batch.revision + 1
        return batch


# What follows blocks, and runs inside ``run_blocking``.


def _open_connection(path: str) -> tuple[sqlite3.Connection, int]:
    try:
        connection = sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)
    except sqlite3.Error as error:
        raise StoreUnavailableError(f"cannot open {path}: {error}") from error
    try:
        # In exclusive mode the first access locks the file until it is closed, and the write-ahead log
        # needs no shared memory beside it.
        connection.execute("PRAGMA locking_mode=EXCLUSIVE")
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("BEGIN EXCLUSIVE")
        revision = _prepare(connection)
        connection.execute("COMMIT")
    except BaseException as error:
        connection.close()
        if isinstance(error, sqlite3.OperationalError) and "locked" in str(error):
            raise StoreLockedError(f"{path} is in use by another process") from error
        if isinstance(error, sqlite3.DatabaseError) and "not a database" in str(error):
            raise StoreFormatError(f"{path} is not a metadata store: {error}") from error
        if isinstance(error, sqlite3.Error):
            raise StoreUnavailableError(f"cannot open {path}: {error}") from error
        raise
    return connection, revision


def _prepare(connection: sqlite3.Connection) -> int:
    """Make or check the tables, remove what leases left behind; the store's revision."""
    for statement in _SCHEMA.split(";"):
        connection.execute(statement)
    found = dict(connection.execute("SELECT name, value FROM store"))
    if not found:
        connection.executemany(
            "INSERT INTO store (name, value) VALUES (?, ?)", [("format", FORMAT_VERSION), ("revision", 0)]
        )
        return 0
    if found.get("format") != FORMAT_VERSION:
        raise StoreFormatError(
            f"the metadata store has format {found.get('format')}; this kbroker knows {FORMAT_VERSION}"
        )
    revision = int(found["revision"])
    if connection.execute("DELETE FROM entries WHERE lease_id != 0").rowcount:
        revision += 1
        _set_revision(connection, revision)
    return revision


def _current_revision(connection: sqlite3.Connection) -> int:
    row = connection.execute("SELECT value FROM store WHERE name = 'revision'").fetchone()
    return int(row[0])


def _set_revision(connection: sqlite3.Connection, revision: int) -> None:
    connection.execute("UPDATE store SET value = ? WHERE name = 'revision'", (revision,))


def _select_key(connection: sqlite3.Connection, key: str) -> KeyValue | None:
    row = connection.execute(f"SELECT {_COLUMNS} FROM entries WHERE key = ?", (key,)).fetchone()
    return None if row is None else KeyValue(*row)


def _select_prefix(connection: sqlite3.Connection, prefix: str) -> KeyRange:
    condition, bounds = _prefix_condition(prefix)
    rows = connection.execute(f"SELECT {_COLUMNS} FROM entries WHERE {condition} ORDER BY key", bounds)
    return KeyRange(_current_revision(connection), tuple(KeyValue(*row) for row in rows))


def _prefix_condition(prefix: str) -> tuple[str, tuple[str, ...]]:
    """Keys are compared as UTF-8, in which no character sorts after U+10FFFF."""
    return ("key >= ? AND key < ?", (prefix, prefix + "\U0010ffff")) if prefix else ("1", ())


def _transact(
    connection: sqlite3.Connection, compares: Iterable[Compare], operations: Iterable[Operation]
) -> tuple[bool, int, tuple[Event, ...]]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        revision = _current_revision(connection)
        if not all(_holds(connection, compare) for compare in compares):
            connection.execute("ROLLBACK")
            return False, revision, ()
        events: list[Event] = []
        for operation in operations:
            events.extend(_operate(connection, operation, revision + 1))
        if events:
            revision += 1
            _set_revision(connection, revision)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return True, revision, tuple(events)


def _holds(connection: sqlite3.Connection, compare: Compare) -> bool:
    row = connection.execute("SELECT mod_revision FROM entries WHERE key = ?", (compare.key,)).fetchone()
    return compare.mod_revision == (ABSENT if row is None else row[0])


def _operate(connection: sqlite3.Connection, operation: Operation, revision: int) -> list[Event]:
    # Without RETURNING, which SQLite has only since 3.35.
    if isinstance(operation, Put):
        connection.execute(
            "INSERT INTO entries VALUES (?1, ?2, ?3, ?3, ?4) ON CONFLICT (key) DO UPDATE "
            "SET value = ?2, mod_revision = ?3, lease_id = ?4",
            (operation.key, operation.value, revision, operation.lease_id),
        )
        key_value = _select_key(connection, operation.key)
        assert key_value is not None
        return [KeyPut(key_value)]
    if isinstance(operation, Delete):
        return _delete(connection, "key = ?", (operation.key,))
    return _delete(connection, *_prefix_condition(operation.prefix))


def _delete(connection: sqlite3.Connection, condition: str, bounds: tuple[object, ...]) -> list[Event]:
    keys = connection.execute(f"SELECT key FROM entries WHERE {condition} ORDER BY key", bounds).fetchall()
    if keys:
        connection.execute(f"DELETE FROM entries WHERE {condition}", bounds)
    return [KeyDeleted(row[0]) for row in keys]


def _delete_lease(connection: sqlite3.Connection, lease_id: int) -> tuple[int, tuple[Event, ...]]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        revision = _current_revision(connection)
        events = _delete(connection, "lease_id = ?", (lease_id,))
        if events:
            revision += 1
            _set_revision(connection, revision)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return revision, tuple(events)
