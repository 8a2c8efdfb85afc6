"""Cluster id, features, and the sessions by which brokers are members."""

from __future__ import annotations

import base64
import logging
import uuid
from collections.abc import AsyncIterator, Sequence
from itertools import count

import pytest
import trio
from trio.testing import MockClock

from kbroker.metadata import keys
from kbroker.metadata.embedded import IN_MEMORY, EmbeddedMetadataStore
from kbroker.metadata.image import BrokerRegistration
from kbroker.metadata.membership import BrokerSession, ensure_cluster_id, ensure_features, new_cluster_id
from kbroker.metadata.store import (
    Compare,
    Delete,
    Operation,
    StoreUnavailableError,
    TransactionResult,
)
from tests.kbroker.metadata.cluster import broker, run_inline
from wire.errors import ApiError, ErrorCode

TIMEOUT_S = 9.0


@pytest.fixture
async def store() -> AsyncIterator[EmbeddedMetadataStore]:
    opened = await EmbeddedMetadataStore.open(IN_MEMORY, run_blocking=run_inline, monotonic=trio.current_time)
    opened.leases_outlive_pauses = False  # as if it were in another process
    async with trio.open_nursery() as nursery:
        nursery.start_soon(opened.expire_leases)
        yield opened
        nursery.cancel_scope.cancel()
    await opened.close()


def session_of(
    store: EmbeddedMetadataStore, registration: BrokerRegistration, **options: object
) -> BrokerSession:
    return BrokerSession(
        store=store,
        registration=registration,
        session_timeout_s=TIMEOUT_S,
        monotonic=trio.current_time,
        sleep=trio.sleep,
        **options,
    )


async def unreachable(*arguments: object) -> None:
    raise StoreUnavailableError("no answer")


async def hanging(*arguments: object) -> None:
    await trio.sleep_forever()


async def registered(store: EmbeddedMetadataStore, node_id: int) -> BrokerRegistration | None:
    found = await store.get(keys.broker_key(node_id))
    return None if found is None else keys.decode_broker(found.key, found.value)


# Cluster id and features


def test_cluster_id_is_sixteen_bytes_in_base64_that_does_not_begin_with_a_dash() -> None:
    ids = iter([uuid.UUID(bytes=b"\xf8" * 16), uuid.UUID(bytes=b"\xff\xef" * 8)])
    cluster_id = new_cluster_id(lambda: next(ids))
    assert cluster_id == "_-__7__v_-__7__v_-__7w"
    assert len(base64.urlsafe_b64decode(cluster_id + "==")) == 16


async def test_cluster_id_is_given_once(store: EmbeddedMetadataStore) -> None:
    first = await ensure_cluster_id(store, uuid4=uuid.uuid4)
    assert await ensure_cluster_id(store, uuid4=uuid.uuid4) == first
    assert await ensure_cluster_id(store, uuid4=uuid.uuid4, wanted="other") == first


async def test_cluster_id_may_be_chosen(store: EmbeddedMetadataStore) -> None:
    assert await ensure_cluster_id(store, uuid4=uuid.uuid4, wanted="mine") == "mine"


async def test_brokers_that_start_together_agree_on_the_cluster_id(store: EmbeddedMetadataStore) -> None:
    found: set[str] = set()

    async def start() -> None:
        found.add(await ensure_cluster_id(store, uuid4=uuid.uuid4))

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(start)
    assert len(found) == 1


async def test_feature_levels_are_settled_once(store: EmbeddedMetadataStore) -> None:
    assert await ensure_features(store, {"a.version": 1}) == {"a.version": 1}
    assert await ensure_features(store, {"a.version": 2}) == {"a.version": 1}


# Sessions


async def test_registration_lasts_while_the_session_runs(
    store: EmbeddedMetadataStore, autojump_clock: MockClock
) -> None:
    session = session_of(store, broker(1, rack="r"))
    epoch = await session.register()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(session.run)
        await trio.sleep(5 * TIMEOUT_S)
        found = await registered(store, 1)
        assert found == broker(1, rack="r", broker_epoch=epoch) == session.registration
        assert session.secure_until > trio.current_time() + TIMEOUT_S / 2
        nursery.cancel_scope.cancel()
    await trio.sleep(TIMEOUT_S * 1.1)
    assert await registered(store, 1) is None


async def test_broker_epochs_of_a_node_id_only_grow(store: EmbeddedMetadataStore) -> None:
    epochs = []
    for incarnation in range(4):
        session = session_of(store, broker(1, incarnation_id=uuid.UUID(int=incarnation)))
        epochs.append(await session.register())
        await session.leave()
    assert epochs == sorted(set(epochs))


