"""What is acknowledged with acks=all is on the disk; who waits shares a sync; a failed one acknowledges nobody."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from kbroker.replication.group_commit import RETRY_S, CommitQueue, Round
from kbroker.replication.shard_log import PartitionShardLog
from storage.errors import StorageError
from storage.flush import PendingFlush
from storage.log import Log
from storage.log_config import LogConfig
from tests.kbroker.replication.slow_disk import SlowDisk, State, slow_disk
from tests.running_broker import batch
from wire.errors import ApiError, ErrorCode
from wire.records import Record

NONE = ErrorCode.NONE


async def test_acks_all_waits_for_the_disk_and_readers_do_not(tmp_path: Path) -> None:
    async with slow_disk(tmp_path) as (disk, nursery):
        [partition] = disk.lead()
        await disk.warm_up(partition)
        disk.world.is_fast = False
        outcomes: list[ErrorCode] = []
        disk.produce(nursery, partition, outcomes)
        await wait_all_tasks_blocked()
        assert (partition.high_watermark, partition.committed_offset, outcomes) == (2, 1, [])
        await disk.world.proceed()
        assert (partition.committed_offset, outcomes) == (2, [NONE])
        assert partition.log.recovery_point == 2


async def test_who_waits_shares_one_sync_and_who_comes_meanwhile_shares_the_next(tmp_path: Path) -> None:
    async with slow_disk(tmp_path) as (disk, nursery):
        [partition] = disk.lead()
        await disk.warm_up(partition)
        disk.world.is_fast = False
        first: list[ErrorCode] = []
        second: list[ErrorCode] = []
        for _ in range(10):
            disk.produce(nursery, partition, first)
        await wait_all_tasks_blocked()
        for _ in range(5):
            disk.produce(nursery, partition, second)
        await disk.world.proceed()
        assert (first, second) == ([NONE] * 10, [])
        await disk.world.proceed()
        assert second == [NONE] * 5
        assert (disk.world.runs, disk.segment_syncs) == (2, 2)


async def test_acks_1_asks_nothing_of_the_disk(tmp_path: Path) -> None:
    async with slow_disk(tmp_path) as (disk, _):
        [partition] = disk.lead()
        await disk.warm_up(partition)
        for required_acks in (0, 1):
            info = partition.append_as_leader(batch(b"x"), required_acks=required_acks)
            assert partition.may_acknowledge(info, required_acks)
        await wait_all_tasks_blocked()
        assert (disk.world.runs, disk.filesystem.synced) == (0, [])


async def test_switched_off_nobody_waits_and_switched_on_again_the_next_does(tmp_path: Path) -> None:
    async with slow_disk(tmp_path) as (disk, nursery):
        [partition] = disk.lead()
        await disk.warm_up(partition)
        disk.enabled = disk.world.is_fast = False
        info = partition.append_as_leader(batch(b"x"), required_acks=-1)
        assert partition.is_committed(info)
        await wait_all_tasks_blocked()
        assert disk.world.runs == 0
        disk.enabled = True
        outcomes: list[ErrorCode] = []
        disk.produce(nursery, partition, outcomes)
        await wait_all_tasks_blocked()
        assert outcomes == []
        await disk.world.proceed()
        assert outcomes == [NONE]


async def test_a_retry_waits_until_the_first_append_is_on_the_disk(tmp_path: Path) -> None:
    async with slow_disk(tmp_path) as (disk, nursery):
        [partition] = disk.lead()
        await disk.warm_up(partition)
        # Appended with acks=1, or before a kill: it is in the log, and nobody has asked the disk for it.
        numbered = {"producer_id": 9, "producer_epoch": 0, "base_sequence": 0}
        first = partition.append_as_leader(batch(b"x", **numbered), required_acks=1)
        disk.world.is_fast = False
        again = partition.append_as_leader(batch(b"x", **numbered), required_acks=-1)
        assert again.is_duplicate
        assert again.first_offset == first.first_offset
        outcomes: list[ErrorCode] = []
        nursery.start_soon(disk.wait_until_committed, partition, again, outcomes)
        await wait_all_tasks_blocked()
        assert outcomes == []
        await disk.world.proceed()
        assert outcomes == [NONE]


async def test_a_new_leader_acknowledges_again_what_its_own_followers_have_told_it(tmp_path: Path) -> None:
    """The leader before, a follower now, counted what was only in its memory: its disk may not have it yet."""
    everybody = {"replicas": (1, 2, 3), "in_sync_replicas": (1, 2, 3)}
    async with slow_disk(tmp_path) as (disk, nursery):
        [partition] = disk.lead(State(leader=2, **everybody))
        numbered = {"producer_id": 9, "producer_epoch": 0, "base_sequence": 0}
        partition.append_as_follower(batch(b"x", **numbered))
        partition.request_sync()
        await wait_all_tasks_blocked()
        partition.leader_told(high_watermark=1, log_start_offset=0)
        disk.lead(State(leader_epoch=1, **everybody))
        again = partition.append_as_leader(batch(b"x", **numbered), required_acks=-1)
        assert again.is_duplicate
        outcomes: list[ErrorCode] = []
        nursery.start_soon(disk.wait_until_committed, partition, again, outcomes)
        for node_id in (2, 3):
            await wait_all_tasks_blocked()
            assert (partition.high_watermark, partition.is_replicated(again), outcomes) == (1, False, [])
            partition.follower_fetched(node_id, 5, offset=1, log_start_offset=0)
        await wait_all_tasks_blocked()
        assert (partition.is_replicated(again), outcomes) == (True, [NONE])


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC, errno.EDQUOT])
async def test_a_failed_sync_acknowledges_nobody_and_is_never_tried_again(tmp_path: Path, code: int) -> None:
    async with slow_disk(tmp_path) as (disk, nursery):
        broken, sound = disk.lead(State(), State())
        await disk.warm_up(broken, sound)
        disk.world.is_fast = False
        outcomes: list[ErrorCode] = []
        disk.produce(nursery, broken, outcomes)
        await wait_all_tasks_blocked()
        disk.produce(nursery, broken, outcomes)  # would be in the next round, which must not come
        disk.filesystem.fail_sync = code
        await disk.world.proceed()
        disk.filesystem.fail_sync = 0
        assert outcomes == [ErrorCode.KAFKA_STORAGE_ERROR] * 2
        assert broken.log.recovery_point == 1
        disk.world.is_fast = True
        await wait_all_tasks_blocked()
        assert disk.filesystem.synced == []
        assert disk.offline == [("t", 0)]
        # The other directory serves as before.
        disk.produce(nursery, sound, outcomes)
        await wait_all_tasks_blocked()
        assert outcomes[2:] == [NONE]
        assert not disk.fatal
        with pytest.raises(ApiError) as offline:
            disk.replicas.leader("t", 0)
        assert offline.value.code is ErrorCode.KAFKA_STORAGE_ERROR


async def test_one_failing_file_of_many_acknowledges_none_of_its_directory(tmp_path: Path) -> None:
    """Several threads sync a round's files: the outcome of all of them counts."""
    async with slow_disk(tmp_path) as (disk, nursery):
        partitions = disk.lead(*[State()] * 16)[::2]
        assert len({partition.log.log_directory for partition in partitions}) == 1
        await disk.warm_up(*partitions)
        disk.world.is_fast = False
        outcomes: list[ErrorCode] = []
        for partition in partitions:
            disk.produce(nursery, partition, outcomes)
        await wait_all_tasks_blocked()
        assert disk.world.running == 4
        doomed = partitions[3].log
        disk.filesystem.fail_sync_below = doomed.directory
        await disk.world.proceed()
        assert outcomes == [ErrorCode.KAFKA_STORAGE_ERROR] * 8


