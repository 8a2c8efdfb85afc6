"""FindCoordinator, DescribeGroups, ListGroups and DeleteGroups at every version, through the codec."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from kbroker.handlers.groups import GroupHandlers
from tests.kbroker.coordination.group.test_service import GROUP, OTHER_GROUP, Stage, serving
from tests.kbroker.handlers.requests import send
from wire.errors import ApiError, ErrorCode
from wire.messages.groups import (
    DeleteGroupsRequest,
    DescribeGroupsRequest,
    FindCoordinatorRequest,
    ListGroupsRequest,
)

NOT_TOLD = -(2**31)
GROUP_TYPE, TRANSACTION_TYPE, SHARE_TYPE = 0, 1, 2


@dataclass
class Endpoint:
    host: str
    port: int


@dataclass
class Node:
    node_id: int
    endpoints: dict[str, Endpoint]


@dataclass
class Coordinators:
    """Who coordinates what, by key."""

    nodes: dict[str, Node]
    error: ApiError | None = None
    asked: list[tuple[str, str]] = field(default_factory=list)

    async def find(self, topic: str, key: str) -> Node:
        self.asked.append((topic, key))
        if self.error is not None:
            raise self.error
        return self.nodes[key]


class Subject:
    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        first, second = (Node(n, {"PLAINTEXT": Endpoint(f"host{n}", 9000 + n)}) for n in range(2))
        self.coordinators = Coordinators({"my-group": first, "payments": second, "": first})
        self.handlers = GroupHandlers(groups=stage.groups, coordinators=self.coordinators)

    async def find(self, version: int, *keys: str, key_type: int = GROUP_TYPE, **context: str) -> Any:
        if version >= 4:
            request = FindCoordinatorRequest(coordinator_keys=list(keys), key_type=key_type)
        else:
            request = FindCoordinatorRequest(key=keys[0], key_type=key_type)
        return await send(self.handlers.find_coordinator, request, version, **context)

    async def describe(self, version: int, *group_ids: str, **fields: Any) -> Any:
        request = DescribeGroupsRequest(groups=list(group_ids), **fields)
        return (await send(self.handlers.describe_groups, request, version)).groups

    async def list(self, version: int, **fields: Any) -> Any:
        response = await send(self.handlers.list_groups, ListGroupsRequest(**fields), version)
        assert response.error_code == ErrorCode.NONE
        return response.groups

    async def delete(self, version: int, *group_ids: str) -> list[tuple[str, int]]:
        request = DeleteGroupsRequest(groups_names=list(group_ids))
        response = await send(self.handlers.delete_groups, request, version)
        return [(result.group_id, result.error_code) for result in response.results]


@pytest.fixture
async def subject() -> AsyncIterator[Subject]:
    async with serving(Stage()) as stage:
        yield Subject(stage)


class TestFindCoordinator:
    @pytest.mark.parametrize("version", range(4))
    async def test_one_group(self, subject: Subject, version: int) -> None:
        found = await subject.find(version, "payments")
        assert (found.error_code, found.node_id) == (ErrorCode.NONE, 1)
        assert (found.host, found.port) == ("host1", 9001)
        assert found.error_message == ("NONE" if version else "")

    @pytest.mark.parametrize("version", [4, 5, 6])
    async def test_several_groups(self, subject: Subject, version: int) -> None:
        found = (await subject.find(version, "my-group", "payments", "")).coordinators
        assert [(node.key, node.node_id, node.host, node.port) for node in found] == [
            ("my-group", 0, "host0", 9000),
            ("payments", 1, "host1", 9001),
            ("", 0, "host0", 9000),
        ]
        assert {(node.error_code, node.error_message) for node in found} == {(ErrorCode.NONE, "")}
        assert {topic for topic, _ in subject.coordinators.asked} == {"__consumer_offsets"}

    @pytest.mark.parametrize("version", [1, 3, 6])
    async def test_transactions(self, subject: Subject, version: int) -> None:
        found = await subject.find(version, "payments", key_type=TRANSACTION_TYPE)
        assert (found.coordinators[0] if version >= 4 else found).node_id == 1
        assert subject.coordinators.asked == [("__transaction_state", "payments")]

    @pytest.mark.parametrize("key_type", [SHARE_TYPE, 9])
    @pytest.mark.parametrize("version", [1, 3, 4, 6])
    async def test_other_types(self, subject: Subject, version: int, key_type: int) -> None:
        found = await subject.find(version, "k", key_type=key_type)
        found = found.coordinators[0] if version >= 4 else found
        assert found.error_code == ErrorCode.INVALID_REQUEST
        assert (found.node_id, found.host, found.port) == (-1, "", -1)
        assert bool(found.error_message) is (version < 4 or key_type != SHARE_TYPE)
        assert subject.coordinators.asked == []

    @pytest.mark.parametrize("version", [0, 3, 4, 6])
    @pytest.mark.parametrize("listener_name", ["PLAINTEXT", "OTHER"])
    async def test_none_at_the_moment(self, subject: Subject, version: int, listener_name: str) -> None:
        if listener_name == "PLAINTEXT":
            subject.coordinators.error = ApiError(ErrorCode.COORDINATOR_NOT_AVAILABLE)
        found = await subject.find(version, "my-group", listener_name=listener_name)
        found = found.coordinators[0] if version >= 4 else found
        assert found.error_code == ErrorCode.COORDINATOR_NOT_AVAILABLE
        assert (found.node_id, found.host, found.port) == (-1, "", -1)

    async def test_listener_without_a_host(self, subject: Subject) -> None:
        subject.coordinators.nodes["my-group"] = Node(5, {"PLAINTEXT": Endpoint("", 9092)})
        found = await subject.find(0, "my-group", local_host="10.0.0.7")
        assert (found.node_id, found.host, found.port) == (5, "10.0.0.7", 9092)


class TestDescribe:
    @pytest.mark.parametrize("version", range(7))
    async def test_group_with_a_member(self, subject: Subject, version: int) -> None:
        member_id = await subject.stage.member()
        (group,) = await subject.describe(version, GROUP)
        assert (group.group_id, group.group_state) == (GROUP, "Stable")
        assert (group.protocol_type, group.protocol_data) == ("consumer", "range")
        (member,) = group.members
        assert (member.member_id, member.member_assignment) == (member_id, b"all")
        assert group.authorized_operations == NOT_TOLD

    @pytest.mark.parametrize("version", range(7))
    async def test_group_that_does_not_exist(self, subject: Subject, version: int) -> None:
        (group,) = await subject.describe(version, "nobody")
        assert (group.group_id, group.group_state) == ("nobody", "Dead")
        assert group.error_code == (ErrorCode.GROUP_ID_NOT_FOUND if version >= 6 else ErrorCode.NONE)
        assert group.error_message == ("Group nobody not found." if version >= 6 else None)

    @pytest.mark.parametrize("version", range(3, 7))
    async def test_operations(self, subject: Subject, version: int) -> None:
        await subject.stage.commit(1)
        groups = await subject.describe(version, GROUP, "nobody", include_authorized_operations=True)
        told = {group.group_id: group.authorized_operations for group in groups}
        assert told == {GROUP: 3400, "nobody": NOT_TOLD if version >= 6 else 3400}


class TestList:
    @pytest.mark.parametrize("version", range(6))
    async def test_all(self, subject: Subject, version: int) -> None:
        await subject.stage.member()
        await subject.stage.commit(1, OTHER_GROUP)
        listed = {group.group_id: group for group in await subject.list(version)}
        assert set(listed) == {GROUP, OTHER_GROUP}
        assert listed[GROUP].protocol_type == "consumer"
        assert listed[GROUP].group_state == ("Stable" if version >= 4 else "")
        assert listed[OTHER_GROUP].group_type == ("classic" if version >= 5 else "")

    @pytest.mark.parametrize("version", [4, 5])
    async def test_by_state(self, subject: Subject, version: int) -> None:
        await subject.stage.member()
        await subject.stage.commit(1, OTHER_GROUP)
        assert [group.group_id for group in await subject.list(version, states_filter=["empty"])] == [
            OTHER_GROUP
        ]

    async def test_by_type(self, subject: Subject) -> None:
        await subject.stage.commit(1)
        assert await subject.list(5, types_filter=["consumer"]) == []
        assert len(await subject.list(5, types_filter=["Classic"])) == 1


@pytest.mark.parametrize("version", range(3))
async def test_delete(subject: Subject, version: int) -> None:
    await subject.stage.member()
    await subject.stage.commit(1, OTHER_GROUP)
    results = await subject.delete(version, OTHER_GROUP, GROUP, "nobody", OTHER_GROUP)
    assert sorted(results) == [
        (GROUP, ErrorCode.NON_EMPTY_GROUP),
        ("nobody", ErrorCode.GROUP_ID_NOT_FOUND),
        (OTHER_GROUP, ErrorCode.NONE),
    ]
