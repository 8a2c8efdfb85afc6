"""What compaction keeps and what it drops, by example. (`test_cleaning_model` looks for examples by itself.)"""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from storage.cleaner.cleaning import CleaningInterrupted, Place
from storage.cleaner.segment_groups import group_segments
from storage.cleaner.transactions import CleanedTransactions
from storage.errors import LogCorruptError, StorageError
from storage.log import Log
from storage.producer_append import AppendOrigin
from storage.segment import Segment
from storage.transaction_index import AbortedTransaction
from tests.storage.cleaner.cleaning_support import (
    Cleaner,
    batches_of,
    check_files,
    clean,
    config,
    latest_values,
    offsets_of,
    read_committed,
    records_of,
)
from tests.storage.support import START_MS, FailingFilesystem, LogHarness, disk_full, marker, read_all
from wire.records import BatchHeader, Compression, Record, build_batch, read_batch_header

Pair = tuple[bytes | None, bytes | None]


def append(
    log: Log,
    *pairs: Pair,
    timestamp: int = START_MS,
    compression: Compression = Compression.NONE,
    producer: tuple[int, int, int] = (-1, -1, -1),
    transactional: bool = False,
    leader_epoch: int = 0,
) -> int:
    """One batch of (key, value) records; `producer` is (id, epoch, first sequence). Returns the first offset."""
    records = [
        Record(index, timestamp + index, key, value, (("header", b"h"),))
        for index, (key, value) in enumerate(pairs)
    ]
    batch = build_batch(
        records,
        base_offset=0,
        compression=compression,
        producer_id=producer[0],
        producer_epoch=producer[1],
        base_sequence=producer[2],
        is_transactional=transactional,
    )
    return log.append_as_leader(batch, leader_epoch, origin=AppendOrigin.REPLICATION).first_offset


def end(log: Log, producer_id: int, *, commit: bool, epoch: int = 0) -> int:
    records = marker(producer_id, commit=commit, producer_epoch=epoch)
    return log.append_as_leader(records, 0, origin=AppendOrigin.COORDINATOR).first_offset


@pytest.fixture
def harness(tmp_path: Path) -> LogHarness:
    return LogHarness(tmp_path, config(segment_bytes=1 << 20))