async def test_a_disk_too_full_to_begin_refuses_and_recovers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    async with slow_disk(tmp_path) as (disk, nursery):
        [partition] = disk.lead()
        await disk.warm_up(partition)
        begin_flush = Log.begin_flush

        def no_room(log: Log, *arguments: int, **options: bool) -> PendingFlush | None:
            raise StorageError(log.log_directory, "cannot flush", OSError(errno.ENOSPC, "full"))

        monkeypatch.setattr(Log, "begin_flush", no_room)
        outcomes: list[ErrorCode] = []
        info = disk.produce(nursery, partition, outcomes)
        await wait_all_tasks_blocked()
        assert outcomes == [ErrorCode.KAFKA_STORAGE_ERROR]
        assert partition.log_end_offset == 2
        monkeypatch.setattr(Log, "begin_flush", begin_flush)
        await trio.sleep(RETRY_S * 1.5)
        assert partition.is_committed(info)
        assert disk.offline == []
        disk.produce(nursery, partition, outcomes)
        await wait_all_tasks_blocked()
        assert outcomes[1:] == [NONE]


async def test_a_topic_deleted_while_it_is_synced_keeps_nobody_waiting(tmp_path: Path) -> None:
    async with slow_disk(tmp_path) as (disk, nursery):
        [partition] = disk.lead()
        await disk.warm_up(partition)
        disk.world.is_fast = False
        outcomes: list[ErrorCode] = []
        disk.produce(nursery, partition, outcomes)
        await wait_all_tasks_blocked()
        disk.replicas.remove_topic("t")
        await wait_all_tasks_blocked()
        assert outcomes == [ErrorCode.NOT_LEADER_OR_FOLLOWER]
        await disk.world.proceed()
        assert disk.offline == []
        assert disk.logs.context.cache.pinned_count == 0
        [again] = disk.lead()
        disk.produce(nursery, again, outcomes)
        await disk.world.proceed()
        assert outcomes[1:] == [NONE]


