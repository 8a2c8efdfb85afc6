"""``kbroker tail``: the last records of topics in order of time, then new ones as they come.

Topics that match, and partitions, may come while it runs: what is in them is new, and shown from its start.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Final
from uuid import UUID

import trio

from kbroker.prompt.positions import Extent, extents
from kbroker.prompt.printing import Printer
from kbroker.prompt.reading import ReadingCluster, isolation_level, reading_between, reading_settings
from kbroker.prompt.record_text import PRETTY
from kbroker.prompt.session import Session
from kbroker.prompt.topic_names import TopicMetadata, TopicNames
from kbroker.tools.cluster import Cluster, Partition
from kbroker.tools.consuming import Consumer, consuming
from kbroker.tools.fetching import LATEST
from kbroker.tools.partition_offsets import EARLIEST, list_offsets
from wire.errors import ApiError
from wire.record import Record

_LOOK_EVERY_S: Final = 1.0
_LOOK_MAX_S: Final = 2.0
_WIDER: Final = 4
"""So many times more is read of partitions whose last offsets held too few records."""

Placed = tuple[Partition, Record]
Offsets = dict[Partition, int]


async def tail(session: Session) -> None:
    """The whole command. While it follows only an interrupt ends it, which is no failure then."""
    tailing = Tail(session)
    await tailing.printer.until_ended(tailing.run, endless=not session.options.no_follow)


class Tail:
    """One run. Methods raise ApiError, ProtocolError, CommandError, BrokenPipeError."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._options = session.options
        self._isolation = isolation_level(session.options.isolation)
        self._names = TopicNames(session.options.topics)
        self._topic_ids: dict[str, UUID] = {}
        self.printer = Printer(session, piped=PRETTY)

    async def run(self) -> None:
        """Connect, and print what was and what comes."""
        async with self._session.connected(ReadingCluster) as cluster:
            assert isinstance(cluster, ReadingCluster)
            topics = await self._first(cluster)
            self._topic_ids = {name: topic.topic_id for name, topic in topics.items()}
            within = await extents(cluster, self._led(topics), isolation_level=self._isolation)
            for partition, record in await self._last(cluster, within):
                await self.printer.print(partition, [record])
            if not self._options.no_follow:
                ends = {partition: extent.latest for partition, extent in within.items()}
                await self._follow(cluster, ends)

    async def _first(self, cluster: Cluster) -> Mapping[str, TopicMetadata]:
        """Names must be there; what patterns mean may come yet, if this goes on long enough to see it."""
        if self._names.names or self._options.no_follow:
            return await self._names.required(cluster)
        found = await self._names.there(cluster)
        if not found:
            self._session.terminal.note(f"nothing matches {', '.join(self._names.patterns)} yet")
        return found

    def _led(self, topics: Mapping[str, TopicMetadata]) -> list[Partition]:
        """The partitions that are asked for and have a leader."""
        chosen = self._options.partition
        return [
            (name, partition.partition_index)
            for name, topic in topics.items()
            for partition in topic.partitions
            if partition.leader_id >= 0 and (chosen is None or partition.partition_index in chosen)
        ]

    # What was

    async def _last(self, cluster: ReadingCluster, within: Mapping[Partition, Extent]) -> list[Placed]:
        """The last records of each partition or of all together, in order of time.

        Of each partition as many offsets are read as records are wanted, and more where those held too few.
        """
        count = back = self._options.count
        settings = reading_settings(self._isolation, self._session.timeout_s)
        found: dict[Partition, deque[Record]] = {}
        lacking = list(within) if count else []
        while lacking:
            starts = {one: within[one].clamp(within[one].latest - back) for one in lacking}
            ends = {one: within[one].latest for one in lacking}
            found |= {one: deque(maxlen=count) for one in lacking}
            async with reading_between(cluster, starts, ends, settings) as batches:
                async for partition, records in batches:
                    found[partition].extend(records)
            lacking = [
                one for one in lacking if len(found[one]) < count and starts[one] > within[one].earliest
            ]
            back *= _WIDER
        merged = [(partition, record) for partition, records in found.items() for record in records]
        merged.sort(key=lambda placed: (placed[1].timestamp, placed[0], placed[1].offset))
        return merged if self._options.each else merged[-count:]

    # What comes

    async def _follow(self, cluster: ReadingCluster, positions: Offsets) -> None:
        settings = reading_settings(self._isolation, self._session.timeout_s, reset_to=LATEST)
        looking = cluster.another()  # fetches keep the other connections busy
        try:
            async with consuming(cluster, settings, offsets=positions) as consumer:
                look_at = trio.current_time() + _LOOK_EVERY_S
                while True:
                    batch = await consumer.next(max(0.0, look_at - trio.current_time()))
                    if batch is not None:
                        await self.printer.print(batch.partition, batch.records)
                        if batch.partition in positions:
                            positions[batch.partition] = batch.next_offset
                    if trio.current_time() >= look_at:
                        positions = await self._look(looking, consumer, positions)
                        look_at = trio.current_time() + _LOOK_EVERY_S
        finally:
            looking.close()

    async def _look(self, cluster: Cluster, consumer: Consumer, positions: Offsets) -> Offsets:
        """See which partitions there are now, and have the consumer read those."""
        topics: Mapping[str, TopicMetadata] | None = None
        with trio.move_on_after(_LOOK_MAX_S):  # who does not answer is the consumer's to complain about
            try:
                topics = await self._names.there(cluster)
                anew = [name for name, topic in topics.items() if self._topic_ids.get(name) != topic.topic_id]
                now = {
                    partition: offset
                    for partition, offset in positions.items()
                    if partition[0] in topics and partition[0] not in anew
                }
                added = [partition for partition in self._led(topics) if partition not in now]
                now |= await list_offsets(cluster, added, EARLIEST)
            except ApiError as error:
                if not error.code.retriable:
                    raise
                topics = None
        if topics is None:
            return positions
        if anew or now.keys() != positions.keys():
            self._tell(topics, anew)
            self._topic_ids = {name: topic.topic_id for name, topic in topics.items()}
            await consumer.assign(now)
        return now

    def _tell(self, topics: Mapping[str, TopicMetadata], anew: list[str]) -> None:
        note = self._session.terminal.note
        for name in anew:
            note(f"{name} is new")
        for name in sorted(self._topic_ids.keys() - topics.keys()):
            note(f"{name} was deleted")
