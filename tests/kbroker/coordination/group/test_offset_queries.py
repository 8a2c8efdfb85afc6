"""OffsetFetch of one group."""

from __future__ import annotations

import uuid

import pytest

from tests.kbroker.coordination.group.harness import GROUP, Call, Harness
from wire.errors import ErrorCode
from wire.messages.group_offsets import OffsetFetchRequest
from wire.schema import ZERO_UUID

_Group = OffsetFetchRequest.OffsetFetchRequestGroup
OLD_ID, NEW_ID = uuid.UUID(int=1), uuid.UUID(int=2)


@pytest.fixture
def shard() -> Harness:
    return Harness()


def request(
    *topics: tuple[str, list[int]], group: str = GROUP, topic_id: uuid.UUID = ZERO_UUID
) -> OffsetFetchRequest.OffsetFetchRequestGroup:
    return _Group(
        group_id=group,
        topics=[
            _Group.OffsetFetchRequestTopics(name=name, topic_id=topic_id, partition_indexes=indexes)
            for name, indexes in topics
        ],
    )


def stable(shard: Harness, wanted: OffsetFetchRequest.OffsetFetchRequestGroup) -> Call:
    return shard.call("fetch", lambda call: shard.shard.fetch_stable_offsets(wanted))


def test_what_there_is_not_is_minus_one(shard: Harness) -> None:
    shard.commit({("t", 0): 5}, metadata="m")
    response = shard.shard.fetch_offsets(request(("t", [0, 1]), ("nope", [0])))
    assert (response.group_id, response.error_code) == (GROUP, ErrorCode.NONE)
    assert [(topic.name, len(topic.partitions)) for topic in response.topics] == [("t", 2), ("nope", 1)]
    found, missing, unknown = [p for topic in response.topics for p in topic.partitions]
    assert (found.committed_offset, found.metadata, found.committed_leader_epoch) == (5, "m", -1)
    for partition in (missing, unknown):
        assert (partition.committed_offset, partition.metadata) == (-1, "")
        assert (partition.committed_leader_epoch, partition.error_code) == (-1, ErrorCode.NONE)


def test_group_that_does_not_exist(shard: Harness) -> None:
    response = shard.shard.fetch_offsets(request(("t", [0])))
    assert response.error_code == ErrorCode.NONE
    assert response.topics[0].partitions[0].committed_offset == -1
    assert shard.fetch() == {}


def test_all_topics_come_together(shard: Harness) -> None:
    shard.commit({("t", 0): 5, ("u", 0): 6, ("t", 1): 7})
    response = shard.shard.fetch_offsets(_Group(group_id=GROUP, topics=None))
    assert {topic.name: len(topic.partitions) for topic in response.topics} == {"t": 2, "u": 1}


@pytest.mark.parametrize(
    ("committed_as", "asked_as", "expected"),
    [
        (OLD_ID, NEW_ID, -1),
        (OLD_ID, OLD_ID, 5),
        (OLD_ID, ZERO_UUID, 5),
        (ZERO_UUID, NEW_ID, 5),
    ],
)
def test_offset_of_an_earlier_topic_of_the_same_name(
    shard: Harness, committed_as: uuid.UUID, asked_as: uuid.UUID, expected: int
) -> None:
    shard.commit({("t", 0): 5}, topic_id=committed_as)
    response = shard.shard.fetch_offsets(request(("t", [0]), topic_id=asked_as))
    assert response.topics[0].topic_id == asked_as
    assert response.topics[0].partitions[0].committed_offset == expected


class TestRequireStable:
    def test_open_transaction(self, shard: Harness) -> None:
        shard.commit({("t", 0): 1, ("t", 1): 1})
        shard.commit_in_transaction(7, {("t", 0): 5})
        unstable, other = stable(shard, request(("t", [0, 1]))).response.topics[0].partitions
        assert (unstable.error_code, unstable.committed_offset) == (ErrorCode.UNSTABLE_OFFSET_COMMIT, -1)
        assert (other.error_code, other.committed_offset) == (ErrorCode.NONE, 1)
        assert shard.fetch()["t", 0] == 1, "who does not care sees the old offset"
        shard.end_transaction(7, committed=True)
        partition = stable(shard, request(("t", [0]))).response.topics[0].partitions[0]
        assert (partition.error_code, partition.committed_offset) == (ErrorCode.NONE, 5)

    def test_all_topics(self, shard: Harness) -> None:
        shard.commit({("t", 0): 1})
        shard.commit_in_transaction(7, {("t", 0): 5})
        response = stable(shard, _Group(group_id=GROUP, topics=None)).response
        assert response.topics[0].partitions[0].error_code == ErrorCode.UNSTABLE_OFFSET_COMMIT

    def test_it_waits_for_what_was_written_before(self, shard: Harness) -> None:
        shard.holding = True
        shard.commit({("t", 0): 5})
        call = stable(shard, request(("t", [0])))
        assert call.is_parked
        shard.release()
        assert call.response.topics[0].partitions[0].committed_offset == 5
