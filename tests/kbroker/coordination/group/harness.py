"""Drives one GroupShard without trio and without a log on disk: the runtime's part, in virtual time.

Calls return a ``Call``, answered at once or later. Records go to ``log`` and are committed at once, unless
``holding`` (``release`` commits them), or fail with ``append_error``. ``sleep`` lets timers fire.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from kbroker.coordination.group.group import Group
from kbroker.coordination.group.member import Member
from kbroker.coordination.group.shard import GroupShard
from kbroker.coordination.machine import AppendFailure, CoordinatorRecord, Result, Schedule
from kbroker.coordination.timers import TimerQueue
from wire.errors import ApiError, ErrorCode
from wire.internal.consumer_protocol import ConsumerProtocolSubscription
from wire.messages.group_membership import (
    HeartbeatRequest,
    JoinGroupRequest,
    LeaveGroupRequest,
    SyncGroupRequest,
)
from wire.messages.group_offsets import OffsetCommitRequest, OffsetDeleteRequest, OffsetFetchRequest
from wire.messages.transactions import TxnOffsetCommitRequest
from wire.schema import ZERO_UUID

GROUP = "the-group"
SESSION_MS = 10_000
REBALANCE_MS = 60_000
EPOCH_MS = 1_700_000_000_000
NEWEST = 9


@dataclass(frozen=True)
class FixedConfig:
    """A GroupConfig with Kafka's defaults."""

    group_min_session_timeout_ms: int = 6_000
    group_max_session_timeout_ms: int = 1_800_000
    group_initial_rebalance_delay_ms: int = 3_000
    group_max_size: int = 2**31 - 1
    offset_metadata_max_bytes: int = 4_096
    offsets_retention_minutes: int = 7 * 24 * 60
    offsets_retention_check_interval_ms: int = 600_000
    offsets_commit_timeout_ms: int = 5_000


class Origin(NamedTuple):
    api_version: int = NEWEST
    client_id: str | None = "client"
    client_host: str = "127.0.0.1"