class TestRecords:
    def test_the_last_one_of_each_key_stays(self, harness: LogHarness) -> None:
        log = harness.log
        for number in range(30):
            append(log, (b"%d" % (number % 4), b"%d" % number))
            if number % 5 == 4:
                log.roll()
        cleaning = clean(log)
        assert latest_values(records_of(log)) == {
            b"%d" % (number % 4): (number, b"%d" % number) for number in range(26, 30)
        }
        assert offsets_of(log) == [26, 27, 28, 29]
        assert (cleaning.records_read, cleaning.records_kept) == (30, 4)
        assert cleaning.end_offset == 30
        check_files(log)
        assert [segment.base_offset for segment in log.segments] == [0, 30]

    def test_the_active_segment_is_left_alone(self, harness: LogHarness) -> None:
        log = harness.log
        append(log, (b"a", b"1"))
        append(log, (b"a", b"2"))
        log.roll()
        append(log, (b"a", b"3"))
        append(log, (b"a", b"4"))
        Cleaner().clean(log)
        assert offsets_of(log) == [1, 2, 3]

    def test_a_batch_that_stays_whole_is_copied(self, harness: LogHarness) -> None:
        log = harness.log
        append(log, (b"a", b"1"), (b"b", b"2"))
        append(log, (b"a", b"3"), compression=Compression.ZSTD)
        before = batches_of(log)
        clean(log)
        after = batches_of(log)
        assert after[1] == before[1]
        assert after[0][1] != before[0][1]

    @pytest.mark.parametrize("codec", list(Compression))
    def test_a_batch_that_loses_records_keeps_what_it_is(
        self, harness: LogHarness, codec: Compression
    ) -> None:
        log = harness.log
        pairs = [(b"%d" % number, b"value " * 40) for number in range(10)]
        append(log, *pairs, compression=codec, producer=(5, 1, 20), leader_epoch=3)
        append(log, (b"0", b"later"), (b"3", b"later"), (b"9", b"later"), producer=(5, 1, 30), leader_epoch=3)
        before = batches_of(log)[0][0]
        clean(log)
        header = batches_of(log)[0][0]
        assert header.compression is codec
        assert (header.base_offset, header.last_offset, header.record_count) == (0, 9, 7)
        assert header.partition_leader_epoch == 3
        assert (header.producer_id, header.producer_epoch) == (5, 1)
        assert (header.base_sequence, header.last_sequence) == (20, 29)
        assert header.max_timestamp == START_MS + 8 == before.max_timestamp - 1
        kept = [record for record in records_of(log) if record.offset < 10]
        assert [record.offset for record in kept] == [1, 2, 4, 5, 6, 7, 8]
        assert [record.timestamp - record.offset for record in kept] == [START_MS] * 7
        assert kept[0] == Record(1, START_MS + 1, b"1", b"value " * 40, (("header", b"h"),))

    def test_log_append_time_stays(self, tmp_path: Path) -> None:
        harness = LogHarness(tmp_path, config(segment_bytes=1 << 20, message_timestamp_type="LogAppendTime"))
        records = [Record(index, 5, b"%d" % index, b"") for index in range(3)]
        harness.log.append_as_leader(build_batch(records, base_offset=0), 0)
        harness.clock.now_ms += 10
        harness.log.append_as_leader(build_batch(records[:1], base_offset=0), 0)
        clean(harness.log)
        assert [record.timestamp - START_MS for record in records_of(harness.log)] == [0, 0, 10]

    def test_records_without_a_key_go(self, harness: LogHarness) -> None:
        """They are from before the topic was compacted."""
        append(harness.log, (None, b"1"), (b"a", b"2"))
        append(harness.log, (None, b"3"))
        append(harness.log, (b"b", b"4"))
        clean(harness.log)
        assert offsets_of(harness.log) == [1, 3]

    def test_null_and_empty_keys_are_two_things(self, harness: LogHarness) -> None:
        append(harness.log, (b"", b"1"))
        append(harness.log, (b"", b"2"), (b"a", b""))
        clean(harness.log)
        assert [(record.key, record.value) for record in records_of(harness.log)] == [
            (b"", b"2"),
            (b"a", b""),
        ]

    def test_a_large_batch_needs_several_steps(self, harness: LogHarness) -> None:
        pairs = [(b"%d" % (number % 700), b"x" * 20) for number in range(3000)]
        append(harness.log, *pairs, compression=Compression.LZ4)
        harness.log.roll()
        places = list(Cleaner(buffer_bytes=100).begin(harness.log).steps())
        assert offsets_of(harness.log) == list(range(2300, 3000))
        assert places.count(Place.ANYWHERE) >= 2 * 3000 // 200


class TestTombstones:
    def test_one_stays_for_delete_retention_ms_after_it_was_cleaned_first(self, harness: LogHarness) -> None:
        log, cleaner = harness.log, Cleaner()
        append(log, (b"a", b"1"), (b"b", b"1"))
        append(log, (b"a", None), (b"c", b"1"))
        log.roll()
        cleaner.clean(log)
        assert offsets_of(log) == [1, 2, 3]
        header = batches_of(log)[1][0]
        assert header.delete_horizon_ms == harness.clock.now_ms + 1000
        assert header.max_timestamp == START_MS + 1
        assert [record.timestamp for record in records_of(log)] == [START_MS + 1, START_MS, START_MS + 1]
        harness.clock.now_ms += 999
        self.dirty(log)
        cleaner.clean(log)
        assert offsets_of(log)[:3] == [1, 2, 3]
        assert batches_of(log)[1][0].delete_horizon_ms == header.delete_horizon_ms
        harness.clock.now_ms += 1
        self.dirty(log)
        cleaner.clean(log)
        assert offsets_of(log)[:2] == [1, 3]
        check_files(log)

    def dirty(self, log: Log) -> None:
        append(log, (b"d", b"1"))
        log.roll()

    def test_a_value_behind_it_wins(self, harness: LogHarness) -> None:
        append(harness.log, (b"a", None))
        append(harness.log, (b"a", b"2"))
        clean(harness.log)
        assert offsets_of(harness.log) == [1]

    def test_the_horizon_survives_a_lost_neighbour(self, harness: LogHarness) -> None:
        log, cleaner = harness.log, Cleaner()
        append(log, (b"a", None), (b"b", b"1"), (b"c", b"1"))
        log.roll()
        cleaner.clean(log)
        first = batches_of(log)[0][0].delete_horizon_ms
        harness.clock.now_ms += 100
        append(log, (b"b", b"2"))
        log.roll()
        cleaner.clean(log)
        assert batches_of(log)[0][0].delete_horizon_ms == first
        assert offsets_of(log) == [0, 2, 3]
        assert records_of(log)[1].timestamp == START_MS + 2


