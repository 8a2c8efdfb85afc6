"""What a broker does with its logs while it runs, one method for each thing, with the model kept in step.

Operations of the owner thread are in `FOREGROUND`, with weights. Those in `BACKGROUND` run in threads of their own
in the broker; here the owner's operations come in between their steps (`SimulatedFilesystem.between`), which is all
that a thread that touches nothing but files can notice.
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable

from storage.cleaner.cleaning import CleaningInterrupted, Place
from storage.cleaner.manager import LogCleanerManager
from storage.errors import LogCorruptError, StorageError
from storage.flush import PendingFlush
from storage.log import Log
from storage.log_config import INT64_MAX
from storage.log_manager import LogManager
from storage.log_move import LogMove
from storage.producer_append import AppendOrigin
from storage.topic_partition import TopicPartition
from tests.sim import storage_checks, storage_draws
from tests.sim.coverage import Coverage
from tests.sim.disk import Disk
from tests.sim.filesystem import InjectedError, SimulatedFilesystem
from tests.sim.storage_compaction import Compaction
from tests.sim.storage_model import Batch, PartitionModel, ProducerScan, Timeline, Violation, match
from wire.errors import ApiError
from wire.records import InvalidBatchError, Record

_PRODUCERS = 4
_GAP_CHANCE = 0.15
_INTERLEAVE_CHANCE = 0.3
_CRASH_AFTERWARDS_CHANCE = 0.05
_BATCHES_MAX = 150


class Clock:
    def __init__(self) -> None:
        self.now_ms = 1_700_000_000_000

    def __call__(self) -> int:
        return self.now_ms


class Operations:
    """The logs of one broker process, and what is expected of them. `models` outlive the process."""

    def __init__(self, generator: random.Random, clock: Clock, disk: Disk, coverage: Coverage) -> None:
        self.random = generator
        self.clock = clock
        self.disk = disk
        self.coverage = coverage
        self.models: dict[TopicPartition, PartitionModel] = {}
        self.deleted: dict[uuid.UUID, PartitionModel] = {}
        self.manager: LogManager
        self.cleaner: LogCleanerManager
        self.filesystem: SimulatedFilesystem
        self.directories: list[str] = []
        self.serial = 0
        self.description = ""
        self.pending: tuple[PendingFlush, PartitionModel, Log] | None = None
        self.say: Callable[[str], None] = lambda text: None

    # Choosing

    def usable(self) -> list[PartitionModel]:
        return [
            model for model in self.models.values() if not model.is_broken and self.manager.get(model.name)
        ]

    def log_of(self, model: PartitionModel) -> Log:
        log = self.manager.get(model.name)
        assert log is not None
        return log

    def run_foreground(self) -> None:
        """Some operation on some partition; what the disk refuses has the consequences that it has in the broker."""
        operation = self.random.choices(FOREGROUND, FOREGROUND_WEIGHTS)[0]
        models = self.usable()
        if not models:
            operation = Operations.create_topic
        model = self.random.choice(models) if models else None
        self.attempt(operation, model)

    def attempt(self, operation: Operation, model: PartitionModel | None) -> None:
        name = operation.__name__
        before, self.description = self.description, f"{name} of {model.name if model else 'nothing'}"
        self.say(self.description)
        self.coverage.count("operation", name)
        try:
            operation(self, model)
        except StorageError as error:
            self.say(f"  {error}")
            if model is not None and model.in_flight:
                self._append_refused(model, error)
            self._refused(error, name, model)
        except InjectedError as error:
            if name not in _READS or model is None:
                raise Violation(f"{name} let an OSError through: {error!r}") from error
            self._refused(StorageError(self.log_of(model).log_directory, "read", error), name, model)
        except ApiError as error:
            if not self.filesystem.failed_syncs:
                raise Violation(f"{name} is answered with {error!r}") from error
            self.coverage.count("error answer", error.code.name)
            if model is not None:
                model.is_broken = True
        self.description = before

    def _refused(self, error: StorageError, operation: str, model: PartitionModel | None) -> None:
        if not self.filesystem.faults:
            raise Violation(f"{operation} failed without a cause: {error!r}") from error
        kind = "disk full" if error.disk_full else "directory failed"
        self.coverage.count("storage error", kind)
        if error.disk_full and operation in _HARMLESS_WHEN_FULL:
            return
        if error.disk_full:
            if model is not None:
                model.is_broken = True
            return
        for name in self.manager.fail_directory(error):
            self.models[name].is_broken = True

    def _append_refused(self, model: PartitionModel, error: StorageError) -> None:
        """All of it or nothing is in the log. (All, if only the sync of flush.messages could not be begun.)"""
        log = self.manager.get(model.name)
        if error.disk_full and log is not None and log.log_end_offset > model.end:
            if model.config.flush_messages == INT64_MAX:
                raise Violation("a refused append is in the log")
            self.coverage.count("append", "refused, but written")
            self._learn_bytes(log, model.in_flight[-1])
            model.append(model.in_flight)
        else:
            model.append_failed()

    # Appending

    def next_serial(self) -> int:
        self.serial += 1
        return self.serial

    def draw_batch(self, model: PartitionModel, base_offset: int) -> Batch:
        records = storage_draws.draw_records(self.random, self.next_serial(), base_offset, self.clock.now_ms)
        if model.config.compact:
            records = [record if record.key else record._replace(key=b"k") for record in records]
        timestamps = tuple(record.timestamp for record in records)
        return Batch(base_offset, records[-1].offset, model.epoch, timestamps, records)

    def give_producer(self, model: PartitionModel, batch: Batch) -> None:
        """Make it the next batch of an idempotent or transactional producer."""
        producer_id = self.random.randrange(1, _PRODUCERS + 1)
        if producer_id in model.uncertain:
            return
        known = model.scan.producers.get(producer_id)
        batch.producer_id = producer_id
        batch.producer_epoch = 0 if known is None else known.epoch
        batch.base_sequence = 0
        if known is not None:
            if known.transaction_first_offset < 0 and self.random.random() < 0.1:
                batch.producer_epoch += 1
            elif known.batches:
                batch.base_sequence = known.batches[-1][0] + 1
        is_open = known is not None and known.transaction_first_offset >= 0
        batch.is_transactional = is_open or self.random.random() < 0.4

    def append(self, model: PartitionModel | None) -> None:
        """As leader; now and then the answer gets lost and the producer sends it again."""
        assert model is not None
        if len(model.batches) > _BATCHES_MAX:
            return
        batch = self.draw_batch(model, model.end)
        if self.random.random() < 0.55:
            self.give_producer(model, batch)
        request = storage_draws.request_for(batch, storage_draws.draw_compression(self.random))
        batch.request = bytes(request)
        self._append_as_leader(model, batch, request, AppendOrigin.CLIENT, 0)

    def end_transaction(self, model: PartitionModel | None) -> None:
        assert model is not None
        open_transactions = model.scan.open_transactions().keys() - model.uncertain
        if not open_transactions:
            return
        producer_id = self.random.choice(sorted(open_transactions))
        known = model.scan.producers[producer_id]
        version = self.random.choice((0, 2))
        batch = Batch(
            model.end,
            model.end,
            model.epoch,
            (self.clock.now_ms,),
            [Record(model.end, self.clock.now_ms, b"", b"")],
            producer_id=producer_id,
            producer_epoch=known.epoch + (1 if version == 2 else 0),
            marker=self.random.choice(("commit", "abort", "abort")),
            coordinator_epoch=max(known.coordinator_epoch, 0) + self.random.choice((0, 1)),
            is_transactional=True,
        )
        request = storage_draws.marker_for(batch)
        self.coverage.count("transaction", batch.marker)
        self._append_as_leader(model, batch, request, AppendOrigin.COORDINATOR, version)

    def _append_as_leader(
        self,
        model: PartitionModel,
        batch: Batch,
        request: bytearray,
        origin: AppendOrigin,
        transaction_version: int,
    ) -> None:
        log = self.log_of(model)
        if model.config.log_append_time:
            batch.timestamps = (self.clock.now_ms,) * len(batch.records)
        model.in_flight = [batch]
        is_rewritten = origin is AppendOrigin.CLIENT and model.config.compression_type != "producer"
        try:
            info = log.append_as_leader(
                request, model.epoch, origin=origin, transaction_version=transaction_version
            )
        finally:
            # Storage edits the request in place, so this is what was to be written, also after a crash.
            batch.data = None if is_rewritten else bytes(request)
        if (
            info.is_duplicate
            or info.first_offset != batch.base_offset
            or info.last_offset != batch.last_offset
        ):
            raise Violation(f"appended at {info}, expected {batch.base_offset}")
        model.append([batch])
        if is_rewritten:
            self._learn_bytes(log, batch)
        self._after_append(model, log)

    def _learn_bytes(self, log: Log, batch: Batch) -> None:
        found = storage_checks.batches_on_disk(self.disk, log)[-1]
        if not batch.is_same(found.base_offset, found.data):
            raise Violation(f"the batch at {batch.base_offset} was written otherwise than it was sent")
        batch.data = found.data

    def _after_append(self, model: PartitionModel, log: Log) -> None:
        if self.random.random() < 0.6:
            log.update_high_watermark(model.end)
        model.note_synced(log.recovery_point)

    def append_again(self, model: PartitionModel | None) -> None:
        """A producer repeats its last batch: the answer is the first one's."""
        assert model is not None
        self.check_duplicates(model, self.log_of(model), limit=1)

    def check_duplicates(self, model: PartitionModel, log: Log, limit: int) -> None:
        known = [
            (producer_id, producer.last)
            for producer_id, producer in model.scan.producers.items()
            if producer.last is not None
            and producer.last.request
            and producer.last.base_offset >= log.first_segment_base_offset
            and producer_id in log.active_producers
            and producer_id not in model.forgotten | model.uncertain
        ]
        for producer_id, batch in self.random.sample(known, min(limit, len(known))):
            assert batch is not None
            info = log.append_as_leader(bytearray(batch.request), model.epoch)
            self.coverage.count("duplicate", "recognised")
            if not info.is_duplicate or info.first_offset != batch.base_offset:
                raise Violation(f"a repeated batch of producer {producer_id} at {batch.base_offset}: {info}")

    def replicate(self, model: PartitionModel | None) -> None:
        """As follower, perhaps several batches, perhaps with offsets left out."""
        assert model is not None
        if len(model.batches) > _BATCHES_MAX:
            return
        log = self.log_of(model)
        batches: list[Batch] = []
        offset = model.end
        records = bytearray()
        for _ in range(self.random.choice((1, 1, 2, 3))):
            if self.random.random() < _GAP_CHANCE:
                offset += self.random.randint(1, 5)
            batch = self.draw_batch(model, offset)
            if not batches and self.random.random() < 0.4:
                self.give_producer(model, batch)
            batch.data = bytes(storage_draws.replica_of(batch))
            if records and len(records) + len(batch.data) > model.config.segment_bytes:
                break
            records += batch.data
            batches.append(batch)
            offset = batch.next_offset
        model.in_flight = batches
        log.append_as_follower(records)
        model.append(batches)
        self._after_append(model, log)

    def new_epoch(self, model: PartitionModel | None) -> None:
        """Somebody, perhaps this broker, becomes leader."""
        assert model is not None
        model.epoch += 1
        if self.random.random() < 0.5:
            self.log_of(model).assign_epoch_start_offset(model.epoch, model.end)

    def roll(self, model: PartitionModel | None) -> None:
        assert model is not None
        self.log_of(model).roll()

    def read(self, model: PartitionModel | None) -> None:
        assert model is not None
        storage_checks.check_reads(self.log_of(model), model, self.random)

    def check(self, model: PartitionModel | None) -> None:
        assert model is not None
        log = self.log_of(model)
        log.update_high_watermark(model.end)
        storage_checks.check_log(log, model, self.disk, self.random, now_ms=self.clock.now_ms)

    # Truncating and deleting

    def truncate(self, model: PartitionModel | None) -> None:
        """As a follower of a new leader, who has another opinion of what came last."""
        assert model is not None
        back = self.random.choice((0, 1, 2, 5, 30))
        target = max(model.end - back, 0)
        if self.random.random() < 0.9:
            target = max(target, model.start)
        if self.log_of(model).is_being_cleaned:
            target = max(target, self.log_of(model).high_watermark)  # what is cleaned was decided below it
        if target >= model.end and not self.log_of(model).truncate_to(target):
            return
        log = self.log_of(model)
        model.epoch += 1
        cut = [batch.base_offset for batch in model.batches if batch.next_offset > target]
        model.begin_truncation(cut[0] if cut else target)
        if target < log.first_segment_base_offset:
            log.truncate_to(target)
            model.restarted(target)
        else:
            log.truncate_to(target)
            model.truncated(target, self._last_covering_batch(log))
        self.note_forgotten(model, log)

    def _last_covering_batch(self, log: Log) -> Batch | None:
        """What a truncation has put at the end of the log, where that has no records."""
        found = storage_checks.batches_on_disk(self.disk, log, with_deleted=True)
        return found[-1].as_cover() if found and found[-1].last_offset + 1 == log.log_end_offset else None

    def note_forgotten(self, model: PartitionModel, log: Log) -> None:
        """Of producers whose batches are gone only a snapshot tells; a truncation or a power loss may take that."""
        first_base = log.first_segment_base_offset
        for producer_id, producer in model.scan.producers.items():
            last = producer.last
            if last is None or last.is_lost or last.base_offset < first_base:
                entry = log.active_producers.get(producer_id)
                known = producer.batches[-1][0] if producer.batches else -1
                if entry is None or (entry.producer_epoch, entry.last_sequence) != (producer.epoch, known):
                    model.uncertain.add(producer_id)

    def restart_at(self, model: PartitionModel | None) -> None:
        """As a follower whose log has nothing in common with the leader's."""
        assert model is not None
        target = self.random.choice((0, model.start, model.end, model.end + 10, model.end // 2))
        model.epoch += 1
        model.begin_truncation(0)
        self.log_of(model).truncate_fully_and_start_at(target)
        model.restarted(target)

    def delete_records(self, model: PartitionModel | None) -> None:
        assert model is not None
        log = self.log_of(model)
        if log.high_watermark <= model.start:
            return
        target = self.random.randint(model.start + 1, log.high_watermark)
        model.start_reached = target
        log.maybe_increment_log_start_offset(target)
        model.start = target
        model.note_synced(log.recovery_point)

    def apply_retention(self, model: PartitionModel | None) -> None:
        assert model is not None
        log = self.log_of(model)
        model.start_reached = max(model.start, log.high_watermark)
        deleted = log.delete_old_segments()
        self.coverage.count("segments deleted", "by retention or DeleteRecords", deleted)
        if not model.start <= log.log_start_offset <= model.start_reached:
            raise Violation(f"retention moved the log start from {model.start} to {log.log_start_offset}")
        if not model.config.delete and log.log_start_offset != model.start:
            raise Violation("retention of a topic that is only compacted")
        model.start = log.log_start_offset
        model.note_synced(log.recovery_point)

    def delete_topic(self, model: PartitionModel | None) -> None:
        """The cluster's metadata have lost the topic already; the log follows."""
        assert model is not None
        del self.models[model.name]
        self.deleted[model.topic_id] = model
        model.is_broken = True
        self.manager.delete([model.name], delay_ms=self.random.choice((0, 1_000, 60_000)))
        model.is_broken = False

    def create_topic(self, model: PartitionModel | None) -> None:
        names = [TopicPartition(f"t{number}", 0) for number in range(3)]
        free = [name for name in names if name not in self.models]
        if not free or any(directory.error for directory in self.manager.directories):
            return
        name = self.random.choice(free)
        config = storage_draws.draw_config(self.random)
        topic_id = uuid.UUID(int=self.random.getrandbits(128), version=4)
        created = PartitionModel(name, topic_id, config, self.next_serial())
        self.models[name] = created
        created.is_broken = True
        self.manager.create(name, topic_id, config, directory=self.random.choice((None, *self.directories)))
        created.is_broken = False

    def change_config(self, model: PartitionModel | None) -> None:
        assert model is not None
        model.config = storage_draws.draw_config(self.random)
        self.log_of(model).update_config(model.config)

    # Durability

    def flush(self, model: PartitionModel | None) -> None:
        assert model is not None
        log = self.log_of(model)
        if self.pending is not None and self.pending[1] is model:
            return
        end = model.end
        log.flush()
        model.note_synced(log.recovery_point)
        if log.recovery_point != end:
            raise Violation(f"after a flush the recovery point is {log.recovery_point}, not {end}")

    def begin_flush(self, model: PartitionModel | None) -> None:
        assert model is not None
        if self.pending is None:
            log = self.log_of(model)
            offset = self.random.choice((None, None, log.active_segment_base_offset))
            pending = log.begin_flush(offset)
            if pending is not None:
                self.pending = pending, model, log

    def finish_flush(self, model: PartitionModel | None) -> None:
        """The sync of a group commit, in its thread, and what follows from it."""
        if self.pending is None:
            return
        pending, flushed, log = self.pending
        try:
            self.in_background(pending.sync, [*CONCURRENT, Operations.checkpoint_now])
        except StorageError:
            pending.abandon()
            self.pending = None
            raise
        pending.finish()
        self.pending = None
        if not log.is_closed:
            flushed.note_synced(log.recovery_point)

    def in_background(self, work: Callable[[], object], choices: list[Operation] | None = None) -> None:
        """Run `work`; before each of its steps the owner thread may do something."""
        filesystem = self.filesystem
        chance = self.random.choice((0.0, _INTERLEAVE_CHANCE))
        steps_left = 5

        def between(operation: str) -> None:
            nonlocal steps_left
            if steps_left > 0 and self.random.random() < chance:
                steps_left -= 1
                filesystem.between = None
                try:
                    self.coverage.count("in between", operation)
                    self.run_foreground_of(choices or CONCURRENT)
                    if not filesystem.crash_in and self.random.random() < _CRASH_AFTERWARDS_CHANCE:
                        filesystem.crash_in = self.random.randint(1, 4)
                finally:
                    if not filesystem.is_dead:
                        filesystem.between = between

        filesystem.between = between
        try:
            work()
        finally:
            filesystem.between = None

    def run_foreground_of(self, choices: list[Operation]) -> None:
        models = self.usable()
        if models:
            self.attempt(self.random.choice(choices), self.random.choice(models))

    def checkpoint(self, model: PartitionModel | None) -> None:
        """All checkpoint files; collected by the owner, written by a thread."""
        self._note_open()
        starts = [(each, each.start, each.truncations) for each in self.usable()]
        write = self.manager.begin_checkpoint()
        if self.random.random() < 0.3:
            self.run_foreground_of(CONCURRENT)
        # Truncations and deletions write checkpoints themselves: they wait for the thread that is at it.
        self.in_background(write, [each for each in CONCURRENT if each not in _WAITS_FOR_CHECKPOINTS])
        for each, start, truncations in starts:
            if each.truncations == truncations and not each.is_broken:
                each.start_promised = max(each.start_promised, start)

    def checkpoint_now(self, model: PartitionModel | None) -> None:
        """While something is being synced: no offset may be told that is not on the disk yet."""
        self._note_open()
        self.manager.checkpoint()

    def _note_open(self) -> None:
        for model in self.usable():
            model.note_synced(self.log_of(model).recovery_point)

    def flush_what_is_due(self, model: PartitionModel | None) -> None:
        if self.pending is not None:
            return
        for log, offset in self.manager.flushes_due():
            due = self.models[log.topic_partition]
            pending = log.begin_flush(offset)
            if pending is not None:
                self.pending = pending, due, log
                self.finish_flush(due)

    def run_removals(self, model: PartitionModel | None) -> None:
        self.in_background(self.manager.run_removals)

    def expire_producers(self, model: PartitionModel | None) -> None:
        for each in self.usable():
            log = self.log_of(each)
            before = set(log.active_producers)
            log.remove_expired_producers()
            each.forgotten |= before - set(log.active_producers)

    def anchor(self, model: PartitionModel | None) -> None:
        """What spares the next recovery most of its reading."""
        assert model is not None
        if self.pending is None:
            log = self.log_of(model)
            pending = log.begin_anchor()
            if pending is not None:
                self.pending = pending, model, log
                self.finish_flush(model)

    def move(self, model: PartitionModel | None) -> None:
        """To another log directory, as the broker's driver of moves does it."""
        assert model is not None
        others = [path for path in self.directories if path != self.log_of(model).log_directory]
        if not others or self.pending is not None or any(each.error for each in self.manager.directories):
            return
        name = model.name
        move = self.manager.begin_move(name, self.random.choice(others)) or self.manager.moves.get(name)
        if move is None:
            return
        model.was_moved = True
        try:
            self._carry_out(move, model)
        except StorageError as error:
            if error.disk_full and not move.is_over():
                self.manager.moves.cancel(name)
            raise
        self.coverage.count("move", move.state.value)

    def _carry_out(self, move: LogMove, model: PartitionModel) -> None:
        for _ in range(30):
            end_offset = move.current.log_end_offset
            if model.config.delete and max(model.config.retention_ms, model.config.retention_bytes) >= 0:
                model.start_reached = max(model.start, move.current.high_watermark)  # of the future log
            self._copy_step(move)
            if move.is_over() or self.random.random() < 0.03:
                return  # cancelled; or to be gone on with later
            if move.has_everything_before(end_offset):
                break
        for work in (move.flush, move.prepare_hand_over):
            with move.working():
                self.in_background(work)
            if move.is_over():
                return
        move.hand_over()
        while not move.copy_tail(300):
            pass
        old = self.manager.finish_move(move)
        new = self.log_of(model)
        has_retention = (
            model.config.delete and max(model.config.retention_ms, model.config.retention_bytes) >= 0
        )
        if not model.start <= new.log_start_offset <= (new.high_watermark if has_retention else model.start):
            raise Violation(f"a move took the log start from {model.start} to {new.log_start_offset}")
        model.start = new.log_start_offset
        new.flush()
        model.note_synced(new.recovery_point)
        self.in_background(self.manager.retire(old, new), _BESIDE_A_MOVE)

    def _copy_step(self, move: LogMove) -> None:
        step = move.begin_step(self.random.choice((1, 300, 5000)))
        try:
            with move.working():
                self.in_background(step.run, _BESIDE_A_MOVE)
        except (ApiError, EOFError):
            if not move.was_truncated and not move.is_over():
                raise
        finally:
            step.finish()

    def clean(self, model: PartitionModel | None) -> None:
        """One pass of the cleaner, with the owner's operations between its steps."""
        for each in self.usable():
            if each.config.compact and self.random.random() < 0.5:
                log = self.log_of(each)
                log.update_high_watermark(each.end)
                log.roll()
        chosen = self.cleaner.choose()
        if chosen is None:
            return
        cleaned = self.models[chosen.log.topic_partition]
        cleaned.cleanable_to = max(cleaned.cleanable_to, chosen.first_uncleanable_offset)
        memory_bytes = self.random.choice((24 * 4, 24 * 1000))
        cleaning = self.cleaner.begin(chosen, memory_bytes=memory_bytes, load_factor=0.9, buffer_bytes=512)
        if cleaning is None:
            raise Violation(f"{chosen.log!r} cannot be cleaned: it is damaged")
        chance = self.random.choice((0.0, 0.0, 0.1))
        steps = cleaning.steps()
        try:
            for place in steps:
                if place is not Place.OWNER and self.random.random() < chance:
                    self.coverage.count("in between", "steps of a cleaning")
                    self.run_foreground_of(CONCURRENT)
        except CleaningInterrupted:
            self.coverage.count("cleaning", "interrupted")
        except LogCorruptError as error:
            if not cleaned.is_rotten:
                raise
            self.cleaner.mark_uncleanable(chosen.log, error)
            cleaned.is_broken = True
        else:
            self.cleaner.finish(chosen.log, cleaning)()
            self.coverage.count("cleaning", "finished")
            self.coverage.count("cleaning", "records read", cleaning.records_read)
            self.coverage.count("cleaning", "records kept", cleaning.records_kept)
        finally:
            steps.close()
            if not self.filesystem.is_dead and not chosen.log.is_closed and not cleaned.is_broken:
                self.learn_cleaned(cleaned, chosen.log)

    def learn_cleaned(self, model: PartitionModel, log: Log) -> None:
        """What is left must be enough; the model goes on with it."""
        compaction = Compaction(model.batches, model.scan.aborted, model.cleanable_to)
        try:
            found = storage_checks.batches_on_disk(self.disk, log, with_deleted=True)
        except (Violation, InvalidBatchError):  # what is deleted may be garbage after a power loss
            found = storage_checks.batches_on_disk(self.disk, log)
        timeline = Timeline(model.batches, model.end, model.end)
        result = match(timeline, found, model.start, model.end, compaction=compaction)
        if result.problem:
            raise Violation(f"after a cleaning {result.problem}")
        model.batches = result.batches
        model.scan = ProducerScan(result.batches)

    def wait(self, model: PartitionModel | None) -> None:
        self.clock.now_ms += self.random.choice((1, 100, 2_000, 10_000, 61_000))


Operation = Callable[[Operations, "PartitionModel | None"], None]

_WEIGHTED: list[tuple[Operation, int]] = [
    (Operations.append, 36),
    (Operations.append_again, 4),
    (Operations.end_transaction, 8),
    (Operations.replicate, 8),
    (Operations.new_epoch, 3),
    (Operations.roll, 2),
    (Operations.read, 2),
    (Operations.check, 1),
    (Operations.truncate, 3),
    (Operations.restart_at, 1),
    (Operations.delete_records, 2),
    (Operations.apply_retention, 4),
    (Operations.delete_topic, 1),
    (Operations.create_topic, 3),
    (Operations.change_config, 1),
    (Operations.flush, 3),
    (Operations.begin_flush, 8),
    (Operations.finish_flush, 8),
    (Operations.checkpoint, 4),
    (Operations.flush_what_is_due, 3),
    (Operations.run_removals, 3),
    (Operations.expire_producers, 1),
    (Operations.anchor, 3),
    (Operations.clean, 4),
    (Operations.move, 2),
    (Operations.wait, 6),
]
FOREGROUND = [operation for operation, _ in _WEIGHTED]
FOREGROUND_WEIGHTS = [weight for _, weight in _WEIGHTED]
CONCURRENT: list[Operation] = [
    Operations.append,
    Operations.append,
    Operations.append,
    Operations.end_transaction,
    Operations.replicate,
    Operations.roll,
    Operations.truncate,
    Operations.new_epoch,
    Operations.apply_retention,
    Operations.delete_records,
    Operations.delete_topic,
]
_WAITS_FOR_CHECKPOINTS = (Operations.truncate, Operations.delete_topic)
# A step may write the recovery points, which truncations and deletions would wait for.
_BESIDE_A_MOVE = [each for each in CONCURRENT if each not in _WAITS_FOR_CHECKPOINTS]
_READS = {"read", "check"}  # who reads a slice meets the disk's errors as they are
# After ENOSPC these have changed nothing, and the log goes on; others may have done a part.
_HARMLESS_WHEN_FULL = {
    "append", "end_transaction", "replicate", "append_again", "roll", "read", "check", "flush", "begin_flush",
    "checkpoint", "run_removals", "expire_producers", "flush_what_is_due", "finish_flush", "new_epoch", "clean",
    "anchor", "move", "checkpoint_now",
}  # fmt: skip
