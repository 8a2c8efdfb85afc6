"""The segments of a log in order, and reading across them (Kafka: LogSegments, LocalLog)."""

from __future__ import annotations

import logging
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from storage.errors import CorruptIndexError
from storage.file_slice import FileSlice
from storage.log_config import LogConfig
from storage.log_context import LogContext
from storage.segment import Segment
from storage.transaction_index import AbortedTransaction
from storage.transaction_rebuild import rebuild_transaction_index

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class LogRead:
    """What a read found. `records` is None when there is nothing to give; release it after use.

    The first batch contains the offset asked for, or begins behind it; the last one may be cut off by the
    byte limit. `is_cut_short` tells that not even the first fits. `aborted_transactions` is None unless
    asked for.
    """

    records: FileSlice | None
    is_cut_short: bool = False
    aborted_transactions: list[AbortedTransaction] | None = None

    @property
    def size_bytes(self) -> int:
        return 0 if self.records is None else len(self.records)


class SegmentList:
    """At least one segment, ascending; `active` is the last one and takes appends.

    Errors are those of `Segment`. `end_offset` in calls is the log end offset.
    """

    __slots__ = ("_bases", "_context", "_directory", "_segments", "active")

    def __init__(self, context: LogContext, directory: str, segments: list[Segment]) -> None:
        self._context = context
        self._directory = directory
        self._segments = segments
        self._bases = [segment.base_offset for segment in segments]
        self.active = segments[-1]

    def __len__(self) -> int:
        return len(self._segments)

    def __iter__(self) -> Iterator[Segment]:
        return iter(self._segments)

    def __getitem__(self, index: int) -> Segment:
        return self._segments[index]

    @property
    def first_base_offset(self) -> int:
        return self._bases[0]

    @property
    def size_bytes(self) -> int:
        return sum([segment.size_bytes for segment in self._segments])

    def from_offset(self, offset: int) -> list[Segment]:
        """The segment that contains `offset` and all behind it."""
        return self._segments[self._index_of(offset) :]

    def end_of(self, segment: Segment, end_offset: int) -> int:
        """The offset where the segment behind `segment` begins, or the log end."""
        index = bisect_right(self._bases, segment.base_offset)
        return self._bases[index] if index < len(self._bases) else end_offset

    def _index_of(self, offset: int) -> int:
        if offset >= self.active.base_offset:
            return len(self._segments) - 1
        return max(bisect_right(self._bases, offset) - 1, 0)

    # Changing

    def add(self, base_offset: int, config: LogConfig) -> Segment:
        """Create an empty segment at the end."""
        context = self._context
        segment = Segment.create(
            context.cache,
            self._directory,
            base_offset,
            config,
            now_ms=context.clock_ms(),
            jitter_ms=context.jitter_ms(config),
        )
        self._segments.append(segment)
        self._bases.append(base_offset)
        self.active = segment
        return segment

    def remove(self, segments: Iterable[Segment], delay_ms: int, *, durably: bool = False) -> None:
        """Take segments out of the log; their files are marked deleted now and removed `delay_ms` later.

        They are a prefix or a suffix of the list, and go from the outside in: a crash in between leaves
        no hole. With `durably`, neither does a power loss, and none of them comes back after this returns, as must
        be where others may take their place.
        """
        doomed = list(segments)
        if doomed and doomed[-1] is self.active:
            doomed.reverse()
        for segment in doomed:
            paths = segment.mark_deleted()
            if durably:
                self._context.filesystem.sync_directory(self._directory)
            index = self._segments.index(segment)
            del self._segments[index], self._bases[index]
            self._context.removals.add_files(paths, delay_ms)
        if self._segments:
            self.active = self._segments[-1]

    def replace(self, old: Sequence[Segment], new: Segment) -> None:
        """Put `new` into the place of neighbouring segments, the first of which has its base offset.

        The active segment is not among them. Whoever reads from one of the old ones keeps its file.
        """
        assert new.base_offset == old[0].base_offset, f"{new} instead of {old}"
        start = self._segments.index(old[0])
        end = start + len(old)
        assert self._segments[start:end] == list(old), f"{old} is not a part of the log"
        assert old[-1] is not self.active, "the active segment is never replaced"
        self._segments[start:end] = [new]
        self._bases[start:end] = [new.base_offset]

    def between(self, from_offset: int, to_offset: int) -> list[Segment]:
        """The segment that contains `from_offset` and those behind it that begin before `to_offset`."""
        return [segment for segment in self.from_offset(from_offset) if segment.base_offset < to_offset]

    def moved(self, directory: str) -> None:
        """The partition's directory was renamed."""
        self._directory = directory
        for segment in self._segments:
            segment.moved(directory)

    def close(self) -> None:
        for segment in self._segments:
            segment.close()

    # Reading

    def read(
        self,
        offset: int,
        max_bytes: int,
        *,
        max_offset: int,
        end_offset: int,
        min_one_message: bool,
        with_aborted_transactions: bool,
    ) -> LogRead:
        """See `Log.read`; `offset` is in the log and below `max_offset`."""
        nothing = LogRead(None, aborted_transactions=[] if with_aborted_transactions else None)
        for index in range(self._index_of(offset), len(self._segments)):
            segment = self._segments[index]
            if segment.base_offset >= max_offset:
                break
            position = segment.position_of(offset)
            if position is None:
                continue  # what was behind `offset` in this segment was compacted away
            size = self._end_position(index, max_offset, end_offset) - position
            if size <= 0:
                break
            if size > max_bytes:
                size = max_bytes
                first_size = segment.header_at(position).size_bytes
                if size < first_size:
                    if min_one_message:
                        size = first_size
                    else:
                        nothing.is_cut_short = True
                        if size <= 0:
                            break
            nothing.records = segment.slice(position, size)
            if with_aborted_transactions:
                bound = self._offset_bound(index, position + size, min(max_offset, end_offset))
                nothing.aborted_transactions = self._aborted(index, offset, bound)
            break
        return nothing

    def _end_position(self, index: int, max_offset: int, end_offset: int) -> int:
        """Where in a segment the batches at or behind `max_offset` begin."""
        segment = self._segments[index]
        next_index = index + 1
        if max_offset >= end_offset or (
            next_index < len(self._bases) and self._bases[next_index] <= max_offset
        ):
            return segment.size_bytes
        position = segment.position_of(max_offset)
        return segment.size_bytes if position is None else position

    def aborted_transactions(self, from_offset: int, to_offset: int) -> list[AbortedTransaction]:
        """The aborted transactions that overlap [from_offset, to_offset), in order of their markers."""
        return self._aborted(self._index_of(from_offset), from_offset, to_offset)

    def _aborted(self, index: int, from_offset: int, to_offset: int) -> list[AbortedTransaction]:
        found: list[AbortedTransaction] = []
        for number in range(index, len(self._segments)):
            self.check_transaction_index(number)
            result = self._segments[number].transaction_index.collect(from_offset, to_offset)
            found += result.transactions
            if result.complete:
                break
        return found

    def check_transaction_index(self, index: int) -> None:
        """Read the transaction index of a segment, if that is not done yet, and rebuild it if it makes no sense."""
        segment = self._segments[index]
        try:
            _ = segment.transaction_index.entries
        except CorruptIndexError as error:
            logger.error("%s", error)
            rebuild_transaction_index(self._context, self._directory, self._segments, index)

    def _offset_bound(self, index: int, end_position: int, max_offset: int) -> int:
        """An offset, not too far, that no batch before `end_position` of the segment reaches."""
        next_index = index + 1
        bound = min(self._bases[next_index], max_offset) if next_index < len(self._bases) else max_offset
        segment = self._segments[index]
        if end_position < segment.size_bytes:
            indexed = segment.upper_bound_offset(end_position)
            if indexed is not None:
                bound = min(bound, indexed)
        return bound
