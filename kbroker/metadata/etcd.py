"""The metadata store of brokers on many machines: etcd v3, over the JSON gateway that every member has.

``etcd_gateway.py`` sends requests, ``etcd_messages.py`` translates, ``etcd_watch.py`` follows changes.
Consensus is etcd's: reads are linearizable, and a transaction is on the disks of a majority when it returns.

Revisions are those of the whole etcd, which may serve others as well: between two of this store's
transactions there may be many. A transaction that is cancelled, or whose answer is lost, may still take
effect a little later; every decision is a compare-and-set, so it does so only if nothing came first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import httpx

from kbroker.metadata.embedded import RunBlocking
from kbroker.metadata.etcd_gateway import REQUEST_TIMEOUT_S, EtcdGateway, EtcdSettings, http_transport
from kbroker.metadata.etcd_messages import (
    EtcdRefusedError,
    Json,
    KeySpace,
    lease_request,
    revision_of,
    transaction_result,
)
from kbroker.metadata.etcd_watch import RENEWAL_S, EtcdWatch
from kbroker.metadata.store import (
    Compare,
    KeyRange,
    KeyValue,
    LeaseExpiredError,
    Operation,
    Put,
    StoreUnavailableError,
    TransactionResult,
    check_operations,
)

PAGE_KEYS: Final = 256
"""Keys read with one request, so that decoding an answer does not hold up the broker's other tasks."""

BARRIER_KEY: Final = "barrier"
"""Written by whoever wants to know that he has seen everything that came before; says nothing itself."""

_READ_ATTEMPTS: Final = 3


class EtcdMetadataStore:
    """A ``MetadataStore``; make one with ``open``."""

    leases_outlive_pauses = False

    def __init__(
        self,
        gateway: EtcdGateway,
        key_prefix: str,
        *,
        page_keys: int = PAGE_KEYS,
        watch_renewal_s: float = RENEWAL_S,
    ) -> None:
        """The store of all keys under ``key_prefix``, which no other store's prefix may begin with."""
        self._gateway = gateway
        self._keys = KeySpace(key_prefix)
        self._barrier_request = self._keys.transaction_request([], [Put(BARRIER_KEY, b"")])
        self._page_keys = page_keys
        self._watch_renewal_s = watch_renewal_s

    @classmethod
    async def open(
        cls,
        settings: EtcdSettings,
        key_prefix: str,
        *,
        run_blocking: RunBlocking,
        request_timeout_s: float = REQUEST_TIMEOUT_S,
        watch_renewal_s: float = RENEWAL_S,
    ) -> EtcdMetadataStore:
        """Reaches etcd only when first used. StoreError for endpoints or certificates that cannot be."""
        transport: httpx.AsyncBaseTransport = await run_blocking(http_transport, settings)
        gateway = EtcdGateway(settings, transport=transport, request_timeout_s=request_timeout_s)
        return cls(gateway, key_prefix, watch_renewal_s=watch_renewal_s)

    async def close(self) -> None:
        await self._gateway.close()

    # Reading

    async def get(self, key: str) -> KeyValue | None:
        answer = await self._read(self._keys.key_request(key))
        found = answer.get("kvs", ())
        return self._keys.key_value(found[0]) if found else None

    async def range(self, prefix: str) -> KeyRange:
        for _ in range(_READ_ATTEMPTS):
            try:
                return await self._read_pages(prefix)
            except EtcdRefusedError as error:
                # The history was thrown away up to some revision after that of the first page.
                if not error.is_compacted:
                    raise
        raise StoreUnavailableError("etcd compacts its history faster than it can be read")

    async def _read_pages(self, prefix: str) -> KeyRange:
        items: list[KeyValue] = []
        revision = 0
        while True:
            request = self._keys.page_request(
                prefix, self._page_keys, after_key=items[-1].key if items else None, revision=revision
            )
            answer = await self._read(request)
            # That of the first page; later answers name the revision that etcd has reached meanwhile.
            revision = revision or revision_of(answer)
            items.extend(self._keys.key_value(row) for row in answer.get("kvs", ()))
            if not answer.get("more"):
                return KeyRange(revision, tuple(items))

    async def _read(self, request: Json) -> Json:
        return await self._gateway.call("/v3/kv/range", request, repeatable=True)

    # Writing

    async def transact(
        self, compares: Sequence[Compare], operations: Sequence[Operation]
    ) -> TransactionResult:
        check_operations(compares, operations)
        request = self._keys.transaction_request(compares, operations)
        try:
            return transaction_result(await self._gateway.call("/v3/kv/txn", request, repeatable=False))
        except EtcdRefusedError as error:
            if error.is_lease_gone:
                raise LeaseExpiredError("a lease of the transaction is gone") from error
            raise

    async def barrier(self) -> int:
        """Writes a key: etcd may serve others as well, so its own revision may be one that this watch never reaches."""
        answer = await self._gateway.call("/v3/kv/txn", self._barrier_request, repeatable=True)
        return transaction_result(answer).revision

    # Watching

    def watch(self, prefix: str, from_revision: int) -> EtcdWatch:
        return EtcdWatch(self._gateway, self._keys, prefix, from_revision, renewal_s=self._watch_renewal_s)

    # Leases. An answer that was lost does no harm: the lease that nobody knows of runs out by itself.

    async def grant_lease(self, ttl_seconds: float) -> int:
        answer = await self._gateway.call("/v3/lease/grant", lease_request(ttl_seconds), repeatable=True)
        return int(answer["ID"])

    async def keep_alive(self, lease_id: int) -> None:
        answer = await self._gateway.call("/v3/lease/keepalive", {"ID": str(lease_id)}, repeatable=True)
        if int(answer["result"].get("TTL", 0)) <= 0:
            raise LeaseExpiredError(f"lease {lease_id} is gone")

    async def revoke_lease(self, lease_id: int) -> None:
        try:
            await self._gateway.call("/v3/lease/revoke", {"ID": str(lease_id)}, repeatable=True)
        except EtcdRefusedError as error:
            if not error.is_lease_gone:
                raise
