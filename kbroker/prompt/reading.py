"""Reading what lies between two offsets of each partition, and noticing its end.

A partition's last offsets may hold nothing that a consumer sees: markers of transactions, aborted records, what
compaction took away. That its end is reached shows in what is fetched next, so that is noted on the way.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, Self, TypeVar

from kbroker.tools.cluster import Cluster, Partition
from kbroker.tools.consuming import Consumer, ConsumerSettings, consuming
from kbroker.tools.fetching import EARLIEST, READ_COMMITTED, READ_UNCOMMITTED, FetchSettings
from wire.messages.fetch import FetchRequest
from wire.record import Record
from wire.schema import Message, Request

ResponseT = TypeVar("ResponseT", bound=Message)

_LOOK_EVERY_S: Final = 0.05


class ReadingCluster(Cluster):
    """A cluster that notes how far its partitions were fetched: a fetch asks for what comes behind that."""

    fetched_up_to: dict[Partition, int]

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.fetched_up_to = {}

    async def once_all(
        self, node_id: int, requests: Sequence[Request], response_class: type[ResponseT], **options: Any
    ) -> list[ResponseT]:
        """As ``Cluster.once_all``, which every request to one broker goes through."""
        for request in requests:
            if isinstance(request, FetchRequest):
                for topic in request.topics:
                    for partition in topic.partitions:
                        self.fetched_up_to[topic.topic, partition.partition] = partition.fetch_offset
        return await super().once_all(node_id, requests, response_class, **options)


def isolation_level(name: str) -> int:
    """Of ``committed`` and ``uncommitted``."""
    return READ_COMMITTED if name == "committed" else READ_UNCOMMITTED


def reading_settings(
    isolation: int, timeout_s: float, *, reset_to: int | None = EARLIEST
) -> ConsumerSettings:
    """A consumer without a group."""
    fetch = FetchSettings(
        isolation_level=isolation, reset_to=reset_to, request_timeout_ms=round(timeout_s * 1000)
    )
    return ConsumerSettings(fetch=fetch, group=None)


class Between:
    """The records up to where each partition is to be read, in the order of its offsets: ``async for``.

    ApiError, ProtocolError.
    """

    def __init__(
        self, consumer: Consumer | None, cluster: ReadingCluster, ends: Mapping[Partition, int]
    ) -> None:
        self._consumer = consumer
        self._cluster = cluster
        self._ends = dict(ends)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> tuple[Partition, list[Record]]:
        while self._consumer is not None and self._ends:
            # First who is done, then whether anything is left: what the last fetch but one brought is waiting by then.
            fetched = self._cluster.fetched_up_to
            done = [partition for partition, end in self._ends.items() if fetched.get(partition, -1) >= end]
            batch = await self._consumer.next(0 if len(done) == len(self._ends) else _LOOK_EVERY_S)
            if batch is None:
                for partition in done:
                    del self._ends[partition]
            elif (end := self._ends.get(batch.partition)) is not None:
                if batch.next_offset >= end:
                    del self._ends[batch.partition]
                if records := [record for record in batch.records if record.offset < end]:
                    return batch.partition, records
        raise StopAsyncIteration


@asynccontextmanager
async def reading_between(
    cluster: ReadingCluster,
    starts: Mapping[Partition, int],
    ends: Mapping[Partition, int],
    settings: ConsumerSettings,
) -> AsyncIterator[Between]:
    """Reads what lies from ``starts`` on and before ``ends``, for the length of a block."""
    unread = {partition: start for partition, start in starts.items() if start < ends[partition]}
    if not unread:
        yield Between(None, cluster, {})
        return
    for partition in unread:
        cluster.fetched_up_to.pop(partition, None)
    async with consuming(cluster, settings, offsets=unread) as consumer:
        yield Between(consumer, cluster, {partition: ends[partition] for partition in unread})
