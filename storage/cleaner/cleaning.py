"""One pass of compaction over one log, as steps of bounded work (Kafka: Cleaner).

    begin       the owner of the log picks what is dirty; the log knows that it is being cleaned
    map         the latest offset of every key of the dirty part, until the map is full
    copy        for each group of segments: what is to stay is written to `.cleaned` files, and synced
    swap        the group's files take the place of the segments:

        state       on the disk                                     a crash here        `interrupt` here
        COPYING     `.cleaned`, originals                           thrown away         nothing: the steps end
        NAMED       `.swap`, originals                              completed           the files are removed
        REPLACED    `.swap`, originals `.deleted`                   completed           completed at once
        NAMING      `.log` in place, indexes `.swap`                completed           completed at once

Each state is on the disk (the directory is synced) before the next one begins, so that a power loss cannot mix them:
the names of two states at once could stand for overlapping segments. Groups are replaced from the beginning of the
log on: a record goes before the tombstone behind it.

Whoever truncates, deletes or closes the log calls `interrupt` first and has it settled: what the log holds is then
either not touched or completely replaced, with final names.
"""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterator
from enum import Enum

from storage.cleaner.batch_filter import BatchFilter, Fate, LastRecord
from storage.cleaner.batch_reader import BatchReader
from storage.cleaner.cleaned_segment import CleanedSegment
from storage.cleaner.offset_map import OffsetMap
from storage.cleaner.segment_groups import SourceSegment, group_segments, source_of
from storage.cleaner.transactions import CleanedTransactions
from storage.errors import LogCorruptError, StorageError
from storage.file_names import LOG_SUFFIX, SEGMENT_SUFFIXES
from storage.log_state import LogState
from storage.segment import Segment
from wire.compression import compress, decompress
from wire.errors import ProtocolError
from wire.record_cuts import RecordCut, assemble_batch, check_record_count, cut_records, join_records
from wire.records import BATCH_HEADER_SIZE, BatchHeader, Compression, build_empty_batch

logger = logging.getLogger(__name__)

_RECORDS_PER_STEP = 200
_BATCH_COST = 2  # in records: header, CRC, decision
_CODEC_BYTES_IN_PLACE_MAX = 16 << 10
_INDEX_SUFFIXES = tuple(suffix for suffix in SEGMENT_SUFFIXES if suffix != LOG_SUFFIX)


class Place(Enum):
    """Where the next step is to run."""

    OWNER = "owner"
    """Short, and by whoever owns the log."""

    THREAD = "thread"
    """May wait for the disk or for a codec (neither holds the interpreter), and touches nothing that others use."""

    ANYWHERE = "anywhere"
    """Computing for about a millisecond, and touches nothing that others use."""


class CleaningInterrupted(Exception):
    """The log was truncated, deleted or closed. Nothing is wrong; what was replaced before stays."""


class _State(Enum):
    COPYING = "copying"
    NAMED = "named"
    REPLACED = "replaced"
    NAMING = "naming"


