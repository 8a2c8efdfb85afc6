"""``kbroker consume``: records of topics, from a position on; up to another, so many, or for ever."""

from __future__ import annotations

import math
from collections.abc import Mapping

from kbroker.prompt.positions import Start, extents, parse_position, resolve
from kbroker.prompt.printing import Printer
from kbroker.prompt.reading import ReadingCluster, isolation_level, reading_between, reading_settings
from kbroker.prompt.session import Session
from kbroker.prompt.topic_names import TopicNames, partitions_of
from kbroker.tools.cluster import Partition
from kbroker.tools.consuming import Consumer, ConsumerSettings, consuming
from kbroker.tools.fetching import EARLIEST, LATEST, FetchSettings
from kbroker.tools.group_membership import GroupSettings, Subscription


async def consume(session: Session) -> None:
    """The whole command. Without --until and --count only an interrupt ends it, which is no failure then."""
    options = session.options
    for text in (options.start, options.until):
        if text is not None:
            parse_position(text)  # before anything is connected
    consumption = Consumption(session)
    endless = options.until is None and options.count is None
    await consumption.printer.until_ended(consumption.run, endless=endless)


class Consumption:
    """One run. Methods raise ApiError, ProtocolError, CommandError, BrokenPipeError."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._options = session.options
        self._isolation = isolation_level(session.options.isolation)
        self.printer = Printer(session, count_max=session.options.count or math.inf)

    async def run(self) -> None:
        """Connect, and print what is asked for."""
        async with self._session.connected(ReadingCluster) as cluster:
            assert isinstance(cluster, ReadingCluster)
            if self._options.group:
                await self._as_member(cluster)
            else:
                await self._on_its_own(cluster)

    async def _on_its_own(self, cluster: ReadingCluster) -> None:
        options, isolation = self._options, self._isolation
        topics = await TopicNames(options.topics).required(cluster)
        partitions = partitions_of(topics, options.partition)
        within = await extents(cluster, partitions, isolation_level=isolation)
        start = parse_position(options.start) if options.start else Start()
        starts = await resolve(cluster, start, within, isolation_level=isolation)
        if options.until is None:
            settings = reading_settings(isolation, self._session.timeout_s)
            async with consuming(cluster, settings, offsets=starts) as consumer:
                await self._print_all(consumer)
        else:
            until = parse_position(options.until)
            ends = await resolve(cluster, until, within, isolation_level=isolation, may_wait=True)
            await self._between(cluster, starts, ends)

    async def _between(
        self, cluster: ReadingCluster, starts: Mapping[Partition, int], ends: Mapping[Partition, int]
    ) -> None:
        self.printer.expected = sum(max(0, ends[partition] - start) for partition, start in starts.items())
        settings = reading_settings(self._isolation, self._session.timeout_s)
        async with reading_between(cluster, starts, ends, settings) as batches:
            async for partition, records in batches:
                await self.printer.print(partition, records)
                if self.printer.is_done:
                    return

    async def _as_member(self, cluster: ReadingCluster) -> None:
        options = self._options
        names = TopicNames(options.topics)
        await names.required(cluster)
        pattern = names.regular_expression() if names.patterns else None
        settings = ConsumerSettings(
            fetch=FetchSettings(
                isolation_level=self._isolation, reset_to=LATEST if options.start == "latest" else EARLIEST
            ),
            group=GroupSettings(group_id=options.group),
        )
        subscription = Subscription(() if pattern else names.names, pattern)
        async with consuming(cluster, settings, subscription=subscription) as consumer:
            await self._print_all(consumer)

    async def _print_all(self, consumer: Consumer) -> None:
        while not self.printer.is_done:
            batch = await consumer.next()
            if batch is not None:
                consumer.consumed(batch, await self.printer.print(batch.partition, batch.records))