class TestTransactions:
    def test_aborted_records_go_and_the_marker_follows(self, harness: LogHarness) -> None:
        log, cleaner = harness.log, Cleaner()
        append(log, (b"a", b"0"))
        append(log, (b"a", b"1"), producer=(7, 0, 0), transactional=True)
        end(log, 7, commit=False)
        append(
            log, (b"b", b"1"), producer=(7, 0, 1), transactional=True
        )  # keeps the producer's state elsewhere
        end(log, 7, commit=True)
        log.roll()
        cleaner.clean(log)
        # An aborted record is no newer version of its key.
        assert latest_values(records_of(log)) == {b"a": (0, b"0"), b"b": (3, b"1")}
        assert [header.base_offset for header, _ in batches_of(log)] == [0, 2, 3, 4]
        assert [entry[:3] for entry in log.aborted_transactions(0, 5)] == [(7, 1, 2)]
        self.dirty(log)
        cleaner.clean(log)
        header = batches_of(log)[1][0]
        assert (header.base_offset, header.delete_horizon_ms) == (2, START_MS + 1000)
        assert log.aborted_transactions(0, 5) == []
        harness.clock.now_ms += 1000
        self.dirty(log)
        cleaner.clean(log)
        assert [header.base_offset for header, _ in batches_of(log)][:3] == [0, 3, 4]
        check_files(log)

    def dirty(self, log: Log) -> None:
        append(log, (b"x", b"1"))
        log.roll()

    def test_a_commit_marker_stays_as_long_as_its_records(self, harness: LogHarness) -> None:
        log, cleaner = harness.log, Cleaner()
        append(log, (b"a", b"1"), producer=(7, 0, 0), transactional=True)
        end(log, 7, commit=True)
        append(log, (b"z", b"1"), producer=(7, 0, 1), transactional=True)
        end(log, 7, commit=True)
        log.roll()
        for _ in range(3):
            harness.clock.now_ms += 10_000
            self.dirty(log)
            cleaner.clean(log)
        assert [header.base_offset for header, _ in batches_of(log)][:4] == [0, 1, 2, 3]
        assert not any(header.has_delete_horizon for header, _ in batches_of(log))
        append(log, (b"a", b"2"))
        self.dirty(log)
        cleaner.clean(log)  # the record goes
        self.dirty(log)
        cleaner.clean(log)  # nothing is left: the marker gets its horizon
        harness.clock.now_ms += 10_000
        self.dirty(log)
        cleaner.clean(log)
        assert [header.base_offset for header, _ in batches_of(log)][:2] == [2, 3]

    def test_nothing_at_or_behind_an_undecided_transaction(self, harness: LogHarness) -> None:
        log = harness.log
        append(log, (b"a", b"1"))
        append(log, (b"a", b"2"))
        log.roll()
        append(log, (b"a", b"3"), producer=(7, 0, 0), transactional=True)
        log.roll()
        append(log, (b"a", b"4"))
        log.roll()
        cleaning = Cleaner().clean(log)
        assert cleaning.end_offset == 2
        assert offsets_of(log) == [1, 2, 3]

    def test_a_transaction_that_was_aborted_before_the_dirty_part(self, harness: LogHarness) -> None:
        """Its producer's later transaction was committed: those records are not aborted ones."""
        log, cleaner = harness.log, Cleaner()
        append(log, (b"a", b"1"), producer=(7, 0, 0), transactional=True)
        end(log, 7, commit=False)
        log.roll()
        cleaner.clean(log)
        append(log, (b"a", b"2"), producer=(7, 0, 1), transactional=True)
        append(log, (b"a", b"3"), producer=(7, 0, 2), transactional=True)
        end(log, 7, commit=True)
        log.roll()
        cleaner.clean(log)
        assert [(record.offset, record.value) for record in read_committed(log)] == [(3, b"3")]

    def test_an_abort_without_its_marker_does_not_reach_further(self) -> None:
        """The marker's segment was lost; the producer's later records are not those of that transaction."""
        transactions = CleanedTransactions(
            [AbortedTransaction(7, 0, 5, 6), AbortedTransaction(7, 20, 25, 26)]
        )

        def data(offset: int) -> BatchHeader:
            return read_batch_header(
                build_batch(
                    [Record(offset, 0, b"a", b"")],
                    base_offset=offset,
                    producer_id=7,
                    producer_epoch=0,
                    base_sequence=0,
                    is_transactional=True,
                )
            )

        assert [transactions.on_data_batch(data(offset)) for offset in (3, 10, 21)] == [True, False, True]

    def test_the_last_data_of_a_producer_that_was_aborted(self, harness: LogHarness) -> None:
        log, cleaner = harness.log, Cleaner()
        append(log, (b"a", b"1"), producer=(7, 0, 0), transactional=True)
        end(log, 7, commit=False)
        log.roll()
        for _ in range(3):
            harness.clock.now_ms += 10_000
            cleaner.checkpoint = None
            cleaner.clean(log)
        (data, _), (control, _) = batches_of(log)
        assert (data.record_count, data.last_sequence, data.is_transactional) == (0, 0, True)
        assert control.record_count == 1
        assert [entry[:3] for entry in log.aborted_transactions(0, 2)] == [(7, 0, 1)]
        assert read_committed(log) == []


