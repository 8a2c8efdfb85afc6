"""The contract of ``kbroker.metadata.store.MetadataStore``: every implementation passes all of these.

A new implementation joins by a function that opens an empty store, in IMPLEMENTATIONS. Time passes by
``trio.sleep``; tests in which it does ask for ``passing_time``: trio's mock clock, which implementations in this
process see, and for those outside it the real one.
"""

from __future__ import annotations

import random
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from kbroker.metadata.embedded import IN_MEMORY, EmbeddedMetadataStore
from kbroker.metadata.etcd import EtcdMetadataStore
from kbroker.metadata.etcd_gateway import EtcdSettings
from kbroker.metadata.store import (
    ABSENT,
    TRANSACTION_OPERATIONS_MAX,
    Compare,
    Delete,
    DeletePrefix,
    KeyDeleted,
    KeyPut,
    LeaseExpiredError,
    MetadataStore,
    Operation,
    Put,
    StoreError,
    WatchBatch,
)
from tests.sim.cluster.agenda import Agenda
from tests.sim.cluster.network import Latency, SimulatedNetwork
from tests.sim.cluster.processes import Process
from tests.sim.cluster.store import SimulatedStore, StoreServer
from tests.sim.cluster.trace import Trace
from tests.sim.coverage import Coverage

LEASE_TTL_S = 2.0


async def run_inline(function, /, *arguments):
    return function(*arguments)


@asynccontextmanager
async def embedded_in_file(request: pytest.FixtureRequest) -> AsyncIterator[MetadataStore]:
    async with opened(str(request.getfixturevalue("tmp_path") / "metadata.sqlite")) as store:
        yield store


@asynccontextmanager
async def embedded_in_memory(request: pytest.FixtureRequest) -> AsyncIterator[MetadataStore]:
    async with opened(IN_MEMORY) as store:
        yield store


@asynccontextmanager
async def in_etcd(request: pytest.FixtureRequest) -> AsyncIterator[MetadataStore]:
    settings = EtcdSettings(request.getfixturevalue("etcd").endpoints)
    key_prefix = f"{uuid.uuid4()}/"
    store = await EtcdMetadataStore.open(settings, key_prefix, run_blocking=trio.to_thread.run_sync)
    try:
        yield store
    finally:
        await store.close()


@asynccontextmanager
async def simulated(request: pytest.FixtureRequest) -> AsyncIterator[MetadataStore]:
    """The cluster simulation's store, over a network without faults."""
    agenda, generator, coverage = Agenda(), random.Random(0), Coverage()
    trace = Trace(verbose=False, now=trio.current_time)
    network = SimulatedNetwork(agenda, generator, trace, coverage, Latency(mean_s=0.0001))
    server = StoreServer(agenda, generator, trio.current_time)
    store = SimulatedStore(server, network, "client", Process("client"), generator, trace, coverage)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(agenda.run)
        yield store
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def opened(path: str) -> AsyncIterator[EmbeddedMetadataStore]:
    # A thread would let the mock clock run ahead, so blocking calls are made in place.
    store = await EmbeddedMetadataStore.open(path, run_blocking=run_inline, monotonic=trio.current_time)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(store.expire_leases)
        yield store
        nursery.cancel_scope.cancel()
    await store.close()


OpenStore = Callable[[pytest.FixtureRequest], AbstractAsyncContextManager[MetadataStore]]
IMPLEMENTATIONS = [
    embedded_in_file,
    embedded_in_memory,
    simulated,
    pytest.param(in_etcd, marks=pytest.mark.slow),
]


@pytest.fixture(params=IMPLEMENTATIONS, ids=lambda open_store: open_store.__name__)
def implementation(request: pytest.FixtureRequest) -> OpenStore:
    if request.param is in_etcd:
        request.getfixturevalue("etcd")  # skips here, where the reason is not lost on its way out of trio
    return request.param


@pytest.fixture
async def store(implementation: OpenStore, request: pytest.FixtureRequest) -> AsyncIterator[MetadataStore]:
    async with implementation(request) as opened_store:
        yield opened_store


@pytest.fixture
def passing_time(implementation: OpenStore) -> MockClock | None:
    return None if implementation is in_etcd else MockClock(autojump_threshold=0)


async def put(store: MetadataStore, key: str, value: bytes = b"", lease_id: int = 0) -> int:
    result = await store.transact([], [Put(key, value, lease_id)])
    assert result.succeeded
    return result.revision


async def keys_under(store: MetadataStore, prefix: str) -> list[str]:
    return [item.key for item in (await store.range(prefix)).items]


async def next_batches(
    store: MetadataStore, prefix: str, from_revision: int, number: int
) -> list[WatchBatch]:
    batches: list[WatchBatch] = []
    with trio.fail_after(5):
        async with store.watch(prefix, from_revision) as watch:
            while len(batches) < number:
                batches.append(await watch.__anext__())
    return batches