async def test_a_topic_deleted_before_its_round_begins_fails_no_directory(tmp_path: Path) -> None:
    async with slow_disk(tmp_path) as (disk, nursery):
        [partition] = disk.lead()
        outcomes: list[ErrorCode] = []
        disk.produce(nursery, partition, outcomes)
        disk.replicas.remove_topic("t")
        await wait_all_tasks_blocked()
        assert outcomes == [ErrorCode.NOT_LEADER_OR_FOLLOWER]
        assert all(directory.error is None for directory in disk.logs.directories)


async def test_a_log_truncated_while_it_is_synced_is_synced_again(tmp_path: Path) -> None:
    async with slow_disk(tmp_path) as (disk, nursery):
        [partition] = disk.lead()
        await disk.warm_up(partition)
        disk.world.is_fast = False
        disk.produce(nursery, partition, [])
        await wait_all_tasks_blocked()
        partition.log.truncate_to(1)
        outcomes: list[ErrorCode] = []
        disk.produce(nursery, partition, outcomes, b"other")
        await disk.world.proceed()
        assert (partition.log.recovery_point, outcomes) == (1, [])
        await disk.world.proceed()
        assert (partition.log.recovery_point, outcomes) == (2, [NONE])


async def test_what_a_truncation_left_of_a_sync_is_synced_again_unasked(tmp_path: Path) -> None:
    async with slow_disk(tmp_path) as (disk, nursery):
        [partition] = disk.lead()
        await disk.warm_up(partition)
        disk.world.is_fast = False
        outcomes: list[ErrorCode] = []
        disk.produce(nursery, partition, outcomes)
        partition.append_as_leader(batch(b"goes"), required_acks=-1)
        await wait_all_tasks_blocked()
        partition.log.truncate_to(2)
        await disk.world.proceed()
        assert (partition.log.recovery_point, outcomes) == (1, [])
        await disk.world.proceed()
        assert (partition.log.recovery_point, outcomes) == (2, [NONE])


def test_a_failed_queue_takes_no_requests(tmp_path: Path) -> None:
    disk = SlowDisk(tmp_path)
    [partition] = disk.lead()
    queue = CommitQueue(set())
    queue.request(partition)
    assert queue.is_due
    queue.fail(Round([], {}))
    queue.request(partition)
    assert not queue.is_due
    assert queue.begin(0.0).flushes == []
    disk.logs.abandon()


