"""Where replicas are put: what must hold for every cluster, and how evenly they spread."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kbroker.metadata.image import BrokerRegistration
from kbroker.metadata.placement import place_replicas
from tests.kbroker.metadata.cluster import broker
from wire.errors import ApiError, ErrorCode

# A busy machine is no reason to fail.
quickly = settings(deadline=None, max_examples=60)

RACKS = [None, "a", "b", "c"]


@st.composite
def clusters(draw: st.DrawFn) -> list[BrokerRegistration]:
    return [
        broker(
            node_id,
            rack=draw(st.sampled_from(RACKS)),
            fenced=draw(st.booleans()),
            in_controlled_shutdown=draw(st.integers(0, 9)) == 0,
        )
        for node_id in draw(st.sets(st.integers(0, 20), max_size=9))
    ]


@quickly
@given(clusters(), st.integers(1, 30), st.integers(1, 5), st.integers())
def test_placement_keeps_its_promises(
    brokers: list[BrokerRegistration], partition_count: int, replication_factor: int, seed: int
) -> None:
    usable = {b.node_id: b for b in brokers if not b.in_controlled_shutdown}
    unfenced = {node_id for node_id, b in usable.items() if not b.fenced}
    if not unfenced or replication_factor > len(usable):
        with pytest.raises(ApiError) as raised:
            place_replicas(brokers, partition_count, replication_factor, Random(seed))
        assert raised.value.code == ErrorCode.INVALID_REPLICATION_FACTOR
        return
    placed = place_replicas(brokers, partition_count, replication_factor, Random(seed))
    assert len(placed) == partition_count
    for replicas in placed:
        assert len(replicas) == len(set(replicas)) == replication_factor
        assert set(replicas) <= set(usable)
        assert replicas[0] in unfenced
        for node_id in replicas[1:]:
            rack = usable[node_id].rack
            if usable[node_id].fenced:  # only when its rack has no other broker left
                assert all(other in replicas for other in unfenced if usable[other].rack == rack)


@pytest.mark.parametrize("replication_factor", [0, -2])
def test_replication_factor_must_be_positive(replication_factor: int) -> None:
    with pytest.raises(ApiError) as raised:
        place_replicas([broker(1)], 1, replication_factor, Random(0))
    assert raised.value.code == ErrorCode.INVALID_REPLICATION_FACTOR


def test_one_broker_gets_everything() -> None:
    assert place_replicas([broker(7)], 3, 1, Random(0)) == [(7,), (7,), (7,)]


@quickly
@given(st.integers(), st.integers(1, 3))
def test_leaders_and_replicas_spread_evenly_over_brokers(seed: int, replication_factor: int) -> None:
    placed = place_replicas([broker(n) for n in range(3)], 300, replication_factor, Random(seed))
    leaders = Counter(replicas[0] for replicas in placed)
    assert leaders == {0: 100, 1: 100, 2: 100}
    everywhere = Counter(node_id for replicas in placed for node_id in replicas)
    assert set(everywhere.values()) == {100 * replication_factor}


@quickly
@given(st.integers())
def test_each_partition_spreads_over_racks(seed: int) -> None:
    racks = {n: "abc"[n % 3] for n in range(9)}
    placed = place_replicas([broker(n, rack=racks[n]) for n in racks], 90, 3, Random(seed))
    assert all({racks[node_id] for node_id in replicas} == {"a", "b", "c"} for replicas in placed)
    assert {node_id for replicas in placed for node_id in replicas} == set(racks)


@quickly
@given(st.integers())
def test_single_replicas_use_every_broker_of_every_rack(seed: int) -> None:
    racks = {n: "abc"[n % 3] for n in range(9)}
    placed = place_replicas([broker(n, rack=racks[n]) for n in racks], 9, 1, Random(seed))
    assert sorted(placed) == [(n,) for n in range(9)]


def test_two_small_topics_need_not_begin_at_the_same_broker() -> None:
    brokers = [broker(n) for n in range(5)]
    firsts = {place_replicas(brokers, 1, 1, Random(seed))[0] for seed in range(50)}
    assert firsts == {(n,) for n in range(5)}
