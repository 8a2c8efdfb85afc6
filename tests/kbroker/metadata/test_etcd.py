"""The metadata store on real etcds: other users beside it, compaction, lost members, users, TLS, broken connections."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

import httpx
import pytest
import trio

from kbroker.config.broker_config import BrokerConfig
from kbroker.metadata.etcd import EtcdMetadataStore
from kbroker.metadata.etcd_gateway import EtcdGateway, EtcdSettings, http_transport
from kbroker.metadata.etcd_messages import EtcdRefusedError
from kbroker.metadata.follower import ClusterMetadata
from kbroker.metadata.store import (
    ABSENT,
    Compare,
    Delete,
    DeletePrefix,
    KeyDeleted,
    MetadataStore,
    Put,
    StoreError,
    StoreUnavailableError,
    Watch,
    WatchBatch,
    WatchCompactedError,
)
from kbroker.metadata_stores import EmbeddedStore, EtcdStore, store_access
from kbroker.os_world import OsWorld
from tests import etcd_process
from tests.etcd_process import EtcdCluster, make_certificates, running_etcd

needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificates")

OpenStore = Callable[..., Awaitable[EtcdMetadataStore]]


async def put(store: MetadataStore, key: str, value: bytes = b"") -> int:
    return (await store.transact([], [Put(key, value)])).revision


async def keys_of(store: MetadataStore) -> list[str]:
    return [item.key for item in (await store.range("")).items]


async def next_batches(watch: Watch, number: int, *, deadline_s: float = 10) -> list[WatchBatch]:
    with trio.fail_after(deadline_s):
        return [await watch.__anext__() for _ in range(number)]


@pytest.fixture
def key_prefix() -> str:
    return f"{uuid.uuid4()}/"


@pytest.fixture
async def open_store(key_prefix: str) -> AsyncIterator[OpenStore]:
    """Opens stores, all of one cluster unless a prefix is given, that are closed with the case."""
    async with AsyncExitStack() as stack:

        async def opened(
            etcd: EtcdCluster, prefix: str = key_prefix, *, watch_renewal_s: float = 5.0, **settings: object
        ) -> EtcdMetadataStore:
            store = await EtcdMetadataStore.open(
                EtcdSettings(**{"endpoints": etcd.endpoints, **settings}),  # type: ignore[arg-type]
                prefix,
                run_blocking=trio.to_thread.run_sync,
                watch_renewal_s=watch_renewal_s,
            )
            stack.push_async_callback(store.close)
            return store

        yield opened


# One etcd for several


@pytest.mark.slow
@pytest.mark.parametrize("other_prefix", ["{}b/", "{}b", "a{}"])
async def test_clusters_that_share_an_etcd_see_nothing_of_one_another(
    etcd: EtcdCluster, open_store: OpenStore, key_prefix: str, other_prefix: str
) -> None:
    mine = await open_store(etcd, key_prefix.rstrip("/"))
    other = await open_store(etcd, other_prefix.format(key_prefix.rstrip("/")))
    first = await put(mine, "a", b"mine")
    await put(other, "a", b"other")
    await put(other, "z", b"other")
    last = await put(mine, "b", b"mine")
    assert [(item.key, item.value) for item in (await mine.range("")).items] == [
        ("a", b"mine"),
        ("b", b"mine"),
    ]
    async with mine.watch("", first) as watch:
        batches = await next_batches(watch, 2)
    assert [(batch.revision, [event.key for event in batch.events]) for batch in batches] == [
        (first, ["a"]),
        (last, ["b"]),
    ]
    await mine.transact([], [DeletePrefix("")])
    assert await keys_of(mine) == []
    assert await keys_of(other) == ["a", "z"]


@pytest.mark.slow
async def test_three_thousand_topics_are_read_as_of_one_revision(
    etcd: EtcdCluster, open_store: OpenStore
) -> None:
    store = await open_store(etcd)
    names = [f"topics/{number:05}" for number in range(3_000)]
    for start in range(0, len(names), 100):
        last = (
            await store.transact([], [Put(name, b"v" * 100) for name in names[start : start + 100]])
        ).revision
    everything = await store.range("")
    assert [item.key for item in everything.items] == names
    assert everything.revision >= last
    assert len((await store.range("topics/000")).items) == 100


class Interposed(httpx.AsyncBaseTransport):
    """The way to etcd with something that happens before a certain request."""

    def __init__(
        self, inner: httpx.AsyncBaseTransport, before: dict[int, Callable[[], Awaitable[object]]]
    ) -> None:
        self._inner = inner
        self._before = before
        self.count = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.count += 1
        if self.count in self._before:
            await self._before[self.count]()
        return await self._inner.handle_async_request(request)

    async def aclose(self) -> None:
        await self._inner.aclose()


@asynccontextmanager
async def paged_store(
    etcd: EtcdCluster, prefix: str, before: dict[int, Callable[[], Awaitable[object]]]
) -> AsyncIterator[tuple[EtcdMetadataStore, Interposed]]:
    settings = EtcdSettings(etcd.endpoints)
    transport = Interposed(http_transport(settings), before)
    store = EtcdMetadataStore(EtcdGateway(settings, transport=transport), prefix, page_keys=3)
    try:
        yield store, transport
    finally:
        await store.close()


@pytest.mark.slow
async def test_what_is_written_between_two_pages_is_in_neither(
    etcd: EtcdCluster, open_store: OpenStore, key_prefix: str
) -> None:
    writer = await open_store(etcd)
    await writer.transact([], [Put(f"k{number}", b"old") for number in range(7)])
    before = await writer.range("")

    async def write() -> None:
        await writer.transact([], [Put("k0", b"new"), Put("k5", b"new"), Delete("k6"), Put("k9", b"new")])

    async with paged_store(etcd, key_prefix, {2: write}) as (store, transport):
        found = await store.range("")
        assert transport.count == 3
    assert found.items == before.items
    async with writer.watch("", found.revision + 1) as watch:
        (batch,) = await next_batches(watch, 1)
    assert [event.key for event in batch.events] == ["k0", "k5", "k6", "k9"]


@pytest.mark.slow
async def test_compaction_between_two_pages_has_everything_read_again(
    etcd: EtcdCluster, open_store: OpenStore, key_prefix: str
) -> None:
    writer = await open_store(etcd)
    await writer.transact([], [Put(f"k{number}", b"old") for number in range(7)])

    async def compact() -> None:
        revision = await put(writer, "k0", b"new")
        await trio.to_thread.run_sync(etcd.compact, revision)

    async with paged_store(etcd, key_prefix, {3: compact}) as (store, transport):
        found = await store.range("")
        assert transport.count == 6
    assert [item.value for item in found.items] == [b"new"] + [b"old"] * 6


# Compaction


@pytest.mark.slow
async def test_a_watch_from_before_what_etcd_still_knows_says_so(
    etcd: EtcdCluster, open_store: OpenStore
) -> None:
    store = await open_store(etcd)
    first = await put(store, "a")
    last = await put(store, "a")
    await trio.to_thread.run_sync(etcd.compact, last)
    with pytest.raises(WatchCompactedError):
        async with store.watch("", first) as watch:
            await next_batches(watch, 1)
    following = await put(store, "b")
    async with store.watch("", last + 1) as watch:
        assert [batch.revision for batch in await next_batches(watch, 1)] == [following]


@pytest.mark.slow
async def test_a_deletion_is_not_passed_over_when_its_own_revision_is_compacted(
    etcd: EtcdCluster, open_store: OpenStore
) -> None:
    store = await open_store(etcd)
    await put(store, "a")
    deleted = (await store.transact([], [Delete("a")])).revision
    await put(store, "b")
    await trio.to_thread.run_sync(etcd.compact, deleted)
    try:
        async with store.watch("", deleted) as watch:
            (batch,) = await next_batches(watch, 1)
    except WatchCompactedError:
        return
    assert batch == WatchBatch(deleted, (KeyDeleted("a"),))


@pytest.mark.slow
async def test_an_image_follows_a_store_that_is_compacted_under_it(
    etcd: EtcdCluster, open_store: OpenStore
) -> None:
    store = await open_store(etcd, watch_renewal_s=0.2)
    other = await open_store(etcd, "somebody-else/")
    metadata = ClusterMetadata(store)
    await metadata.load()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(metadata.run)
        for _ in range(3):
            await trio.to_thread.run_sync(etcd.compact, await put(other, "x"))
            await trio.sleep(0.3)
        with trio.fail_after(5):
            await metadata.wait_for((await store.transact([], [Put("unknown", b"")])).revision)
        nursery.cancel_scope.cancel()


# Members that are lost


@pytest.fixture
def three_members(tmp_path: Path) -> Iterator[EtcdCluster]:
    if etcd_process.MISSING is not None:
        pytest.skip(etcd_process.MISSING)
    with running_etcd(tmp_path, members=3) as cluster:
        yield cluster


async def write_until(
    store: MetadataStore, stop: trio.Event, written: dict[str, int], failures: list[StoreUnavailableError]
) -> None:
    """Writes keys 0, 1, 2, ... and notes the revisions of those that were acknowledged."""
    number = 0
    while not stop.is_set():
        try:
            result = await store.transact([Compare(str(number), ABSENT)], [Put(str(number), b"")])
        except StoreUnavailableError as error:
            failures.append(error)
            await trio.sleep(0.05)
        else:
            if result.succeeded:
                written[str(number)] = result.revision
        number += 1


async def read_into(store: MetadataStore, seen: list[WatchBatch], start: int) -> None:
    """What ClusterMetadata does: when the store is away, watch again from the next revision."""
    while True:
        try:
            async with store.watch("", seen[-1].revision + 1 if seen else start) as watch:
                while True:
                    seen.append(await watch.__anext__())
        except StoreUnavailableError:
            await trio.sleep(0.1)


async def keep_alive_until(store: MetadataStore, stop: trio.Event, lease_id: int) -> None:
    while not stop.is_set():
        try:
            await store.keep_alive(lease_id)
        except StoreUnavailableError:
            pass
        await trio.sleep(0.3)


@pytest.mark.slow
@pytest.mark.parametrize("trouble", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "paused"])
async def test_the_others_carry_on_without_the_leader(
    three_members: EtcdCluster, open_store: OpenStore, trouble: signal.Signals
) -> None:
    leader = three_members.leader()
    endpoints = (leader.endpoint, *(each for each in three_members.endpoints if each != leader.endpoint))
    store = await open_store(three_members, endpoints=endpoints, watch_renewal_s=1.0)
    lease_id = await store.grant_lease(9)
    start = (await store.transact([], [Put("leased", b"", lease_id)])).revision
    stop = trio.Event()
    written: dict[str, int] = {}
    failures: list[StoreUnavailableError] = []
    seen: list[WatchBatch] = []

    async def acknowledged(number: int) -> None:
        aim = len(written) + number
        with trio.fail_after(20):
            while len(written) < aim:
                await trio.sleep(0.02)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(write_until, store, stop, written, failures)
        nursery.start_soon(keep_alive_until, store, stop, lease_id)
        nursery.start_soon(read_into, store, seen, start)
        await acknowledged(20)
        leader.kill() if trouble == signal.SIGKILL else leader.pause()
        await acknowledged(50)
        # It comes back, and what it has missed confuses nobody.
        three_members.launch(leader) if trouble == signal.SIGKILL else leader.resume()
        await trio.to_thread.run_sync(three_members.wait_until_healthy, three_members.members)
        await acknowledged(20)
        stop.set()
        last = await put(store, "last")
        with trio.fail_after(20):
            while not seen or seen[-1].revision < last:
                await trio.sleep(0.02)
        nursery.cancel_scope.cancel()

    await store.keep_alive(lease_id)
    found = await store.range("")
    # No batch is missing, none came twice, and all is as it is stored.
    revisions = [batch.revision for batch in seen]
    assert revisions == sorted(set(revisions))
    assert {event.key: batch.revision for batch in seen for event in batch.events} == {
        item.key: item.mod_revision for item in found.items
    }
    # What was acknowledged is there; what failed may be.
    assert written.items() <= {item.key: item.mod_revision for item in found.items}.items()
    assert len(failures) <= 10, failures


@pytest.mark.slow
async def test_without_a_majority_the_store_is_unavailable_and_comes_back(
    three_members: EtcdCluster, open_store: OpenStore
) -> None:
    store = await open_store(three_members)
    revision = await put(store, "a")
    async with store.watch("", revision) as watch:
        await next_batches(watch, 1)
        for member in three_members.members[1:]:
            member.kill()
        with trio.fail_after(20):
            with pytest.raises(StoreUnavailableError):
                await put(store, "b")
            with pytest.raises(StoreUnavailableError):
                await store.get("a")
            # The one that is left knows no leader, and its watches end because they said that they want one.
            with pytest.raises(StoreUnavailableError):
                await watch.__anext__()
        for member in three_members.members[1:]:
            three_members.launch(member)
        await trio.to_thread.run_sync(three_members.wait_until_healthy, three_members.members)
        last = await put(store, "c")
        while (await next_batches(watch, 1))[0].revision < last:
            pass


@pytest.mark.slow
async def test_endpoints_that_nobody_listens_on_are_passed_over(
    etcd: EtcdCluster, open_store: OpenStore
) -> None:
    store = await open_store(etcd, endpoints=("http://127.0.0.1:9", *etcd.endpoints))
    with trio.fail_after(5):
        revision = await put(store, "a")
        async with store.watch("", revision) as watch:
            assert (await watch.__anext__()).revision == revision
    nobody = await open_store(etcd, endpoints=("http://127.0.0.1:9",))
    with pytest.raises(StoreUnavailableError, match=r"127\.0\.0\.1:9: not connected: "):
        await put(nobody, "a")


# Connections that break


class Relay:
    """A TCP relay to etcd that can fall silent: it accepts and keeps connections, and passes nothing on."""

    def __init__(self, endpoint: str) -> None:
        self._port = int(endpoint.rpartition(":")[2])
        self._passing = trio.Event()
        self._passing.set()
        self.connections = 0

    async def serve(self, task_status: trio.TaskStatus[str]) -> None:
        async with trio.open_nursery() as nursery:
            (listener,) = await nursery.start(partial(trio.serve_tcp, self._relay, 0, host="127.0.0.1"))
            task_status.started(f"http://127.0.0.1:{listener.socket.getsockname()[1]}")

    def fall_silent(self) -> None:
        self._passing = trio.Event()

    def speak_again(self) -> None:
        """For connections made from now on; those that fell silent stay so."""
        self._passing = trio.Event()
        self._passing.set()

    async def _relay(self, client: trio.SocketStream) -> None:
        self.connections += 1
        async with (
            client,
            await trio.open_tcp_stream("127.0.0.1", self._port) as server,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(self._pass_on, client, server)
            nursery.start_soon(self._pass_on, server, client)

    async def _pass_on(self, source: trio.SocketStream, sink: trio.SocketStream) -> None:
        passing = self._passing
        try:
            async for data in source:
                if passing is not self._passing:
                    await trio.sleep_forever()
                await passing.wait()
                await sink.send_all(data)
            await sink.send_eof()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass


@pytest.mark.slow
async def test_a_watch_on_a_connection_that_fell_silent_goes_on_over_another(
    etcd: EtcdCluster, open_store: OpenStore
) -> None:
    writer = await open_store(etcd)
    start = await put(writer, "start")
    relay = Relay(etcd.endpoints[0])
    async with trio.open_nursery() as nursery:
        address = await nursery.start(relay.serve)
        store = await open_store(etcd, endpoints=(address,), watch_renewal_s=0.5)
        async with store.watch("", start) as watch:
            await next_batches(watch, 1)
            relay.fall_silent()
            revisions = [await put(writer, f"k{number}") for number in range(5)]
            relay.speak_again()
            assert [batch.revision for batch in await next_batches(watch, 5)] == revisions
            assert relay.connections >= 2
        nursery.cancel_scope.cancel()


@pytest.mark.slow
async def test_a_transaction_whose_connection_breaks_after_it_was_sent_may_have_happened() -> None:
    requests: list[bytes] = []

    async def take_and_break(stream: trio.SocketStream) -> None:
        async with stream:
            received = b""
            while b"request_put" not in received:
                received += await stream.receive_some()
            requests.append(received)

    async with trio.open_nursery() as nursery:
        addresses = [
            (await nursery.start(partial(trio.serve_tcp, take_and_break, 0, host="127.0.0.1")))[0]
            for _ in range(2)
        ]
        settings = EtcdSettings([f"http://127.0.0.1:{each.socket.getsockname()[1]}" for each in addresses])
        store = await EtcdMetadataStore.open(settings, "p/", run_blocking=trio.to_thread.run_sync)
        with pytest.raises(StoreUnavailableError):
            await put(store, "a")
        await store.close()
        nursery.cancel_scope.cancel()
    assert len(requests) == 1


@pytest.mark.slow
async def test_a_transaction_cancelled_on_its_way_happens_wholly_or_not_at_all(
    etcd: EtcdCluster, open_store: OpenStore
) -> None:
    store = await open_store(etcd)
    start = await put(store, "start")
    for attempt in range(20):
        with trio.move_on_after(attempt * 0.0002):
            await store.transact([], [Put(f"{attempt}/a", b""), Put(f"{attempt}/b", b"")])
    last = await put(store, "last")
    async with store.watch("", start) as watch:
        while True:
            (batch,) = await next_batches(watch, 1)
            if batch.revision == last:
                break
            keys = [event.key for event in batch.events]
            assert keys == ["start"] or [key[-1] for key in keys] == ["a", "b"]


@pytest.mark.slow
async def test_closing_the_store_ends_its_watches(etcd: EtcdCluster, open_store: OpenStore) -> None:
    store = await open_store(etcd)
    start = await put(store, "a")
    async with trio.open_nursery() as nursery:

        async def follow() -> None:
            with pytest.raises(StoreUnavailableError, match="closed"):
                async with store.watch("", start + 1) as watch:
                    await watch.__anext__()

        nursery.start_soon(follow)
        await trio.sleep(0.2)
        with trio.fail_after(2):
            await store.close()
    with pytest.raises(StoreUnavailableError, match="closed"):
        await store.get("a")


# Leases


@pytest.mark.slow
async def test_a_lease_lasts_no_shorter_than_asked_for(etcd: EtcdCluster, open_store: OpenStore) -> None:
    store = await open_store(etcd)
    begun = trio.current_time()
    lease_id = await store.grant_lease(2.2)
    await store.transact([], [Put("a", b"", lease_id)])
    found = await store.get("a")
    assert found is not None
    assert found.lease_id == lease_id
    async with store.watch("", found.mod_revision + 1) as watch:
        (batch,) = await next_batches(watch, 1)
    assert batch.events == (KeyDeleted("a"),)
    assert trio.current_time() - begun >= 2.2


# Users and TLS


@pytest.fixture(scope="module")
def etcd_with_users(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdCluster]:
    """Tokens are good for a second only. User kbroker may do all under "kbroker/"."""
    if etcd_process.MISSING is not None:
        pytest.skip(etcd_process.MISSING)
    with running_etcd(tmp_path_factory.mktemp("etcd-users"), arguments=["--auth-token-ttl", "1"]) as cluster:
        for command in (
            "user add root:root",
            "user grant-role root root",
            "user add kbroker:secret",
            "role add kbroker",
            "role grant-permission kbroker --prefix=true readwrite kbroker/",
            "user grant-role kbroker kbroker",
            "auth enable",
        ):
            cluster.etcdctl(*command.split())
        yield cluster


@pytest.mark.slow
async def test_a_user_s_token_is_renewed_when_it_has_run_out(
    etcd_with_users: EtcdCluster, open_store: OpenStore
) -> None:
    store = await open_store(
        etcd_with_users, "kbroker/", username="kbroker", password="secret", watch_renewal_s=0.5
    )
    start = await put(store, "a")
    lease_id = await store.grant_lease(60)
    async with store.watch("", start) as watch:
        await next_batches(watch, 1)
        for _ in range(2):
            await trio.sleep(2.5)  # as long as etcd takes for a token of a second
            revision = await put(store, "a")
            assert [batch.revision for batch in await next_batches(watch, 1)] == [revision]
        with trio.move_on_after(3):
            await watch.__anext__()  # nothing comes, and no token that runs out ends it
        await store.keep_alive(lease_id)
        assert [item.key for item in (await store.range("")).items] == ["a"]
    await store.transact([], [DeletePrefix("")])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("prefix", "settings", "message"),
    [
        ("kbroker/", {}, r"kbroker\.etcd\.username"),
        ("kbroker/", {"username": "kbroker", "password": "wrong"}, "authentication failed"),
        ("kbroker/", {"username": "nobody", "password": "secret"}, "authentication failed"),
        ("others/", {"username": "kbroker", "password": "secret"}, "permission denied"),
    ],
)
async def test_who_may_not_is_told_so(
    etcd_with_users: EtcdCluster,
    open_store: OpenStore,
    prefix: str,
    settings: dict[str, str],
    message: str,
) -> None:
    store = await open_store(etcd_with_users, prefix, **settings)
    with pytest.raises(EtcdRefusedError, match=message):
        await store.range("")
    with pytest.raises(EtcdRefusedError, match=message):
        await put(store, "a")
    with pytest.raises(EtcdRefusedError, match=message):
        async with store.watch("", 1) as watch:
            await next_batches(watch, 1)


@pytest.mark.slow
@needs_openssl
async def test_both_sides_show_certificates(tmp_path: Path, open_store: OpenStore) -> None:
    if etcd_process.MISSING is not None:
        pytest.skip(etcd_process.MISSING)
    files = make_certificates(tmp_path / "tls")
    strangers = make_certificates(tmp_path / "strangers")
    with running_etcd(tmp_path / "etcd", tls=files) as cluster:
        store = await open_store(
            cluster, ca_file=str(files.ca), certificate_file=str(files.certificate), key_file=str(files.key)
        )
        revision = await put(store, "a", b"value")
        found = await store.get("a")
        assert found is not None
        assert found.value == b"value"
        async with store.watch("", revision) as watch:
            assert [batch.revision for batch in await next_batches(watch, 1)] == [revision]

        without_certificate = await open_store(cluster, ca_file=str(files.ca))
        with pytest.raises(StoreUnavailableError, match=r"(?i)certificate|connection broke"):
            await put(without_certificate, "b")
        for ca_file in (str(strangers.ca), None):
            unknown_authority = await open_store(cluster, ca_file=ca_file)
            with pytest.raises(StoreUnavailableError, match=r"(?i)certificate verify failed"):
                await put(unknown_authority, "b")
        assert await keys_of(store) == ["a"]


# The broker's settings


def config(**settings: str) -> BrokerConfig:
    return BrokerConfig({key.replace("__", "."): value for key, value in settings.items()})


@pytest.mark.slow
async def test_the_settings_choose_the_store(etcd: EtcdCluster, key_prefix: str) -> None:
    world = OsWorld()
    assert isinstance(store_access(config(log__dirs="data"), world), EmbeddedStore)
    access = store_access(
        config(
            kbroker__metadata__store="etcd",
            kbroker__etcd__endpoints=",".join(etcd.endpoints),
            kbroker__etcd__key__prefix=key_prefix,
        ),
        world,
    )
    assert isinstance(access, EtcdStore)
    store = await access.open()
    await put(store, "a")
    await access.run()
    await access.close()
    assert etcd.etcdctl("get", "--keys-only", f"{key_prefix}a").strip() == f"{key_prefix}a"


async def test_settings_that_make_no_sense_stop_the_start() -> None:
    access = store_access(
        config(kbroker__metadata__store="etcd", kbroker__etcd__endpoints="127.0.0.1:2379"), OsWorld()
    )
    with pytest.raises(StoreError, match=r"127\.0\.0\.1:2379"):
        await access.open()


@pytest.mark.slow
def test_a_broker_with_a_store_of_its_own_does_without_httpx() -> None:
    program = "import sys, kbroker.broker, kbroker.cli.serve; sys.exit('httpx' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
