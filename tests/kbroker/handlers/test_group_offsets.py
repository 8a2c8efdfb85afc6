"""OffsetCommit, OffsetFetch and OffsetDelete at every version, through the codec and a real coordinator.

Orders and codes are those of Apache Kafka 4.4's answers to the same requests.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest

from kbroker.handlers.group_offsets import GroupOffsetHandlers
from tests.kbroker.coordination.group.test_service import Stage, serving
from tests.kbroker.handlers.requests import send
from wire.errors import ErrorCode
from wire.messages.group_offsets import OffsetCommitRequest, OffsetDeleteRequest, OffsetFetchRequest
from wire.schema import ZERO_UUID

GROUP = "my-group"
TOPICS = {"t": uuid.UUID(int=1), "u": uuid.UUID(int=2)}
UNKNOWN_ID = uuid.UUID(int=99)
PARTITIONS = 3

UNKNOWN_PARTITION = ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
UNKNOWN_TOPIC_ID = ErrorCode.UNKNOWN_TOPIC_ID

_CommitTopic = OffsetCommitRequest.OffsetCommitRequestTopic
_FetchGroup = OffsetFetchRequest.OffsetFetchRequestGroup
_FetchTopic = _FetchGroup.OffsetFetchRequestTopics
_DeleteTopic = OffsetDeleteRequest.OffsetDeleteRequestTopic


class Catalog:
    def __init__(self) -> None:
        self.topics = dict(TOPICS)

    def topic_name(self, topic_id: uuid.UUID) -> str | None:
        return next((name for name, known in self.topics.items() if known == topic_id), None)

    def topic_id(self, topic: str) -> uuid.UUID:
        return self.topics.get(topic, ZERO_UUID)

    def has_partition(self, topic: str, partition: int) -> bool:
        return topic in self.topics and 0 <= partition < PARTITIONS


class Subject:
    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.catalog = Catalog()
        self.handlers = GroupOffsetHandlers(groups=stage.groups, topics=self.catalog)

    async def commit(
        self, version: int, topics: dict[str | uuid.UUID, list[int]], group: str = GROUP, **fields: Any
    ) -> list[tuple[str | uuid.UUID, list[tuple[int, int]]]]:
        """Commits offset 10 + partition; the answer is (topic, [(partition, code)]) in the response's order."""
        request = OffsetCommitRequest(
            group_id=group,
            topics=[
                _CommitTopic(
                    **self._naming(topic),
                    partitions=[
                        _CommitTopic.OffsetCommitRequestPartition(
                            partition_index=index, committed_offset=10 + index, committed_metadata="m"
                        )
                        for index in indexes
                    ],
                )
                for topic, indexes in topics.items()
            ],
            **fields,
        )
        response = await send(self.handlers.commit_offsets, request, version)
        return [
            (
                topic.topic_id if version >= 10 else topic.name,
                [(partition.partition_index, partition.error_code) for partition in topic.partitions],
            )
            for topic in response.topics
        ]

    def _naming(self, topic: str | uuid.UUID) -> dict[str, Any]:
        return {"name": topic} if isinstance(topic, str) else {"topic_id": topic}

    async def fetch_old(self, version: int, topics: dict[str, list[int]] | None, group: str = GROUP) -> Any:
        """Versions 1-7."""
        requested = None
        if topics is not None:
            requested = [
                OffsetFetchRequest.OffsetFetchRequestTopic(name=name, partition_indexes=indexes)
                for name, indexes in topics.items()
            ]
        request = OffsetFetchRequest(group_id=group, topics=requested)
        return await send(self.handlers.fetch_offsets, request, version)

    async def fetch(
        self, version: int, groups: dict[str, dict[str | uuid.UUID, list[int]] | None], **fields: Any
    ) -> Any:
        """Versions 8-10."""
        request = OffsetFetchRequest(
            groups=[
                _FetchGroup(
                    group_id=group_id,
                    topics=None
                    if topics is None
                    else [
                        _FetchTopic(**self._naming(topic), partition_indexes=indexes)
                        for topic, indexes in topics.items()
                    ],
                )
                for group_id, topics in groups.items()
            ],
            **fields,
        )
        return (await send(self.handlers.fetch_offsets, request, version)).groups

    async def delete(self, topics: dict[str, list[int]], group: str = GROUP) -> Any:
        request = OffsetDeleteRequest(
            group_id=group,
            topics=[
                _DeleteTopic(
                    name=name,
                    partitions=[
                        _DeleteTopic.OffsetDeleteRequestPartition(partition_index=index) for index in indexes
                    ],
                )
                for name, indexes in topics.items()
            ],
        )
        return await send(self.handlers.delete_offsets, request, 0)


