"""How decisions are put into transactions, and what is said of those that lost a race."""

from __future__ import annotations

import logging

import pytest

from kbroker.metadata.decision_writer import DecisionWriter, Write, batches_of
from kbroker.metadata.store import (
    TRANSACTION_OPERATIONS_MAX,
    Compare,
    Put,
    StoreUnavailableError,
)
from tests.kbroker.metadata.cluster import Cluster, InterferingStore, running_cluster

SHARED = Compare("shared", 0)


def write(number: int) -> Write:
    key = f"k{number:03}"
    return Write(number, (Compare(key, 0), SHARED), (Put(key, b"v"),), note=f"wrote {number}")


def writer_of(cluster: Cluster) -> tuple[InterferingStore, DecisionWriter]:
    store = InterferingStore(cluster.store)
    return store, DecisionWriter(store, cluster.metadata)


def test_batches_are_as_large_as_a_transaction_may_be() -> None:
    batches = batches_of([write(number) for number in range(300)])
    # One comparison is of what all rest on, and made once.
    assert [len(batch) for batch in batches] == [TRANSACTION_OPERATIONS_MAX - 1] * 2 + [46]
    assert batches_of([]) == []


async def test_what_was_written_is_told_with_its_revision_and_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with running_cluster() as cluster:
        store, writer = writer_of(cluster)
        with caplog.at_level(logging.INFO):
            written = await writer.write_now([write(number) for number in range(200)])
        assert (written.lost, written.unknown) == ([], [])
        assert sorted(written.revisions) == list(range(200))
        found = await cluster.store.get("k150")
        assert found is not None
        assert found.mod_revision == written.revisions[150]
        assert store.transactions == 2
        assert [message for message in caplog.messages if message.startswith("wrote")] == [
            f"wrote {number}" for number in range(200)
        ]


async def test_one_that_lost_its_race_takes_few_others_along(caplog: pytest.LogCaptureFixture) -> None:
    async with running_cluster() as cluster:
        store, writer = writer_of(cluster)
        store.before = [Put("k017", b"other")]
        with caplog.at_level(logging.INFO):
            written = await writer.write_now([write(number) for number in range(80)])
        lost = {lost.subject for lost in written.lost}
        assert 17 in lost
        assert len(lost) == 10
        assert len(written.revisions) == 70
        assert "wrote 17" not in caplog.messages


async def test_what_all_rest_on_costs_few_transactions() -> None:
    async with running_cluster() as cluster:
        store, writer = writer_of(cluster)
        store.before = [Put("shared", b"other")]
        written = await writer.write_now([write(number) for number in range(120)])
        assert len(written.lost) == 120
        assert store.transactions == 9


async def test_store_out_of_reach_leaves_all_that_follows_open() -> None:
    async with running_cluster() as cluster:
        store, writer = writer_of(cluster)
        store.before = [Put("any", b"v"), StoreUnavailableError("gone")]
        written = await writer.write_now([write(number) for number in range(300)])
        assert len(written.revisions) == 127
        assert len(written.unknown) == 173
        assert store.transactions == 2
