"""Delayed produce and delayed fetch: who waits for what, until when, and what is given back.

Partitions here have another in-sync replica, so that the high watermark moves when the test says so.
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from kbroker.handlers.fetch import FetchHandlers
from kbroker.handlers.fetch_session import FetchSessions
from kbroker.handlers.produce import ProduceHandlers
from kbroker.handlers.table import LaterResponse, RequestContext
from kbroker.replication.partition import Partition
from kbroker.replication.ports import Standing
from kbroker.replication.replica_manager import ReplicaManager
from storage.file_slice import FileSlice
from storage.filesystem import OsFilesystem
from storage.log_config import LogConfig
from storage.log_manager import LogManager
from tests.kbroker.handlers.fake_transactions import Settings, TrioTime, verifier_of
from tests.running_broker import batch
from wire.errors import ErrorCode, ProtocolError
from wire.messages.fetch import FetchRequest, FetchResponse
from wire.messages.produce import ProduceRequest, ProduceResponse

TOPIC_ID = uuid.UUID(int=3)
FetchAnswer = FetchResponse.FetchableTopicResponse.PartitionData


@dataclass(frozen=True)
class State:
    leader: int = 1
    leader_epoch: int = 0
    replicas: tuple[int, ...] = (1, 2)
    in_sync_replicas: tuple[int, ...] = (1, 2)

    @property
    def partition_epoch(self) -> int:
        """Rises as replicas are added, and as they leave the in-sync set."""
        return 2 * len(self.replicas) - len(self.in_sync_replicas)


class Setting:
    """Handlers on two partitions of topic ``t`` whose other replica never fetches."""

    def __init__(self, directory: Path) -> None:
        self.logs = LogManager(
            [str(directory)],
            filesystem=OsFilesystem(),
            clock_ms=lambda: 1_700_000_000_000,
            random_uuid=uuid.uuid4,
            random_below=random.Random(1).randrange,
        )
        self.logs.open(node_id=1)
        self.logs.load(lambda topic: LogConfig())
        self.may_lead, self.is_in_doubt = True, False
        self.replicas = ReplicaManager(
            node_id=1,
            log_manager=self.logs,
            on_no_directory_left=lambda failure: pytest.fail(str(failure)),
            standing=Standing(may_lead=lambda: self.may_lead, is_in_doubt=lambda: self.is_in_doubt),
        )
        self.apply(State())
        self.producing = ProduceHandlers(
            partitions=self.replicas,
            verifier=verifier_of(self.replicas),
            settings=Settings(),
            world=TrioTime(),
        )
        self.fetching = FetchHandlers(
            partitions=self.replicas,
            sessions=FetchSessions(
                slots_max=10, random=random.Random(1), topic_name=self.replicas.topic_name
            ),
            fetch_bytes_max=lambda: 1 << 20,
            clock_ms=lambda: 0,
        )

    def apply(self, state: State) -> None:
        self.replicas.apply_topic(
            "t", TOPIC_ID, [(0, state), (1, state)], config=LogConfig(), min_in_sync_replicas=1
        )

    def shrink(self) -> None:
        """The other replica leaves the in-sync set: what is in the log becomes committed."""
        self.apply(State(in_sync_replicas=(1,)))

    @property
    def partition(self) -> Partition:
        return self.replicas.leader("t", 0)

    def partition_end(self) -> int:
        """Also while this broker may not lead."""
        partition = self.replicas.get("t", 0)
        assert partition is not None
        return partition.log_end_offset

    async def produce(
        self, *, acks: int = -1, timeout_ms: int = 1000, partitions: tuple[int, ...] = (0,)
    ) -> ProduceResponse | None:
        data = ProduceRequest.TopicProduceData(
            name="t",
            partition_data=[
                ProduceRequest.TopicProduceData.PartitionProduceData(
                    index=index, records=memoryview(batch(b"x"))
                )
                for index in partitions
            ],
        )
        request = ProduceRequest(acks=acks, timeout_ms=timeout_ms, topic_data=[data])
        response = await self.producing.produce(request, context(0, 12))
        if isinstance(response, LaterResponse):
            found = await response.wait()
            assert isinstance(found, ProduceResponse)
            return found
        return response

    async def fetch(self, **fields: int) -> FetchAnswer:
        asked = FetchRequest.FetchTopic.FetchPartition(partition=0, partition_max_bytes=1 << 20)
        settings = {"max_wait_ms": 1000, "min_bytes": 1, **fields}
        request = FetchRequest(topics=[FetchRequest.FetchTopic(topic="t", partitions=[asked])], **settings)
        response = await self.fetching.fetch(request, context(1, 12))
        return response.responses[0].partitions[0]


def context(api_key: int, version: int) -> RequestContext:
    return RequestContext(
        api_key=api_key,
        api_version=version,
        correlation_id=1,
        client_id="c",
        listener_name="PLAINTEXT",
        connection_id="1",
        client_host="127.0.0.1",
        local_host="127.0.0.1",
    )


@pytest.fixture
def setting(tmp_path: Path) -> Iterator[Setting]:
    made = Setting(tmp_path)
    yield made
    made.logs.abandon()


def codes(response: ProduceResponse | None) -> list[tuple[int, int]]:
    assert response is not None
    return [(answer.error_code, answer.base_offset) for answer in response.responses[0].partition_responses]


async def test_acks_all_waits_until_the_in_sync_replicas_have_the_records(setting: Setting) -> None:
    async with trio.open_nursery() as nursery:
        answered: list[list[tuple[int, int]]] = []

        async def ask() -> None:
            answered.append(codes(await setting.produce(timeout_ms=60_000)))

        nursery.start_soon(ask)
        await wait_all_tasks_blocked()
        assert not answered
        setting.shrink()
    assert answered == [[(0, 0)]]


async def test_acks_1_does_not_wait(setting: Setting) -> None:
    assert codes(await setting.produce(acks=1)) == [(0, 0)]


async def test_acks_all_times_out_and_the_records_stay(setting: Setting, autojump_clock: MockClock) -> None:
    before = trio.current_time()
    response = await setting.produce(timeout_ms=700)
    assert codes(response) == [(ErrorCode.REQUEST_TIMED_OUT, -1)]
    assert trio.current_time() - before == pytest.approx(0.7)
    assert setting.partition.log_end_offset == 1
    assert setting.partition.progress.waiter_count == 0


async def test_a_partition_that_fails_does_not_keep_the_others_from_waiting(setting: Setting) -> None:
    async with trio.open_nursery() as nursery:

        async def ask() -> None:
            response = await setting.produce(timeout_ms=60_000, partitions=(7, 0, 1))
            assert codes(response) == [(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, -1), (0, 0), (0, 0)]

        nursery.start_soon(ask)
        await wait_all_tasks_blocked()
        setting.shrink()


async def test_a_produce_that_waits_when_its_topic_is_deleted_is_answered(
    setting: Setting, autojump_clock: MockClock
) -> None:
    async with trio.open_nursery() as nursery:

        async def ask() -> None:
            assert codes(await setting.produce(timeout_ms=5000)) == [(ErrorCode.NOT_LEADER_OR_FOLLOWER, -1)]

        nursery.start_soon(ask)
        await wait_all_tasks_blocked()
        setting.replicas.remove_topic("t")


async def test_what_was_truncated_is_not_acknowledged_though_something_else_stands_in_its_place(
    setting: Setting, nursery: trio.Nursery
) -> None:
    """It was appended, another broker led for a while and had it cut, and then this one again."""
    asked = Asked(nursery, lambda: setting.produce(timeout_ms=60_000))
    await wait_all_tasks_blocked()
    # All of it within one turn of the scheduler: nobody who waits has had a look.
    setting.apply(State(leader=2, leader_epoch=1))
    partition = setting.replicas.get("t", 0)
    assert partition is not None
    partition.log.truncate_to(0)
    setting.apply(State(leader_epoch=2, in_sync_replicas=(1,)))
    setting.partition.append_as_leader(batch(b"another"), required_acks=1)
    assert setting.partition.high_watermark == 1
    await wait_all_tasks_blocked()
    assert asked.answer == [(ErrorCode.NOT_LEADER_OR_FOLLOWER, -1)]


class Asked:
    """A request under way, and its answer when it has one."""

    def __init__(self, nursery: trio.Nursery, ask: Callable[[], Awaitable[ProduceResponse | None]]) -> None:
        self.answer: list[tuple[int, int]] = []
        nursery.start_soon(self._ask, ask)

    async def _ask(self, ask: Callable[[], Awaitable[ProduceResponse | None]]) -> None:
        self.answer = codes(await ask())


async def test_while_it_is_in_doubt_who_leads_a_producer_waits_and_loses_nothing(
    setting: Setting, nursery: trio.Nursery
) -> None:
    """Told that this is not the leader, it would send what is in the log somewhere as something new."""
    appended = Asked(nursery, lambda: setting.produce(timeout_ms=60_000))
    await wait_all_tasks_blocked()
    setting.may_lead, setting.is_in_doubt = False, True
    setting.replicas.standing_changed()
    late = Asked(nursery, lambda: setting.produce(timeout_ms=60_000))
    await wait_all_tasks_blocked()
    assert (appended.answer, late.answer, setting.partition_end()) == ([], [], 1)
    setting.may_lead, setting.is_in_doubt = True, False
    setting.replicas.standing_changed()
    await wait_all_tasks_blocked()
    setting.shrink()
    await wait_all_tasks_blocked()
    assert (appended.answer, late.answer) == ([(0, 0)], [(0, 1)])


@pytest.mark.parametrize("end", ["somebody else leads", "the doubt is over"])
async def test_when_it_is_clear_that_others_lead_a_producer_is_told(
    setting: Setting, nursery: trio.Nursery, end: str
) -> None:
    appended = Asked(nursery, lambda: setting.produce(timeout_ms=60_000))
    await wait_all_tasks_blocked()
    setting.may_lead, setting.is_in_doubt = False, True
    setting.replicas.standing_changed()
    late = Asked(nursery, lambda: setting.produce(timeout_ms=60_000))
    await wait_all_tasks_blocked()
    assert (appended.answer, late.answer) == ([], [])
    if end == "somebody else leads":
        setting.apply(State(leader=2, leader_epoch=1))
        await wait_all_tasks_blocked()
        assert appended.answer == [(ErrorCode.NOT_LEADER_OR_FOLLOWER, -1)]
    setting.is_in_doubt = False
    setting.replicas.standing_changed()
    await wait_all_tasks_blocked()
    assert appended.answer == late.answer == [(ErrorCode.NOT_LEADER_OR_FOLLOWER, -1)]


async def test_doubt_does_not_outlast_the_request(setting: Setting, autojump_clock: MockClock) -> None:
    setting.may_lead, setting.is_in_doubt = False, True
    assert codes(await setting.produce(timeout_ms=700)) == [(ErrorCode.NOT_LEADER_OR_FOLLOWER, -1)]
    assert setting.partition_end() == 0


async def test_a_failed_append_with_acks_0_asks_to_close_the_connection(setting: Setting) -> None:
    with pytest.raises(ProtocolError, match="UNKNOWN_TOPIC_OR_PARTITION"):
        await setting.produce(acks=0, partitions=(9,))
    assert await setting.produce(acks=0) is None


async def test_a_consumer_sees_only_what_is_committed(setting: Setting, autojump_clock: MockClock) -> None:
    await setting.produce(acks=1)
    answer = await setting.fetch(max_wait_ms=500)
    assert (answer.high_watermark, len(answer.records or b"")) == (0, 0)
    setting.shrink()
    answer = await setting.fetch()
    assert answer.high_watermark == 1
    assert isinstance(answer.records, FileSlice)
    answer.records.release()


async def test_a_fetch_wakes_when_the_high_watermark_moves_and_gives_back_what_it_held(
    setting: Setting,
) -> None:
    await setting.produce(acks=1)
    found: list[FetchAnswer] = []
    async with trio.open_nursery() as nursery:

        async def ask() -> None:
            found.append(await setting.fetch(max_wait_ms=60_000))

        nursery.start_soon(ask)
        await wait_all_tasks_blocked()
        setting.shrink()
    assert isinstance(found[0].records, FileSlice)
    found[0].records.release()
    assert setting.partition.progress.waiter_count == 0
    assert setting.logs.context.cache.pinned_count == 0


async def test_a_fetch_below_min_bytes_holds_no_file_while_it_waits(setting: Setting) -> None:
    setting.shrink()
    await setting.produce(acks=1)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: setting.fetch(max_wait_ms=60_000, min_bytes=10_000))
        await wait_all_tasks_blocked()
        assert setting.logs.context.cache.pinned_count == 0
        nursery.cancel_scope.cancel()


async def test_stopping_answers_waiting_fetches_with_what_there_is(setting: Setting) -> None:
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:

            async def ask() -> None:
                assert (await setting.fetch(max_wait_ms=60_000)).error_code == 0

            nursery.start_soon(ask)
            await wait_all_tasks_blocked()
            setting.replicas.stop()


async def test_a_fetch_that_waits_when_its_topic_is_deleted_is_told(setting: Setting) -> None:
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:

            async def ask() -> None:
                answer = await setting.fetch(max_wait_ms=60_000)
                assert answer.error_code == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION

            nursery.start_soon(ask)
            await wait_all_tasks_blocked()
            setting.replicas.remove_topic("t")
