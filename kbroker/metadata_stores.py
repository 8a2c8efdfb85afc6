"""Which metadata store a broker uses: one of its own process, one that brokers of a process share, or etcd."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from kbroker.config.broker_config import BrokerConfig
from kbroker.metadata.embedded import EmbeddedMetadataStore
from kbroker.metadata.store import MetadataStore
from kbroker.world import World

if TYPE_CHECKING:
    from kbroker.metadata.etcd import EtcdMetadataStore

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


class EtcdStore:
    """The keys of one cluster in an etcd."""

    def __init__(self, config: BrokerConfig, world: World) -> None:
        self._config = config
        self._world = world
        self._store: EtcdMetadataStore | None = None

    async def open(self) -> EtcdMetadataStore:
        # Here and not above: a broker with a store of its own starts without the time that httpx takes to import.
        from kbroker.metadata.etcd import EtcdMetadataStore
        from kbroker.metadata.etcd_gateway import EtcdSettings

        config = self._config
        settings = EtcdSettings(
            endpoints=config.kbroker_etcd_endpoints,
            username=config.kbroker_etcd_username,
            password=config.kbroker_etcd_password,
            ca_file=config.kbroker_etcd_tls_ca_file,
            certificate_file=config.kbroker_etcd_tls_certificate_file,
            key_file=config.kbroker_etcd_tls_key_file,
        )
        self._store = await EtcdMetadataStore.open(
            settings, config.kbroker_etcd_key_prefix, run_blocking=self._world.run_blocking
        )
        return self._store

    async def run(self) -> None:
        """Nothing: etcd lets leases run out by itself."""
        return

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
    if config.kbroker_metadata_store == "etcd":
        return EtcdStore(config, world)
    return EmbeddedStore(f"{config.log_directories[0]}/{METADATA_FILE}", world)