class Cleaning:
    """`for place in cleaning.steps()`: have the next step run there. Made by `Log.begin_cleaning`.

    Steps run one after another, never two at once. Once they end, `end_offset` is what the cleaner checkpoint may
    say. They raise CleaningInterrupted, LogCorruptError (the log is damaged: do not try again), and StorageError.
    """

    def __init__(
        self,
        log: LogState,
        *,
        first_dirty_offset: int,
        first_uncleanable_offset: int,
        offset_map: OffsetMap,
        buffer_bytes: int,
    ) -> None:
        """Called by the owner. The offsets are those of `LogToClean`; `buffer_bytes` is read and written at once."""
        self._log = log
        self._filesystem = log.context.filesystem
        self._first_dirty_offset = first_dirty_offset
        self._first_uncleanable_offset = first_uncleanable_offset
        self._map = offset_map
        self._buffer_bytes = buffer_bytes
        self._now_ms = log.context.clock_ms()
        self._config = log.config
        self._interrupted = False
        self._forsaken = False
        self._state = _State.COPYING
        self._output: CleanedSegment | None = None
        self._reader: BatchReader | None = None
        self._new: Segment | None = None
        self._work = 0
        self.end_offset = first_dirty_offset
        self.bytes_read = 0
        self.bytes_written = 0
        self.records_read = 0
        self.records_kept = 0
        self.size_bytes_before = 0
        self.size_bytes_after = 0
        dirty = log.segments.between(first_dirty_offset, first_uncleanable_offset)
        self._dirty = [source_of(segment) for segment in dirty]
        self._dirty_position = (dirty[0].position_of(first_dirty_offset) or 0) if dirty else 0
        self._aborted = log.segments.aborted_transactions(
            log.segments.first_base_offset, first_uncleanable_offset
        )
        self._filter = BatchFilter(
            offset_map,
            CleanedTransactions(self._aborted),
            now_ms=self._now_ms,
            delete_retention_ms=log.config.delete_retention_ms,
        )

    # Driving

    def steps(self) -> Generator[Place]:
        """The steps. To be read to the end or closed; closed early, what was not replaced yet stays as it is."""
        steps = self._steps()
        next(steps)  # closing a generator that has not begun would not end anything
        return steps

    def _steps(self) -> Generator[Place]:
        try:
            yield Place.OWNER
            yield from self._build_map()
            yield from self._pause(Place.OWNER)
            self.end_offset = self._map.latest_offset + 1
            for group in self._groups():
                yield from self._clean_group(group)
        except OSError as error:
            self._check()  # a file that is missing because the log is gone is no failing disk
            raise self._log.storage_error("cannot clean", error) from error
        except ProtocolError as error:
            raise LogCorruptError(self._log.directory, 0, f"cannot be cleaned: {error}") from error
        finally:
            self._end()

    def _pause(self, place: Place) -> Generator[Place]:
        yield place
        self._work = 0
        self._check()

    def _check(self) -> None:
        if self._interrupted:
            raise CleaningInterrupted(f"{self._log.topic_partition} has changed")

    def _end(self) -> None:
        """Give up what is not finished, if anything."""
        self._close_reader()
        try:
            self._settle()
        except OSError as error:
            logger.error("A cleaning of %s leaves files behind: %s", self._log.topic_partition, error)
        if self._log.cleaning is self:
            self._log.cleaning = None

    # The log changes

    def interrupt(self) -> None:
        """Called by the owner before the log is cut or closed: settle, and let the steps end. OSError from the disk."""
        self._interrupted = True
        if self._state is not _State.COPYING:
            self._settle()

    def forsake(self) -> None:
        """Called by the owner when the disk must not be touched any more: let the steps end, leave everything."""
        # The file is closed when the step that may be writing to it has ended (`_settle`): a descriptor that is closed
        # under it could be another file's by the time it writes.
        self._interrupted = self._forsaken = True

    def _settle(self) -> None:
        """Go back before the swap, or complete it."""
        output, new = self._output, self._new
        if self._forsaken:
            if output is not None:
                output.close()
        elif self._state in (_State.REPLACED, _State.NAMING) and new is not None:
            # With a wait for the disk, which a swap in peace does elsewhere. It is rare.
            new.finish_swap((LOG_SUFFIX,))
            self._filesystem.sync_directory(self._log.directory)
            new.finish_swap(_INDEX_SUFFIXES)
            self._filesystem.sync_directory(self._log.directory)
        elif output is not None:
            try:
                output.discard()
                if self._state is _State.NAMED:
                    self._filesystem.sync_directory(self._log.directory)
            except FileNotFoundError:
                pass  # the whole directory is gone
        self._state = _State.COPYING
        self._output = self._new = None

    # The map

    def _build_map(self) -> Generator[Place]:
        transactions = CleanedTransactions(self._aborted)
        position = self._dirty_position
        for number, source in enumerate(self._dirty):
            reader = self._open(source, position)
            position = 0
            while not reader.at_end:
                yield from self._pause(Place.THREAD)
                reader.fill()
                yield from self._pause(Place.ANYWHERE)
                while (taken := reader.take()) is not None:
                    header, batch = taken
                    self.bytes_read += header.size_bytes
                    if (yield from self._note_keys(header, batch, transactions)):
                        return
                    if self._work >= _RECORDS_PER_STEP:
                        yield from self._pause(Place.ANYWHERE)
            last = number + 1 == len(self._dirty)
            # The next segment may begin behind a gap.
            segment_end = self._first_uncleanable_offset if last else self._dirty[number + 1].base_offset
            self._map.looked_at(segment_end - 1)
        self._close_reader()

    def _open(self, source: SourceSegment, position: int) -> BatchReader:
        self._close_reader()
        reader = self._reader = BatchReader(
            self._filesystem,
            source.path,
            position,
            source.size_bytes,
            offset_min=source.base_offset,
            buffer_bytes=self._buffer_bytes,
        )
        return reader

    def _close_reader(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.close()

    def _note_keys(
        self, header: BatchHeader, batch: memoryview, transactions: CleanedTransactions
    ) -> Generator[Place, None, bool]:
        """Put the keys of a batch into the map; whether that is full."""
        self._work += _BATCH_COST
        if header.is_control:
            transactions.on_control_batch(header, batch)
        elif not transactions.on_data_batch(header) and header.record_count:
            offset_map, first_dirty = self._map, self._first_dirty_offset
            data = yield from self._uncompressed(header, batch)
            for cuts in self._cuts(header, data):
                for cut in cuts:
                    offset = header.base_offset + cut.offset_delta
                    if cut.key is not None and offset >= first_dirty:
                        if offset_map.is_full:
                            return True
                        offset_map.put(cut.key, offset)
                self._work += len(cuts)
                if self._work >= _RECORDS_PER_STEP:
                    yield from self._pause(Place.ANYWHERE)
        if header.last_offset >= self._first_dirty_offset:
            self._map.looked_at(header.last_offset)
        return False

    # Records of a batch

    def _uncompressed(self, header: BatchHeader, batch: memoryview) -> Generator[Place, None, bytes]:
        payload = batch[BATCH_HEADER_SIZE:]
        codec = header.compression
        if codec is Compression.NONE:
            data = bytes(payload)
        else:
            large = len(payload) > _CODEC_BYTES_IN_PLACE_MAX
            if large:
                yield from self._pause(Place.THREAD)
            data = decompress(codec, payload, self._log.context.decompressed_bytes_max)
            if large:
                yield from self._pause(Place.ANYWHERE)
        check_record_count(header, data)
        return data

    def _compressed(self, header: BatchHeader, data: bytes) -> Generator[Place, None, bytes]:
        codec = header.compression
        if codec is Compression.NONE:
            return data
        large = len(data) > _CODEC_BYTES_IN_PLACE_MAX
        if large:
            yield from self._pause(Place.THREAD)
        payload = compress(codec, data)
        if large:
            yield from self._pause(Place.ANYWHERE)
        return payload

    @staticmethod
    def _cuts(header: BatchHeader, data: bytes) -> Iterator[list[RecordCut]]:
        position, left = 0, header.record_count
        while left:
            cuts = cut_records(data, position, min(left, _RECORDS_PER_STEP))
            yield cuts
            position = cuts[-1].end
            left -= len(cuts)

    # A group

    def _groups(self) -> list[list[SourceSegment]]:
        log = self._log
        segments = log.segments.between(log.segments.first_base_offset, self.end_offset)
        self.size_bytes_before = sum([segment.size_bytes for segment in segments])
        return group_segments(segments, self._config, end_offset=self._first_uncleanable_offset)

    def _clean_group(self, group: list[SourceSegment]) -> Generator[Place]:
        yield from self._pause(Place.OWNER)
        self._look_at_producers()
        next_base_offset = self._log.segments.end_of(group[-1].segment, self._log.log_end_offset)
        output = CleanedSegment(self._filesystem, self._log.directory, group[0].base_offset, self._config)
        self._output = output
        output.create()  # here, where the directory cannot turn into another log's at the same time
        last_header: BatchHeader | None = None
        for source in group:
            reader = self._open(source, 0)
            while not reader.at_end:
                yield from self._pause(Place.THREAD)
                output.write()
                reader.fill()
                yield from self._pause(Place.ANYWHERE)
                while (taken := reader.take()) is not None:
                    last_header, batch = taken
                    self.bytes_read += last_header.size_bytes
                    yield from self._filter_batch(output, last_header, batch)
                    if self._work >= _RECORDS_PER_STEP:
                        yield from self._pause(Place.ANYWHERE)
                    if output.buffered_bytes >= self._buffer_bytes:
                        yield from self._pause(Place.THREAD)
                        output.write()
                        yield from self._pause(Place.ANYWHERE)
        self._close_reader()
        output.cover(next_base_offset - 1, last_header)
        yield from self._pause(Place.THREAD)
        output.finish(self._filesystem.modified_ms(group[-1].path))
        self.bytes_written += output.size_bytes
        self.size_bytes_after += output.size_bytes
        yield from self._swap(output, [source.segment for source in group])

    def _look_at_producers(self) -> None:
        self._filter.high_watermark = self._log.high_watermark
        self._filter.last_records = {
            producer_id: LastRecord(entry.last_offset, entry.producer_epoch)
            for producer_id, entry in self._log.producers.producers.items()
        }

    def _filter_batch(
        self, output: CleanedSegment, header: BatchHeader, batch: memoryview
    ) -> Generator[Place]:
        """Decide on a batch, and add what stays of it to the output."""
        self._work += _BATCH_COST
        self.records_read += header.record_count
        decision = self._filter.decide(header, batch)
        output.add_aborted(self._filter.take_kept_transactions())
        if decision.fate is Fate.LOOK:
            data = yield from self._uncompressed(header, batch)
            kept: list[RecordCut] = []
            for cuts in self._cuts(header, data):
                keeps = self._filter.keeps
                kept += [cut for cut in cuts if keeps(header, cut)]
                self._work += len(cuts)
                if self._work >= _RECORDS_PER_STEP:
                    yield from self._pause(Place.ANYWHERE)
            yield from self._add_kept(output, header, batch, data, kept, keep_empty=decision.keep_empty)
        elif decision.fate is Fate.KEEP:
            horizon_ms = self._filter.new_horizon_ms(header, decision.needs_horizon)
            if horizon_ms is None:
                output.add(header, batch)
            else:
                data = yield from self._uncompressed(header, batch)
                (cuts,) = self._cuts(header, data)
                yield from self._add_rebuilt(output, header, data, cuts, horizon_ms)
            self.records_kept += header.record_count
        elif decision.fate is Fate.EMPTY:
            output.add(header, build_empty_batch(header))

    def _add_kept(
        self,
        output: CleanedSegment,
        header: BatchHeader,
        batch: memoryview,
        data: bytes,
        kept: list[RecordCut],
        *,
        keep_empty: bool,
    ) -> Generator[Place]:
        self.records_kept += len(kept)
        if not kept:
            if keep_empty:
                output.add(header, build_empty_batch(header))
            return
        has_tombstones = any(cut.is_tombstone for cut in kept)
        horizon_ms = self._filter.new_horizon_ms(header, has_tombstones)
        if len(kept) == header.record_count and horizon_ms is None:
            output.add(header, batch)
        else:
            yield from self._add_rebuilt(output, header, data, kept, horizon_ms)

    def _add_rebuilt(
        self,
        output: CleanedSegment,
        header: BatchHeader,
        data: bytes,
        kept: list[RecordCut],
        horizon_ms: int | None,
    ) -> Generator[Place]:
        payload, changed = join_records(header, data, kept, delete_horizon_ms=horizon_ms)
        payload = yield from self._compressed(changed, payload)
        output.add(changed, assemble_batch(changed, payload))
        self._work += len(kept) // 4

    # The swap

    def _swap(self, output: CleanedSegment, old: list[Segment]) -> Generator[Place]:
        directory = self._log.directory
        yield from self._pause(Place.OWNER)
        self._state = _State.NAMED
        output.rename_to_swap()
        yield from self._pause(Place.THREAD)
        self._filesystem.sync_directory(directory)
        yield from self._pause(Place.OWNER)
        new = self._replace(output, old)
        yield from self._pause(Place.THREAD)
        self._filesystem.sync_directory(directory)
        yield from self._pause(Place.OWNER)
        self._state = _State.NAMING
        new.finish_swap((LOG_SUFFIX,))
        yield from self._pause(Place.THREAD)
        self._filesystem.sync_directory(directory)
        yield from self._pause(Place.OWNER)
        new.finish_swap(_INDEX_SUFFIXES)
        self._state = _State.COPYING
        self._output = self._new = None
        yield from self._pause(Place.THREAD)
        self._filesystem.sync_directory(directory)

    def _replace(self, output: CleanedSegment, old: list[Segment]) -> Segment:
        """The log reads the new segment from now on, and the old ones become `.deleted`."""
        log = self._log
        new = Segment(
            log.context.cache,
            log.directory,
            output.base_offset,
            self._config,
            size_bytes=output.size_bytes,
            created_ms=self._now_ms,
            has_transaction_index=output.has_transaction_index,
            is_swap=True,
        )
        new.synced_bytes = new.size_bytes
        new.indexes_synced(new.index_version)
        self._new = new
        self._state = _State.REPLACED
        try:
            log.replace_segments(old, new)
        except OSError as error:
            # Names of both stand in the directory. Not even a full disk is an excuse: only the loader can sort it out.
            self.forsake()
            raise StorageError(
                log.log_directory, f"{log.topic_partition}: cannot replace: {error}"
            ) from error
        return new
