"""What the embedded store promises beyond the contract: durability, one process, bounded memory."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path

import pytest
import trio
import trio.testing

from kbroker.metadata import embedded, keys
from kbroker.metadata.embedded import EmbeddedMetadataStore
from kbroker.metadata.follower import ClusterMetadata
from kbroker.metadata.store import (
    Delete,
    KeyDeleted,
    Put,
    StoreFormatError,
    StoreLockedError,
    StoreUnavailableError,
    WatchCompactedError,
)
from tests.kbroker.metadata.cluster import run_inline


async def open_store(path: Path) -> EmbeddedMetadataStore:
    return await EmbeddedMetadataStore.open(str(path), run_blocking=run_inline, monotonic=trio.current_time)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "metadata.sqlite"


async def test_keys_and_revision_survive_reopening(path: Path) -> None:
    store = await open_store(path)
    await store.transact([], [Put("a", b"1"), Put("b", b"2")])
    await store.transact([], [Put("a", b"3")])
    before = await store.range("")
    await store.close()
    store = await open_store(path)
    assert await store.range("") == before
    result = await store.transact([], [Put("c", b"")])
    assert result.revision == before.revision + 1
    await store.close()


async def test_keys_of_an_earlier_process_s_leases_are_gone_after_reopening(path: Path) -> None:
    store = await open_store(path)
    lease_id = await store.grant_lease(1000)
    await store.transact([], [Put("kept", b""), Put("leased", b"", lease_id)])
    before = await store.range("")
    await store.close()
    store = await open_store(path)
    after = await store.range("")
    assert [item.key for item in after.items] == ["kept"]
    assert after.revision == before.revision + 1
    # A new lease of the same number has nothing to do with the old one.
    assert await store.grant_lease(1000) == lease_id
    await store.close()


async def test_revisions_are_those_of_this_store_alone(path: Path) -> None:
    store = await open_store(path)
    first = (await store.transact([], [Put("a", b"")])).revision
    assert (await store.transact([], [Put("b", b""), Delete("a")])).revision == first + 1
    assert (await store.transact([], [Delete("absent")])).revision == first + 1
    assert (await store.range("")).revision == first + 1
    await store.close()


async def test_every_commit_is_forced_to_the_disk(path: Path) -> None:
    # No test without a power cut can see this; it is what SQLite makes durable commits of.
    store = await open_store(path)
    full = 2
    assert store._connection.execute("PRAGMA synchronous").fetchone() == (full,)
    assert store._connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    await store.close()


WRITER = """
import sys, trio
from kbroker.metadata.embedded import EmbeddedMetadataStore
from kbroker.metadata.store import Put

async def run_inline(function, *arguments):
    return function(*arguments)

async def main():
    store = await EmbeddedMetadataStore.open(sys.argv[1], run_blocking=run_inline, monotonic=trio.current_time)
    print("open", flush=True)
    for number in range(1000000):
        await store.transact([], [Put("left", str(number).encode()), Put("right", str(number).encode())])
        print(number, flush=True)

