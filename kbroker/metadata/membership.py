"""How a broker becomes and stays a member of the cluster."""

from __future__ import annotations

import logging
from base64 import urlsafe_b64encode
from collections.abc import Awaitable, Callable, Mapping
from math import inf
from typing import Final
from uuid import UUID

import trio

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
    StoreError,
    StoreUnavailableError,
)
from wire.errors import ApiError, ErrorCode

logger = logging.getLogger(__name__)

# A lease is renewed at least this many times within its life, so that one lost attempt does not cost it.
_RENEWALS_PER_LEASE: Final = 4
# This part of a lease is not counted on: clocks do not run quite alike.
_MARGIN: Final = 0.1
_DOUBT_S: Final = 1.0
"""How long after a lease has run out the store will have noticed, and others been elected."""
_RETRY_S: Final = 0.25


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
    StoreError where an import of Apache Kafka's metadata is under way, or was cut off: there is no new cluster then.
    """
    while True:
        found = await store.get(keys.CLUSTER_KEY)
        if found is not None:
            return keys.decode_cluster(found.value)
        if await store.get(keys.KAFKA_IMPORT_BEGUN_KEY) is not None:
            raise StoreError("an import of Apache Kafka's metadata has begun and has not ended; repeat it")
        value = keys.encode_cluster(wanted or new_cluster_id(uuid4))
        await store.transact(
            [Compare(keys.CLUSTER_KEY, ABSENT), Compare(keys.KAFKA_IMPORT_BEGUN_KEY, ABSENT)],
            [Put(keys.CLUSTER_KEY, value)],
        )


async def ensure_features(store: MetadataStore, levels: Mapping[str, int]) -> dict[str, int]:
    """The finalized feature levels: those stored, else ``levels``, which are stored first."""
    while True:
        found = await store.get(keys.FEATURES_KEY)
        if found is not None:
            return keys.decode_features(found.value)
        value = keys.encode_features(levels)
        await store.transact([Compare(keys.FEATURES_KEY, ABSENT)], [Put(keys.FEATURES_KEY, value)])


def lease_s(session_timeout_ms: int) -> float:
    """The lease that makes a lost broker be gone within ``broker.session.timeout.ms``.

    It is a second shorter: a store may count in whole seconds, and looks for leases that have run out now and then.
    """
    session_timeout_s = session_timeout_ms / 1000
    return max(session_timeout_s - 1, session_timeout_s / 2)


class BrokerSession:
    """One broker's registration under a lease, from ``register`` to ``leave``.

        away         not registered, or the lease was lost            is_secure() is False
        secure       the lease cannot have ended anywhere yet         True
        insecure     it was not renewed in time, and may have ended   False; a renewal makes it secure again

    ``run`` keeps the lease alive. If it was lost all the same (the process stood still, the store could
    not be reached), the broker is registered anew, with a higher broker epoch.

    A lease is counted from before the request that granted or renewed it was sent, and a tenth of it is
    left out besides: so a broker stops acting as a leader before any other can believe it gone. With a
    store whose leases outlive pauses a registered broker is secure until the store says otherwise.
    """

    def __init__(
        self,
        *,
        store: MetadataStore,
        registration: BrokerRegistration,
        session_timeout_s: float,
        monotonic: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]],
        heartbeat_interval_s: float = 2.0,
        registration_timeout_s: float = 0.0,
        on_lost: Callable[[], None] = lambda: None,
        on_secure_again: Callable[[], None] = lambda: None,
    ) -> None:
        """``registration.broker_epoch`` is of no account; registering assigns it.

        ``registration_timeout_s``: how long to wait for an earlier process's lease, or for the store.
        ``on_lost`` is called when the lease was lost, before the broker is registered anew; ``on_secure_again`` when
        it was renewed too late, or is new.
        """
        self._store = store
        self._registration = registration
        self._session_timeout_s = session_timeout_s
        self._renewal_s = min(heartbeat_interval_s, session_timeout_s / _RENEWALS_PER_LEASE)
        self._registration_timeout_s = registration_timeout_s
        self._monotonic = monotonic
        self._sleep = sleep
        self._on_lost = on_lost
        self._on_secure_again = on_secure_again
        self._lease_id = NO_LEASE
        self._key = keys.broker_key(registration.node_id)
        self._mod_revision = ABSENT
        self._has_left = False
        self._lost_at = -inf
        self.secure_until = -inf
        self.in_doubt_until = -inf
        """Until when, once it is not secure, others may not have been elected yet, or it may not have heard of it."""
        self.registered_at = -inf

    @property
    def registration(self) -> BrokerRegistration:
        return self._registration

    @property
    def broker_epoch(self) -> int:
        return self._registration.broker_epoch

    @property
    def revision(self) -> int:
        """The store's revision at which the registration was last written; 0 before the first time."""
        return self._mod_revision

    @property
    def lease_id(self) -> int:
        """What to put keys under that are to go with the broker; NO_LEASE while it is not registered."""
        return self._lease_id

    def is_secure(self) -> bool:
        """Whether no other broker can believe this one to be gone: else it must neither lead nor acknowledge."""
        return self._monotonic() < self.secure_until

    # Registering

    async def register(self) -> int:
        """Join; the broker epoch. ApiError DUPLICATE_BROKER_REGISTRATION if the node id stays in use.

        StoreUnavailableError if the store stays out of reach.
        """
        deadline = self._monotonic() + self._registration_timeout_s
        while True:
            try:
                if await self._try_to_register():
                    return self._registration.broker_epoch
                error: Exception = self._node_id_in_use()
            except StoreUnavailableError as unavailable:
                error = unavailable
            if self._monotonic() >= deadline:
                raise error
            await self._sleep(_RETRY_S)

    async def _try_to_register(self) -> bool:
        """False if the node id is in use."""
        while True:
            found = await self._store.range(self._key)
            mine = next((item for item in found.items if item.key == self._key), None)
            if mine is not None and not self._is_own(mine):
                return False
            # Before the store knows of the lease: it cannot end sooner than counted from here.
            begun = self._monotonic()
            lease_id = await self._store.grant_lease(self._session_timeout_s)
            # Registering raises the store's revision, so the next registration finds a higher one.
            registration = self._registration._replace(broker_epoch=found.revision)
            try:
                result = await self._store.transact(
                    [Compare(self._key, ABSENT if mine is None else mine.mod_revision)],
                    [Put(self._key, keys.encode_broker(registration), lease_id)],
                )
            except LeaseExpiredError as error:  # it took that long
                raise StoreUnavailableError("the lease ended before the registration was written") from error
            if result.succeeded:
                self._registration = registration
                self._lease_id = lease_id
                self._mod_revision = result.revision
                self.registered_at = self._monotonic()
                self._prolong(begun)
                return True
            await self._store.revoke_lease(lease_id)

    def _node_id_in_use(self) -> ApiError:
        return ApiError(
            ErrorCode.DUPLICATE_BROKER_REGISTRATION,
            f"Another broker with node id {self._registration.node_id} is running.",
        )

    def _is_own(self, item: KeyValue) -> bool:
        """The key of an earlier lease of this very process, and not of another process with the same node id."""
        broker = keys.decode_broker(item.key, item.value)
        return broker.incarnation_id == self._registration.incarnation_id

    def _prolong(self, begun: float) -> None:
        if self._has_left:
            return
        is_late = not self.is_secure()
        if self._store.leases_outlive_pauses:
            self.secure_until = self.in_doubt_until = inf
        else:
            self.secure_until = begun + self._session_timeout_s * (1 - _MARGIN)
            self.in_doubt_until = begun + self._session_timeout_s + _DOUBT_S
        if is_late:
            self._on_secure_again()

    @property
    def news_due_at(self) -> float:
        """When a broker that has registered should know of the cluster as it is since then."""
        return self.registered_at + self._session_timeout_s + _DOUBT_S

    # Staying

    async def run(self) -> None:
        """Renew the lease for ever, and register anew when it was lost. ApiError if another took the node id."""
        pause = self._renewal_s
        while True:
            await self._sleep(pause)
            pause = self._renewal_s
            try:
                if not await self._within_attempt(self._stay):
                    raise StoreUnavailableError("no answer in time")
            except StoreUnavailableError as error:
                logger.warning("broker %d could not renew its session: %s", self._registration.node_id, error)
                pause = min(_RETRY_S, self._renewal_s)

    async def _within_attempt(self, attempt: Callable[[], Awaitable[None]]) -> bool:
        """Whether the attempt ended in its time, which leaves room for another before the session is insecure."""
        limit = self._session_timeout_s / _RENEWALS_PER_LEASE
        left = self.secure_until - self._monotonic()
        with trio.move_on_after(min(limit, left) if left > 0 else limit):
            await attempt()
            return True
        return False

    async def _stay(self) -> None:
        if self._lease_id == NO_LEASE:
            await self._register_anew()
            return
        begun = self._monotonic()
        try:
            await self._store.keep_alive(self._lease_id)
        except LeaseExpiredError:
            await self._lose()
            return
        found = await self._store.get(self._key)
        if found is None or found.lease_id != self._lease_id:
            # Unregistered by an administrator (or overwritten), though the lease goes on.
            await self._lose()
        else:
            self._mod_revision = found.mod_revision
            self._prolong(begun)

    async def _lose(self) -> None:
        logger.warning("broker %d lost its session and registers anew", self._registration.node_id)
        lease_id, self._lease_id = self._lease_id, NO_LEASE
        self.secure_until = -inf
        self.in_doubt_until = min(self.in_doubt_until, self._monotonic() + _DOUBT_S)
        self._on_lost()
        self._lost_at = self._monotonic()
        await self._store.revoke_lease(lease_id)
        await self._register_anew()

    async def _register_anew(self) -> None:
        is_late = self._monotonic() >= self._lost_at + self._registration_timeout_s
        if not await self._try_to_register() and is_late:
            raise self._node_id_in_use()

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

    # Leaving

    async def begin_controlled_shutdown(self, timeout_s: float) -> bool:
        """Say that this broker is about to go, so that others take over from it; False if that cannot be said."""
        # Should the session be lost from here on, it is registered anew like this.
        self._registration = self._registration._replace(in_controlled_shutdown=True)
        deadline = self._monotonic() + timeout_s
        while self._monotonic() < deadline:
            with trio.move_on_after(deadline - self._monotonic()):
                try:
                    if await self.change(in_controlled_shutdown=True):
                        return True
                    found = await self._store.get(self._key)
                    if found is None or not self._is_own(found):
                        return False
                    self._mod_revision = found.mod_revision
                    continue
                except StoreUnavailableError as error:
                    logger.warning(
                        "broker %d cannot say that it shuts down: %s", self._registration.node_id, error
                    )
                await self._sleep(_RETRY_S)
        return False

    async def leave(self) -> None:
        """Give the registration back, so that nobody waits for the session to time out."""
        self._has_left = True
        self.secure_until = -inf
        lease_id, self._lease_id = self._lease_id, NO_LEASE
        if lease_id == NO_LEASE:
            return
        error: Exception | str = "no answer in time"
        with trio.move_on_after(self._session_timeout_s / _RENEWALS_PER_LEASE):
            try:
                await self._store.revoke_lease(lease_id)
                return
            except StoreUnavailableError as unavailable:
                error = unavailable
        logger.warning(
            "broker %d leaves without taking its registration back: %s", self._registration.node_id, error
        )
