"""ElectLeaders: what is told of an election that failed as a whole, by version."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from kbroker.handlers.elections import ElectionHandlers
from tests.kbroker.handlers.requests import send
from wire.errors import ApiError, ErrorCode
from wire.messages.reassignments import ElectLeadersRequest


class NoController:
    async def elect_leaders(
        self, election_type: int, partitions: Sequence[tuple[str, int]] | None
    ) -> Mapping[tuple[str, int], ApiError | None]:
        raise ApiError(ErrorCode.NOT_CONTROLLER)


@pytest.mark.parametrize(
    ("version", "top_level"),
    [(0, ErrorCode.NONE), (1, ErrorCode.NOT_CONTROLLER), (2, ErrorCode.NOT_CONTROLLER)],
)
async def test_a_failure_of_all_is_told_of_each_partition(version: int, top_level: ErrorCode) -> None:
    request = ElectLeadersRequest(
        topic_partitions=[ElectLeadersRequest.TopicPartitions(topic="t", partitions=[0, 1])],
        timeout_ms=1_000,
    )
    response = await send(ElectionHandlers(controller=NoController()).elect_leaders, request, version)
    assert response.error_code == top_level
    (topic,) = response.replica_election_results
    assert [(one.partition_id, one.error_code) for one in topic.partition_result] == [
        (0, ErrorCode.NOT_CONTROLLER),
        (1, ErrorCode.NOT_CONTROLLER),
    ]