@pytest.fixture
async def subject() -> AsyncIterator[Subject]:
    async with serving(Stage()) as stage:
        yield Subject(stage)


def offsets(partitions: Any) -> list[tuple[int, int, int]]:
    return [(p.partition_index, p.committed_offset, p.error_code) for p in partitions]


class TestCommit:
    @pytest.mark.parametrize("version", range(2, 10))
    async def test_by_name(self, subject: Subject, version: int) -> None:
        answer = await subject.commit(version, {"t": [0, 7, 1], "nope": [0], "u": [2]})
        assert answer == [
            ("t", [(7, UNKNOWN_PARTITION), (0, 0), (1, 0)]),
            ("nope", [(0, UNKNOWN_PARTITION)]),
            ("u", [(2, 0)]),
        ]

    async def test_by_id(self, subject: Subject) -> None:
        answer = await subject.commit(10, {TOPICS["t"]: [0, 7], UNKNOWN_ID: [0], TOPICS["u"]: [2]})
        assert answer == [
            (TOPICS["t"], [(7, UNKNOWN_PARTITION), (0, 0)]),
            (UNKNOWN_ID, [(0, UNKNOWN_TOPIC_ID)]),
            (TOPICS["u"], [(2, 0)]),
        ]

    @pytest.mark.parametrize("version", [2, 10])
    async def test_nothing_that_exists_needs_no_coordinator(self, subject: Subject, version: int) -> None:
        subject.stage.groups.stop()
        assert await subject.commit(version, {}) == []
        unknown: str | uuid.UUID = UNKNOWN_ID if version >= 10 else "nope"
        code = UNKNOWN_TOPIC_ID if version >= 10 else UNKNOWN_PARTITION
        assert await subject.commit(version, {unknown: [0]}) == [(unknown, [(0, code)])]

    async def test_the_id_is_noted_when_committed_by_name(self, subject: Subject) -> None:
        await subject.commit(9, {"t": [0]})
        subject.catalog.topics["t"] = UNKNOWN_ID
        (group,) = await subject.fetch(10, {GROUP: {UNKNOWN_ID: [0]}})
        assert offsets(group.topics[0].partitions) == [(0, -1, 0)]

    async def test_error_of_the_coordinator(self, subject: Subject) -> None:
        subject.stage.groups.stop()
        answer = await subject.commit(9, {"t": [0, 7]})
        assert answer == [("t", [(7, UNKNOWN_PARTITION), (0, ErrorCode.COORDINATOR_NOT_AVAILABLE)])]

    async def test_retention_of_old_clients(self, subject: Subject) -> None:
        assert await subject.commit(2, {"t": [0]}, retention_time_ms=1000) == [("t", [(0, 0)])]