class TestProducers:
    def test_the_last_batch_of_an_active_producer_stays_empty(self, harness: LogHarness) -> None:
        log = harness.log
        for sequence in range(3):
            append(log, (b"a", b"%d" % sequence), producer=(7, 2, sequence))
        append(log, (b"a", b"last"))
        append(log, (b"b", b""))
        clean(log)
        headers = [header for header, _ in batches_of(log)]
        assert [(header.base_offset, header.record_count) for header in headers] == [(2, 0), (3, 1), (4, 1)]
        assert (headers[0].producer_epoch, headers[0].last_sequence) == (2, 2)
        assert headers[0].max_timestamp == START_MS
        for snapshot in harness.path.glob("*.snapshot"):
            snapshot.unlink()
        log = harness.reopen_after_kill()
        assert log.active_producers[7].last_sequence == 2
        assert log.active_producers[7].producer_epoch == 2

    def test_a_producer_that_is_forgotten_leaves_nothing(self, harness: LogHarness) -> None:
        log = harness.log
        append(log, (b"a", b"1"), producer=(7, 2, 0))
        append(log, (b"a", b"last"))
        harness.clock.now_ms += 86_400_001
        log.remove_expired_producers()
        clean(log)
        assert [header.base_offset for header, _ in batches_of(log)] == [1]

    def test_the_marker_of_a_producer_of_which_nothing_else_is_known(self, harness: LogHarness) -> None:
        log, cleaner = harness.log, Cleaner()
        append(log, (b"a", b"1"), producer=(7, 0, 0), transactional=True)
        end(log, 7, commit=True, epoch=1)  # bumps the epoch (KIP-890), which forgets the batches
        append(log, (b"a", b"2"))
        log.roll()
        for _ in range(4):
            harness.clock.now_ms += 10_000
            append(log, (b"b", b"1"))
            log.roll()
            cleaner.clean(log)
        header = batches_of(log)[0][0]
        assert (header.base_offset, header.is_control, header.producer_epoch) == (1, True, 1)

    def test_the_end_of_the_log_stays_known(self, harness: LogHarness) -> None:
        """All of the last segment goes, and the next start must not give its offsets out again."""
        log = harness.log
        append(log, (b"a", b"1"))
        append(log, (None, b"2"))
        cleaning = clean(log)
        assert cleaning.end_offset == 2
        header = batches_of(log)[-1][0]
        assert (header.last_offset, header.record_count) == (1, 0)
        assert log.read(1, 100, max_offset=2).records is not None


