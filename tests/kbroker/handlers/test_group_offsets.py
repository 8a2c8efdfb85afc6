"""OffsetCommit, OffsetFetch, TxnOffsetCommit, OffsetDelete at every version, through codec and real coordinator.

Orders and codes are those of Apache Kafka 4.4's answers to the same requests.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest

from kbroker.config.topic_names import CONSUMER_OFFSETS_TOPIC
from kbroker.handlers.group_offsets import GroupOffsetHandlers
from storage.transaction_verification import VerificationGuard
from tests.kbroker.coordination.group.test_service import Stage, serving
from tests.kbroker.handlers.fake_transactions import FakeTransactions, verifier_of
from tests.kbroker.handlers.requests import send
from wire.errors import ApiError, ErrorCode
from wire.messages.group_offsets import OffsetCommitRequest, OffsetDeleteRequest, OffsetFetchRequest
from wire.messages.transactions import TxnOffsetCommitRequest
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


class OffsetsPartitions:
    """The partitions of ``__consumer_offsets``, of which only verification is asked here."""

    def __init__(self) -> None:
        self.error: ErrorCode | None = None
        self.guard: VerificationGuard | None = VerificationGuard()

    def leader(self, topic: str, index: int) -> Any:
        assert topic == CONSUMER_OFFSETS_TOPIC
        if self.error is not None:
            raise ApiError(self.error)
        return self

    def start_transaction_verification(
        self, producer_id: int, sequence: int, producer_epoch: int, *, supports_epoch_bump: bool
    ) -> VerificationGuard | None:
        return self.guard


class Subject:
    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.catalog = Catalog()
        self.partitions = OffsetsPartitions()
        self.transactions = FakeTransactions()
        self.handlers = GroupOffsetHandlers(
            groups=stage.groups,
            topics=self.catalog,
            verifier=verifier_of(self.partitions, self.transactions),
        )

    async def commit(
        self, version: int, topics: dict[str | uuid.UUID, list[int]], group: str = GROUP, **fields: Any
    ) -> list[tuple[str | uuid.UUID, list[tuple[int, int]]]]:
        """Commits offset 10 + partition; the answer is (topic, [(partition, code)]) in the response's order."""
        request = OffsetCommitRequest(
            group_id=group,
            topics=[
                _CommitTopic(
                    **self.naming(topic),
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

    def naming(self, topic: str | uuid.UUID) -> dict[str, Any]:
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
                        _FetchTopic(**self.naming(topic), partition_indexes=indexes)
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


# TxnOffsetCommit

_TransactionalTopic = TxnOffsetCommitRequest.TxnOffsetCommitRequestTopic
PRODUCER = 7


def _offset(index: int) -> _TransactionalTopic.TxnOffsetCommitRequestPartition:
    return _TransactionalTopic.TxnOffsetCommitRequestPartition(
        partition_index=index, committed_offset=10 + index, committed_metadata="m"
    )


async def commit_in_transaction(
    subject: Subject,
    version: int,
    topics: dict[str | uuid.UUID, list[int]] | None = None,
    group: str = GROUP,
    **fields: Any,
) -> dict[tuple[str | uuid.UUID, int], ErrorCode]:
    """Commits offset 10 + partition as part of the transaction of ``tx``."""
    request = TxnOffsetCommitRequest(
        transactional_id="tx",
        group_id=group,
        producer_id=PRODUCER,
        producer_epoch=0,
        topics=[
            _TransactionalTopic(
                **subject.naming(topic),
                partitions=[_offset(index) for index in indexes],
            )
            for topic, indexes in (topics or ({"t": [0]} if version < 6 else {TOPICS["t"]: [0]})).items()
        ],
        **fields,
    )
    response = await send(subject.handlers.commit_transactional_offsets, request, version)
    return {
        (topic.topic_id if version >= 6 else topic.name, partition.partition_index): ErrorCode(
            partition.error_code
        )
        for topic in response.topics
        for partition in topic.partitions
    }


async def end_transaction(subject: Subject, *, committed: bool) -> None:
    groups = subject.stage.groups
    await groups.complete_transaction(
        groups.partition_for(GROUP), (PRODUCER, 0), coordinator_epoch=0, committed=committed
    )


async def offset_of(subject: Subject, *, require_stable: bool = False) -> tuple[int, int]:
    response = await subject.fetch(9, {GROUP: {"t": [0]}}, require_stable=require_stable)
    partition = response[0].topics[0].partitions[0]
    return partition.error_code, partition.committed_offset


@pytest.mark.parametrize("version", range(7))
async def test_the_groups_partition_is_verified_or_added_by_version(subject: Subject, version: int) -> None:
    partition = CONSUMER_OFFSETS_TOPIC, subject.stage.groups.partition_for(GROUP)
    topic = "t" if version < 6 else TOPICS["t"]
    assert await commit_in_transaction(subject, version) == {(topic, 0): ErrorCode.NONE}
    adds = version >= 5
    assert subject.transactions.asked == [("tx", (PRODUCER, 0), [partition], not adds, 2 if adds else 0)]
    assert subject.stage.log.guards == [subject.partitions.guard]


async def test_offsets_of_a_transaction_are_pending_until_it_is_committed(subject: Subject) -> None:
    await subject.commit(8, {"t": [0]})
    assert await commit_in_transaction(subject, 5, {"t": [0, 1]}) == {("t", 0): 0, ("t", 1): 0}
    assert await offset_of(subject, require_stable=True) == (ErrorCode.UNSTABLE_OFFSET_COMMIT, -1)
    assert await offset_of(subject) == (0, 10)
    await end_transaction(subject, committed=True)
    assert await offset_of(subject, require_stable=True) == (0, 10)


async def test_offsets_committed_in_an_aborted_transaction_never_appear(subject: Subject) -> None:
    assert await commit_in_transaction(subject, 5) == {("t", 0): 0}
    assert await offset_of(subject) == (0, -1)
    await end_transaction(subject, committed=False)
    assert await offset_of(subject) == await offset_of(subject, require_stable=True) == (0, -1)


async def test_what_does_not_exist_takes_no_offsets_in_a_transaction(subject: Subject) -> None:
    answer = await commit_in_transaction(subject, 5, {"t": [0, 9], "x": [0], "u": [1]})
    assert answer == {("t", 9): UNKNOWN_PARTITION, ("t", 0): 0, ("x", 0): UNKNOWN_PARTITION, ("u", 1): 0}
    subject.transactions.asked.clear()
    assert await commit_in_transaction(subject, 5, {"x": [0]}) == {("x", 0): UNKNOWN_PARTITION}
    assert subject.transactions.asked == []


async def test_topics_of_a_transaction_by_their_ids(subject: Subject) -> None:
    t, u = TOPICS.values()
    answer = await commit_in_transaction(subject, 6, {t: [0, 9], UNKNOWN_ID: [0], ZERO_UUID: [1], u: [1]})
    assert answer == {
        (t, 9): UNKNOWN_PARTITION,
        (t, 0): 0,
        (UNKNOWN_ID, 0): UNKNOWN_TOPIC_ID,
        (ZERO_UUID, 1): UNKNOWN_TOPIC_ID,
        (u, 1): 0,
    }
    await end_transaction(subject, committed=True)
    assert await offset_of(subject) == (0, 10)
    assert await commit_in_transaction(subject, 6, group="") == {(t, 0): ErrorCode.INVALID_GROUP_ID}
    twice = [_TransactionalTopic(topic_id=UNKNOWN_ID, partitions=[_offset(index)]) for index in (0, 1)]
    request = TxnOffsetCommitRequest(transactional_id="tx", group_id=GROUP, topics=twice)
    (merged,) = (await send(subject.handlers.commit_transactional_offsets, request, 6)).topics
    assert [partition.partition_index for partition in merged.partitions] == [0, 1]
    del subject.catalog.topics["t"]
    assert await commit_in_transaction(subject, 6) == {(t, 0): UNKNOWN_TOPIC_ID}


async def test_a_group_needs_a_name_before_anybody_is_asked(subject: Subject) -> None:
    assert await commit_in_transaction(subject, 5, group="") == {("t", 0): ErrorCode.INVALID_GROUP_ID}
    assert subject.transactions.asked == []


@pytest.mark.parametrize(
    ("answer", "version", "told"),
    [
        (ErrorCode.TRANSACTION_ABORTABLE, 3, ErrorCode.INVALID_TXN_STATE),
        (ErrorCode.TRANSACTION_ABORTABLE, 4, ErrorCode.TRANSACTION_ABORTABLE),
        (ErrorCode.PRODUCER_FENCED, 5, ErrorCode.INVALID_PRODUCER_EPOCH),
        (ErrorCode.CONCURRENT_TRANSACTIONS, 5, ErrorCode.CONCURRENT_TRANSACTIONS),
        (ErrorCode.NETWORK_EXCEPTION, 5, ErrorCode.COORDINATOR_LOAD_IN_PROGRESS),
        (ErrorCode.COORDINATOR_LOAD_IN_PROGRESS, 2, ErrorCode.COORDINATOR_LOAD_IN_PROGRESS),
        (ErrorCode.COORDINATOR_LOAD_IN_PROGRESS, 1, ErrorCode.COORDINATOR_NOT_AVAILABLE),
        (ErrorCode.NOT_COORDINATOR, 5, ErrorCode.NOT_COORDINATOR),
    ],
)
async def test_what_the_transaction_coordinator_refuses(
    subject: Subject, answer: ErrorCode, version: int, told: ErrorCode
) -> None:
    subject.transactions.answers = [answer]
    assert await commit_in_transaction(subject, version) == {("t", 0): told}
    assert subject.stage.log.batches == []


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, ErrorCode.COORDINATOR_NOT_AVAILABLE),
        (ErrorCode.NOT_LEADER_OR_FOLLOWER, ErrorCode.NOT_COORDINATOR),
        (ErrorCode.KAFKA_STORAGE_ERROR, ErrorCode.NOT_COORDINATOR),
        (ErrorCode.INVALID_PRODUCER_EPOCH, ErrorCode.INVALID_PRODUCER_EPOCH),
    ],
)
async def test_a_groups_partition_that_cannot_be_asked(
    subject: Subject, error: ErrorCode, told: ErrorCode
) -> None:
    subject.partitions.error = error
    assert await commit_in_transaction(subject, 5) == {("t", 0): told}
    assert subject.transactions.asked == []


async def test_a_transaction_that_is_open_in_the_groups_partition_needs_no_asking(subject: Subject) -> None:
    subject.partitions.guard = None
    assert await commit_in_transaction(subject, 5) == {("t", 0): 0}
    assert subject.transactions.asked == []
