"""One shard of the group coordinator: the groups and offsets of one partition of ``__consumer_offsets``.

A ``kbroker.coordination.machine.Machine``: the runtime calls it with what clients ask, with timers that
fired, with the fate of the records that it wanted appended, and with the records of the log.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from typing import Any

from kbroker.coordination.group.config import GroupConfig
from kbroker.coordination.group.description import Descriptions
from kbroker.coordination.group.group import Group
from kbroker.coordination.group.join import GroupCreated, Joins, StaticMemberStored
from kbroker.coordination.group.leave import Leaves
from kbroker.coordination.group.member import Member, Protocol
from kbroker.coordination.group.offset_commits import OffsetCommits
from kbroker.coordination.group.offset_queries import OffsetQueries
from kbroker.coordination.group.offset_removal import ExpirationDue, OffsetRemoval
from kbroker.coordination.group.offset_store import OffsetStore
from kbroker.coordination.group.rebalance import (
    InitialDelayOver,
    JoinPhaseExpired,
    Rebalances,
    SessionExpired,
    SyncPhaseExpired,
)
from kbroker.coordination.group.records import NO_TIMESTAMP, Content, GroupChange, OffsetChange, decode
from kbroker.coordination.group.registry import GroupRegistry
from kbroker.coordination.group.sessions import Sessions
from kbroker.coordination.group.states import GroupState
from kbroker.coordination.group.sync import AssignmentStored, Syncs
from kbroker.coordination.machine import AppendFailure, Result
from wire.errors import ErrorCode
from wire.internal.consumer_offsets import GroupMetadataValue
from wire.messages.group_membership import SyncGroupResponse

_SAME_AS_SESSION = -1


class GroupShard:
    """``new_uuid`` makes member ids unique. The parts answer the calls; see their modules."""

    def __init__(self, *, config: GroupConfig, new_uuid: Callable[[], uuid.UUID]) -> None:
        self.groups = GroupRegistry()
        self.offsets = OffsetStore()
        self._config = config
        self._rebalances = Rebalances(self.groups, config)
        self._joins = Joins(self.groups, self._rebalances, config, new_uuid)
        self._syncs = Syncs(self.groups, self._rebalances)
        self._sessions = Sessions(self.groups, self._rebalances)
        self._removal = OffsetRemoval(self.groups, self.offsets, config)
        queries = OffsetQueries(self.groups, self.offsets)
        commits = OffsetCommits(self.groups, self._rebalances, config)
        descriptions = Descriptions(self.groups)
        self.join = self._joins.join
        self.sync = self._syncs.sync
        self.heartbeat = self._sessions.heartbeat
        self.leave = Leaves(self.groups, self._rebalances).leave
        self.commit_offsets = commits.commit
        self.commit_transactional_offsets = commits.commit_transactional
        self.fetch_offsets = queries.fetch
        self.fetch_stable_offsets = queries.fetch_stable
        self.delete_offsets = self._removal.delete_offsets
        self.delete_groups = self._removal.delete_groups
        self.describe_groups = descriptions.describe
        self.list_groups = descriptions.list

    def remove_topics(self, topics: Sequence[tuple[str, uuid.UUID]]) -> Result[None]:
        """The offsets of deleted topics, by (name, id), go with them."""
        out: Result[None] = Result()
        self._removal.remove_topics(topics, out)
        return out

    # What the runtime calls

    def loaded(self, now_ms: int) -> Result[None]:
        """Start every member's session anew; shrink groups that a new group.max.size forbids."""
        out: Result[None] = Result()
        self._removal.schedule_expiration(out)
        for group in self.groups:
            for member in group.members.values():
                self._rebalances.restart_session(group, member, out)
            if len(group.members) > self._config.group_max_size:
                self._rebalances.prepare(group, "the group is larger than group.max.size", out, now_ms)
        return out

    def unloaded(self) -> Result[None]:
        """All groups are dead here; whoever waits is sent to the new coordinator."""
        out: Result[None] = Result()
        for group in self.groups:
            group.transition_to(GroupState.DEAD, NO_TIMESTAMP)
            for member in group.members.values():
                group.answer_join(member, ErrorCode.NOT_COORDINATOR, out)
                group.answer_sync(member, SyncGroupResponse(error_code=ErrorCode.NOT_COORDINATOR), out)
        return out

    def timer_fired(self, event: Any, now_ms: int) -> Result[None]:
        out: Result[None] = Result()
        match event:
            case SessionExpired():
                self._sessions.session_expired(event, out, now_ms)
            case JoinPhaseExpired():
                self._rebalances.join_phase_expired(event, out, now_ms)
            case InitialDelayOver():
                self._rebalances.initial_delay_over(event, out, now_ms)
            case SyncPhaseExpired():
                self._rebalances.sync_phase_expired(event, out, now_ms)
            case ExpirationDue():
                self._removal.expire(out, now_ms)
            case _:
                raise AssertionError(f"nobody scheduled {event!r}")
        return out

    def append_finished(self, pending: Any, failure: AppendFailure | None, now_ms: int) -> Result[None]:
        out: Result[None] = Result()
        match pending:
            case AssignmentStored():
                self._syncs.assignment_stored(pending, failure, out, now_ms)
            case StaticMemberStored():
                self._joins.static_member_stored(pending, failure, out)
            case GroupCreated():
                self._joins.group_created(pending, failure, out)
            case _:
                raise AssertionError(f"nobody wanted {pending!r} appended")
        return out

    # Replaying

    def decode(self, key: bytes, value: bytes | None) -> Content | None:
        return decode(key, value)

    def replay(self, offset: int, producer_id: int, content: Content) -> None:
        match content:
            case OffsetChange(group_id=group_id):
                if content.committed is not None and self.groups.get(group_id) is None:
                    self.groups.add(Group(group_id, state_since_ms=content.committed.commit_timestamp_ms))
                self.offsets.apply(offset, producer_id, content)
            case GroupChange(group_id=group_id, value=None):
                self.groups.discard(group_id)
            case GroupChange(group_id=group_id, value=value):
                assert value is not None
                self.groups.add(_restored(group_id, value))

    def replay_end_transaction(self, offset: int, producer_id: int, committed: bool) -> None:
        self.offsets.end_transaction(offset, producer_id, is_commit=committed)

    def advance_committed(self, offset: int) -> None:
        self.offsets.advance_committed(offset)


def _restored(group_id: str, value: GroupMetadataValue) -> Group:
    """The group that the record describes: stable with its members, or empty."""
    since_ms = value.current_state_timestamp
    group = Group(
        group_id,
        state=GroupState.STABLE if value.members else GroupState.EMPTY,
        generation_id=value.generation,
        protocol_type=value.protocol_type or None,
        protocol_name=value.protocol,
        leader_id=value.leader,
        state_since_ms=None if since_ms == NO_TIMESTAMP else since_ms,
    )
    for member in value.members:
        rebalance_timeout_ms = member.rebalance_timeout
        if rebalance_timeout_ms == _SAME_AS_SESSION:
            rebalance_timeout_ms = member.session_timeout
        restored = Member(
            member_id=member.member_id,
            group_instance_id=member.group_instance_id,
            client_id=member.client_id,
            client_host=member.client_host,
            rebalance_timeout_ms=rebalance_timeout_ms,
            session_timeout_ms=member.session_timeout,
            protocol_type=value.protocol_type,
            protocols=(Protocol(value.protocol or "", member.subscription),),
            assignment=member.assignment,
        )
        group.add(restored, None)
    group.refresh_subscribed_topics()
    return group