async def test_a_log_rolled_while_it_is_synced_is_acknowledged(tmp_path: Path) -> None:
    async with slow_disk(tmp_path) as (disk, nursery):
        [partition] = disk.lead()
        await disk.warm_up(partition)
        disk.world.is_fast = False
        outcomes: list[ErrorCode] = []
        disk.produce(nursery, partition, outcomes)
        await wait_all_tasks_blocked()
        partition.log.roll()
        disk.produce(nursery, partition, outcomes)
        await disk.world.proceed()
        await disk.world.proceed()
        assert outcomes == [NONE, NONE]
        assert partition.log.recovery_point == 3


async def test_a_waiter_that_gives_up_takes_nothing_from_the_others(tmp_path: Path) -> None:
    async with slow_disk(tmp_path) as (disk, nursery):
        [partition] = disk.lead()
        await disk.warm_up(partition)
        disk.world.is_fast = False
        outcomes: list[ErrorCode] = []
        given_up: list[ErrorCode] = []
        async with trio.open_nursery() as impatient:
            disk.produce(impatient, partition, given_up)
            disk.produce(nursery, partition, outcomes)
            await wait_all_tasks_blocked()
            impatient.cancel_scope.cancel()
        assert partition.commit_progress.waiter_count == 1
        await disk.world.proceed()
        assert (given_up, outcomes) == ([], [NONE])
        assert partition.commit_progress.waiter_count == 0


async def test_stopping_waits_for_the_sync_that_runs_and_accounts_for_it(tmp_path: Path) -> None:
    async with slow_disk(tmp_path) as (disk, nursery):
        [partition] = disk.lead()
        await disk.warm_up(partition)
        disk.world.is_fast = False
        outcomes: list[ErrorCode] = []
        disk.produce(nursery, partition, outcomes)
        await wait_all_tasks_blocked()
        stopped = trio.Event()

        async def stop() -> None:
            await disk.commits.stop()
            stopped.set()

        nursery.start_soon(stop)
        await wait_all_tasks_blocked()
        assert not stopped.is_set()
        await disk.world.proceed()
        assert stopped.is_set()
        assert (outcomes, partition.log.recovery_point) == ([NONE], 2)
        assert disk.logs.context.cache.pinned_count == 0


async def test_a_flush_of_housekeeping_and_a_round_never_sync_one_log_together(tmp_path: Path) -> None:
    """The kernel tells a failed write-back to one of two who ask, and the other would be wrong."""
    async with slow_disk(tmp_path) as (disk, nursery):
        busy, other = disk.lead(*[State()] * 3)[::2]
        assert busy.log.log_directory == other.log.log_directory
        await disk.warm_up(busy, other)
        disk.world.is_fast = False
        busy.append_as_leader(batch(b"much"), required_acks=1)
        nursery.start_soon(disk.commits.flush, busy.log)
        await wait_all_tasks_blocked()
        outcomes: list[ErrorCode] = []
        disk.produce(nursery, busy, outcomes)
        await wait_all_tasks_blocked()
        assert disk.world.running == 1
        # It keeps no other log waiting.
        disk.produce(nursery, other, outcomes)
        await wait_all_tasks_blocked()
        assert disk.world.running == 2
        await disk.world.proceed()
        assert outcomes == [NONE]
        await disk.world.proceed()
        assert outcomes == [NONE, NONE]
        # And the other way round.
        disk.produce(nursery, busy, outcomes)
        await wait_all_tasks_blocked()
        nursery.start_soon(disk.commits.flush, busy.log)
        await wait_all_tasks_blocked()
        assert disk.world.running == 1
        await disk.world.proceed()
        assert outcomes == [NONE] * 3


async def test_a_failed_flush_of_housekeeping_fails_who_waits_for_a_round(tmp_path: Path) -> None:
    async with slow_disk(tmp_path) as (disk, nursery):
        [partition] = disk.lead()
        await disk.warm_up(partition)
        disk.world.is_fast = False
        partition.append_as_leader(batch(b"x"), required_acks=1)
        failures: list[StorageError] = []

        async def flush() -> None:
            try:
                await disk.commits.flush(partition.log)
            except StorageError as error:
                failures.append(error)

        nursery.start_soon(flush)
        await wait_all_tasks_blocked()
        outcomes: list[ErrorCode] = []
        disk.produce(nursery, partition, outcomes)
        disk.filesystem.fail_sync = errno.ENOSPC
        await disk.world.proceed()
        disk.filesystem.fail_sync = 0
        await disk.world.proceed()
        assert len(failures) == 1
        assert outcomes == [ErrorCode.KAFKA_STORAGE_ERROR]


