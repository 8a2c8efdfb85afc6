"""GroupCoordinator: whole requests in every version, across shards, on a mock clock."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from uuid import UUID

import pytest
import trio
import trio.testing

from kbroker.coordination.group.service import GroupCoordinator
from tests.kbroker.coordination.group.harness import FixedConfig, Origin
from tests.kbroker.coordination.memory_log import MemoryShardLog, TrioWorld
from wire.errors import ApiError, ErrorCode
from wire.messages.group_membership import (
    HeartbeatRequest,
    JoinGroupRequest,
    JoinGroupResponse,
    LeaveGroupRequest,
    SyncGroupRequest,
)
from wire.messages.group_offsets import OffsetCommitRequest, OffsetDeleteRequest, OffsetFetchRequest
from wire.messages.transactions import TxnOffsetCommitRequest

PARTITIONS = 4
GROUP = "my-group"  # belongs to partition 2
OTHER_GROUP = "payments"  # belongs to partition 1
T = ("t", 0)
TOPIC_ID = UUID(int=9)


class Stage:
    def __init__(self, config: FixedConfig | None = None) -> None:
        self.logs = [MemoryShardLog() for _ in range(PARTITIONS)]
        self.groups = GroupCoordinator(
            world=TrioWorld(),
            config=config or FixedConfig(group_initial_rebalance_delay_ms=1),
            log_for=lambda partition: self.logs[partition],
            partition_count=lambda: PARTITIONS,
        )

    @property
    def log(self) -> MemoryShardLog:
        return self.logs[self.groups.partition_for(GROUP)]

    async def join(self, member_id: str = "", *, version: int = 9, **values: object) -> JoinGroupResponse:
        arguments: dict[str, object] = {
            "group_id": GROUP,
            "session_timeout_ms": 10_000,
            "rebalance_timeout_ms": 20_000,
            "member_id": member_id,
            "protocol_type": "consumer",
            "protocols": [JoinGroupRequest.JoinGroupRequestProtocol(name="range", metadata=b"m")],
        }
        request = JoinGroupRequest(**arguments | values)  # type: ignore[arg-type]
        return await self.groups.join_group(request, Origin(version))

    async def member(self) -> str:
        """A stable group of one; its member id."""
        member_id = (await self.join()).member_id
        joined = await self.join(member_id)
        request = SyncGroupRequest(
            group_id=GROUP, generation_id=joined.generation_id, member_id=member_id,
            protocol_type="consumer", protocol_name="range",
            assignments=[
                SyncGroupRequest.SyncGroupRequestAssignment(member_id=member_id, assignment=b"all")
            ],
        )  # fmt: skip
        synced = await self.groups.sync_group(request, Origin(5))
        assert (synced.error_code, synced.assignment) == (ErrorCode.NONE, b"all")
        return member_id

    async def heartbeat(self, member_id: str, generation: int = 1) -> int:
        request = HeartbeatRequest(group_id=GROUP, generation_id=generation, member_id=member_id)
        return (await self.groups.heartbeat(request, Origin(4))).error_code

    async def leave(self, *members: str, version: int = 5, group: str = GROUP) -> object:
        request = LeaveGroupRequest(group_id=group, member_id=members[0])
        request.members = [LeaveGroupRequest.MemberIdentity(member_id=member) for member in members]
        return await self.groups.leave_group(request, Origin(version))

    async def commit(self, offset: int, group: str = GROUP, *, partitions: int = 1) -> int:
        topic_class = OffsetCommitRequest.OffsetCommitRequestTopic
        topic = topic_class(
            name=T[0],
            topic_id=TOPIC_ID,
            partitions=[
                topic_class.OffsetCommitRequestPartition(partition_index=index, committed_offset=offset)
                for index in range(partitions)
            ],
        )
        request = OffsetCommitRequest(group_id=group, topics=[topic])
        response = await self.groups.commit_offsets(request, Origin(9))
        assert (response.topics[0].name, response.topics[0].topic_id) == (T[0], TOPIC_ID)
        return response.topics[0].partitions[0].error_code

    async def fetch(self, group: str = GROUP, *, require_stable: bool = False) -> tuple[int, int]:
        """The error of the group, and the offset of the partition."""
        request_class = OffsetFetchRequest.OffsetFetchRequestGroup
        topic = request_class.OffsetFetchRequestTopics(name=T[0], partition_indexes=[T[1]])
        request = request_class(group_id=group, topics=[topic])
        response = await self.groups.fetch_offsets(request, require_stable=require_stable)
        if response.error_code:
            return response.error_code, -1
        return response.error_code, response.topics[0].partitions[0].committed_offset


@asynccontextmanager
async def serving(stage: Stage, *partitions: int) -> AsyncIterator[Stage]:
    async with trio.open_nursery() as nursery:
        for partition in partitions or range(PARTITIONS):
            stage.groups.load(partition, 1)
        await nursery.start(stage.groups.run)
        await trio.testing.wait_all_tasks_blocked()
        yield stage
        nursery.cancel_scope.cancel()


# Only a clock that the test itself asks for counts, so whoever needs one has it as a parameter.


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    async with serving(Stage()) as stage:
        yield stage


async def test_life_of_a_member(stage: Stage) -> None:
    member_id = await stage.member()
    assert await stage.heartbeat(member_id) == ErrorCode.NONE
    (described,) = stage.groups.describe_groups([GROUP], Origin(6))
    assert (described.group_state, described.members[0].member_metadata) == ("Stable", b"m")
    await stage.leave(member_id)
    assert stage.groups.describe_groups([GROUP], Origin(6))[0].group_state == "Empty"


async def test_two_members_share_and_one_fails(stage: Stage, autojump_clock: trio.testing.MockClock) -> None:
    first = await stage.member()
    async with trio.open_nursery() as nursery:
        responses: dict[str, JoinGroupResponse] = {}

        async def join(member_id: str) -> None:
            responses[member_id] = await stage.join(member_id)

        second = (await stage.join()).member_id
        nursery.start_soon(join, second)
        await trio.sleep(1)
        assert await stage.heartbeat(first) == ErrorCode.REBALANCE_IN_PROGRESS
        nursery.start_soon(join, first)
    assert {response.generation_id for response in responses.values()} == {2}
    assert responses[first].leader == first
    for _ in range(4):
        await trio.sleep(4)
        await stage.heartbeat(first, 2)
    assert await stage.heartbeat(second, 2) == ErrorCode.UNKNOWN_MEMBER_ID


class TestJoin:
    @pytest.mark.parametrize(("version", "expected"), [(6, ""), (7, None)])
    async def test_protocol_name_of_errors(self, stage: Stage, version: int, expected: str | None) -> None:
        assert (await stage.join("nobody", version=version)).protocol_name == expected

    @pytest.mark.parametrize(
        ("values", "expected"),
        [
            ({"group_id": ""}, ErrorCode.INVALID_GROUP_ID),
            ({"session_timeout_ms": 5_999}, ErrorCode.INVALID_SESSION_TIMEOUT),
            ({"session_timeout_ms": 1_800_001}, ErrorCode.INVALID_SESSION_TIMEOUT),
            ({"session_timeout_ms": 6_000}, ErrorCode.MEMBER_ID_REQUIRED),
            ({"session_timeout_ms": 1_800_000}, ErrorCode.MEMBER_ID_REQUIRED),
        ],
    )
    async def test_bounds(self, stage: Stage, values: dict[str, object], expected: ErrorCode) -> None:
        assert (await stage.join(**values)).error_code == expected  # type: ignore[arg-type]

    async def test_version_0_has_no_rebalance_timeout(
        self, stage: Stage, autojump_clock: trio.testing.MockClock
    ) -> None:
        response = await stage.join(version=0, rebalance_timeout_ms=-1)
        assert response.error_code == ErrorCode.NONE
        (described,) = stage.groups.describe_groups([GROUP], Origin(0))
        assert described.group_state == "CompletingRebalance"
        await trio.sleep(9)
        assert await stage.heartbeat(response.member_id) == ErrorCode.NONE
        await trio.sleep(2)
        assert await stage.heartbeat(response.member_id) == ErrorCode.UNKNOWN_MEMBER_ID

    async def test_version_1_has_one(self, stage: Stage, autojump_clock: trio.testing.MockClock) -> None:
        response = await stage.join(version=1, session_timeout_ms=60_000)
        await trio.sleep(19)
        assert await stage.heartbeat(response.member_id) == ErrorCode.NONE
        await trio.sleep(2)
        assert await stage.heartbeat(response.member_id) == ErrorCode.UNKNOWN_MEMBER_ID, "it did not sync"

    async def test_record_cannot_be_stored(self, stage: Stage) -> None:
        stage.log.errors.append(ApiError(ErrorCode.NOT_ENOUGH_REPLICAS))
        response = await stage.join()
        assert response.error_code == ErrorCode.COORDINATOR_NOT_AVAILABLE
        assert response.member_id == ""


class TestSync:
    @pytest.mark.parametrize(("version", "expected"), [(4, 25), (5, ErrorCode.INCONSISTENT_GROUP_PROTOCOL)])
    async def test_protocol_is_required(self, stage: Stage, version: int, expected: int) -> None:
        request = SyncGroupRequest(group_id=GROUP, generation_id=1, member_id="m", protocol_type="consumer")
        assert (await stage.groups.sync_group(request, Origin(version))).error_code == expected

    async def test_group_id_is_required(self, stage: Stage) -> None:
        response = await stage.groups.sync_group(SyncGroupRequest(member_id="m"), Origin(3))
        assert response.error_code == ErrorCode.INVALID_GROUP_ID


class TestLeave:
    @pytest.mark.parametrize("version", [0, 2])
    async def test_one_member(self, stage: Stage, version: int) -> None:
        member_id = await stage.member()
        response = await stage.leave("nobody", version=version)
        assert (response.error_code, response.members) == (ErrorCode.UNKNOWN_MEMBER_ID, [])  # type: ignore[attr-defined]
        response = await stage.leave(member_id, version=version)
        assert (response.error_code, response.members) == (ErrorCode.NONE, [])  # type: ignore[attr-defined]

    async def test_several_members_of_an_unknown_group(self, stage: Stage) -> None:
        response = await stage.leave("a", "b", group="unknown")
        assert response.error_code == ErrorCode.NONE  # type: ignore[attr-defined]
        assert [member.error_code for member in response.members] == [25, 25]  # type: ignore[attr-defined]

    async def test_group_id_is_required(self, stage: Stage) -> None:
        response = await stage.leave("a", group="")
        assert response.error_code == ErrorCode.INVALID_GROUP_ID  # type: ignore[attr-defined]


class TestOffsets:
    async def test_commit_and_fetch(self, stage: Stage) -> None:
        assert await stage.commit(5) == ErrorCode.NONE
        assert await stage.fetch() == (ErrorCode.NONE, 5)
        assert await stage.fetch(require_stable=True) == (ErrorCode.NONE, 5)
        assert await stage.fetch(OTHER_GROUP) == (ErrorCode.NONE, -1)

    async def test_the_empty_group_id_may_commit(self, stage: Stage) -> None:
        assert await stage.commit(5, "") == ErrorCode.NONE
        assert await stage.fetch("") == (ErrorCode.NONE, 5)
        assert (await stage.groups.delete_groups([""]))[0].error_code == ErrorCode.NONE

    async def test_replicas_lag(self, stage: Stage, autojump_clock: trio.testing.MockClock) -> None:
        await stage.commit(5)
        stage.log.holding = True
        assert await stage.commit(6) == ErrorCode.COORDINATOR_NOT_AVAILABLE
        assert await stage.fetch() == (ErrorCode.NONE, 5), "the committed offset can be had meanwhile"
        assert await stage.fetch(require_stable=True) == (ErrorCode.NOT_COORDINATOR, -1)

    async def test_delete(self, stage: Stage) -> None:
        await stage.commit(5)
        topic_class = OffsetDeleteRequest.OffsetDeleteRequestTopic
        partition = topic_class.OffsetDeleteRequestPartition(partition_index=T[1])
        topics = [topic_class(name=T[0], partitions=[partition])]
        for group_id, expected in (
            ("", ErrorCode.INVALID_GROUP_ID),
            (OTHER_GROUP, ErrorCode.GROUP_ID_NOT_FOUND),
            (GROUP, ErrorCode.NONE),
        ):
            request = OffsetDeleteRequest(group_id=group_id, topics=topics)
            assert (await stage.groups.delete_offsets(request)).error_code == expected
        assert await stage.fetch() == (ErrorCode.NONE, -1)

    async def test_topics_that_are_deleted(self, stage: Stage) -> None:
        await stage.commit(5)
        await stage.commit(6, OTHER_GROUP)
        stage.groups.topics_deleted([(T[0], TOPIC_ID)])
        assert await stage.fetch() == await stage.fetch(OTHER_GROUP) == (ErrorCode.NONE, -1)

    async def test_more_tombstones_than_a_batch_can_hold(
        self, autojump_clock: trio.testing.MockClock
    ) -> None:
        config = FixedConfig(offsets_retention_check_interval_ms=60_000, offsets_retention_minutes=10)
        async with serving(Stage(config)) as stage:

            async def delete_topic() -> None:
                stage.groups.topics_deleted([("t", TOPIC_ID)])

            async def wait() -> None:
                await trio.sleep(15 * 60)

            removals: dict[str, Callable[[], Awaitable[object]]] = {
                "deleted": lambda: stage.groups.delete_groups(["deleted"]),
                "without a topic": delete_topic,
                "expired": wait,
            }
            for group_id, remove in removals.items():
                log = stage.logs[stage.groups.partition_for(group_id)]
                await stage.commit(5, group_id, partitions=50)
                log.batch_bytes_max = 300
                await remove()
                assert await stage.fetch(group_id) == (ErrorCode.NONE, -1)
                assert len(log.batches) > 10
                log.batch_bytes_max = 1_000_000

    async def test_transaction(self, stage: Stage) -> None:
        topic_class = TxnOffsetCommitRequest.TxnOffsetCommitRequestTopic
        partition = topic_class.TxnOffsetCommitRequestPartition(partition_index=T[1], committed_offset=7)
        request = TxnOffsetCommitRequest(
            group_id=GROUP, producer_id=1, producer_epoch=2,
            topics=[topic_class(name=T[0], topic_id=TOPIC_ID, partitions=[partition])],
        )  # fmt: skip
        response = await stage.groups.commit_transactional_offsets(request, Origin(6))
        assert response.topics[0].partitions[0].error_code == ErrorCode.NONE
        assert await stage.fetch() == (ErrorCode.NONE, -1)
        await stage.groups.complete_transaction(
            stage.groups.partition_for(GROUP), (1, 2), coordinator_epoch=0, committed=True
        )
        assert await stage.fetch(require_stable=True) == (ErrorCode.NONE, 7)
        for group_id, expected in (("", ErrorCode.INVALID_GROUP_ID), (GROUP, ErrorCode.NOT_COORDINATOR)):
            stage.groups.unload(stage.groups.partition_for(GROUP))
            request.group_id = group_id
            response = await stage.groups.commit_transactional_offsets(request, Origin(6))
            assert response.topics[0].partitions[0].error_code == expected


class TestGroups:
    async def test_over_all_shards(self, stage: Stage) -> None:
        for group_id in (GROUP, OTHER_GROUP, "third"):
            await stage.commit(1, group_id)
        listed = stage.groups.list_groups([], [])
        assert {group.group_id for group in listed.groups} == {GROUP, OTHER_GROUP, "third"}
        described = stage.groups.describe_groups([GROUP, OTHER_GROUP, "nobody"], Origin(5))
        assert {group.group_id: group.group_state for group in described} == {
            GROUP: "Empty", OTHER_GROUP: "Empty", "nobody": "Dead",
        }  # fmt: skip
        deleted = await stage.groups.delete_groups([GROUP, OTHER_GROUP, "nobody"])
        assert {group.group_id: group.error_code for group in deleted} == {
            GROUP: ErrorCode.NONE, OTHER_GROUP: ErrorCode.NONE, "nobody": ErrorCode.GROUP_ID_NOT_FOUND,
        }  # fmt: skip
        assert [group.group_id for group in stage.groups.list_groups([], []).groups] == ["third"]


async def check_refusals(stage: Stage, expected: ErrorCode, heartbeat: ErrorCode) -> None:
    """Every call, to a group whose shard is not served."""
    assert (await stage.join()).error_code == expected
    request = SyncGroupRequest(group_id=GROUP, member_id="m")
    assert (await stage.groups.sync_group(request, Origin(3))).error_code == expected
    assert await stage.heartbeat("m") == heartbeat
    assert (await stage.leave("m")).error_code == expected  # type: ignore[attr-defined]
    assert await stage.commit(1) == expected
    assert await stage.fetch() == (expected, -1)
    assert await stage.fetch(require_stable=True) == (expected, -1)
    assert (await stage.groups.delete_offsets(OffsetDeleteRequest(group_id=GROUP))).error_code == expected
    (described,) = stage.groups.describe_groups([GROUP], Origin(6))
    assert (described.group_id, described.error_code, described.group_state) == (GROUP, expected, "")
    (deleted,) = await stage.groups.delete_groups([GROUP])
    assert (deleted.group_id, deleted.error_code) == (GROUP, expected)
    with pytest.raises(ApiError) as caught:
        await stage.groups.complete_transaction(2, (1, 2), coordinator_epoch=0, committed=True)
    assert caught.value.code is expected


class TestWhereTheShardIsNot:
    async def test_led_by_another_broker(self) -> None:
        async with serving(Stage(), 1) as stage:
            await check_refusals(stage, ErrorCode.NOT_COORDINATOR, ErrorCode.NOT_COORDINATOR)
            assert stage.groups.list_groups([], []).error_code == ErrorCode.NONE

    async def test_loading(self) -> None:
        async with serving(Stage(), 1) as stage:
            stage.groups.load(stage.groups.partition_for(GROUP), 1)
            await check_refusals(stage, ErrorCode.COORDINATOR_LOAD_IN_PROGRESS, ErrorCode.NONE)
            assert stage.groups.list_groups([], []).error_code == ErrorCode.COORDINATOR_LOAD_IN_PROGRESS

    async def test_stopping(self, stage: Stage) -> None:
        stage.groups.stop()
        unavailable = ErrorCode.COORDINATOR_NOT_AVAILABLE
        await check_refusals(stage, unavailable, unavailable)
        assert stage.groups.list_groups([], []).error_code == unavailable

    async def test_members_that_wait_are_sent_away(
        self, stage: Stage, autojump_clock: trio.testing.MockClock
    ) -> None:
        member_id = (await stage.join()).member_id
        async with trio.open_nursery() as nursery:
            responses: list[JoinGroupResponse] = []

            async def join() -> None:
                responses.append(await stage.join(member_id))

            nursery.start_soon(join)
            await trio.testing.wait_all_tasks_blocked()
            stage.groups.unload(stage.groups.partition_for(GROUP))
        assert responses[0].error_code == ErrorCode.NOT_COORDINATOR

    async def test_it_comes_back(self, stage: Stage) -> None:
        member_id = await stage.member()
        await stage.commit(5, OTHER_GROUP)
        for partition in range(PARTITIONS):
            stage.groups.unload(partition, 2)
            stage.groups.load(partition, 3)
        await trio.testing.wait_all_tasks_blocked()
        assert await stage.heartbeat(member_id) == ErrorCode.NONE
        assert await stage.fetch(OTHER_GROUP) == (ErrorCode.NONE, 5)
