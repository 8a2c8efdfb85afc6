"""DescribeGroups and ListGroups."""

from __future__ import annotations

import pytest

from kbroker.coordination.group.member import java_host
from tests.kbroker.coordination.group.harness import GROUP, Harness, Origin
from wire.errors import ErrorCode


@pytest.fixture
def shard() -> Harness:
    return Harness()


def test_stable_group(shard: Harness) -> None:
    leader, follower = shard.stable_group("a", None, protocols={"range": b"meta"})
    (group,) = shard.shard.describe_groups([GROUP], Origin())
    assert (group.error_code, group.group_state) == (ErrorCode.NONE, "Stable")
    assert (group.protocol_type, group.protocol_data) == ("consumer", "range")
    assert [member.member_id for member in group.members] == [leader, follower]
    first = group.members[0]
    assert (first.group_instance_id, first.client_id, first.client_host) == ("a", "client", "/127.0.0.1")
    assert (first.member_metadata, first.member_assignment) == (b"meta", leader.encode())


def test_group_between_generations_shows_no_protocol(shard: Harness) -> None:
    leader, _ = shard.stable_group(None, None, protocols={"range": b"meta"})
    shard.join(leader)
    (group,) = shard.shard.describe_groups([GROUP], Origin())
    assert (group.group_state, group.protocol_data) == ("PreparingRebalance", "")
    assert [member.member_metadata for member in group.members] == [b"", b""]


@pytest.mark.parametrize(("version", "expected"), [(5, ErrorCode.NONE), (6, ErrorCode.GROUP_ID_NOT_FOUND)])
def test_group_that_does_not_exist(shard: Harness, version: int, expected: ErrorCode) -> None:
    (group,) = shard.shard.describe_groups(["nobody"], Origin(version))
    assert (group.group_id, group.group_state, group.error_code) == ("nobody", "Dead", expected)
    assert (group.error_message is None) == (expected is ErrorCode.NONE)


@pytest.mark.parametrize(
    ("states", "types", "expected"),
    [
        ([], [], {"consuming", "simple"}),
        (["Stable"], [], {"consuming"}),
        ([" stable ", "EMPTY"], [], {"consuming", "simple"}),
        (["Dead"], [], set()),
        (["nonsense"], [], set()),
        ([], ["classic"], {"consuming", "simple"}),
        ([], ["Classic", "consumer"], {"consuming", "simple"}),
        ([], ["consumer"], set()),
        (["empty"], ["CLASSIC"], {"simple"}),
    ],
)
def test_list(shard: Harness, states: list[str], types: list[str], expected: set[str]) -> None:
    shard.commit({("t", 0): 1}, group="simple")
    shard.stable_group(None)
    names = {GROUP: "consuming", "simple": "simple"}
    assert {names[group.group_id] for group in shard.shard.list_groups(states, types)} == expected


def test_listed_group(shard: Harness) -> None:
    shard.stable_group(None)
    (group,) = shard.shard.list_groups([], [])
    assert (group.group_id, group.protocol_type) == (GROUP, "consumer")
    assert (group.group_state, group.group_type) == ("Stable", "classic")


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", "/127.0.0.1"),
        ("::1", "/0:0:0:0:0:0:0:1"),
        ("fe80::1:20", "/fe80:0:0:0:0:0:1:20"),
        ("somewhere", "/somewhere"),
    ],
)
def test_client_host_is_written_as_java_writes_it(host: str, expected: str) -> None:
    assert java_host(host) == expected
