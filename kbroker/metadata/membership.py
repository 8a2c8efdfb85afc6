"""How a broker becomes and stays a member of the cluster."""

from __future__ import annotations

import logging
from base64 import urlsafe_b64encode
from collections.abc import Awaitable, Callable, Mapping
from typing import Final
from uuid import UUID

from kbroker.metadata import keys
from kbroker.metadata.image import BrokerRegistration
from kbroker.metadata.store import (
    ABSENT,
    NO_LEASE,
    Compare,
    KeyValue,
    LeaseExpiredError,
    MetadataStore,
    Put,
    StoreUnavailableError,
)
from wire.errors import ApiError, ErrorCode

logger = logging.getLogger(__name__)

# A lease is renewed this many times within its life, so that one lost attempt does not cost it.
_RENEWALS_PER_LEASE: Final = 4


def new_cluster_id(uuid4: Callable[[], UUID]) -> str:
    """22 characters of base64, as Kafka's tools make them; they never begin with '-'."""
    while True:
        text = urlsafe_b64encode(uuid4().bytes).rstrip(b"=").decode()
        if not text.startswith("-"):
            return text


async def ensure_cluster_id(
    store: MetadataStore, *, uuid4: Callable[[], UUID], wanted: str | None = None
) -> str:
    """The cluster's id: the one stored, else ``wanted`` or a new one, which is stored first.

    Of several brokers that start a cluster at the same moment, one gives the id and all return it.
    Whether the id fits the broker's own data directories is for the caller to compare.
    """
    while True:
        found = await store.get(keys.CLUSTER_KEY)
        if found is not None:
            return keys.decode_cluster(found.value)
        value = keys.encode_cluster(wanted or new_cluster_id(uuid4))
        await store.transact([Compare(keys.CLUSTER_KEY, ABSENT)], [Put(keys.CLUSTER_KEY, value)])


async def ensure_features(store: MetadataStore, levels: Mapping[str, int]) -> dict[str, int]:
    """The finalized feature levels: those stored, else ``levels``, which are stored first."""
    while True:
        found = await store.get(keys.FEATURES_KEY)
        if found is not None:
            return keys.decode_features(found.value)
        value = keys.encode_features(levels)
        await store.transact([Compare(keys.FEATURES_KEY, ABSENT)], [Put(keys.FEATURES_KEY, value)])


class BrokerSession:
    """One broker's registration under a lease, from ``register`` to ``leave``.

    ``run`` keeps the lease alive. If it was lost all the same (the process stood still, the store could
    not be reached), the broker is registered anew, with a higher broker epoch. ``secure_until`` is the
    moment on the monotonic clock up to which no other broker can believe this one to be gone: a
    broker that is past it must not act as a leader.
    """

    def __init__(
        self,
        *,
        store: MetadataStore,
        registration: BrokerRegistration,
        session_timeout_s: float,
        monotonic: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        """``registration.broker_epoch`` is of no account; registering assigns it."""
        self._store = store
        self._registration = registration
        self._session_timeout_s = session_timeout_s
        self._monotonic = monotonic
        self._sleep = sleep
        self._lease_id = NO_LEASE
        self._key = keys.broker_key(registration.node_id)
        self._mod_revision = ABSENT
        self.secure_until = -1.0

    @property
    def registration(self) -> BrokerRegistration:
        return self._registration

    @property
    def revision(self) -> int:
        """The store's revision at which the registration was last written; 0 before the first time."""
        return self._mod_revision

    async def register(self) -> int:
        """Join; the broker epoch. ApiError DUPLICATE_BROKER_REGISTRATION if the node id is in use."""
        while True:
            # Before the store knows of the lease: it cannot end sooner than counted from here.
            begun = self._monotonic()
            lease_id = await self._store.grant_lease(self._session_timeout_s)
            found = await self._store.range(self._key)
            other = self._registered(found.items)
            if other is not None:
                await self._store.revoke_lease(lease_id)
                raise ApiError(
                    ErrorCode.DUPLICATE_BROKER_REGISTRATION,
                    f"Another broker with node id {self._registration.node_id} is running.",
                )
            # Registering raises the store's revision, so the next registration finds a higher one.
            registration = self._registration._replace(broker_epoch=found.revision)
            mine = next((item for item in found.items if item.key == self._key), None)
            result = await self._store.transact(
                [Compare(self._key, ABSENT if mine is None else mine.mod_revision)],
                [Put(self._key, keys.encode_broker(registration), lease_id)],
            )
            if result.succeeded:
                self._registration = registration
                self._lease_id = lease_id
                self._mod_revision = result.revision
                self.secure_until = begun + self._session_timeout_s
                return registration.broker_epoch
            await self._store.revoke_lease(lease_id)

    def _registered(self, items: tuple[KeyValue, ...]) -> BrokerRegistration | None:
        """Another incarnation under this node id; the key of an earlier lease of our own is none."""
        for item in items:
            if item.key == self._key:
                broker = keys.decode_broker(item.key, item.value)
                if broker.incarnation_id != self._registration.incarnation_id:
                    return broker
        return None

    async def run(self) -> None:
        """Renew the lease for ever, and register anew when it was lost."""
        while True:
            await self._sleep(self._session_timeout_s / _RENEWALS_PER_LEASE)
            try:
                await self._renew()
            except StoreUnavailableError as error:
                logger.warning("broker %d could not renew its session: %s", self._registration.node_id, error)

    async def _renew(self) -> None:
        begun = self._monotonic()
        try:
            await self._store.keep_alive(self._lease_id)
        except LeaseExpiredError:
            logger.warning("broker %d lost its session and registers anew", self._registration.node_id)
            await self.register()
        else:
            self.secure_until = begun + self._session_timeout_s

    async def change(self, *, fenced: bool | None = None, in_controlled_shutdown: bool | None = None) -> bool:
        """Alter what the registration says; False if the session was lost meanwhile."""
        current = self._registration
        changed = current._replace(
            fenced=current.fenced if fenced is None else fenced,
            in_controlled_shutdown=(
                current.in_controlled_shutdown if in_controlled_shutdown is None else in_controlled_shutdown
            ),
        )
        try:
            result = await self._store.transact(
                [Compare(self._key, self._mod_revision)],
                [Put(self._key, keys.encode_broker(changed), self._lease_id)],
            )
        except LeaseExpiredError:
            return False
        if result.succeeded:
            self._registration = changed
            self._mod_revision = result.revision
        return result.succeeded

    async def leave(self) -> None:
        """Give the registration back, so that nobody waits for the session to time out."""
        self.secure_until = -1.0
        lease_id, self._lease_id = self._lease_id, NO_LEASE
        if lease_id == NO_LEASE:
            return
        try:
            await self._store.revoke_lease(lease_id)
        except StoreUnavailableError as error:
            logger.warning(
                "broker %d leaves without taking its registration back: %s",
                self._registration.node_id,
                error,
            )
