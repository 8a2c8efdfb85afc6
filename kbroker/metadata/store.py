"""The port behind which the cluster's metadata lives.

Modelled on what etcd v3 offers, so that an etcd implementation is a thin one, and small enough that
SQLite in the broker process is another:

* keys are text, values are bytes; every key remembers the revision that created it and the one that
  last changed it;
* the store as a whole has one revision, raised with every transaction that changes anything (by one in a
  store of its own; an etcd that others use as well counts their transactions, too);
* a transaction compares the ``mod_revision`` of keys and applies its operations only if all of them
  match: that is the only way to write, hence every decision is a compare-and-set;
* a watch delivers what changed from a revision on, one batch for each revision, in order, no gap;
* a lease has a time to live; when it is not kept alive, the keys put under it vanish as if deleted.

``tests/contracts/test_metadata_store.py`` is the contract that every implementation passes.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import NamedTuple, Protocol

# etcd refuses more than 128 operations in one transaction (its --max-txn-ops); staying below it in
# every implementation keeps the callers honest.
TRANSACTION_OPERATIONS_MAX = 128

NO_LEASE = 0
ABSENT = 0
"""The ``mod_revision`` to compare with when a key must not exist."""


class StoreError(Exception):
    """Whatever a metadata store can fail with."""


class StoreUnavailableError(StoreError):
    """The store could not be reached or could not write; whether a transaction took effect is unknown."""


class StoreLockedError(StoreError):
    """Another process holds this store."""


class StoreFormatError(StoreError):
    """What is stored was not written by a version of kbroker that this one can read."""


class WatchCompactedError(StoreError):
    """The revision asked for is no longer in the store's history: read everything afresh, then watch."""


class LeaseExpiredError(StoreError):
    """The lease has run out, was revoked, or never existed."""


class KeyValue(NamedTuple):
    key: str
    value: bytes
    create_revision: int
    mod_revision: int
    lease_id: int = NO_LEASE


class KeyRange(NamedTuple):
    """The keys under a prefix in ascending order, all as of ``revision``."""

    revision: int
    items: tuple[KeyValue, ...]


class Compare(NamedTuple):
    """Holds when the key's ``mod_revision`` is this one; ``ABSENT`` when there must be no such key."""

    key: str
    mod_revision: int


class Put(NamedTuple):
    key: str
    value: bytes
    lease_id: int = NO_LEASE


class Delete(NamedTuple):
    """Removes one key; no error and no effect if there is none."""

    key: str


class DeletePrefix(NamedTuple):
    """Removes every key that starts with ``prefix``."""

    prefix: str


Operation = Put | Delete | DeletePrefix


def check_operations(compares: Sequence[Compare], operations: Sequence[Operation]) -> None:
    """StoreError for a transaction that etcd would refuse; every implementation refuses it likewise."""
    if max(len(compares), len(operations)) > TRANSACTION_OPERATIONS_MAX:
        raise StoreError(f"more than {TRANSACTION_OPERATIONS_MAX} operations in one transaction")
    single = [operation.key for operation in operations if not isinstance(operation, DeletePrefix)]
    prefixes = tuple(operation.prefix for operation in operations if isinstance(operation, DeletePrefix))
    if len(set(single)) < len(single) or any(key.startswith(prefixes) for key in single if prefixes):
        raise StoreError("two operations of one transaction touch the same key")


class TransactionResult(NamedTuple):
    """``revision`` is the store's revision after the transaction: its own one if it changed anything."""

    succeeded: bool
    revision: int


class KeyPut(NamedTuple):
    key_value: KeyValue

    @property
    def key(self) -> str:
        return self.key_value.key


class KeyDeleted(NamedTuple):
    key: str


Event = KeyPut | KeyDeleted


class WatchBatch(NamedTuple):
    """All that one transaction (or one expired lease) changed under the watched prefix."""

    revision: int
    events: tuple[Event, ...]


class Watch(Protocol):
    """A stream of changes: ``async with store.watch(...) as watch: async for batch in watch: ...``.

    Never ends by itself. Raises WatchCompactedError when the consumer fell behind the history that
    the store keeps, StoreUnavailableError when the store went away.
    """

    async def __aenter__(self) -> Watch: ...

    async def __aexit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...

    def __aiter__(self) -> Watch: ...

    async def __anext__(self) -> WatchBatch: ...


class MetadataStore(Protocol):
    """See the module's docstring. Every method may raise StoreUnavailableError."""

    @property
    def leases_outlive_pauses(self) -> bool:
        """Whether no lease can run out while the process that holds it stands still.

        So it is with a store in that very process: it stands still as well.
        """
        ...

    async def get(self, key: str) -> KeyValue | None: ...

    async def range(self, prefix: str) -> KeyRange: ...

    async def transact(
        self, compares: Sequence[Compare], operations: Sequence[Operation]
    ) -> TransactionResult:
        """Apply all operations if every comparison holds, else none; durable when it returns.

        StoreError if operations overlap or are too many (``check_operations``); LeaseExpiredError if one
        names a lease that is gone; then nothing is applied. Where a comparison fails besides, either is said.
        Cancellation does not tear it: it takes effect wholly or not at all, possibly some time later.
        """
        ...

    async def barrier(self) -> int:
        """A revision that a watch of everything reaches, and none before it is missing what was changed until now.

        Who has seen that revision has seen every change, anybody's, whose transaction had returned before this was
        called: a linearizable read. It may take a write.
        """
        ...

    def watch(self, prefix: str, from_revision: int) -> Watch:
        """Changes under ``prefix`` made at ``from_revision`` and later."""
        ...

    async def grant_lease(self, ttl_seconds: float) -> int:
        """A new lease, not 0, that lasts at least ``ttl_seconds`` from now."""
        ...

    async def keep_alive(self, lease_id: int) -> None:
        """Let the lease last its full time again from now. LeaseExpiredError if it is gone."""
        ...

    async def revoke_lease(self, lease_id: int) -> None:
        """End the lease now, and its keys with it; no error if it is gone already."""
        ...

    async def close(self) -> None: ...
