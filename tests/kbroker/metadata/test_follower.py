"""How an image keeps up with the store, and in which order everyone learns of it."""

from __future__ import annotations

import uuid
from types import TracebackType

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from kbroker.metadata import keys
from kbroker.metadata.embedded import IN_MEMORY, EmbeddedMetadataStore
from kbroker.metadata.follower import ClusterMetadata
from kbroker.metadata.image import ImageDelta
from kbroker.metadata.store import (
    Delete,
    KeyRange,
    Put,
    StoreUnavailableError,
    WatchBatch,
    WatchCompactedError,
)
from tests.kbroker.metadata.cluster import broker, new_topic, run_inline, running_cluster


async def open_store() -> EmbeddedMetadataStore:
    return await EmbeddedMetadataStore.open(IN_MEMORY, run_blocking=run_inline, monotonic=trio.current_time)


async def test_listeners_have_acted_when_a_topic_is_created() -> None:
    async with running_cluster() as cluster:
        seen: list[str] = []

        async def slow_listener(delta: ImageDelta) -> None:
            await trio.testing.wait_all_tasks_blocked()
            seen.extend(f"first {topic.name}" for topic in delta.topics_created)
            assert delta.before is cluster.image  # clients do not see it yet
            assert "a" not in cluster.image.topics

        async def second_listener(delta: ImageDelta) -> None:
            seen.extend(f"second {topic.name}" for topic in delta.topics_created)

        cluster.metadata.subscribe(slow_listener)
        cluster.metadata.subscribe(second_listener)
        await cluster.create("a")
        assert seen == ["first a", "second a"]
        assert "a" in cluster.image.topics


async def test_load_reads_what_is_there_without_calling_listeners() -> None:
    store = await open_store()
    async with running_cluster(store=store) as cluster:
        await cluster.create("a", 3)
        metadata = ClusterMetadata(store, sleep=trio.sleep)

        async def listener(delta: ImageDelta) -> None:
            raise AssertionError("nothing changed")

        metadata.subscribe(listener)
        image = await metadata.load()
        assert image == cluster.image
        assert metadata.image is image


async def test_changes_that_concern_nobody_advance_the_revision_only() -> None:
    async with running_cluster() as cluster:
        deltas: list[ImageDelta] = []

        async def listener(delta: ImageDelta) -> None:
            deltas.append(delta)

        cluster.metadata.subscribe(listener)
        result = await cluster.store.transact([], [Put(keys.PRODUCER_IDS_KEY, b"1")])
        image = await cluster.metadata.wait_for(result.revision)
        assert image.revision == result.revision
        assert deltas == []


async def test_listener_that_fails_ends_the_follower() -> None:
    async def listener(delta: ImageDelta) -> None:
        raise ZeroDivisionError

    with pytest.RaisesGroup(ZeroDivisionError):
        async with running_cluster() as cluster:
            cluster.metadata.subscribe(listener)
            await cluster.store.transact([], [Put(keys.topic_key("a"), topic_value("a"))])
            await trio.sleep_forever()


def topic_value(name: str) -> bytes:
    topic_id = uuid.uuid5(uuid.NAMESPACE_DNS, name)
    return keys.encode_topic(name, topic_id, [keys.newborn_partition((1,), (1,))])


class FaultyStore:
    """A store whose next calls fail as told, then works."""

    def __init__(self, store: EmbeddedMetadataStore) -> None:
        self._store = store
        self.watch_errors: list[Exception] = []
        self.range_errors: list[Exception] = []

    async def range(self, prefix: str) -> KeyRange:
        if self.range_errors:
            raise self.range_errors.pop(0)
        return await self._store.range(prefix)

    def watch(self, prefix: str, from_revision: int) -> FaultyWatch:
        return FaultyWatch(self, self._store.watch(prefix, from_revision))


class FaultyWatch:
    def __init__(self, store: FaultyStore, watch) -> None:
        self._store = store
        self._watch = watch

    async def __aenter__(self) -> FaultyWatch:
        return self

    async def __aexit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        return None

    def __aiter__(self) -> FaultyWatch:
        return self

    async def __anext__(self) -> WatchBatch:
        if self._store.watch_errors:
            raise self._store.watch_errors.pop(0)
        return await self._watch.__anext__()


@pytest.mark.parametrize(
    ("watch_errors", "range_errors"),
    [
        ([StoreUnavailableError()] * 3, []),
        ([WatchCompactedError()], []),
        ([WatchCompactedError()], [StoreUnavailableError()]),
        ([StoreUnavailableError(), WatchCompactedError(), StoreUnavailableError()], []),
    ],
)
async def test_image_catches_up_after_the_store_was_lost(
    watch_errors: list[Exception], range_errors: list[Exception], autojump_clock: MockClock
) -> None:
    store = await open_store()
    faulty = FaultyStore(store)
    await store.transact([], [Put(keys.topic_key(name), topic_value(name)) for name in ("a", "b")])
    metadata = ClusterMetadata(faulty, sleep=trio.sleep)
    deltas: list[ImageDelta] = []

    async def listener(delta: ImageDelta) -> None:
        deltas.append(delta)

    metadata.subscribe(listener)
    await metadata.load()
    faulty.watch_errors, faulty.range_errors = list(watch_errors), list(range_errors)
    await store.transact([], [Delete(keys.topic_key("a")), Put(keys.topic_key("c"), topic_value("c"))])
    result = await store.transact([], [Put(keys.broker_key(1), keys.encode_broker(broker(1)))])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(metadata.run)
        with trio.fail_after(5):
            image = await metadata.wait_for(result.revision)
        nursery.cancel_scope.cancel()
    assert list(image.topics) == ["b", "c"]
    assert [topic.name for delta in deltas for topic in delta.topics_deleted] == ["a"]
    assert [topic.name for delta in deltas for topic in delta.topics_created] == ["c"]
    assert [node_id for delta in deltas for node_id in delta.brokers_changed] == [1]
    assert faulty.watch_errors == faulty.range_errors == []
    await store.close()


async def test_several_brokers_of_one_process_follow_one_store() -> None:
    store = await open_store()
    async with running_cluster(broker(1), broker(2), store=store) as cluster:
        other = ClusterMetadata(store, sleep=trio.sleep)
        await other.load()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(other.run)
            results = await cluster.controller.create_topics([new_topic("a", 6, 2)])
            with trio.fail_after(1):
                image = await other.wait_for(cluster.image.revision)
            nursery.cancel_scope.cancel()
        assert [result.error_code for result in results] == [0]
        assert image == cluster.image