class TestFetch:
    @pytest.mark.parametrize("version", range(1, 8))
    async def test_one_group(self, subject: Subject, version: int) -> None:
        await subject.commit(9, {"t": [0, 1]})
        response = await subject.fetch_old(version, {"t": [1, 2], "nope": [0]})
        assert response.error_code == ErrorCode.NONE
        assert [topic.name for topic in response.topics] == ["t", "nope"]
        assert offsets(response.topics[0].partitions) == [(1, 11, 0), (2, -1, 0)]
        assert [partition.metadata for partition in response.topics[0].partitions] == ["m", ""]
        assert offsets(response.topics[1].partitions) == [(0, -1, 0)]

    @pytest.mark.parametrize("version", range(2, 8))
    async def test_all_of_one_group(self, subject: Subject, version: int) -> None:
        await subject.commit(9, {"t": [0], "u": [2]})
        response = await subject.fetch_old(version, None)
        assert {topic.name: offsets(topic.partitions) for topic in response.topics} == {
            "t": [(0, 10, 0)],
            "u": [(2, 12, 0)],
        }

    @pytest.mark.parametrize("version", range(1, 8))
    async def test_error_of_one_group(self, subject: Subject, version: int) -> None:
        subject.stage.groups.unload(subject.stage.groups.partition_for(GROUP))
        response = await subject.fetch_old(version, {"t": [0, 1]})
        code = ErrorCode.NOT_COORDINATOR
        if version == 1:
            assert offsets(response.topics[0].partitions) == [(0, -1, code), (1, -1, code)]
        else:
            assert (response.error_code, response.topics) == (code, [])

    @pytest.mark.parametrize("version", [8, 9])
    async def test_several_groups(self, subject: Subject, version: int) -> None:
        await subject.commit(9, {"t": [0]})
        await subject.commit(9, {"u": [1]}, group="")
        first, second, third = await subject.fetch(
            version, {GROUP: {"t": [0, 9]}, "": None, "third": {"": [0], "t": [0]}}
        )
        assert [group.group_id for group in (first, second, third)] == [GROUP, "", "third"]
        assert offsets(first.topics[0].partitions) == [(0, 10, 0), (9, -1, 0)]
        assert [(topic.name, offsets(topic.partitions)) for topic in second.topics] == [("u", [(1, 11, 0)])]
        assert [offsets(topic.partitions) for topic in third.topics] == [[(0, -1, 0)]] * 2

    async def test_each_group_has_its_own_error(self, subject: Subject) -> None:
        await subject.commit(9, {"t": [0]}, group="payments")
        subject.stage.groups.unload(subject.stage.groups.partition_for(GROUP))
        lost, found = await subject.fetch(8, {GROUP: {"t": [0]}, "payments": {"t": [0]}})
        assert (lost.error_code, lost.topics) == (ErrorCode.NOT_COORDINATOR, [])
        assert offsets(found.topics[0].partitions) == [(0, 10, 0)]

    async def test_by_id(self, subject: Subject) -> None:
        await subject.commit(10, {TOPICS["t"]: [0]})
        (group,) = await subject.fetch(
            10, {GROUP: {UNKNOWN_ID: [0], TOPICS["t"]: [0, 9], ZERO_UUID: [1]}}, require_stable=True
        )
        assert [(topic.topic_id, offsets(topic.partitions)) for topic in group.topics] == [
            (TOPICS["t"], [(0, 10, 0), (9, -1, 0)]),
            (UNKNOWN_ID, [(0, -1, UNKNOWN_TOPIC_ID)]),
            (ZERO_UUID, [(1, -1, UNKNOWN_TOPIC_ID)]),
        ]

    async def test_all_by_id_leaves_out_deleted_topics(self, subject: Subject) -> None:
        await subject.commit(9, {"t": [0], "u": [1]})
        del subject.catalog.topics["u"]
        (group,) = await subject.fetch(10, {GROUP: None})
        assert [(topic.topic_id, offsets(topic.partitions)) for topic in group.topics] == [
            (TOPICS["t"], [(0, 10, 0)])
        ]


class TestDelete:
    async def test_some_that_exist(self, subject: Subject) -> None:
        await subject.commit(9, {"t": [0, 1]})
        response = await subject.delete({"t": [0, 2, 9], "nope": [0]})
        assert response.error_code == ErrorCode.NONE
        codes = {
            topic.name: {partition.partition_index: partition.error_code for partition in topic.partitions}
            for topic in response.topics
        }
        assert codes == {
            "t": {0: 0, 2: 0, 9: UNKNOWN_PARTITION},
            "nope": {0: UNKNOWN_PARTITION},
        }
        assert offsets((await subject.fetch_old(7, None)).topics[0].partitions) == [(1, 11, 0)]

    @pytest.mark.parametrize(
        ("group", "expected"),
        [("", ErrorCode.INVALID_GROUP_ID), ("nobody", ErrorCode.GROUP_ID_NOT_FOUND)],
    )
    async def test_error_of_the_group(self, subject: Subject, group: str, expected: ErrorCode) -> None:
        response = await subject.delete({"t": [0], "nope": [0]}, group)
        assert (response.error_code, response.topics) == (expected, [])
