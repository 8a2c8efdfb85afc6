"""Which metadata store a broker uses: one of its own process, one that brokers of a process share, or etcd."""

from __future__ import annotations

from typing import Protocol

from kbroker.config.broker_config import BrokerConfig
from kbroker.metadata.embedded import EmbeddedMetadataStore
from kbroker.metadata.store import MetadataStore
from kbroker.world import World

METADATA_FILE = "kbroker-metadata.sqlite"


class StoreAccess(Protocol):
    """How one broker comes by its metadata store."""

    async def open(self) -> MetadataStore:
        """StoreError if that cannot be done."""
        ...

    async def run(self) -> None:
        """What must go on as long as the store is used; may return, or be cancelled."""
        ...

    async def close(self) -> None:
        """Called after ``open`` and after ``run`` has ended."""
        ...


class EmbeddedStore:
    """The SQLite file of one broker, or of all brokers of this process (see ``SharedStore``)."""

    def __init__(self, path: str, world: World) -> None:
        self._path = path
        self._world = world
        self._store: EmbeddedMetadataStore | None = None

    async def open(self) -> EmbeddedMetadataStore:
        world = self._world
        self._store = await EmbeddedMetadataStore.open(
            self._path, run_blocking=world.run_blocking, monotonic=world.monotonic
        )
        return self._store

    async def run(self) -> None:
        """Let leases run out."""
        assert self._store is not None
        await self._store.expire_leases()

    async def close(self) -> None:
        assert self._store is not None
        await self._store.close()


class SharedStore:
    """A store that somebody else opens, runs and closes."""

    def __init__(self, store: MetadataStore) -> None:
        self._store = store

    async def open(self) -> MetadataStore:
        return self._store

    async def run(self) -> None:
        return

    async def close(self) -> None:
        return


def store_access(config: BrokerConfig, world: World) -> StoreAccess:
    """The store that the configuration names."""
    return EmbeddedStore(f"{config.log_directories[0]}/{METADATA_FILE}", world)
