"""``Cluster.at_leaders``: many partitions, each with an answer or an error of its own."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import pytest

from kbroker.tools import alone
from kbroker.tools.alone import Alone
from kbroker.tools.cluster import Cluster, NotReachable, Partition
from kbroker.world import ConnectionLost
from wire.errors import ApiError, ErrorCode
from wire.messages.metadata import MetadataResponse

TOPIC = MetadataResponse.MetadataResponseTopic
Answer = int | ErrorCode | Exception | None


class Brokers(Cluster):
    """Topic ``t``, whose leaders are given (-1: none; one list for each Metadata, the last one stays)."""

    def __init__(self, *leaders: list[int]) -> None:
        super().__init__(Alone(), "h:1", {"default.api.timeout.ms": "400"})
        self._leaders = list(leaders)

    async def metadata(self, topics: Collection[str] | None = None, **_: object) -> MetadataResponse:
        leaders = self._leaders.pop(0) if len(self._leaders) > 1 else self._leaders[0]
        broker = MetadataResponse.MetadataResponseBroker
        self.brokers = {node_id: broker(node_id=node_id, host="h", port=node_id) for node_id in (1, 2, 3)}
        partitions = [
            TOPIC.MetadataResponsePartition(partition_index=index, leader_id=leader)
            for index, leader in enumerate(leaders)
        ]
        known = {"t": TOPIC(name="t", partitions=partitions)}
        unknown = ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
        return MetadataResponse(
            topics=[known.get(name) or TOPIC(name=name, error_code=unknown) for name in topics or ()]
        )


def outcome(
    cluster: Cluster, partitions: list[Partition], *rounds: Mapping[int, Answer]
) -> tuple[dict[Partition, object], list[tuple[int, list[int]]]]:
    """What comes out (codes for errors), and who was asked for which partitions of ``t``.

    ``rounds``: the answers by partition, of one asking after another; an exception is raised, None leaves it out.
    """
    asked: list[tuple[int, list[int]]] = []
    left = {index: [answers[index] for answers in rounds if index in answers] for _, index in partitions}

    async def ask(leader: int, its: Collection[Partition]) -> Mapping[Partition, int | ErrorCode]:
        asked.append((leader, [index for _, index in its]))
        said: dict[Partition, int | ErrorCode] = {}
        for partition in its:
            answer = left[partition[1]].pop(0)
            if isinstance(answer, Exception):
                raise answer
            if answer is not None:
                said[partition] = answer
        return said

    async def main() -> dict[Partition, object]:
        results = await cluster.at_leaders(partitions, ask)
        return {
            partition: result.code if isinstance(result, ApiError) else result
            for partition, result in results.items()
        }

    return alone.run(main), asked


def of_t(*indexes: int) -> list[Partition]:
    return [("t", index) for index in indexes]


def test_every_leader_is_asked_once_for_all_that_it_leads() -> None:
    results, asked = outcome(Brokers([1, 2, 1]), of_t(0, 1, 2), {0: 10, 1: 11, 2: 12})
    assert results == {("t", 0): 10, ("t", 1): 11, ("t", 2): 12}
    assert asked == [(1, [0, 2]), (2, [1])]


def test_nobody_is_asked_for_nothing() -> None:
    cluster = Brokers()  # which cannot answer Metadata either
    assert outcome(cluster, []) == ({}, [])


def test_an_error_for_good_is_one_partitions_alone() -> None:
    results, asked = outcome(Brokers([1, 1]), of_t(0, 1), {0: ErrorCode.TOPIC_AUTHORIZATION_FAILED, 1: 11})
    assert results == {("t", 0): ErrorCode.TOPIC_AUTHORIZATION_FAILED, ("t", 1): 11}
    assert asked == [(1, [0, 1])]


def test_what_may_pass_is_asked_again_where_the_leader_is_then() -> None:
    cluster = Brokers([1, 1, -1], [2, 1, 1])
    results, asked = outcome(
        cluster, of_t(0, 1, 2), {0: ErrorCode.NOT_LEADER_OR_FOLLOWER, 1: 11}, {0: 10, 2: 12}
    )
    assert results == {("t", 0): 10, ("t", 1): 11, ("t", 2): 12}
    assert asked == [(1, [0, 1]), (2, [0]), (1, [2])]


def test_a_lost_connection_costs_the_other_leaders_nothing() -> None:
    results, asked = outcome(Brokers([1, 2]), of_t(0, 1), {0: ConnectionLost("reset"), 1: 11}, {0: 10})
    assert results == {("t", 0): 10, ("t", 1): 11}
    assert asked == [(1, [0]), (2, [1]), (1, [0])]


def test_leaders_that_hang_leave_the_others_their_time() -> None:
    asked: list[int] = []
    cluster = Brokers([1, 2, 3, 3])

    async def ask(leader: int, its: Collection[Partition]) -> Mapping[Partition, int | ErrorCode]:
        asked.append(leader)
        if leader != 3:
            await cluster.waiting.sleep(30)
        again = ErrorCode.NOT_LEADER_OR_FOLLOWER if asked.count(3) == 1 else 13
        return {partition: 12 if partition[1] == 2 else again for partition in its}

    async def main() -> None:
        results = await cluster.at_leaders(of_t(0, 1, 2, 3), ask)
        assert [str(results["t", index]) for index in (0, 1)] == [
            "REQUEST_TIMED_OUT: Timed out waiting for a node assignment. Call: listOffsets"
        ] * 2
        assert (results["t", 2], results["t", 3]) == (12, 13)

    cluster.call = "listOffsets"
    alone.run(main)
    assert asked[:4] == [1, 2, 3, 3]  # in the second round those that were silent come last


def test_a_leaders_refusal_is_that_of_all_its_partitions() -> None:
    refused = ApiError(ErrorCode.UNSUPPORTED_VERSION, "too old")
    results, asked = outcome(Brokers([1, 2, 1]), of_t(0, 1, 2), {0: refused, 1: 11})
    unsupported = ErrorCode.UNSUPPORTED_VERSION
    assert results == {("t", 0): unsupported, ("t", 1): 11, ("t", 2): unsupported}
    assert asked == [(1, [0, 2]), (2, [1])]


def test_who_has_no_leader_to_the_end_is_told_so() -> None:
    partitions = [("t", 0), ("t", 1), ("t", 5), ("missing", 0)]
    results, asked = outcome(Brokers([-1, 2]), partitions, {1: 11})
    assert results == {
        ("t", 0): ErrorCode.LEADER_NOT_AVAILABLE,
        ("t", 1): 11,
        ("t", 5): ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
        ("missing", 0): ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
    }
    assert asked == [(2, [1])]


def test_what_a_leader_leaves_out_is_its_mistake() -> None:
    results, _ = outcome(Brokers([1, 1]), of_t(0, 1), {0: None, 1: 11})
    assert results == {("t", 0): ErrorCode.UNKNOWN_SERVER_ERROR, ("t", 1): 11}


def test_where_nobody_answers_each_partition_is_told() -> None:
    class Silent(Brokers):
        async def metadata(self, topics: Collection[str] | None = None, **_: object) -> MetadataResponse:
            await self.waiting.sleep(30)
            pytest.fail("it was not ended")

    async def main() -> None:
        async def ask(leader: int, its: Collection[Partition]) -> Mapping[Partition, int | ErrorCode]:
            pytest.fail("there is nobody to ask")

        results = await Silent([]).at_leaders(of_t(0, 1), ask)
        assert [type(result) for result in results.values()] == [NotReachable, NotReachable]

    alone.run(main)