class TestRounds:
    def test_a_map_that_fills_up(self, harness: LogHarness) -> None:
        log, cleaner = harness.log, Cleaner(memory_bytes=24 * 12, load_factor=0.9)
        for number in range(60):
            append(log, (b"%d" % (number % 25), b"%d" % number), (b"other", b"%d" % number))
            if number % 10 == 9:
                log.roll()
        expected = latest_values(records_of(log))
        ends = []
        while cleaner.checkpoint != 120:
            ends.append(cleaner.clean(log).end_offset)
            assert latest_values(records_of(log)) == expected
            check_files(log)
        assert len(ends) > 5
        assert ends == sorted(set(ends))
        assert offsets_of(log) == sorted(offset for offset, _ in expected.values())

    def test_a_tombstone_behind_what_the_map_holds(self, harness: LogHarness) -> None:
        """Its horizon is set in the first round, and passes before a round has looked at it: it has to wait."""
        log, cleaner = harness.log, Cleaner(memory_bytes=24 * 3)
        append(log, (b"a", b"1"))
        for number in range(10):
            append(log, (b"%d" % number, b""))
        append(log, (b"a", None), (b"b", b""))
        log.roll()
        while cleaner.checkpoint != 13:
            cleaner.clean(log)
            harness.clock.now_ms += 2000
            assert b"a" not in latest_values(records_of(log))
        assert 0 not in offsets_of(log)

    def test_groups_are_no_larger_than_a_segment(self, tmp_path: Path) -> None:
        harness = LogHarness(tmp_path, config(segment_bytes=500))
        log, cleaner = harness.log, Cleaner()
        for number in range(100):
            append(log, (b"%d" % (number % 30), b"%d" % number))
        cleaner.clean(log)
        sizes = [segment.size_bytes for segment in log.segments]
        assert max(sizes) <= 500
        before = len(sizes)
        append(log, (b"x", b""))
        log.roll()
        cleaner.clean(log)
        assert len(log.segments) < before
        check_files(log)

    def test_groups_by_index_size_and_offset_range(self, tmp_path: Path) -> None:
        log = LogHarness(tmp_path, config(segment_bytes=1 << 20)).log
        for number in range(6):
            append(log, *[(b"k", b"v" * 100)] * 5)
            append(log, *[(b"k", b"v" * 100)] * 5)
            if number < 5:
                log.roll()
        segments = log.segments
        small = config(segment_bytes=1 << 20, segment_index_bytes=2 * segments[0].time_index.size_bytes)
        groups = group_segments(segments, small, end_offset=60)
        assert [len(group) for group in groups] == [2, 2, 2]

        def pretend(base_offset: int) -> Segment:
            return Segment(log._context.cache, str(tmp_path), base_offset, small, size_bytes=0, created_ms=0)

        far = [pretend(base) for base in (0, 10, 2**31, 2**31 + 10)]
        for segment in far:
            segment.start_indexing()
            segment.size_bytes = 1
        bases = [
            [source.base_offset for source in group]
            for group in group_segments(far, small, end_offset=2**31 + 20)
        ]
        assert bases == [[0, 10], [2**31, 2**31 + 10]]

    def test_a_group_whose_last_segments_are_emptied_still_covers_them(self, harness: LogHarness) -> None:
        """Or else the loader would bring them back after a crash: see `CleanedSegment.cover`."""
        log = harness.log
        append(log, (b"a", b"1"))
        log.roll()
        append(log, (None, b"2"))
        log.roll()
        append(log, (None, b"3"))
        append(log, (None, b"3"))
        log.roll()
        append(log, (b"end", b""))
        Cleaner().clean(log)
        assert [segment.base_offset for segment in log.segments] == [0, 4]
        header = batches_of(log)[1][0]
        assert (header.base_offset, header.record_count, header.producer_id) == (3, 0, -1)
        assert [record.offset for record in read_all(log)] == [0, 4]

    def test_no_gap_stays_between_two_segments(self, tmp_path: Path) -> None:
        """It would look like what a power failure has lost, if the recovery point is not known to be above it."""
        small = config(segment_bytes=200)
        harness = LogHarness(tmp_path, small, is_replicated=True)
        log = harness.log
        for number in range(40):
            append(log, (b"%d" % (number % 2 or number), b"%d" % number))
        log.roll()
        cleaner = Cleaner()
        for _ in range(2):  # what covers the gaps is put in anew by each cleaning
            cleaner.checkpoint = None
            cleaner.clean(log)
            segments = log.segments
            assert len(segments) > 5
            assert [each.next_offset() for each in segments[:-1]] == [
                each.base_offset for each in segments[1:]
            ]
            check_files(log)
        kept = offsets_of(log)
        harness.reopen_after_kill()
        assert harness.log.findings == []
        assert offsets_of(harness.log) == kept
        assert harness.log.log_end_offset == 40

    def test_gaps_of_an_earlier_cleaning(self, harness: LogHarness) -> None:
        log, cleaner = harness.log, Cleaner()
        for number in range(40):
            append(log, (b"%d" % (number % 7), b"%d" % number))
            if number % 3 == 2:
                log.roll()
                cleaner.clean(log)
                check_files(log)
        harness.reopen_cleanly()
        check_files(harness.log)
        assert harness.log.findings == []
        assert offsets_of(harness.log) == list(range(32, 40)) or offsets_of(harness.log)[-7:] == list(
            range(33, 40)
        )
        harness.reopen_after_kill()
        assert harness.log.findings == []
        assert harness.log.log_end_offset == 40