async def test_many_logs_are_synced_by_several_threads_and_few_by_one(tmp_path: Path) -> None:
    async with slow_disk(tmp_path) as (disk, nursery):
        partitions = disk.lead(*[State()] * 16)[::2]
        await disk.warm_up(*partitions)
        outcomes: list[ErrorCode] = []
        for partition in partitions[:3]:
            disk.produce(nursery, partition, outcomes)
        await wait_all_tasks_blocked()
        assert (disk.world.running_max, disk.segment_syncs) == (1, 3)
        for partition in partitions:
            disk.produce(nursery, partition, outcomes)
        await wait_all_tasks_blocked()
        assert (disk.world.running_max, disk.segment_syncs) == (4, 11)
        assert outcomes == [NONE] * 11


async def test_the_kernel_syncs_files_and_threads_the_names(tmp_path: Path) -> None:
    async with slow_disk(tmp_path, with_kernel=True) as (disk, nursery):
        old, fresh = disk.lead(*[State()] * 4)[::2]
        outcomes: list[ErrorCode] = []
        await disk.warm_up(old)
        assert disk.kernel.rounds == []  # a new log has names to sync
        disk.produce(nursery, old, outcomes)
        await wait_all_tasks_blocked()
        assert (disk.kernel.rounds, disk.world.runs, disk.segment_syncs) == ([1], 1, 1)
        disk.world.is_fast = False
        disk.produce(nursery, old, outcomes)
        disk.produce(nursery, fresh, outcomes)
        await wait_all_tasks_blocked()
        assert (disk.kernel.rounds, disk.world.running) == ([1, 1], 2)  # side by side
        assert outcomes == [NONE]
        await disk.world.proceed()
        assert outcomes == [NONE] * 3
        assert disk.logs.context.cache.pinned_count == 0


async def test_an_error_that_the_kernel_tells_fails_the_directory(tmp_path: Path) -> None:
    async with slow_disk(tmp_path, with_kernel=True) as (disk, nursery):
        partitions = disk.lead(*[State()] * 8)[::2]
        await disk.warm_up(*partitions)
        disk.filesystem.fail_sync_below = partitions[2].log.directory
        outcomes: list[ErrorCode] = []
        for partition in partitions:
            disk.produce(nursery, partition, outcomes)
        await wait_all_tasks_blocked()
        assert disk.kernel.rounds == [4]
        assert outcomes == [ErrorCode.KAFKA_STORAGE_ERROR] * 4
        assert len(disk.offline) == 4
        assert disk.logs.context.cache.pinned_count == 0


# With other replicas


async def test_the_disk_first_and_the_other_replica_last(tmp_path: Path) -> None:
    async with slow_disk(tmp_path) as (disk, nursery):
        both = State(replicas=(1, 2), in_sync_replicas=(1, 2))
        [partition] = disk.lead(both)
        outcomes: list[ErrorCode] = []
        disk.produce(nursery, partition, outcomes)
        await wait_all_tasks_blocked()
        assert (partition.log.recovery_point, partition.high_watermark, outcomes) == (1, 0, [])
        disk.lead(State(replicas=(1, 2), in_sync_replicas=(1,)))
        await wait_all_tasks_blocked()
        assert outcomes == [NONE]


async def test_too_few_replicas_left_when_it_is_committed(tmp_path: Path) -> None:
    async with slow_disk(tmp_path) as (disk, nursery):
        [partition] = disk.lead(State(replicas=(1, 2), in_sync_replicas=(1, 2)), min_in_sync=2)
        outcomes: list[ErrorCode] = []
        disk.world.is_fast = False
        disk.produce(nursery, partition, outcomes)
        await wait_all_tasks_blocked()
        partition.follower_fetched(2, -1, offset=1, log_start_offset=0)
        assert partition.high_watermark == 1
        disk.lead(State(replicas=(1, 2), in_sync_replicas=(1,)), min_in_sync=2)
        disk.world.stop_waiting()
        await wait_all_tasks_blocked()
        assert outcomes == [ErrorCode.NOT_ENOUGH_REPLICAS_AFTER_APPEND]


