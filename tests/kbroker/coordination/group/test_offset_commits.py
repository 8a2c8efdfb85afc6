"""OffsetCommit and TxnOffsetCommit: what is written, and by whom (states are in test_states)."""

from __future__ import annotations

import uuid

import pytest

from kbroker.coordination.group.records import OffsetChange
from kbroker.coordination.group.states import GroupState
from tests.kbroker.coordination.group.harness import EPOCH_MS, GROUP, Harness, Logged
from wire.errors import ErrorCode
from wire.internal.consumer_offsets import OffsetCommitKey, OffsetCommitValue

TOPIC_ID = uuid.UUID(int=7)


@pytest.fixture
def shard() -> Harness:
    return Harness()


def partition_codes(response: object) -> list[int]:
    return [
        partition.error_code
        for topic in response.topics  # type: ignore[attr-defined]
        for partition in topic.partitions
    ]


def last_value(shard: Harness) -> tuple[int, OffsetCommitValue]:
    entry = shard.log[-1]
    assert isinstance(entry, Logged) and entry.record.value is not None
    return OffsetCommitValue.decode_versioned(entry.record.value)


def test_commit_and_fetch(shard: Harness) -> None:
    call = shard.commit({("t", 0): 5, ("t", 1): 6, ("u", 0): 7})
    assert partition_codes(call.response) == [0, 0, 0]
    assert shard.fetch() == {("t", 0): 5, ("t", 1): 6, ("u", 0): 7}
    shard.commit({("t", 0): 3})
    assert shard.fetch()["t", 0] == 3, "a commit may go back"


def test_the_record_is_kafkas(shard: Harness) -> None:
    shard.commit({("t", 3): 5}, metadata="why", topic_id=TOPIC_ID)
    entry = shard.log[-1]
    assert isinstance(entry, Logged)
    _, key = OffsetCommitKey.decode_versioned(entry.record.key)
    assert (key.group, key.topic, key.partition) == (GROUP, "t", 3)
    version, value = last_value(shard)
    assert version == 4
    assert (value.offset, value.metadata, value.commit_timestamp) == (5, "why", EPOCH_MS)
    assert value.topic_id == TOPIC_ID


def test_a_retention_of_the_clients_own(shard: Harness) -> None:
    shard.commit({("t", 0): 5}, retention_ms=60_000, version=2)
    version, value = last_value(shard)
    assert (version, value.expire_timestamp) == (1, EPOCH_MS + 60_000)
    shard.commit({("t", 0): 5}, retention_ms=2**63 - 1, version=2)
    assert last_value(shard)[1].expire_timestamp == 2**63 - 1


def test_a_simple_group_comes_with_its_first_offset(shard: Harness) -> None:
    shard.commit({("t", 0): 5})
    assert (shard.group.state, shard.group.protocol_type) == (GroupState.EMPTY, None)
    assert shard.restarted().fetch() == {("t", 0): 5}


@pytest.mark.parametrize("generation", [0, 1])
@pytest.mark.parametrize(
    ("version", "expected"), [(8, ErrorCode.ILLEGAL_GENERATION), (9, ErrorCode.GROUP_ID_NOT_FOUND)]
)
def test_a_generation_of_a_group_that_does_not_exist(
    shard: Harness, version: int, expected: ErrorCode, generation: int
) -> None:
    assert shard.commit({("t", 0): 5}, "m", generation, version=version).error is expected
    assert shard.shard.groups.get(GROUP) is None
    call = shard.commit_in_transaction(7, {("t", 0): 5}, "m", generation, version=version - 3)
    assert call.error is expected


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        (None, ErrorCode.NONE),
        ("x" * 10, ErrorCode.NONE),
        ("é" * 10, ErrorCode.NONE),
        ("\N{GRINNING FACE}" * 5, ErrorCode.NONE),
        ("x" * 11, ErrorCode.OFFSET_METADATA_TOO_LARGE),
        ("\N{GRINNING FACE}" * 5 + "x", ErrorCode.OFFSET_METADATA_TOO_LARGE),
    ],
)
def test_metadata_is_limited(metadata: str | None, expected: ErrorCode) -> None:
    shard = Harness(offset_metadata_max_bytes=10)
    assert partition_codes(shard.commit({("t", 0): 1}, metadata=metadata).response) == [expected]
    assert shard.fetch() == ({("t", 0): 1} if expected is ErrorCode.NONE else {})


def test_it_is_answered_when_it_is_committed(shard: Harness) -> None:
    shard.holding = True
    call = shard.commit({("t", 0): 5})
    assert call.is_parked
    assert shard.fetch() == {}, "what a failover could take back is not shown"
    shard.release()
    assert partition_codes(call.response) == [0]
    assert shard.fetch() == {("t", 0): 5}


def test_it_cannot_be_appended(shard: Harness) -> None:
    shard.commit({("t", 0): 5})
    shard.append_error = ErrorCode.COORDINATOR_NOT_AVAILABLE
    assert shard.commit({("t", 0): 6}).error is ErrorCode.COORDINATOR_NOT_AVAILABLE
    assert shard.fetch() == {("t", 0): 5}
    assert shard.commit({("t", 0): 6}, group="other").error is ErrorCode.COORDINATOR_NOT_AVAILABLE
    assert shard.shard.groups.get("other") is None


def test_pending_member_of_an_empty_group_may_not_commit_with_a_generation(shard: Harness) -> None:
    member_id = shard.new_member_id()
    assert shard.commit({("t", 0): 5}, member_id, 0).error is ErrorCode.UNKNOWN_MEMBER_ID


class TestTransactions:
    def test_pending_until_the_marker(self, shard: Harness) -> None:
        shard.commit({("t", 0): 1})
        call = shard.commit_in_transaction(7, {("t", 0): 5, ("t", 1): 6})
        assert partition_codes(call.response) == [0, 0]
        assert shard.fetch() == {("t", 0): 1}
        shard.end_transaction(7, committed=True)
        assert shard.fetch() == {("t", 0): 5, ("t", 1): 6}

    def test_abort(self, shard: Harness) -> None:
        shard.commit({("t", 0): 1})
        shard.commit_in_transaction(7, {("t", 0): 5})
        shard.end_transaction(7, committed=False)
        assert shard.fetch() == {("t", 0): 1}

    def test_marker_of_another_producer(self, shard: Harness) -> None:
        shard.commit_in_transaction(7, {("t", 0): 5})
        shard.end_transaction(8, committed=True)
        assert shard.fetch() == {}
        assert shard.shard.offsets.is_unstable(GROUP, "t", 0)

    def test_restart_in_the_middle(self, shard: Harness) -> None:
        shard.commit_in_transaction(7, {("t", 0): 5})
        shard.commit_in_transaction(8, {("t", 1): 6})
        shard.end_transaction(7, committed=True)
        restored = shard.restarted()
        assert restored.fetch() == {("t", 0): 5}
        assert restored.shard.offsets.is_unstable(GROUP, "t", 1)
        restored.end_transaction(8, committed=True)
        assert restored.fetch() == {("t", 0): 5, ("t", 1): 6}

    def test_metadata_is_limited(self) -> None:
        shard = Harness(offset_metadata_max_bytes=0)
        assert partition_codes(shard.commit_in_transaction(7, {("t", 0): 5}).response) == [0]

    def test_topics_of_the_records(self, shard: Harness) -> None:
        shard.commit_in_transaction(7, {("t", 0): 5})
        entry = shard.log[-1]
        assert isinstance(entry, Logged) and entry.producer_id == 7
        content = entry.record.content
        assert isinstance(content, OffsetChange) and (content.topic, content.partition) == ("t", 0)