class TestTheLogAround:
    def fill(self, log: Log) -> None:
        for number in range(20):
            append(log, (b"%d" % (number % 3), b"%d" % number))
            if number % 5 == 4:
                log.roll()

    def test_readers_keep_what_they_have(self, harness: LogHarness) -> None:
        log = harness.log
        self.fill(log)
        before = log.read(5, 1 << 20, max_offset=20)
        assert before.records is not None
        data = before.records.read()
        Cleaner().clean(log)
        log._context.removals.run_due()
        assert before.records.read() == data
        before.records.release()

    @pytest.mark.parametrize("action", ["truncate", "restart", "close", "abandon", "policy"])
    def test_whatever_cuts_the_log_at_any_step(self, tmp_path: Path, action: str) -> None:
        steps = 0
        while True:
            harness = LogHarness(tmp_path / f"{steps}", config(segment_bytes=1 << 20))
            log = harness.log
            self.fill(log)
            cleaning = Cleaner().begin(log)
            iterator = cleaning.steps()
            taken = list(itertools.islice(iterator, steps))
            if len(taken) < steps:
                break
            if action == "truncate":
                log.truncate_to(7)
            elif action == "restart":
                log.truncate_fully_and_start_at(50)
            elif action == "close":
                log.close()
            elif action == "abandon":
                log.abandon()
            else:
                log.update_config(config(cleanup_policy=frozenset({"delete"})))
            if action != "abandon":
                assert not list(harness.path.glob("*.swap"))
            with pytest.raises(CleaningInterrupted):
                for _ in iterator:
                    pass
            if action == "policy":
                assert latest_values(records_of(log)).keys() == {b"0", b"1", b"2"}
                assert not log.is_being_cleaned
            if action not in ("abandon", "close"):  # closed logs are not touched, the next start tidies up
                assert not list(harness.path.glob("*.cleaned"))
            harness.checkpoint()
            log = harness.reopen_after_kill()
            assert log.findings == []
            check_files(log)
            if action == "restart":
                assert (log.log_start_offset, log.log_end_offset) == (50, 50)
            elif action == "truncate":
                assert all(offset < 7 for offset in offsets_of(log))
                assert log.log_end_offset == 7
            else:
                assert latest_values(records_of(log)) == {
                    b"0": (18, b"18"),
                    b"1": (19, b"19"),
                    b"2": (17, b"17"),
                }
            log.close()
            steps += 1
        assert steps > 8

    def test_an_append_and_a_truncation_of_the_active_segment_do_not_matter(
        self, harness: LogHarness
    ) -> None:
        log = harness.log
        self.fill(log)

        def disturb(place: Place) -> None:
            append(log, (b"new", b""))
            append(log, (b"new", b""))
            log.truncate_to(log.log_end_offset - 1)

        Cleaner().clean(log, disturb)
        assert offsets_of(log)[:3] == [17, 18, 19]
        check_files(log)

    def test_a_truncation_below_the_high_watermark_stops_it(self, harness: LogHarness) -> None:
        """It may take a marker away, and with it the decision on records that are being cleaned."""
        log = harness.log
        append(log, (b"a", b"1"), producer=(7, 0, 0), transactional=True)
        log.roll()
        aborted_at = end(log, 7, commit=False)
        steps = Cleaner().begin(log).steps()
        next(steps)
        log.truncate_to(aborted_at)
        with pytest.raises(CleaningInterrupted):
            next(steps)
        assert offsets_of(log) == [0]
        assert log.has_ongoing_transaction(7)

    def test_a_file_is_closed_by_the_step_that_uses_it(self, tmp_path: Path) -> None:
        filesystem = FailingFilesystem()
        harness = LogHarness(tmp_path, config(segment_bytes=1 << 20), filesystem=filesystem)
        self.fill(harness.log)
        steps = Cleaner().begin(harness.log).steps()
        while not list(harness.path.glob("*.cleaned")):
            next(steps)
        harness.log.abandon()
        assert any(path.endswith(".cleaned") for path in filesystem.open_paths)
        with pytest.raises(CleaningInterrupted):
            next(steps)
        assert filesystem.open_paths == []

    def test_old_segments_wait_until_it_is_clean(self, harness: LogHarness) -> None:
        log = harness.log
        self.fill(log)
        policy = frozenset({"compact", "delete"})
        log.update_config(config(segment_bytes=1 << 20, cleanup_policy=policy, retention_bytes=0))
        cleaning = Cleaner().begin(log)
        log.maybe_increment_log_start_offset(12)
        assert log.delete_old_segments() == 0
        for _ in cleaning.steps():
            assert log.delete_old_segments() == 0
        assert log.log_start_offset == 12
        assert log.delete_old_segments() == 1
        assert log.log_start_offset == 20

    def test_damage_is_found_and_nothing_is_changed(self, harness: LogHarness) -> None:
        log = harness.log
        self.fill(log)
        path = harness.path / f"{5:020d}.log"
        data = bytearray(path.read_bytes())
        data[80] ^= 1
        path.write_bytes(data)
        with pytest.raises(LogCorruptError):
            Cleaner().clean(log)
        assert len(log.segments) == 5
        assert not log.is_being_cleaned
        assert not list(harness.path.glob("*.cleaned"))

    def test_a_full_disk_changes_nothing(self, tmp_path: Path) -> None:
        filesystem = FailingFilesystem()
        harness = LogHarness(tmp_path, config(segment_bytes=1 << 20), filesystem=filesystem)
        self.fill(harness.log)
        before = records_of(harness.log)
        filesystem.fail_write = disk_full
        with pytest.raises(StorageError) as raised:
            Cleaner().clean(harness.log)
        assert raised.value.disk_full
        filesystem.fail_write = lambda path, position, size: 0
        assert records_of(harness.log) == before
        assert not list(harness.path.glob("*.cleaned"))
        Cleaner().clean(harness.log)
        assert len(offsets_of(harness.log)) == 3

    def test_epochs_snapshots_and_times(self, harness: LogHarness) -> None:
        log = harness.log
        for number in range(20):
            append(log, (b"%d" % (number % 3), b""), leader_epoch=number // 4, timestamp=START_MS + number)
            if number % 5 == 4:
                log.roll()
        epochs = [log.end_offset_for_epoch(epoch) for epoch in range(5)]
        modified = (harness.path / f"{15:020d}.log").stat().st_mtime_ns // 1_000_000
        Cleaner().clean(log)
        assert [log.end_offset_for_epoch(epoch) for epoch in range(5)] == epochs
        assert (harness.path / f"{0:020d}.log").stat().st_mtime_ns // 1_000_000 == modified
        assert [path.name[:20] for path in harness.path.glob("*.snapshot")].count(f"{5:020d}") == 0
        found = log.fetch_offset_by_timestamp(START_MS + 2)
        assert found is not None
        assert (found.offset, found.timestamp) == (17, START_MS + 17)

    def test_search_by_timestamp_finds_records_that_exist(self, harness: LogHarness) -> None:
        log = harness.log
        append(log, (b"a", b"1"), (b"b", b"1"), (b"c", b"1"), timestamp=START_MS)
        append(log, (b"a", b"2"), timestamp=START_MS + 50)
        clean(log)
        found = log.fetch_offset_by_timestamp(START_MS)
        assert found is not None
        assert (found.offset, found.timestamp) == (1, START_MS + 1)