# flush.messages


async def test_flush_messages_holds_back_the_answer_of_the_append_that_made_it_due(tmp_path: Path) -> None:
    async with slow_disk(tmp_path) as (disk, _):
        disk.enabled = False
        [partition] = disk.lead(config=LogConfig(flush_messages=3))
        disk.world.is_fast = False
        early = partition.append_as_leader(batch(b"1", b"2"), required_acks=1)
        assert partition.may_acknowledge(early, 1)
        due = partition.append_as_leader(batch(b"3"), required_acks=1)
        assert not partition.may_acknowledge(due, 1)
        assert not partition.may_acknowledge(due, -1)
        await wait_all_tasks_blocked()
        assert disk.world.running == 1  # in a thread: nobody else is held up
        await disk.world.proceed()
        assert partition.may_acknowledge(due, 1)
        assert partition.may_acknowledge(due, -1)
        assert partition.log.recovery_point == 3
        later = partition.append_as_leader(batch(b"4"), required_acks=1)
        assert partition.may_acknowledge(later, 1)
        await wait_all_tasks_blocked()
        assert disk.world.running == 0


async def test_an_append_whose_due_flush_fails_is_not_acknowledged(tmp_path: Path) -> None:
    async with slow_disk(tmp_path) as (disk, _):
        [partition] = disk.lead(config=LogConfig(flush_messages=1))
        disk.world.is_fast = False
        info = partition.append_as_leader(batch(b"1"), required_acks=1)
        disk.filesystem.fail_sync = errno.EIO
        await disk.world.proceed()
        with pytest.raises(ApiError) as failed:
            partition.may_acknowledge(info, 1)
        assert failed.value.code is ErrorCode.KAFKA_STORAGE_ERROR


# The coordinators' view


async def test_a_coordinators_append_is_committed_when_the_disk_has_it(tmp_path: Path) -> None:
    async with slow_disk(tmp_path) as (disk, nursery):
        [partition] = disk.lead()
        await disk.warm_up(partition)
        disk.world.is_fast = False
        log = PartitionShardLog(partition)
        end = log.append([Record(0, 1, b"k", b"v")])
        waited: list[int] = []

        async def wait() -> None:
            await log.wait_committed(end)
            waited.append(end)

        nursery.start_soon(wait)
        await wait_all_tasks_blocked()
        assert (log.high_watermark, waited) == (1, [])
        await disk.world.proceed()
        assert (log.high_watermark, waited) == (end, [end])


async def test_what_a_coordinator_reads_at_its_start_gets_to_the_disk(tmp_path: Path) -> None:
    """Its state rests on it, and a killed broker may not have synced it."""
    async with slow_disk(tmp_path) as (disk, _):
        [partition] = disk.lead()
        await disk.warm_up(partition)
        partition.append_as_leader(batch(b"x"), required_acks=1)
        log = PartitionShardLog(partition)
        assert log.high_watermark == 1
        assert b"".join(log.read_all())
        await wait_all_tasks_blocked()
        assert log.high_watermark == 2


async def test_what_a_coordinator_holds_for_committed_stays_committed(tmp_path: Path) -> None:
    async with slow_disk(tmp_path) as (disk, _):
        [partition] = disk.lead()
        disk.enabled = disk.world.is_fast = False
        log = PartitionShardLog(partition)
        assert log.append([Record(0, 1, b"k", b"v")]) == log.high_watermark == 1
        disk.enabled = True
        assert log.high_watermark == 1


async def test_the_last_directory_that_fails_ends_the_broker(tmp_path: Path) -> None:
    async with slow_disk(tmp_path) as (disk, nursery):
        partitions = disk.lead(State(), State())
        await disk.warm_up(*partitions)
        disk.filesystem.fail_sync = errno.EIO
        outcomes: list[ErrorCode] = []
        for partition in partitions:
            disk.produce(nursery, partition, outcomes)
        await wait_all_tasks_blocked()
        assert outcomes == [ErrorCode.KAFKA_STORAGE_ERROR] * 2
        assert len(disk.fatal) == 1
