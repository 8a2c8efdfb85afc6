"""Fetch as followers use it: records up to the log end, and the offset as a receipt for all before it.

A follower's session may hold thousands of partitions, of which a few have news at a time. So its partitions tell
the session what becomes of them (``SessionWatch``), and only those are looked at:

    CLEAN --named by the follower, appended to, an error, high watermark or log start moved--> DIRTY
    DIRTY --answered without records and without an error--> CLEAN
      any --the follower left the in-sync set--> DIRTY, with an error that has it say anew how far it is

What a follower names it has on its disk up to the offset it names: that is noted with the partition before anything
is read (``LeaderPartition.follower_fetched``), unless the two logs part before it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Protocol

import trio

from kbroker.handlers.fetch_answers import (
    Answers,
    answer_without_records,
    check_topic,
    error_answer,
    give_back,
    tell_divergence,
)
from kbroker.handlers.fetch_session import Fetch, FetchTarget, PartitionData, TopicKey, replica_of
from kbroker.handlers.ports import LeaderPartition, Partitions
from wire.errors import ApiError, ErrorCode
from wire.messages.fetch import FetchRequest
from wire.schema import ZERO_UUID


class ReplicationQuota(Protocol):
    """Bytes a second for throttled replicas (``replication.quota``)."""

    def is_exceeded(self) -> bool: ...

    def record(self, size_bytes: int) -> None: ...


class _Watched:
    """One partition of a session, as the partition sees it (the ReplicaWatcher of ``replication``)."""

    __slots__ = ("is_stale", "partition", "target", "watch")

    def __init__(self, watch: SessionWatch, target: FetchTarget, partition: LeaderPartition | None) -> None:
        self.watch = watch
        self.target = target
        self.partition = partition
        self.is_stale = False
        """Whether what the follower named is not to be relied on any more."""

    def out_of_sync(self, node_ids: Collection[int]) -> None:
        if self.watch.node_id in node_ids:
            self.is_stale = True
            self.appended()

    def appended(self) -> None:
        self.watch.dirty[self.target.key] = self
        self.watch.wake()

    def changed(self) -> None:
        self.watch.dirty[self.target.key] = self
        if self.watch.tells_watermarks_at_once:
            self.watch.wake()


class SessionWatch:
    """What of one session may have news; lives as long as the session."""

    def __init__(self, *, node_id: int, tells_watermarks_at_once: bool) -> None:
        self.node_id = node_id
        self.tells_watermarks_at_once = tells_watermarks_at_once
        self.dirty: dict[tuple[TopicKey, int], _Watched] = {}
        self._watched: dict[tuple[TopicKey, int], _Watched] = {}
        self._woken = trio.Event()

    def wake(self) -> None:
        self._woken.set()

    def rearm(self) -> None:
        if self._woken.is_set():
            self._woken = trio.Event()

    async def wait(self) -> None:
        await self._woken.wait()

    def look_at(self, target: FetchTarget, partition: LeaderPartition | None) -> _Watched:
        """Watch a target of the session from now on, and look at it next time; its partition may be a new one."""
        watched = self._watched.get(target.key)
        if watched is None or watched.partition is not partition or watched.target is not target:
            self.forget(target.key)
            watched = self._watched[target.key] = _Watched(self, target, partition)
            if partition is not None:
                partition.replica_watchers[watched] = watched
        watched.is_stale = False
        self.dirty[target.key] = watched
        return watched

    def forget(self, key: tuple[TopicKey, int]) -> None:
        watched = self._watched.pop(key, None)
        self.dirty.pop(key, None)
        if watched is not None and watched.partition is not None:
            watched.partition.replica_watchers.pop(watched, None)

    def close(self) -> None:
        for key in list(self._watched):
            self.forget(key)


class ReplicaFetches:
    """Answers the fetches of followers."""

    def __init__(
        self,
        *,
        partitions: Partitions,
        tells_watermarks_at_once: Callable[[], bool],
        quota: ReplicationQuota | None,
    ) -> None:
        """``tells_watermarks_at_once``: whether consumers read from followers (``replica.selector.class``).

        ``quota``: what throttled replicas that are not in sync may have together.
        """
        self._quota = quota
        self._partitions = partitions
        self._tells_watermarks_at_once = tells_watermarks_at_once

    async def answer(
        self, request: FetchRequest, fetch: Fetch, api_version: int, *, bytes_max: int
    ) -> Answers:
        """The answers of all partitions that were looked at; who sends them releases their file slices."""
        session = fetch.session
        watch = None if session is None else session.watch
        if watch is None:
            watch = SessionWatch(
                node_id=replica_of(request)[0], tells_watermarks_at_once=self._tells_watermarks_at_once()
            )
            if session is not None:
                session.watch = watch
        for key in fetch.forgotten:
            watch.forget(key)
        reading = _Reading(self._partitions, watch, request, api_version, bytes_max, self._quota)
        for target in fetch.named:
            reading.take_note(target)
        try:
            return await reading.read_until_enough()
        finally:
            if session is None or session.is_closed:
                watch.close()


class _Reading:
    """One fetch of a follower under way."""

    def __init__(
        self,
        partitions: Partitions,
        watch: SessionWatch,
        request: FetchRequest,
        api_version: int,
        bytes_max: int,
        quota: ReplicationQuota | None,
    ) -> None:
        self._quota = quota
        self._throttled_bytes = 0
        self._partitions = partitions
        self._watch = watch
        self._request = request
        self._api_version = api_version
        self._node_id, self._broker_epoch = replica_of(request)
        self._bytes_max = min(request.max_bytes, bytes_max)
        self._bytes_min = min(request.min_bytes, self._bytes_max)
        self._answers: dict[tuple[TopicKey, int], tuple[FetchTarget, PartitionData]] = {}
        self._has_records: list[tuple[TopicKey, int]] = []
        self._bytes = 0
        self._must_answer = False
        self._settled: dict[tuple[TopicKey, int], PartitionData] = {}  # errors and divergence, when noted

    def take_note(self, target: FetchTarget) -> None:
        """The follower names a partition: note how far it is."""
        try:
            partition = self._leader(target)
            answer = answer_without_records(target, partition)
            if tell_divergence(target, partition, answer):
                self._settled[target.key] = answer
            elif not partition.log_start_offset <= target.fetch_offset <= partition.log_end_offset:
                raise ApiError(ErrorCode.OFFSET_OUT_OF_RANGE)
            else:
                partition.follower_fetched(
                    self._node_id,
                    self._broker_epoch,
                    offset=target.fetch_offset,
                    log_start_offset=target.log_start_offset,
                )
        except ApiError as error:
            self._settled[target.key] = error_answer(target, error.code, self._api_version)
            self._watch.look_at(target, None)
        else:
            self._watch.look_at(target, partition)

    def _leader(self, target: FetchTarget) -> LeaderPartition:
        check_topic(target, self._api_version)
        partition = self._partitions.leader(target.topic, target.index)
        if target.topic_id not in (ZERO_UUID, self._partitions.topic_id(target.topic)):
            raise ApiError(ErrorCode.INCONSISTENT_TOPIC_ID)
        partition.check_leader_epoch(target.current_leader_epoch)
        return partition

    async def read_until_enough(self) -> Answers:
        self._watch.rearm()
        try:
            self._read()
            if not self._is_enough() and self._request.max_wait_ms > 0:
                await self._wait_for_more()
        except BaseException:
            give_back(self._answers.values())
            raise
        if self._throttled_bytes and self._quota is not None:
            self._quota.record(self._throttled_bytes)
        return list(self._answers.values())

    async def _wait_for_more(self) -> None:
        watch = self._watch
        with trio.move_on_after(self._request.max_wait_ms / 1000):
            while True:
                self._give_back()
                await watch.wait()
                watch.rearm()
                self._read()
                if self._is_enough():
                    return
        self._read()

    def _give_back(self) -> None:
        """Files must not stay open for those who only wait: what had records is read again."""
        give_back([self._answers.pop(key) for key in self._has_records])

    def _is_enough(self) -> bool:
        return self._must_answer or self._bytes >= self._bytes_min or self._partitions.stopping

    def _read(self) -> None:
        """Look at what is dirty; whatever was looked at before, and is not dirty again, keeps its answer."""
        watch = self._watch
        to_look_at, watch.dirty = watch.dirty, {}
        self._bytes = self._throttled_bytes = 0
        self._has_records = []
        self._not_looked_at: dict[tuple[TopicKey, int], _Watched] = {}
        again: dict[tuple[TopicKey, int], _Watched] = {}
        for key, watched in to_look_at.items():
            if self._bytes >= self._bytes_max:
                self._not_looked_at[key] = watched
                continue
            answer = self._look_at(key, watched)
            self._answers.pop(key, None)
            if answer is None:
                continue
            self._answers[key] = watched.target, answer
            size = len(answer.records) if answer.records is not None else 0
            if size:
                self._bytes += size
                self._has_records.append(key)
            if size or answer.error_code:
                again[key] = watched
        # Who had no room comes first next time, or one that catches up would keep all others waiting. What has
        # become dirty by now did so because of the reading: a directory failed, and others had been looked at.
        watch.dirty = self._not_looked_at | again | watch.dirty

    def _look_at(self, key: tuple[TopicKey, int], watched: _Watched) -> PartitionData | None:
        """None if there are records for which there is no room: their turn comes."""
        answer = self._settled.get(key)
        if answer is not None:
            self._must_answer = True
            return answer
        try:
            return self._read_partition(watched.target, watched)
        except ApiError as error:
            self._must_answer = True
            return error_answer(watched.target, error.code, self._api_version)

    def _read_partition(self, target: FetchTarget, watched: _Watched) -> PartitionData | None:
        partition = self._leader(target)
        if partition is not watched.partition or watched.is_stale:
            # Led here since, or the follower left the in-sync set since: it has to say anew how far it is.
            raise ApiError(ErrorCode.NOT_LEADER_OR_FOLLOWER)
        answer = answer_without_records(target, partition)
        is_throttled = partition.is_throttled_for(self._node_id)
        if is_throttled and self._quota is not None and self._quota.is_exceeded():
            self._not_looked_at[target.key] = watched
            return answer
        found = partition.read(
            target.fetch_offset,
            min(target.bytes_max, self._bytes_max - self._bytes),
            offset_max=partition.log_end_offset,
            min_one_batch=self._bytes == 0,
            with_aborted=False,
        )
        if found.records is not None:
            if found.is_cut_short:
                found.records.release()
                self._not_looked_at[target.key] = watched
                return None
            answer.records = found.records
            if is_throttled:
                self._throttled_bytes += len(found.records)
        return answer
