"""kbroker with a fault planted: ``python -m tests.kill.transactions.faulty_broker FAULT serve ...``.

The kill test has to find each of them; a checker that never found anything would prove nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import trio

from kbroker.cli.command import main
from kbroker.coordination.group.service import GroupCoordinator
from kbroker.coordination.transaction.service import TransactionCoordinator
from kbroker.handlers.fetch import FetchHandlers
from kbroker.handlers.transaction_markers import TransactionMarkerHandlers
from wire.messages.transactions import WriteTxnMarkersRequest, WriteTxnMarkersResponse

# Longer than a transaction of the workers takes, so that the copy meets a later one.
_DELAY_S = 0.05


def abort_markers_are_lost() -> None:
    """The coordinator is told that they were written."""
    write = TransactionMarkerHandlers.write_markers

    async def faulty(
        self: TransactionMarkerHandlers, node_id: int, request: WriteTxnMarkersRequest
    ) -> WriteTxnMarkersResponse:
        response = WriteTxnMarkersResponse()
        for marker in request.markers:
            one = WriteTxnMarkersRequest(markers=[marker])
            if marker.transaction_result:
                response.markers += (await write(self, node_id, one)).markers
            else:
                response.markers.append(_as_if_written(marker))
        return response

    TransactionMarkerHandlers.write_markers = faulty  # type: ignore[method-assign]


def _as_if_written(
    marker: WriteTxnMarkersRequest.WritableTxnMarker,
) -> WriteTxnMarkersResponse.WritableTxnMarkerResult:
    result = WriteTxnMarkersResponse.WritableTxnMarkerResult
    topic_result = result.WritableTxnMarkerTopicResult
    partition_result = topic_result.WritableTxnMarkerPartitionResult
    return result(
        producer_id=marker.producer_id,
        topics=[
            topic_result(
                name=topic.name,
                partitions=[partition_result(partition_index=index) for index in topic.partition_indexes],
            )
            for topic in marker.topics
        ],
    )


def aborts_commit() -> None:
    """Every marker says commit."""
    write = TransactionMarkerHandlers.write_markers

    async def faulty(
        self: TransactionMarkerHandlers, node_id: int, request: WriteTxnMarkersRequest
    ) -> WriteTxnMarkersResponse:
        for marker in request.markers:
            marker.transaction_result = True
        return await write(self, node_id, request)

    TransactionMarkerHandlers.write_markers = faulty  # type: ignore[method-assign]


def offsets_are_committed_anyway() -> None:
    """The group forgets that a transaction was aborted."""
    complete = GroupCoordinator.complete_transaction

    async def faulty(self: GroupCoordinator, *arguments: Any, committed: bool, **others: Any) -> None:
        await complete(self, *arguments, committed=True, **others)

    GroupCoordinator.complete_transaction = faulty  # type: ignore[method-assign]


def end_arrives_again_later() -> None:
    """A copy of each EndTxn is carried out once more, a little later, whatever transaction is open by then.

    In the classic protocol nothing tells it from a genuine one, which is why KIP-890 gave each transaction an epoch.
    """
    end = TransactionCoordinator.end_transaction

    async def faulty(self: TransactionCoordinator, *arguments: Any) -> Any:
        async def again() -> None:
            await trio.sleep(_DELAY_S)
            await end(self, *arguments)

        nursery = self._nursery
        assert nursery is not None
        nursery.start_soon(again)
        return await end(self, *arguments)

    TransactionCoordinator.end_transaction = faulty  # type: ignore[method-assign]


def isolation_is_ignored() -> None:
    """Everybody reads uncommitted."""
    fetch = FetchHandlers.fetch

    async def faulty(self: FetchHandlers, request: Any, context: Any) -> Any:
        request.isolation_level = 0
        return await fetch(self, request, context)

    faulty.__dict__.update(fetch.__dict__)
    FetchHandlers.fetch = faulty  # type: ignore[method-assign, assignment]


FAULTS: dict[str, Callable[[], None]] = {
    fault.__name__.replace("_", "-"): fault
    for fault in (
        abort_markers_are_lost,
        aborts_commit,
        offsets_are_committed_anyway,
        end_arrives_again_later,
        isolation_is_ignored,
    )
}


if __name__ == "__main__":
    FAULTS[sys.argv.pop(1)]()
    main()