async def test_node_id_in_use_is_refused(store: EmbeddedMetadataStore, autojump_clock: MockClock) -> None:
    first = session_of(store, broker(1))
    await first.register()
    second = session_of(store, broker(1, incarnation_id=uuid.UUID(int=99)))
    with pytest.raises(ApiError) as raised:
        await second.register()
    assert raised.value.code == ErrorCode.DUPLICATE_BROKER_REGISTRATION
    await trio.sleep(TIMEOUT_S * 1.1)
    await second.register()
    assert await registered(store, 1) == second.registration


async def test_node_ids_with_the_same_first_digits_are_told_apart(store: EmbeddedMetadataStore) -> None:
    for node_id in (10, 1, 100):
        await session_of(store, broker(node_id)).register()
    assert [await registered(store, node_id) is not None for node_id in (1, 10, 100)] == [True] * 3


async def test_two_processes_with_one_node_id_that_start_together(store: EmbeddedMetadataStore) -> None:
    outcomes: list[object] = []

    async def start(incarnation: int) -> None:
        session = session_of(store, broker(1, incarnation_id=uuid.UUID(int=incarnation)))
        try:
            await session.register()
            outcomes.append(session.registration)
        except ApiError as error:
            outcomes.append(error.code)

    async with trio.open_nursery() as nursery:
        for incarnation in range(3):
            nursery.start_soon(start, incarnation)
    assert outcomes.count(ErrorCode.DUPLICATE_BROKER_REGISTRATION) == 2
    assert await registered(store, 1) in outcomes


