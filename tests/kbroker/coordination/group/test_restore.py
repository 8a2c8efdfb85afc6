"""A shard restored from its log is the shard that wrote it, as far as that is durable."""

from __future__ import annotations

from typing import Any

from kbroker.coordination.group.states import GroupState
from kbroker.coordination.machine import CoordinatorRecord
from tests.kbroker.coordination.group.harness import GROUP, Harness, Logged, subscription
from wire.errors import ErrorCode
from wire.internal.consumer_offsets import GroupMetadataKey, GroupMetadataValue


def durable_state(shard: Harness) -> dict[str, Any]:
    """What the log must be able to bring back: offsets, and groups that are stable or empty."""
    return {
        group.group_id: {
            "state": group.state,
            "generation": group.generation_id,
            "protocol": (group.protocol_type, group.protocol_name),
            "leader": group.leader_id,
            "since": group.state_since_ms,
            "static": group.static_member_ids,
            "subscribed": group.subscribed_topics,
            "members": {
                member.member_id: (
                    member.group_instance_id,
                    member.client_id,
                    member.client_host,
                    member.session_timeout_ms,
                    member.rebalance_timeout_ms,
                    member.metadata(group.protocol_name),
                    member.assignment,
                )
                for member in group.members.values()
            },
            "offsets": dict(shard.shard.offsets.latest(group.group_id)),
        }
        for group in shard.shard.groups
    }


def test_stable_group() -> None:
    shard = Harness()
    members = shard.stable_group("a", None, None, protocols={"range": subscription("t", "u")})
    shard.commit({("t", 0): 5}, members[0], 1)
    before, after = durable_state(shard), durable_state(shard.restarted())
    # The moment of becoming stable is not in the record, which was written before.
    del before[GROUP]["since"], after[GROUP]["since"]
    assert before == after
    assert after[GROUP]["subscribed"] == {"t", "u"}


def test_empty_group() -> None:
    shard = Harness()
    shard.leave(*shard.stable_group("a", None))
    shard.commit({("t", 0): 5})
    assert durable_state(shard) == durable_state(shard.restarted())


def test_restored_group_goes_on() -> None:
    shard = Harness()
    leader, follower = shard.stable_group(None, None)
    shard = shard.restarted()
    assert shard.heartbeat(follower, 1).code is ErrorCode.NONE
    assert shard.sync(follower, 1).response.assignment == follower.encode()
    assert shard.join(follower).response.leader == leader
    assert shard.join(leader).is_parked
    assert shard.join(follower).response.generation_id == 2


def test_members_that_joined_during_a_rebalance_are_not_durable() -> None:
    shard = Harness()
    (leader,) = shard.stable_group(None)
    shard.join_dynamic()
    restored = shard.restarted()
    assert list(restored.group.members) == [leader]
    assert restored.group.state is GroupState.STABLE


def test_a_group_and_its_tombstone() -> None:
    shard = Harness()
    shard.commit({("t", 0): 5})
    shard.delete_group()
    restored = shard.restarted()
    assert len(restored.shard.groups) == 0
    assert restored.fetch() == {}


def test_old_records_without_a_rebalance_timeout() -> None:
    value = GroupMetadataValue(
        protocol_type="consumer",
        generation=3,
        protocol="range",
        leader="m",
        members=[
            GroupMetadataValue.MemberMetadata(
                member_id="m", client_id="c", client_host="/h", session_timeout=7000
            )
        ],
    )
    key = GroupMetadataKey(group=GROUP).encode_versioned()
    shard = Harness([Logged(CoordinatorRecord(key, value.encode_versioned(0), None), -1)])
    assert shard.member("m").rebalance_timeout_ms == 7000
    assert shard.group.state_since_ms is None
    assert shard.heartbeat("m", 3).code is ErrorCode.NONE