trio.run(main)
"""


def start_writer(path: Path) -> subprocess.Popen[str]:
    root = Path(embedded.__file__).parent.parent.parent
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(root)},
    )


async def test_nothing_acknowledged_is_lost_when_the_process_is_killed(path: Path) -> None:
    with start_writer(path) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "open\n"
        acknowledged = [int(writer.stdout.readline()) for _ in range(50)]
        with pytest.raises(StoreLockedError, match="another process"):
            await open_store(path)
        writer.send_signal(signal.SIGKILL)
        acknowledged += [int(line) for line in writer.stdout]
    store = await open_store(path)
    left, right = (await store.range("")).items
    assert left.value == right.value  # no transaction was torn
    assert int(left.value) >= acknowledged[-1]
    assert left.mod_revision == int(left.value) + 1
    await store.close()


async def test_second_store_object_on_one_file_is_refused(path: Path) -> None:
    store = await open_store(path)
    with pytest.raises(StoreLockedError):
        await open_store(path)
    assert (await store.transact([], [Put("a", b"")])).succeeded
    await store.close()
    store = await open_store(path)
    await store.close()


@pytest.mark.parametrize("content", [b"not a database, but long enough to be looked at" * 10, b"SQLite"])
def test_file_that_is_no_store_is_refused_and_left_alone(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(StoreFormatError, match="not a metadata store"):
        trio.run(open_store, path)
    assert path.read_bytes() == content


async def test_store_of_a_later_version_is_refused(path: Path) -> None:
    await (await open_store(path)).close()
    connection = sqlite3.connect(path)
    connection.execute("UPDATE store SET value = 2 WHERE name = 'format'")
    connection.commit()
    connection.close()
    with pytest.raises(StoreFormatError, match="format 2"):
        await open_store(path)


async def test_directory_that_does_not_exist(path: Path) -> None:
    with pytest.raises(StoreUnavailableError):
        await open_store(path.parent / "missing" / "metadata.sqlite")


async def test_full_disk_fails_the_transaction_and_no_other(path: Path) -> None:
    store = await open_store(path)
    await store.transact([], [Put("a", b"1")])
    (pages,) = store._connection.execute("PRAGMA page_count").fetchone()
    store._connection.execute(f"PRAGMA max_page_count = {pages + 2}")
    with pytest.raises(StoreUnavailableError, match="full"):
        await store.transact([], [Put("a", b"2"), Put("b", bytes(100_000))])
    found = await store.get("a")
    assert found is not None
    assert found.value == b"1"
    result = await store.transact([], [Put("a", b"3")])
    assert result.revision == found.mod_revision + 1
    await store.close()


async def test_closed_store_answers_nobody(path: Path) -> None:
    store = await open_store(path)
    outcomes: list[str] = []

    async def follow() -> None:
        with pytest.raises(StoreUnavailableError):
            await store.watch("", 1).__anext__()
        outcomes.append("watch ended")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(follow)
        await trio.testing.wait_all_tasks_blocked()
        await store.close()
    assert outcomes == ["watch ended"]
    with pytest.raises(StoreUnavailableError):
        await store.get("a")
    with pytest.raises(StoreUnavailableError):
        await store.transact([], [Put("a", b"")])
    await store.close()


async def test_watch_from_before_the_store_was_opened_is_compacted(path: Path) -> None:
    store = await open_store(path)
    result = await store.transact([], [Put("a", b"")])
    await store.close()
    store = await open_store(path)
    with pytest.raises(WatchCompactedError):
        await store.watch("", result.revision).__anext__()
    await store.close()


async def test_watch_that_falls_behind_the_history_is_told(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "_HISTORY_EVENTS_MAX", 10)
    store = await open_store(path)
    start = (await store.transact([], [Put("a", b"")])).revision
    watch = store.watch("", start)
    for number in range(20):
        await store.transact([], [Put("a", str(number).encode())])
    with pytest.raises(WatchCompactedError):
        await watch.__anext__()
    # One that kept up reads on across the place where the history was cut.
    recent = store.watch("", start + 15)
    revisions = [(await recent.__anext__()).revision for _ in range(6)]
    assert revisions == list(range(start + 15, start + 21))
    await store.close()


async def test_transaction_larger_than_the_history_is_still_delivered(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "_HISTORY_EVENTS_MAX", 3)
    store = await open_store(path)
    result = await store.transact([], [Put(str(number), b"") for number in range(50)])
    batch = await store.watch("", result.revision).__anext__()
    assert len(batch.events) == 50
    await store.close()


async def test_commit_under_way_when_its_caller_is_cancelled_is_seen_by_watches(path: Path) -> None:
    may_commit = threading.Event()

    async def in_thread(function, /, *arguments):
        def slowly():
            may_commit.wait(5)
            return function(*arguments)

        return await trio.to_thread.run_sync(slowly)

    may_commit.set()
    store = await EmbeddedMetadataStore.open(str(path), run_blocking=in_thread, monotonic=trio.current_time)
    may_commit.clear()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(store.transact, [], [Put("a", b"")])
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
        may_commit.set()
    with trio.fail_after(5):
        batch = await store.watch("", 1).__anext__()
    assert [event.key for event in batch.events] == ["a"]
    assert (await store.get("a")) is not None
    await store.close()


class PausableClock:
    """A clock that can jump, as it does for a process that was stopped and continued."""

    def __init__(self) -> None:
        self.paused_s = 0.0

    def __call__(self) -> float:
        return trio.current_time() + self.paused_s


async def test_pause_of_the_whole_process_costs_no_lease(
    path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    clock = PausableClock()
    store = await EmbeddedMetadataStore.open(str(path), run_blocking=run_inline, monotonic=clock)
    lease_id = await store.grant_lease(10)
    result = await store.transact([], [Put("a", b"", lease_id)])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(store.expire_leases)
        await trio.sleep(5)
        clock.paused_s = 100
        await store.keep_alive(lease_id)
        clock.paused_s = 200
        await trio.sleep(9)
        assert await store.get("a") is not None
        await trio.sleep(6)  # but once the process runs again, leases run out again
        batch = await store.watch("", result.revision + 1).__anext__()
        assert batch.events == (KeyDeleted("a"),)
        nursery.cancel_scope.cancel()
    await store.close()


async def test_lease_whose_keys_cannot_be_removed_is_ended_later(
    path: Path,
    autojump_clock: trio.testing.MockClock,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    delete_lease = embedded._delete_lease
    failures = [sqlite3.OperationalError("disk I/O error")] * 3

    def failing(connection: sqlite3.Connection, lease_id: int) -> object:
        if failures:
            raise failures.pop()
        return delete_lease(connection, lease_id)

    monkeypatch.setattr(embedded, "_delete_lease", failing)
    store = await open_store(path)
    await store.transact([], [Put("a", b"", await store.grant_lease(10))])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(store.expire_leases)
        await trio.sleep(11)
        assert await store.get("a") is not None
        await trio.sleep(5)
        assert failures == []
        assert await store.get("a") is None
        nursery.cancel_scope.cancel()
    assert "disk I/O error" in caplog.text
    await store.close()


@pytest.mark.parametrize("touched", [False, True], ids=["as created", "every state changed"])
async def test_ten_thousand_partitions_are_read_back_quickly(path: Path, touched: bool) -> None:

    store = await open_store(path)
    births = [keys.newborn_partition((1, 2, 3), (1, 2, 3))] * 100
    for number in range(100):
        name, topic_id = f"topic-{number}", uuid.UUID(int=number + 1)
        await store.transact([], [Put(keys.topic_key(name), keys.encode_topic(name, topic_id, births))])
        if touched:
            state = births[0]._replace(leader_epoch=1)
            operations = [
                Put(keys.partition_key(topic_id, i), keys.encode_partition(state)) for i in range(100)
            ]
            await store.transact([], operations)
    await store.close()
    begun_s = time.process_time()  # the machine's other work does not count
    store = await open_store(path)
    image = await ClusterMetadata(store, sleep=trio.sleep).load()
    took_s = time.process_time() - begun_s
    assert sum(len(topic.partitions) for topic in image.topics.values()) == 10_000
    assert {state.leader_epoch for topic in image.topics.values() for state in topic.partitions} == {
        int(touched)
    }
    assert took_s < 0.5
    await store.close()