class Call:
    """The answer to one call, when it comes."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.answers: list[Any] = []
        self.error: ErrorCode | None = None

    def __repr__(self) -> str:
        return f"<Call {self.name}: {self.error or self.answers or 'parked'}>"

    @property
    def is_parked(self) -> bool:
        return not self.answers and self.error is None

    def answer(self, response: Any) -> None:
        assert self.is_parked, f"{self} is answered twice"
        self.answers.append(response)

    def fail(self, error: ErrorCode) -> None:
        if self.is_parked:
            self.error = error

    @property
    def response(self) -> Any:
        assert self.answers, f"{self} has no response"
        return self.answers[0]

    @property
    def code(self) -> ErrorCode:
        """The error code that the client would see."""
        return self.error if self.error is not None else ErrorCode(self.response.error_code)


class Logged(NamedTuple):
    record: CoordinatorRecord
    producer_id: int


class Marker(NamedTuple):
    producer_id: int
    committed: bool


Entry = Logged | Marker


class Uncommitted(NamedTuple):
    offset: int
    call: Call | None
    result: Result[Any]


class Harness:
    def __init__(self, log: Sequence[Entry] = (), **config: int) -> None:
        self.config = replace(FixedConfig(), **config)
        self.now_ms = EPOCH_MS
        self.log: list[Entry] = list(log)
        self.append_error: ErrorCode | None = None
        self.holding = False
        self.uncommitted: list[Uncommitted] = []
        self.timers = TimerQueue()
        self._uuids = 0
        self.shard = GroupShard(config=self.config, new_uuid=self._new_uuid)
        self._replay_log()
        self.execute(self.shard.loaded(self.now_ms), None)

    def restarted(self) -> Harness:
        """A new shard out of the same log, at the same time."""
        again = Harness.__new__(Harness)
        again.__dict__.update(self.__dict__)
        again.uncommitted = []
        again.timers = TimerQueue()
        again.shard = GroupShard(config=self.config, new_uuid=again._new_uuid)
        again._replay_log()
        again.execute(again.shard.loaded(again.now_ms), None)
        return again

    def _new_uuid(self) -> uuid.UUID:
        self._uuids += 1
        return uuid.UUID(int=self._uuids)

    def _replay_log(self) -> None:
        for offset, entry in enumerate(self.log):
            if isinstance(entry, Logged):
                content = self.shard.decode(entry.record.key, entry.record.value)
                assert content is not None
                self.shard.replay(offset, entry.producer_id, content)
            else:
                self.shard.replay_end_transaction(offset, entry.producer_id, entry.committed)
        self.shard.advance_committed(len(self.log))

    # The runtime's part

    def execute(self, result: Result[Any], call: Call | None, producer_id: int = -1) -> None:
        for change in result.timers:
            if isinstance(change, Schedule):
                deadline = (self.now_ms + change.delay_ms) / 1000
                self.timers.schedule(self, change.key, deadline, change.event)
            else:
                self.timers.cancel(self, change.key)
        for caller, response in result.replies:
            caller.answer(response)
        if not result.records:
            if result.pending is not None:
                raise AssertionError("nothing is appended, so nothing can be pending")
            if call is not None and result.response is not None:
                if result.after_earlier_writes and self.uncommitted:
                    self.uncommitted.append(Uncommitted(len(self.log), call, result))
                else:
                    call.answer(result.response)
            return
        if self.append_error is not None:
            self._finish(Uncommitted(0, call, result), AppendFailure(self.append_error, written=False))
            return
        for record in result.records:
            self.log.append(Logged(record, producer_id))
            if result.replay:
                self.shard.replay(len(self.log) - 1, producer_id, record.content)
        self.uncommitted.append(Uncommitted(len(self.log), call, result))
        if not self.holding:
            self.release()

    def release(self) -> None:
        """All that was appended is committed."""
        self.shard.advance_committed(len(self.log))
        while self.uncommitted:
            self._finish(self.uncommitted.pop(0), None)

    def time_out_commits(self) -> None:
        """The in-sync replicas did not follow in time."""
        while self.uncommitted:
            failure = AppendFailure(ErrorCode.COORDINATOR_NOT_AVAILABLE, written=True)
            self._finish(self.uncommitted.pop(0), failure)

    def _finish(self, done: Uncommitted, failure: AppendFailure | None) -> None:
        if done.result.pending is not None:
            self.execute(self.shard.append_finished(done.result.pending, failure, self.now_ms), None)
        if done.call is None or done.result.response is None:
            return
        if failure is not None:
            done.call.fail(failure.error)
        else:
            done.call.answer(done.result.response)

    def sleep(self, duration_ms: int) -> None:
        until = self.now_ms + duration_ms
        while (timer := self.timers.pop_due(until / 1000)) is not None:
            self.now_ms = max(self.now_ms, round(timer.deadline * 1000))
            self.execute(self.shard.timer_fired(timer.event, self.now_ms), None)
        self.now_ms = until

    def call(self, name: str, operation: Callable[[Call], Result[Any]], producer_id: int = -1) -> Call:
        call = Call(name)
        try:
            self.execute(operation(call), call, producer_id)
        except ApiError as error:
            call.fail(error.code)
        return call

    def end_transaction(self, producer_id: int, *, committed: bool) -> None:
        self.log.append(Marker(producer_id, committed))
        self.shard.replay_end_transaction(len(self.log) - 1, producer_id, committed)
        if not self.holding:
            self.release()

    # What clients do

    def join(
        self,
        member_id: str = "",
        *,
        version: int = NEWEST,
        instance: str | None = None,
        protocols: dict[str, bytes] | list[str] | None = None,
        protocol_type: str = "consumer",
        session_ms: int = SESSION_MS,
        rebalance_ms: int = REBALANCE_MS,
        group: str = GROUP,
        client_id: str | None = "client",
    ) -> Call:
        names = {"range": b""} if protocols is None else protocols
        if isinstance(names, list):
            names = dict.fromkeys(names, b"")
        request = JoinGroupRequest(
            group_id=group,
            session_timeout_ms=session_ms,
            rebalance_timeout_ms=rebalance_ms,
            member_id=member_id,
            group_instance_id=instance,
            protocol_type=protocol_type,
            protocols=[
                JoinGroupRequest.JoinGroupRequestProtocol(name=name, metadata=metadata)
                for name, metadata in names.items()
            ],
        )
        origin = Origin(version, client_id)
        return self.call("join", lambda call: self.shard.join(request, origin, call, self.now_ms))

    def sync(
        self,
        member_id: str,
        generation: int,
        assignments: dict[str, bytes] | None = None,
        *,
        instance: str | None = None,
        protocol_type: str | None = None,
        protocol_name: str | None = None,
    ) -> Call:
        request = SyncGroupRequest(
            group_id=GROUP,
            generation_id=generation,
            member_id=member_id,
            group_instance_id=instance,
            protocol_type=protocol_type,
            protocol_name=protocol_name,
            assignments=[
                SyncGroupRequest.SyncGroupRequestAssignment(member_id=key, assignment=value)
                for key, value in (assignments or {}).items()
            ],
        )
        return self.call("sync", lambda call: self.shard.sync(request, call))

    def heartbeat(self, member_id: str, generation: int, *, instance: str | None = None) -> Call:
        request = HeartbeatRequest(
            group_id=GROUP, generation_id=generation, member_id=member_id, group_instance_id=instance
        )
        return self.call("heartbeat", lambda call: self.shard.heartbeat(request))

    def leave(self, *members: str | tuple[str, str | None]) -> Call:
        identities = [
            LeaveGroupRequest.MemberIdentity(member_id=member)
            if isinstance(member, str)
            else LeaveGroupRequest.MemberIdentity(member_id=member[0], group_instance_id=member[1])
            for member in members
        ]
        request = LeaveGroupRequest(group_id=GROUP, members=identities)
        return self.call("leave", lambda call: self.shard.leave(request, self.now_ms))

    def commit(
        self,
        offsets: dict[tuple[str, int], int],
        member_id: str = "",
        generation: int = -1,
        *,
        instance: str | None = None,
        metadata: str | None = "",
        retention_ms: int = -1,
        topic_id: uuid.UUID = ZERO_UUID,
        version: int = NEWEST,
        group: str = GROUP,
    ) -> Call:
        topic_class = OffsetCommitRequest.OffsetCommitRequestTopic
        request = OffsetCommitRequest(
            group_id=group,
            generation_id_or_member_epoch=generation,
            member_id=member_id,
            group_instance_id=instance,
            retention_time_ms=retention_ms,
            topics=[
                topic_class(
                    name=topic,
                    topic_id=topic_id,
                    partitions=[
                        topic_class.OffsetCommitRequestPartition(
                            partition_index=index, committed_offset=offset, committed_metadata=metadata
                        )
                    ],
                )
                for (topic, index), offset in offsets.items()
            ],
        )
        origin = Origin(version)
        return self.call("commit", lambda call: self.shard.commit_offsets(request, origin, self.now_ms))

    def commit_in_transaction(
        self,
        producer_id: int,
        offsets: dict[tuple[str, int], int],
        member_id: str = "",
        generation: int = -1,
        *,
        instance: str | None = None,
        group: str = GROUP,
        version: int = 5,
    ) -> Call:
        topic_class = TxnOffsetCommitRequest.TxnOffsetCommitRequestTopic
        request = TxnOffsetCommitRequest(
            group_id=group,
            producer_id=producer_id,
            generation_id_or_member_epoch=generation,
            member_id=member_id,
            group_instance_id=instance,
            topics=[
                topic_class(
                    name=topic,
                    partitions=[
                        topic_class.TxnOffsetCommitRequestPartition(
                            partition_index=index, committed_offset=offset, committed_metadata=""
                        )
                    ],
                )
                for (topic, index), offset in offsets.items()
            ],
        )
        origin = Origin(version)
        return self.call(
            "commit in transaction",
            lambda call: self.shard.commit_transactional_offsets(request, origin, self.now_ms),
            producer_id,
        )

    def fetch(self, *, group: str = GROUP) -> dict[tuple[str, int], int]:
        """All committed offsets of the group."""
        request = OffsetFetchRequest.OffsetFetchRequestGroup(group_id=group, topics=None)
        response = self.shard.fetch_offsets(request)
        return {
            (topic.name, partition.partition_index): partition.committed_offset
            for topic in response.topics
            for partition in topic.partitions
        }

    def delete_offsets(self, *partitions: tuple[str, int], group: str = GROUP) -> Call:
        topic_class = OffsetDeleteRequest.OffsetDeleteRequestTopic
        request = OffsetDeleteRequest(
            group_id=group,
            topics=[
                topic_class(
                    name=topic,
                    partitions=[topic_class.OffsetDeleteRequestPartition(partition_index=index)],
                )
                for topic, index in partitions
            ],
        )
        return self.call("delete offsets", lambda call: self.shard.delete_offsets(request))

    def delete_group(self, group: str = GROUP) -> ErrorCode:
        call = self.call("delete group", lambda call: self.shard.delete_groups([group]))
        return call.error if call.error is not None else ErrorCode(call.response[0].error_code)

    # How the group came to be

    @property
    def group(self) -> Group:
        group = self.shard.groups.get(GROUP)
        assert group is not None
        return group

    def member(self, member_id: str) -> Member:
        return self.group.members[member_id]

    def new_member_id(self, **arguments: Any) -> str:
        """The first JoinGroup of a dynamic client, which gives it its member id."""
        call = self.join(**arguments)
        assert call.code is ErrorCode.MEMBER_ID_REQUIRED
        member_id: str = call.response.member_id
        return member_id

    def join_dynamic(self, **arguments: Any) -> tuple[str, Call]:
        """A dynamic client: member id, and the JoinGroup that waits for the end of the join phase."""
        member_id = self.new_member_id(**arguments)
        return member_id, self.join(member_id, **arguments)

    def stable_group(self, *instances: str | None, **arguments: Any) -> list[str]:
        """A stable group of these members (dynamic where None); the first one leads. Their member ids."""
        calls = [
            self.join(instance=instance, **arguments)
            if instance is not None
            else self.join_dynamic(**arguments)[1]
            for instance in instances
        ]
        self.sleep(self.config.group_initial_rebalance_delay_ms)
        self.sleep(self.config.group_initial_rebalance_delay_ms)
        member_ids = [call.response.member_id for call in calls]
        generation = calls[0].response.generation_id
        for member_id in member_ids[1:]:
            self.sync(member_id, generation)
        assert (
            self.sync(member_ids[0], generation, {m: m.encode() for m in member_ids}).code is ErrorCode.NONE
        )
        return member_ids


def subscription(*topics: str) -> bytes:
    """The metadata of a consumer that subscribes to these topics."""
    return ConsumerProtocolSubscription(topics=list(topics)).encode_versioned(3)
