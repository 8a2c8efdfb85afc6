"""FindCoordinator, DescribeGroups, ListGroups, DeleteGroups."""

from __future__ import annotations

from compat.wire.arrange import offsets_topic
from compat.wire.case import Cases
from compat.wire.cases.group_offsets import committed_group
from compat.wire.members import group_id, joining, second_joins, stable
from compat.wire.producers import await_transactions
from compat.wire.scene import Scene
from wire.messages.groups import (
    DeleteGroupsRequest,
    DescribeGroupsRequest,
    FindCoordinatorRequest,
    ListGroupsRequest,
)

FIND_COORDINATOR = Cases(FindCoordinatorRequest)
DESCRIBE_GROUPS = Cases(DescribeGroupsRequest)
LIST_GROUPS = Cases(ListGroupsRequest)
DELETE_GROUPS = Cases(DeleteGroupsRequest)

GROUP, TRANSACTION, SHARE = 0, 1, 2


def find(at: Scene, *keys: str, key_type: int = GROUP) -> FindCoordinatorRequest:
    """One key, or as many as there are given where the version takes several."""
    offsets_topic(at)
    await_transactions(at)
    if at.version < 4:
        return FindCoordinatorRequest(key=keys[0], key_type=key_type)
    return FindCoordinatorRequest(coordinator_keys=list(keys), key_type=key_type)


FIND_COORDINATOR.add("a group", lambda at: find(at, at.name("group")))
FIND_COORDINATOR.add("a group without a name", lambda at: find(at, ""))
FIND_COORDINATOR.add("a transactional id", lambda at: find(at, at.name("t"), key_type=TRANSACTION), "1+")
FIND_COORDINATOR.add("a transactional id without a name", lambda at: find(at, "", key_type=TRANSACTION), "1+")
for key_type in (3, -1):
    FIND_COORDINATOR.add(
        f"key type {key_type}", lambda at, key_type=key_type: find(at, "a", key_type=key_type), "1+"
    )
FIND_COORDINATOR.add(
    "a share group", lambda at: find(at, "g:5f6d1c2e8f3b4d579b1a3c:0", key_type=SHARE), "1-5"
)
FIND_COORDINATOR.add("several groups", lambda at: find(at, *(at.name(name) for name in "cab")), "4+")
FIND_COORDINATOR.add("a group twice", lambda at: find(at, "same", "same"), "4+")
FIND_COORDINATOR.add("no groups", lambda at: find(at), "4+")


def describe(*groups: str, operations: bool = False) -> DescribeGroupsRequest:
    return DescribeGroupsRequest(groups=list(groups), include_authorized_operations=operations)


DESCRIBE_GROUPS.add("a stable group", lambda at: describe(stable(at, group_id(at)).group))
DESCRIBE_GROUPS.add("a group that is being assigned", lambda at: describe(joining(at, group_id(at)).group))
DESCRIBE_GROUPS.add(
    "a group with static members", lambda at: describe(stable(at, group_id(at), instance_id="i").group)
)
DESCRIBE_GROUPS.add("a group of offsets only", lambda at: describe(committed_group(at)))
DESCRIBE_GROUPS.add("an unknown group", lambda at: describe(group_id(at)))
DESCRIBE_GROUPS.add("a group without a name", lambda at: group_id(at) and describe(""))
DESCRIBE_GROUPS.add(
    "several groups", lambda at: describe(group_id(at), stable(at, group_id(at, "other")).group)
)
DESCRIBE_GROUPS.add("a group twice", lambda at: describe(*[stable(at, group_id(at)).group] * 2))
DESCRIBE_GROUPS.add("no groups", lambda at: describe())
DESCRIBE_GROUPS.add(
    "with authorized operations", lambda at: describe(stable(at, group_id(at)).group, operations=True), "3+"
)
DESCRIBE_GROUPS.add(
    "authorized operations of an unknown group", lambda at: describe(group_id(at), operations=True), "3+"
)


@DESCRIBE_GROUPS.case("a group that rebalances", "5+")
def _describe_rebalancing(at: Scene) -> None:
    first = stable(at, group_id(at))
    second_joins(at, first)
    at.ask(describe(first.group))


def list_groups(states: list[str] | None = None, types: list[str] | None = None) -> ListGroupsRequest:
    return ListGroupsRequest(states_filter=states or [], types_filter=types or [])


def three_groups(at: Scene) -> str:
    """A stable one, one that is being assigned, and one of offsets only."""
    stable(at, group_id(at, "stable"))
    joining(at, group_id(at, "joining"))
    committed_group(at)
    return at.token


LIST_GROUPS.add("all groups", lambda at: three_groups(at) and list_groups())
for states in (
    ["Stable"],
    ["stable", "EMPTY"],
    ["CompletingRebalance", "Dead"],
    ["PreparingRebalance"],
    ["Nonsense"],
    [""],
):
    LIST_GROUPS.add(
        f"in state {' or '.join(states)}",
        lambda at, states=states: three_groups(at) and list_groups(states),
        "4+",
    )
for types in (["classic"], ["Consumer"], ["classic", "share"], ["streams"], ["nonsense"], [""]):
    LIST_GROUPS.add(
        f"of type {' or '.join(types)}",
        lambda at, types=types: three_groups(at) and list_groups(types=types),
        "5+",
    )
LIST_GROUPS.add(
    "by state and type", lambda at: three_groups(at) and list_groups(["Stable"], ["classic"]), "5+"
)


def delete(*groups: str) -> DeleteGroupsRequest:
    return DeleteGroupsRequest(groups_names=list(groups))


@DELETE_GROUPS.case("a group of offsets only, and once again")
def _delete_twice(at: Scene) -> None:
    group = committed_group(at)
    at.ask(delete(group))
    at.ask(delete(group))


DELETE_GROUPS.add("a group with members", lambda at: delete(stable(at, group_id(at)).group))
DELETE_GROUPS.add("an unknown group", lambda at: delete(group_id(at)))
DELETE_GROUPS.add("a group without a name", lambda at: group_id(at) and delete(""))
DELETE_GROUPS.add("known and unknown groups", lambda at: delete(group_id(at), committed_group(at, "other")))
DELETE_GROUPS.add("a group twice", lambda at: delete(*[committed_group(at)] * 2))
DELETE_GROUPS.add("no groups", lambda at: delete())
