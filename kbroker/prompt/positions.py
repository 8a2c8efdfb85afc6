"""Positions in topics as people say them: ``earliest``, ``end``, ``1041``, ``-10m``, ``2026-11-28T10:30``, ``-100``.

One notation for where to start reading, where to stop, and where to set a group.
"""

from __future__ import annotations

import re
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

from kbroker.prompt.quantities import parse_duration_ms, parse_moment_ms
from kbroker.tools.cluster import Cluster, Partition
from kbroker.tools.partition_offsets import EARLIEST, LATEST, UNKNOWN_OFFSET, list_offsets

NOTATION: Final = (
    "earliest, latest, an offset (1041), so many records before the end (-100), so long ago (-10m, -2h30m, -7d), "
    "or a time (2026-11-28T10:30, @1700000000)"
)
_START_WORDS: Final = ("earliest", "beginning", "start")
_END_WORDS: Final = ("latest", "end")


@dataclass(frozen=True, slots=True)
class Start:
    """The first record that is there."""


@dataclass(frozen=True, slots=True)
class End:
    """Behind the last record that is there now, or ``back`` offsets before that."""

    back: int = 0


@dataclass(frozen=True, slots=True)
class Offset:
    """An offset."""

    offset: int


@dataclass(frozen=True, slots=True)
class Moment:
    """The first record whose timestamp is not before this, in ms since the epoch."""

    timestamp_ms: int


Position = Start | End | Offset | Moment


def parse_position(text: str) -> Position:
    """What the text says; ValueError if it says nothing."""
    word = text.strip().lower()
    if word in _START_WORDS:
        return Start()
    if word in _END_WORDS:
        return End()
    if re.fullmatch("[0-9]+", word):
        return Offset(int(word))
    if re.fullmatch("-[0-9]+", word):
        return End(-int(word))
    try:
        if word.startswith("-"):
            return Moment(time.time_ns() // 1_000_000 - parse_duration_ms(word[1:]))
        return Moment(parse_moment_ms(text.strip()))
    except ValueError:
        raise ValueError(f"{text!r} is no position; say {NOTATION}") from None


@dataclass(frozen=True, slots=True)
class Extent:
    """Where a partition begins, and where it ends now."""

    earliest: int
    latest: int

    def clamp(self, offset: int) -> int:
        """The nearest offset that is inside."""
        return max(self.earliest, min(self.latest, offset))


async def extents(
    cluster: Cluster, partitions: Collection[Partition], *, isolation_level: int = 0
) -> dict[Partition, Extent]:
    """The extents of partitions that have leaders. ApiError."""
    earliest = await list_offsets(cluster, partitions, EARLIEST)
    latest = await list_offsets(cluster, partitions, LATEST, isolation_level=isolation_level)
    return {partition: Extent(earliest[partition], latest[partition]) for partition in partitions}


async def resolve(
    cluster: Cluster,
    position: Position,
    within: Mapping[Partition, Extent],
    *,
    isolation_level: int = 0,
    may_wait: bool = False,
) -> dict[Partition, int]:
    """The position as an offset of each partition, none outside of its extent. ApiError.

    ``may_wait``: an offset behind the end is left there, for somebody who waits for it.
    """
    match position:
        case Start():
            return {partition: extent.earliest for partition, extent in within.items()}
        case End(back):
            return {partition: extent.clamp(extent.latest - back) for partition, extent in within.items()}
        case Offset(offset) if may_wait:
            return {partition: max(extent.earliest, offset) for partition, extent in within.items()}
        case Offset(offset):
            return {partition: extent.clamp(offset) for partition, extent in within.items()}
        case Moment(timestamp_ms):
            found = await list_offsets(cluster, list(within), timestamp_ms, isolation_level=isolation_level)
            return {
                partition: extent.latest
                if found[partition] == UNKNOWN_OFFSET
                else extent.clamp(found[partition])
                for partition, extent in within.items()
            }