# Reading and writing


async def test_empty_store_has_no_keys(store: MetadataStore) -> None:
    assert (await store.range("")).items == ()
    assert await store.get("a") is None


async def test_put_key_carries_value_and_revisions(store: MetadataStore) -> None:
    revision = await put(store, "a", b"\x00\xff value")
    found = await store.get("a")
    assert found is not None
    assert (found.key, found.value, found.lease_id) == ("a", b"\x00\xff value", 0)
    assert found.create_revision == found.mod_revision == revision
    everything = await store.range("")
    assert everything.items == (found,)
    assert everything.revision >= revision


async def test_overwriting_keeps_the_create_revision(store: MetadataStore) -> None:
    created = await put(store, "a", b"1")
    changed = await put(store, "a", b"2")
    found = await store.get("a")
    assert found is not None
    assert (found.value, found.create_revision, found.mod_revision) == (b"2", created, changed)
    assert changed > created


async def test_key_put_again_after_its_deletion_is_a_new_one(store: MetadataStore) -> None:
    await put(store, "a")
    await store.transact([], [Delete("a")])
    assert await store.get("a") is None
    again = await put(store, "a")
    found = await store.get("a")
    assert found is not None
    assert found.create_revision == again


async def test_each_changing_transaction_raises_the_revision(store: MetadataStore) -> None:
    first = await put(store, "a")
    result = await store.transact([], [Put("b", b""), Put("c", b""), Delete("a")])
    assert result.revision > first
    everything = await store.range("")
    assert everything.revision >= result.revision
    assert {item.mod_revision for item in everything.items} == {result.revision}


@pytest.mark.parametrize("operations", [[], [Delete("absent")], [DeletePrefix("absent/")]])
async def test_transaction_without_effect_succeeds_and_changes_nothing(
    store: MetadataStore, operations: list[Operation]
) -> None:
    revision = await put(store, "a")
    before = await store.range("")
    result = await store.transact([], operations)
    assert result.succeeded and result.revision >= revision
    assert (await store.range("")).items == before.items
    # Nor does a watch see it.
    last = await put(store, "b")
    assert [batch.revision for batch in await next_batches(store, "", revision, 2)] == [revision, last]


async def test_values_may_be_large(store: MetadataStore) -> None:
    value = bytes(range(256)) * 1024
    await put(store, "a", value)
    found = await store.get("a")
    assert found is not None
    assert found.value == value


async def test_range_is_the_keys_under_the_prefix_in_order(store: MetadataStore) -> None:
    for key in ["b/2", "b/10", "b", "b/", "b0", "a/x", "c", "b/é", "b/\U0001f600"]:
        await put(store, key)
    assert await keys_under(store, "b/") == ["b/", "b/10", "b/2", "b/é", "b/\U0001f600"]
    assert await keys_under(store, "b") == ["b", "b/", "b/10", "b/2", "b/é", "b/\U0001f600", "b0"]
    assert len(await keys_under(store, "")) == 9


async def test_delete_prefix_removes_nothing_else(store: MetadataStore) -> None:
    for key in ["p/1/0", "p/1/1", "p/10/0", "p/1", "p/2/0"]:
        await put(store, key)
    await store.transact([], [DeletePrefix("p/1/")])
    assert await keys_under(store, "") == ["p/1", "p/10/0", "p/2/0"]


# Compare and set


async def test_absent_key_is_compared_with_revision_zero(store: MetadataStore) -> None:
    assert (await store.transact([Compare("a", ABSENT)], [Put("a", b"1")])).succeeded
    assert not (await store.transact([Compare("a", ABSENT)], [Put("a", b"2")])).succeeded
    found = await store.get("a")
    assert found is not None
    assert found.value == b"1"


async def test_comparison_holds_for_the_last_change_only(store: MetadataStore) -> None:
    first = await put(store, "a", b"1")
    second = await put(store, "a", b"2")
    refused = await store.transact([Compare("a", first)], [Put("a", b"3")])
    assert not refused.succeeded and refused.revision >= second
    assert (await store.transact([Compare("a", second)], [Put("a", b"3")])).succeeded


async def test_deleted_key_no_longer_has_its_revision(store: MetadataStore) -> None:
    revision = await put(store, "a")
    await store.transact([], [Delete("a")])
    assert not (await store.transact([Compare("a", revision)], [Put("a", b"")])).succeeded
    assert (await store.transact([Compare("a", ABSENT)], [Put("a", b"")])).succeeded


async def test_one_failing_comparison_stops_everything(store: MetadataStore) -> None:
    revision = await put(store, "a", b"1")
    refused = await store.transact(
        [Compare("a", revision), Compare("b", revision)], [Put("a", b"2"), Put("c", b""), DeletePrefix("b")]
    )
    assert not refused.succeeded
    assert await keys_under(store, "") == ["a"]
    found = await store.get("a")
    assert found is not None
    assert found.value == b"1"