async def test_lost_session_is_registered_anew_with_a_higher_epoch(
    store: EmbeddedMetadataStore, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    session = session_of(store, broker(1))
    first = await session.register()
    await trio.sleep(TIMEOUT_S * 1.1)
    assert await registered(store, 1) is None
    assert session.secure_until < trio.current_time()
    with caplog.at_level(logging.WARNING):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(session.run)
            await trio.sleep(TIMEOUT_S / 2)
            nursery.cancel_scope.cancel()
    assert session.registration.broker_epoch > first
    assert await registered(store, 1) == session.registration
    assert session.secure_until > trio.current_time()
    assert "registers anew" in caplog.text


async def test_session_is_secure_no_longer_than_its_last_renewal(
    store: EmbeddedMetadataStore, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = session_of(store, broker(1))
    await session.register()
    attempts = count()

    async def unreachable(lease_id: int) -> None:
        next(attempts)
        raise StoreUnavailableError("no answer")

    monkeypatch.setattr(store, "keep_alive", unreachable)
    secure_until = session.secure_until
    assert secure_until == pytest.approx(trio.current_time() + TIMEOUT_S * 0.9)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(session.run)
        await trio.sleep(TIMEOUT_S * 0.9)
        nursery.cancel_scope.cancel()
    assert session.secure_until == secure_until
    assert next(attempts) >= 3


async def test_time_that_a_renewal_takes_counts_against_the_session(
    store: EmbeddedMetadataStore, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = session_of(store, broker(1))
    await session.register()
    keep_alive = store.keep_alive

    async def slow(lease_id: int) -> None:
        await keep_alive(lease_id)
        await trio.sleep(1.0)

    monkeypatch.setattr(store, "keep_alive", slow)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(session.run)
        await trio.sleep(2 + 1.5)
        nursery.cancel_scope.cancel()
    assert session.secure_until == pytest.approx(trio.current_time() - 1.5 + TIMEOUT_S * 0.9)


async def test_registration_can_be_changed_while_the_session_lasts(
    store: EmbeddedMetadataStore, autojump_clock: MockClock
) -> None:
    session = session_of(store, broker(1))
    await session.register()
    assert await session.change(in_controlled_shutdown=True)
    assert await session.change(fenced=True)
    found = await registered(store, 1)
    assert found is not None
    assert (found.fenced, found.in_controlled_shutdown) == (True, True)
    await trio.sleep(TIMEOUT_S * 1.1)
    assert not await session.change(fenced=False)
    assert await registered(store, 1) is None


async def test_leaving_takes_the_registration_away_at_once(store: EmbeddedMetadataStore) -> None:
    session = session_of(store, broker(1))
    await session.register()
    await session.leave()
    assert await registered(store, 1) is None
    assert session.secure_until < trio.current_time()
    await session.leave()


async def test_leaving_while_the_store_is_away_is_no_error(
    store: EmbeddedMetadataStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    session = session_of(store, broker(1))
    await session.register()
    monkeypatch.setattr(store, "revoke_lease", unreachable)
    await session.leave()
    assert session.secure_until < trio.current_time()
    assert "no answer" in caplog.text


async def test_session_tells_the_revision_at_which_it_is_registered(store: EmbeddedMetadataStore) -> None:
    session = session_of(store, broker(1))
    assert session.revision == 0
    await session.register()
    found = await store.get(keys.broker_key(1))
    assert found is not None
    assert session.revision == found.mod_revision


# Whether the broker may act as a leader


async def test_session_is_secure_from_registering_to_leaving(
    store: EmbeddedMetadataStore, autojump_clock: MockClock
) -> None:
    session = session_of(store, broker(1))
    assert not session.is_secure()
    await session.register()
    assert session.is_secure()
    await trio.sleep(TIMEOUT_S * 0.89)
    assert session.is_secure()
    await trio.sleep(TIMEOUT_S * 0.02)
    # The lease has not ended yet, but might have by a clock that runs a little faster.
    assert not session.is_secure()
    assert await registered(store, 1) is not None


async def test_session_is_insecure_before_anybody_can_believe_the_broker_gone(
    store: EmbeddedMetadataStore, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = session_of(store, broker(1))
    await session.register()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(session.run)
        await trio.sleep(20.1)
        monkeypatch.setattr(store, "keep_alive", hanging)
        while session.is_secure():
            await trio.sleep(0.01)
        assert await registered(store, 1) is not None
        insecure_at = trio.current_time()
        while await registered(store, 1) is not None:
            await trio.sleep(0.01)
        assert TIMEOUT_S * 0.1 - 0.02 <= trio.current_time() - insecure_at <= TIMEOUT_S * 0.1 + 0.02
        nursery.cancel_scope.cancel()


async def test_renewal_after_the_margin_makes_secure_again(
    store: EmbeddedMetadataStore, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost: list[float] = []
    again: list[bool] = []
    session = session_of(
        store,
        broker(1),
        on_lost=lambda: lost.append(trio.current_time()),
        on_secure_again=lambda: again.append(session.is_secure()),
    )
    epoch = await session.register()
    assert again == [True]
    keep_alive = store.keep_alive
    async with trio.open_nursery() as nursery:
        nursery.start_soon(session.run)
        await trio.sleep(TIMEOUT_S)
        assert again == [True], "it was renewed in time"
        monkeypatch.setattr(store, "keep_alive", unreachable)
        while session.is_secure():
            await trio.sleep(0.01)
        assert trio.current_time() < session.in_doubt_until
        monkeypatch.setattr(store, "keep_alive", keep_alive)
        await trio.sleep(0.4)
        assert session.is_secure()
        assert again == [True, True]
        nursery.cancel_scope.cancel()
    assert (lost, session.broker_epoch) == ([], epoch)


async def test_who_leads_is_in_doubt_until_others_must_have_been_elected(
    store: EmbeddedMetadataStore, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = session_of(store, broker(1))
    registered_at = trio.current_time()
    await session.register()
    assert session.news_due_at == session.in_doubt_until == registered_at + TIMEOUT_S + 1
    async with trio.open_nursery() as nursery:
        nursery.start_soon(session.run)
        await trio.sleep(TIMEOUT_S * 2)
        assert session.in_doubt_until > trio.current_time() + TIMEOUT_S / 2, "renewed"
        assert session.news_due_at == registered_at + TIMEOUT_S + 1
        monkeypatch.setattr(store, "grant_lease", unreachable)
        await store.revoke_lease(session.lease_id)
        while session.is_secure():
            await trio.sleep(0.01)
        assert session.in_doubt_until <= trio.current_time() + 1, "gone: others are elected by now"
        nursery.cancel_scope.cancel()


async def test_hanging_store_is_asked_again_and_again(
    store: EmbeddedMetadataStore, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = session_of(store, broker(1))
    await session.register()
    begun: list[float] = []

    async def hang(lease_id: int) -> None:
        begun.append(trio.current_time())
        await trio.sleep_forever()

    monkeypatch.setattr(store, "keep_alive", hang)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(session.run)
        await trio.sleep(TIMEOUT_S)
        nursery.cancel_scope.cancel()
    assert len([time for time in begun if time < TIMEOUT_S * 0.9]) >= 3


@pytest.mark.parametrize(("interval_s", "renewals"), [(0.5, 18), (2.0, 4), (60.0, 4)])
async def test_session_is_renewed_at_the_heartbeat_interval_but_four_times_a_lease(
    store: EmbeddedMetadataStore,
    autojump_clock: MockClock,
    monkeypatch: pytest.MonkeyPatch,
    interval_s: float,
    renewals: int,
) -> None:
    session = session_of(store, broker(1), heartbeat_interval_s=interval_s)
    await session.register()
    attempts = count()
    keep_alive = store.keep_alive

    async def counting(lease_id: int) -> None:
        next(attempts)
        await keep_alive(lease_id)

    monkeypatch.setattr(store, "keep_alive", counting)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(session.run)
        await trio.sleep(TIMEOUT_S + 0.01)
        nursery.cancel_scope.cancel()
    assert next(attempts) == renewals


async def test_session_with_a_store_in_the_same_process_is_secure_until_it_is_lost(
    store: EmbeddedMetadataStore, autojump_clock: MockClock
) -> None:
    store.leases_outlive_pauses = True
    lost: list[bool] = []
    session = session_of(store, broker(1), on_lost=lambda: lost.append(session.is_secure()))
    await session.register()
    await trio.sleep(TIMEOUT_S * 0.99)
    assert session.is_secure()
    await store.keep_alive(session.lease_id)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(session.run)
        await trio.sleep(3)
        await store.revoke_lease(session.lease_id)
        await trio.sleep(3)
        nursery.cancel_scope.cancel()
    assert lost == [False]
    assert session.is_secure()
    await session.leave()
    assert not session.is_secure()


# Losing and taking over


async def test_loss_is_told_before_the_broker_is_registered_anew(
    store: EmbeddedMetadataStore, autojump_clock: MockClock
) -> None:
    told: list[tuple[bool, int]] = []
    session = session_of(
        store, broker(1), on_lost=lambda: told.append((session.is_secure(), session.lease_id))
    )
    epoch = await session.register()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(session.run)
        await store.revoke_lease(session.lease_id)
        await trio.sleep(3)
        nursery.cancel_scope.cancel()
    assert told == [(False, 0)]
    assert session.broker_epoch > epoch
    assert await registered(store, 1) == session.registration


@pytest.mark.parametrize("when", ["at first", "anew"])
async def test_a_lease_that_ends_before_the_registration_is_written_is_not_the_end(
    when: str, store: EmbeddedMetadataStore, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store may have been busy for as long as that, or have elected another leader."""
    session = session_of(store, broker(1), registration_timeout_s=TIMEOUT_S)
    granted, begins = store.grant_lease, 0

    async def short_lived(ttl_s: float) -> int:
        nonlocal begins
        begins += 1
        lease_id = await granted(ttl_s)
        if begins <= 2:
            await store.revoke_lease(lease_id)
        return lease_id

    if when == "anew":
        await session.register()
    monkeypatch.setattr(store, "grant_lease", short_lived)
    async with trio.open_nursery() as nursery:
        if when == "at first":
            await session.register()
        nursery.start_soon(session.run)
        if when == "anew":
            await store.revoke_lease(session.lease_id)
        await trio.sleep(2 * TIMEOUT_S)
        assert begins == 3
        assert session.is_secure()
        assert await registered(store, 1) == session.registration
        nursery.cancel_scope.cancel()


async def test_registration_that_an_administrator_took_away_is_lost(
    store: EmbeddedMetadataStore, autojump_clock: MockClock
) -> None:
    losses = count()
    session = session_of(store, broker(1), on_lost=lambda: next(losses))
    epoch = await session.register()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(session.run)
        await store.transact([], [Delete(keys.broker_key(1))])
        await trio.sleep(3)
        nursery.cancel_scope.cancel()
    assert next(losses) == 1
    assert session.broker_epoch > epoch
    assert await registered(store, 1) == session.registration


async def test_quick_restart_waits_for_the_lease_of_the_process_before(
    store: EmbeddedMetadataStore, autojump_clock: MockClock
) -> None:
    before = session_of(store, broker(1))
    epoch = await before.register()
    session = session_of(store, broker(1, incarnation_id=uuid.UUID(int=9)), registration_timeout_s=60)
    begun = trio.current_time()
    assert await session.register() > epoch
    assert TIMEOUT_S <= trio.current_time() - begun < TIMEOUT_S + 1
    assert await registered(store, 1) == session.registration


async def test_node_id_that_stays_in_use_is_refused_in_the_end(
    store: EmbeddedMetadataStore, autojump_clock: MockClock
) -> None:
    other = session_of(store, broker(1))
    await other.register()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(other.run)
        session = session_of(store, broker(1, incarnation_id=uuid.UUID(int=9)), registration_timeout_s=30)
        begun = trio.current_time()
        with pytest.raises(ApiError) as raised:
            await session.register()
        assert raised.value.code == ErrorCode.DUPLICATE_BROKER_REGISTRATION
        assert 30 <= trio.current_time() - begun < 31
        nursery.cancel_scope.cancel()


async def test_node_id_that_another_took_meanwhile_ends_the_session(
    store: EmbeddedMetadataStore, autojump_clock: MockClock
) -> None:
    session = session_of(store, broker(1), registration_timeout_s=5)
    await session.register()
    await store.revoke_lease(session.lease_id)
    other = session_of(store, broker(1, incarnation_id=uuid.UUID(int=9)))
    await other.register()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(other.run)
        with trio.fail_after(20), pytest.raises(ApiError) as raised:
            await session.run()
        assert raised.value.code == ErrorCode.DUPLICATE_BROKER_REGISTRATION
        nursery.cancel_scope.cancel()
    assert not session.is_secure()


async def test_registering_waits_for_the_store(
    store: EmbeddedMetadataStore, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    grant_lease = store.grant_lease
    monkeypatch.setattr(store, "grant_lease", unreachable)
    session = session_of(store, broker(1), registration_timeout_s=10)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(session.register)
        await trio.sleep(5)
        monkeypatch.setattr(store, "grant_lease", grant_lease)
    assert session.is_secure()
    monkeypatch.setattr(store, "grant_lease", unreachable)
    with pytest.raises(StoreUnavailableError):
        await session_of(store, broker(2), registration_timeout_s=10).register()


async def test_registration_whose_answer_was_lost_is_taken_up(
    store: EmbeddedMetadataStore, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    transact, failures = store.transact, [StoreUnavailableError("the answer is lost")]

    async def silent(compares: Sequence[Compare], operations: Sequence[Operation]) -> TransactionResult:
        result = await transact(compares, operations)
        if failures:
            raise failures.pop()
        return result

    monkeypatch.setattr(store, "transact", silent)
    session = session_of(store, broker(1), registration_timeout_s=10)
    await session.register()
    assert await registered(store, 1) == session.registration
    # The lease of the first attempt ends, and takes nothing along.
    async with trio.open_nursery() as nursery:
        nursery.start_soon(session.run)
        await trio.sleep(3 * TIMEOUT_S)
        nursery.cancel_scope.cancel()
    assert await registered(store, 1) == session.registration


# Going


async def test_controlled_shutdown_is_said_and_outlives_a_lost_session(
    store: EmbeddedMetadataStore, autojump_clock: MockClock
) -> None:
    session = session_of(store, broker(1))
    await session.register()
    assert await session.begin_controlled_shutdown(5)
    found = await registered(store, 1)
    assert found is not None
    assert found.in_controlled_shutdown
    async with trio.open_nursery() as nursery:
        nursery.start_soon(session.run)
        await store.revoke_lease(session.lease_id)
        await trio.sleep(3)
        nursery.cancel_scope.cancel()
    found = await registered(store, 1)
    assert found is not None
    assert found.in_controlled_shutdown


async def test_controlled_shutdown_whose_answer_was_lost(
    store: EmbeddedMetadataStore, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = session_of(store, broker(1))
    await session.register()
    transact, failures = store.transact, [StoreUnavailableError("the answer is lost")]

    async def silent(compares: Sequence[Compare], operations: Sequence[Operation]) -> TransactionResult:
        result = await transact(compares, operations)
        if failures:
            raise failures.pop()
        return result

    monkeypatch.setattr(store, "transact", silent)
    assert await session.begin_controlled_shutdown(5)
    found = await registered(store, 1)
    assert found is not None
    assert found.in_controlled_shutdown


async def test_controlled_shutdown_that_begins_while_the_session_is_lost(
    store: EmbeddedMetadataStore, autojump_clock: MockClock
) -> None:
    session = session_of(store, broker(1))
    await session.register()
    await store.revoke_lease(session.lease_id)
    assert not await session.begin_controlled_shutdown(5)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(session.run)
        await trio.sleep(3)
        nursery.cancel_scope.cancel()
    found = await registered(store, 1)
    assert found is not None
    assert found.in_controlled_shutdown


@pytest.mark.parametrize("failure", [unreachable, hanging])
async def test_store_that_is_away_does_not_hold_up_going(
    store: EmbeddedMetadataStore,
    autojump_clock: MockClock,
    monkeypatch: pytest.MonkeyPatch,
    failure: object,
) -> None:
    session = session_of(store, broker(1))
    await session.register()
    monkeypatch.setattr(store, "transact", failure)
    monkeypatch.setattr(store, "revoke_lease", failure)
    begun = trio.current_time()
    assert not await session.begin_controlled_shutdown(5)
    await session.leave()
    assert trio.current_time() - begun <= 5 + TIMEOUT_S / 4 + 0.1
    assert not session.is_secure()
