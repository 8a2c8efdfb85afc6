"""DescribeProducers: what partitions remember of their producers, and what is said of partitions that are not here."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kbroker.handlers.producers import ProducerHandlers
from tests.kbroker.handlers.requests import send
from tests.kbroker.handlers.test_transactional_produce import NOW_MS, PRODUCER, Subject, transactional
from tests.running_broker import batch
from wire.errors import ErrorCode
from wire.messages.transactions import DescribeProducersRequest


@pytest.fixture
def subject(tmp_path: Path) -> Iterator[Subject]:
    subject = Subject(tmp_path)
    yield subject
    subject.logs.close()


async def describe(subject: Subject, topic: str, *indexes: int) -> list[Any]:
    request = DescribeProducersRequest(
        topics=[DescribeProducersRequest.TopicRequest(name=topic, partition_indexes=list(indexes))]
    )
    response = await send(ProducerHandlers(partitions=subject.replicas).describe_producers, request, 0)
    return list(response.topics[0].partitions)


def states(answer: Any) -> list[tuple[int, ...]]:
    return [
        (
            state.producer_id,
            state.producer_epoch,
            state.last_sequence,
            state.last_timestamp,
            state.coordinator_epoch,
            state.current_txn_start_offset,
        )
        for state in answer.active_producers
    ]


async def test_producers_with_and_without_a_transaction(subject: Subject) -> None:
    assert states((await describe(subject, "t", 0))[0]) == []
    await subject.produce({0: batch(b"a", producer_id=3, producer_epoch=1, base_sequence=0)})
    await subject.produce({0: transactional()})
    (answer,) = await describe(subject, "t", 0)
    assert states(answer) == [(3, 1, 0, NOW_MS, -1, -1), (PRODUCER, 0, 0, NOW_MS, -1, 1)]
    subject.end(1, version=2)
    # The marker raised the epoch: the sequence starts anew, and the coordinator is known.
    assert states((await describe(subject, "t", 0))[0])[1] == (PRODUCER, 1, -1, NOW_MS, 0, -1)


async def test_each_partition_is_answered_for_itself(subject: Subject) -> None:
    subject.replicas.leader("t", 1).mark_offline()
    answers = await describe(subject, "t", 0, 1, 9)
    assert [(answer.partition_index, ErrorCode(answer.error_code).name) for answer in answers] == [
        (0, "NONE"),
        (1, "KAFKA_STORAGE_ERROR"),
        (9, "UNKNOWN_TOPIC_OR_PARTITION"),
    ]
    assert [answer.error_message for answer in answers] == [None, None, None]


@pytest.mark.parametrize(
    ("topic", "code"),
    [("none", ErrorCode.UNKNOWN_TOPIC_OR_PARTITION), ("no name", ErrorCode.INVALID_TOPIC_EXCEPTION)],
)
async def test_a_topic_that_does_not_exist_comes_with_words(
    subject: Subject, topic: str, code: ErrorCode
) -> None:
    for answer in await describe(subject, topic, 0, 1):
        assert answer.error_code == code
        assert answer.error_message