async def test_concurrent_increments_are_all_counted(store: MetadataStore) -> None:
    async def increment() -> None:
        while True:
            found = await store.get("counter")
            value = 0 if found is None else int(found.value)
            revision = ABSENT if found is None else found.mod_revision
            result = await store.transact(
                [Compare("counter", revision)], [Put("counter", str(value + 1).encode())]
            )
            if result.succeeded:
                return

    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(increment)
    found = await store.get("counter")
    assert found is not None
    assert found.value == b"20"


async def test_largest_transaction_is_applied_and_a_larger_one_refused(store: MetadataStore) -> None:
    operations = [Put(f"{number:03}", b"") for number in range(TRANSACTION_OPERATIONS_MAX + 1)]
    assert (await store.transact([], operations[1:])).succeeded
    assert len(await keys_under(store, "")) == TRANSACTION_OPERATIONS_MAX
    with pytest.raises(StoreError):
        await store.transact([], operations)
    assert await store.get("000") is None


@pytest.mark.parametrize(
    "operations",
    [
        [Put("a/1", b"1"), Put("a/1", b"2")],
        [Put("a/1", b"1"), Delete("a/1")],
        [Put("a/1", b"1"), DeletePrefix("a/")],
    ],
)
async def test_operations_that_overlap_are_refused(store: MetadataStore, operations: list[Operation]) -> None:
    with pytest.raises(StoreError):
        await store.transact([], operations)
    assert await keys_under(store, "") == []


async def test_cancelled_transaction_happens_wholly_or_not_at_all(store: MetadataStore) -> None:
    revision = await put(store, "a")
    with trio.CancelScope() as scope:
        scope.cancel()
        await store.transact([], [Put("b", b""), Put("c", b"")])
    written = await keys_under(store, "")
    assert written in (["a"], ["a", "b", "c"])
    # Whatever happened, watches know of it and the store goes on.
    await put(store, "d")
    seen = [
        [event.key for event in batch.events]
        for batch in await next_batches(store, "", revision, 2 + (len(written) == 3))
    ]
    assert seen == [["a"], *([["b", "c"]] if len(written) == 3 else []), ["d"]]


# Watching


async def test_watch_delivers_what_happened_since_the_revision(store: MetadataStore) -> None:
    await put(store, "a", b"0")
    second = await put(store, "a", b"1")
    third = await put(store, "b", b"2")
    batches = await next_batches(store, "", second, 2)
    assert [batch.revision for batch in batches] == [second, third]
    event = batches[0].events[0]
    assert isinstance(event, KeyPut)
    assert event.key_value == await store.get("a")


async def test_watch_waits_for_what_is_to_come(store: MetadataStore) -> None:
    revision = await put(store, "a")
    received: list[WatchBatch] = []

    async def follow() -> None:
        received.extend(await next_batches(store, "", revision + 1, 1))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(follow)
        await trio.testing.wait_all_tasks_blocked()
        assert received == []
        last = await put(store, "b", b"value")
    assert [batch.revision for batch in received] == [last]


async def test_transaction_arrives_as_one_batch(store: MetadataStore) -> None:
    for key in ["p/2", "p/1", "x"]:
        revision = await put(store, key)
    result = await store.transact([], [Put("a", b"1"), DeletePrefix("p/"), Delete("x"), Delete("none")])
    (batch,) = await next_batches(store, "", revision + 1, 1)
    assert batch.revision == result.revision
    assert [(type(event), event.key) for event in batch.events] == [
        (KeyPut, "a"),
        (KeyDeleted, "p/1"),
        (KeyDeleted, "p/2"),
        (KeyDeleted, "x"),
    ]


async def test_watch_sees_its_prefix_only(store: MetadataStore) -> None:
    first = await put(store, "a/1")
    await put(store, "b/1")
    last = await store.transact([], [Put("a/2", b""), Put("b/2", b"")])
    batches = await next_batches(store, "a/", first, 2)
    assert [[event.key for event in batch.events] for batch in batches] == [["a/1"], ["a/2"]]
    assert batches[1].revision == last.revision


async def test_watches_are_independent_and_see_every_change_in_order(store: MetadataStore) -> None:
    start = await put(store, "start")
    seen: dict[str, list[str]] = {"left": [], "right": []}

    async def follow(name: str) -> None:
        async with store.watch("k/", start + 1) as watch:
            async for batch in watch:
                seen[name].extend(event.key for event in batch.events)
                if len(seen[name]) == 30:
                    return

    async def write(writer: int) -> None:
        for number in range(10):
            await put(store, f"k/{writer}/{number}")

    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(follow, "left")
            for writer in range(3):
                nursery.start_soon(write, writer)
            nursery.start_soon(follow, "right")
    assert seen["left"] == seen["right"]
    for writer in range(3):
        mine = [key for key in seen["left"] if key.startswith(f"k/{writer}/")]
        assert mine == [f"k/{writer}/{number}" for number in range(10)]


