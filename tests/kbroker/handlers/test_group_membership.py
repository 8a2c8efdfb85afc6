"""JoinGroup, SyncGroup, Heartbeat and LeaveGroup at every version, through the codec and a real coordinator."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import trio
import trio.testing

from kbroker.handlers.group_membership import GroupMembershipHandlers
from tests.kbroker.coordination.group.harness import Origin
from tests.kbroker.coordination.group.test_service import Stage, serving
from tests.kbroker.handlers.requests import send
from wire.errors import ErrorCode
from wire.messages.group_membership import (
    HeartbeatRequest,
    JoinGroupRequest,
    LeaveGroupRequest,
    SyncGroupRequest,
)
from wire.messages.groups import DescribeGroupsResponse

GROUP = "my-group"


class Subject:
    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.handlers = GroupMembershipHandlers(groups=stage.groups)

    async def join(self, version: int, member_id: str = "", instance: str | None = None) -> Any:
        request = JoinGroupRequest(
            group_id=GROUP,
            session_timeout_ms=10_000,
            rebalance_timeout_ms=20_000 if version else -1,
            member_id=member_id,
            group_instance_id=instance,
            protocol_type="consumer",
            protocols=[JoinGroupRequest.JoinGroupRequestProtocol(name="range", metadata=b"m")],
        )
        return await send(self.handlers.join_group, request, version)

    async def sync(self, version: int, member_id: str, generation: int) -> Any:
        request = SyncGroupRequest(
            group_id=GROUP,
            generation_id=generation,
            member_id=member_id,
            protocol_type="consumer",
            protocol_name="range",
            assignments=[SyncGroupRequest.SyncGroupRequestAssignment(member_id=member_id, assignment=b"all")],
        )
        return await send(self.handlers.sync_group, request, version)

    async def heartbeat(self, version: int, member_id: str, generation: int) -> Any:
        request = HeartbeatRequest(group_id=GROUP, generation_id=generation, member_id=member_id)
        return await send(self.handlers.heartbeat, request, version)

    async def leave(self, version: int, member_id: str) -> Any:
        if version < 3:
            request = LeaveGroupRequest(group_id=GROUP, member_id=member_id)
        else:
            request = LeaveGroupRequest(
                group_id=GROUP, members=[LeaveGroupRequest.MemberIdentity(member_id=member_id)]
            )
        return await send(self.handlers.leave_group, request, version)

    def described(self) -> DescribeGroupsResponse.DescribedGroup:
        return self.stage.groups.describe_groups([GROUP], Origin(6))[0]


@pytest.fixture
async def subject() -> AsyncIterator[Subject]:
    async with serving(Stage()) as stage:
        yield Subject(stage)


@pytest.mark.parametrize("version", range(10))
async def test_join(subject: Subject, version: int) -> None:
    response = await subject.join(version)
    if version >= 4:
        assert response.error_code == ErrorCode.MEMBER_ID_REQUIRED
        assert response.protocol_name == ("" if version < 7 else None)
        response = await subject.join(version, response.member_id)
    assert response.error_code == ErrorCode.NONE
    assert (response.generation_id, response.leader) == (1, response.member_id)
    assert (response.protocol_name, response.members[0].metadata) == ("range", b"m")
    assert response.protocol_type == (None if version < 7 else "consumer")
    assert response.member_id.startswith("test-"), "made of the client id"
    assert subject.described().members[0].client_host == "/127.0.0.1"


@pytest.mark.parametrize("version", range(10))
async def test_join_that_is_broken_off(subject: Subject, version: int) -> None:
    await subject.stage.member()
    member_id = (await subject.join(4)).member_id
    responses = []

    async def join() -> None:
        responses.append(await subject.join(version, member_id))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(join)
        await trio.testing.wait_all_tasks_blocked()
        subject.stage.groups.unload(subject.stage.groups.partition_for(GROUP))
    assert responses[0].error_code == ErrorCode.NOT_COORDINATOR
    assert (responses[0].generation_id, responses[0].member_id) == (-1, member_id)
    assert responses[0].protocol_name == ("" if version < 7 else None)


@pytest.mark.parametrize("version", range(5, 10))
async def test_static_member_that_comes_back_as_leader(subject: Subject, version: int) -> None:
    first = await subject.join(version, instance="i")
    await subject.sync(5, first.member_id, 1)
    again = await subject.join(version, instance="i")
    assert again.error_code == ErrorCode.NONE
    assert again.generation_id == 1
    assert again.skip_assignment is (version >= 9)
    assert (again.leader == again.member_id) is (version >= 9)


@pytest.mark.parametrize("version", range(6))
async def test_sync(subject: Subject, version: int) -> None:
    member_id = (await subject.join(0)).member_id
    response = await subject.sync(version, member_id, 1)
    assert (response.error_code, response.assignment) == (ErrorCode.NONE, b"all")
    assert response.protocol_name == ("range" if version >= 5 else None)
    assert subject.described().group_state == "Stable"


@pytest.mark.parametrize("version", range(5))
async def test_heartbeat(subject: Subject, version: int) -> None:
    member_id = (await subject.join(0)).member_id
    assert (await subject.heartbeat(version, member_id, 1)).error_code == ErrorCode.NONE
    assert (await subject.heartbeat(version, member_id, 2)).error_code == ErrorCode.ILLEGAL_GENERATION


@pytest.mark.parametrize("version", range(6))
async def test_leave(subject: Subject, version: int) -> None:
    member_id = (await subject.join(0)).member_id
    response = await subject.leave(version, "nobody")
    errors = [response.error_code, *(member.error_code for member in response.members)]
    assert errors == [ErrorCode.UNKNOWN_MEMBER_ID] if version < 3 else [ErrorCode.NONE, 25]
    response = await subject.leave(version, member_id)
    assert response.error_code == ErrorCode.NONE
    assert [member.member_id for member in response.members] == ([member_id] if version >= 3 else [])
    assert subject.described().members == []