async def test_barrier_is_reached_by_a_watch_after_all_that_came_before(store: MetadataStore) -> None:
    start = await put(store, "before")
    await store.range("")
    lease_id = await store.grant_lease(
        60
    )  # etcd, and the other users of one, may count what no watch is told of
    await put(store, "leased", lease_id=lease_id)
    await store.revoke_lease(lease_id)
    last = await put(store, "last")
    assert not (await store.transact([Compare("last", 0)], [Put("never", b"")])).succeeded
    barrier = await store.barrier()
    assert barrier >= last
    seen: list[WatchBatch] = []
    with trio.fail_after(5):
        async with store.watch("", start) as watch:
            while not seen or seen[-1].revision < barrier:
                seen.append(await watch.__anext__())
    changed = [event.key for batch in seen for event in batch.events]
    assert changed[:4] == ["before", "leased", "leased", "last"]


async def test_barrier_of_an_unchanged_store_is_reached_at_once(store: MetadataStore) -> None:
    last = await put(store, "last")
    first, second = await store.barrier(), await store.barrier()
    assert last <= first <= second
    batches = await next_batches(store, "", last, 1)
    assert batches[0].revision == last


# Leases


async def test_keys_vanish_when_their_lease_runs_out(
    store: MetadataStore, passing_time: MockClock | None
) -> None:
    lease_id = await store.grant_lease(LEASE_TTL_S)
    assert lease_id != 0
    await put(store, "a", b"", lease_id)
    await put(store, "b", b"", lease_id)
    revision = await put(store, "c")
    await trio.sleep(LEASE_TTL_S * 0.9)
    assert await keys_under(store, "") == ["a", "b", "c"]
    (batch,) = await next_batches(store, "", revision + 1, 1)
    assert batch.events == (KeyDeleted("a"), KeyDeleted("b"))
    assert await keys_under(store, "") == ["c"]


async def test_lease_that_is_kept_alive_lasts(store: MetadataStore, passing_time: MockClock | None) -> None:
    lease_id = await store.grant_lease(LEASE_TTL_S)
    await put(store, "a", b"", lease_id)
    for _ in range(6):
        await trio.sleep(LEASE_TTL_S / 2)
        await store.keep_alive(lease_id)
    assert await keys_under(store, "") == ["a"]
    await trio.sleep(LEASE_TTL_S * 1.5)
    assert await keys_under(store, "") == []
    with pytest.raises(LeaseExpiredError):
        await store.keep_alive(lease_id)


async def test_leases_end_one_by_one(store: MetadataStore, passing_time: MockClock | None) -> None:
    for name, ttl_s in [("late", 3 * LEASE_TTL_S), ("soon", LEASE_TTL_S)]:
        await put(store, name, b"", await store.grant_lease(ttl_s))
    await trio.sleep(LEASE_TTL_S * 1.5)
    assert await keys_under(store, "") == ["late"]
    await trio.sleep(LEASE_TTL_S * 2)
    assert await keys_under(store, "") == []


async def test_revoked_lease_takes_its_keys_at_once(
    store: MetadataStore, passing_time: MockClock | None
) -> None:
    lease_id = await store.grant_lease(LEASE_TTL_S)
    await put(store, "a", b"", lease_id)
    await store.revoke_lease(lease_id)
    assert await keys_under(store, "") == []
    with pytest.raises(LeaseExpiredError):
        await store.keep_alive(lease_id)
    await store.revoke_lease(lease_id)  # again is no error


async def test_nothing_is_written_under_a_lease_that_is_gone(
    store: MetadataStore, passing_time: MockClock | None
) -> None:
    lease_id = await store.grant_lease(LEASE_TTL_S)
    await store.revoke_lease(lease_id)
    with pytest.raises(LeaseExpiredError):
        await store.transact([], [Put("a", b""), Put("b", b"", lease_id)])
    assert await keys_under(store, "") == []


async def test_key_belongs_to_the_lease_of_its_last_put(
    store: MetadataStore, passing_time: MockClock | None
) -> None:
    first = await store.grant_lease(LEASE_TTL_S)
    second = await store.grant_lease(10 * LEASE_TTL_S)
    await put(store, "freed", b"", first)
    await put(store, "freed")
    await put(store, "moved", b"", first)
    await put(store, "moved", b"", second)
    await trio.sleep(LEASE_TTL_S * 1.5)
    assert await keys_under(store, "") == ["freed", "moved"]
    await store.revoke_lease(second)
    assert await keys_under(store, "") == ["freed"]
