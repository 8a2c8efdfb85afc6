"""The phases of a rebalance: prepare, join, complete; whatever begins or ends one comes through here.

    prepare          everybody is to join (again); from EMPTY the coordinator waits for more members to come,
                     group.initial.rebalance.delay.ms at a time while they do, at most a rebalance timeout
    complete_join    everybody has joined, or the rebalance timeout is over: who is missing is out (static
                     members stay), the generation begins, and the leader gets to know all members
    sync phase       the leader's assignment ends it; who has not synced after a rebalance timeout is out

Kafka: ``GroupMetadataManager.prepareRebalance``, ``completeClassicGroupJoin``, ``expirePendingSync``,
``tryCompleteInitialRebalanceElseSchedule``.
"""

from __future__ import annotations

import logging
from typing import Any, NamedTuple

from kbroker.coordination.group.config import GroupConfig
from kbroker.coordination.group.group import Group
from kbroker.coordination.group.member import Member
from kbroker.coordination.group.records import group_metadata_record
from kbroker.coordination.group.registry import GroupRegistry
from kbroker.coordination.group.states import GroupState
from kbroker.coordination.machine import Result
from wire.errors import ErrorCode
from wire.messages.group_membership import SyncGroupResponse

logger = logging.getLogger(__name__)


class SessionExpired(NamedTuple):
    """A member, real or pending, was not heard of for its session timeout."""

    group_id: str
    member_id: str


class JoinPhaseExpired(NamedTuple):
    """The members had a rebalance timeout to join."""

    group_id: str


class InitialDelayOver(NamedTuple):
    """The members of a new group had ``delay_ms`` to come; ``remaining_ms`` may still be granted."""

    group_id: str
    delay_ms: int
    remaining_ms: int


class SyncPhaseExpired(NamedTuple):
    """The members of a generation had a rebalance timeout to ask for their assignments."""

    group_id: str
    generation_id: int


def session_key(group_id: str, member_id: str) -> tuple[str, str, str]:
    return "session", group_id, member_id


def join_key(group_id: str) -> tuple[str, str]:
    return "join", group_id


def sync_key(group_id: str) -> tuple[str, str]:
    return "sync", group_id


class Rebalances:
    """Moves groups through the phases. ``out`` collects the replies, timers and records of the call."""

    def __init__(self, groups: GroupRegistry, config: GroupConfig) -> None:
        self._groups = groups
        self._config = config

    def restart_session(
        self, group: Group, member: Member, out: Result[Any], timeout_ms: int | None = None
    ) -> None:
        """Expect to hear of the member within its session timeout, counted from now."""
        out.schedule(
            session_key(group.group_id, member.member_id),
            member.session_timeout_ms if timeout_ms is None else timeout_ms,
            SessionExpired(group.group_id, member.member_id),
        )

    def prepare_or_complete(self, group: Group, reason: str, out: Result[Any], now_ms: int) -> None:
        """The membership changed: begin a rebalance, or see whether the one that is under way can go on."""
        if group.can_rebalance:
            self.prepare(group, reason, out, now_ms)
        else:
            self.complete_join_if_all_joined(group, out, now_ms)

    def prepare(self, group: Group, reason: str, out: Result[Any], now_ms: int) -> None:
        """Enter PREPARING_REBALANCE from any state that allows it."""
        if group.state is GroupState.COMPLETING_REBALANCE:
            # They are waiting for an assignment that will not come: have them join again.
            for member in group.members.values():
                member.assignment = b""
            self.propagate_error(group, ErrorCode.REBALANCE_IN_PROGRESS, out)
        self._end_sync_phase(group, out)
        is_initial = group.state is GroupState.EMPTY
        group.transition_to(GroupState.PREPARING_REBALANCE, now_ms)
        logger.info(
            "group %s prepares to rebalance, generation %d: %s", group.group_id, group.generation_id, reason
        )
        if is_initial:
            group.new_member_came = False
            delay_ms = self._config.group_initial_rebalance_delay_ms
            remaining_ms = max(group.rebalance_timeout_ms - delay_ms, 0)
            event = InitialDelayOver(group.group_id, delay_ms, remaining_ms)
            out.schedule(join_key(group.group_id), delay_ms, event)
        elif group.all_have_joined:
            self.complete_join(group, out, now_ms)
        else:
            self._await_joins(group, out)

    def _await_joins(self, group: Group, out: Result[Any]) -> None:
        event = JoinPhaseExpired(group.group_id)
        out.schedule(join_key(group.group_id), group.rebalance_timeout_ms, event)

    def initial_delay_over(self, event: InitialDelayOver, out: Result[Any], now_ms: int) -> None:
        group = self._groups.get(event.group_id)
        if group is None or group.state is not GroupState.PREPARING_REBALANCE:
            return
        if not group.new_member_came or event.remaining_ms == 0:
            self.complete_join(group, out, now_ms)
            return
        group.new_member_came = False
        delay_ms = min(self._config.group_initial_rebalance_delay_ms, event.remaining_ms)
        remaining_ms = max(event.remaining_ms - event.delay_ms, 0)
        out.schedule(
            join_key(group.group_id), delay_ms, InitialDelayOver(group.group_id, delay_ms, remaining_ms)
        )

    def join_phase_expired(self, event: JoinPhaseExpired, out: Result[Any], now_ms: int) -> None:
        group = self._groups.get(event.group_id)
        if group is not None and group.state is GroupState.PREPARING_REBALANCE:
            self.complete_join(group, out, now_ms)

    def complete_join_if_all_joined(self, group: Group, out: Result[Any], now_ms: int) -> None:
        """End the join phase early if nobody is missing; never the initial one, which waits for its delay."""
        if (
            group.state is GroupState.PREPARING_REBALANCE
            and group.previous_state is not GroupState.EMPTY
            and group.all_have_joined
        ):
            self.complete_join(group, out, now_ms)

    def complete_join(self, group: Group, out: Result[Any], now_ms: int) -> None:
        """End the join phase with the members that are there."""
        out.cancel(join_key(group.group_id))
        for member in [member for member in group.not_yet_rejoined() if not member.is_static]:
            logger.info("group %s removes %s, which did not join", group.group_id, member.member_id)
            group.remove(member.member_id)
            out.cancel(session_key(group.group_id, member.member_id))
        if not group.elect_joined_leader() and group.members:
            # Only static members that are away: wait on until they join or their sessions end.
            logger.info("group %s cannot rebalance, none of its members has joined", group.group_id)
            self._await_joins(group, out)
            return
        group.begin_generation(now_ms)
        if group.state is GroupState.EMPTY:
            logger.info("group %s is empty, generation %d", group.group_id, group.generation_id)
            # If this cannot be stored, a restart brings back the last generation that was, whose members then
            # run into their session timeouts: no harm done.
            out.records.append(group_metadata_record(group, {}))
            out.replay = False
            return
        logger.info(
            "group %s has %d members in generation %d",
            group.group_id, len(group.members), group.generation_id,
        )  # fmt: skip
        for member in group.members.values():
            is_leader = member.member_id == group.leader_id
            group.answer_join(member, group.join_response(member, with_members=is_leader), out)
            self.restart_session(group, member, out)
            member.is_new = False
            group.pending_sync[member.member_id] = None
        out.schedule(
            sync_key(group.group_id),
            group.rebalance_timeout_ms,
            SyncPhaseExpired(group.group_id, group.generation_id),
        )

    def sync_phase_expired(self, event: SyncPhaseExpired, out: Result[Any], now_ms: int) -> None:
        group = self._groups.get(event.group_id)
        if (
            group is None
            or group.generation_id != event.generation_id
            or not group.is_in(GroupState.COMPLETING_REBALANCE, GroupState.STABLE)
            or not group.pending_sync
        ):
            return
        missing = list(group.pending_sync)
        for member_id in missing:
            group.remove(member_id)
            out.cancel(session_key(group.group_id, member_id))
        self.prepare(group, f"{len(missing)} members did not sync in time", out, now_ms)

    def member_synced(self, group: Group, member_id: str, out: Result[Any]) -> None:
        """The member has asked for its assignment; the sync phase needs no end when all have."""
        group.pending_sync.pop(member_id, None)
        if not group.pending_sync:
            out.cancel(sync_key(group.group_id))

    def _end_sync_phase(self, group: Group, out: Result[Any]) -> None:
        group.pending_sync.clear()
        out.cancel(sync_key(group.group_id))

    def propagate_assignment(self, group: Group, out: Result[Any]) -> None:
        """Answer all who wait in SyncGroup with their assignment."""
        for member in group.members.values():
            response = SyncGroupResponse(
                protocol_type=group.protocol_type,
                protocol_name=group.protocol_name,
                assignment=member.assignment,
            )
            if group.answer_sync(member, response, out):
                # While it waited no heartbeat was due, and an expiry in that time was passed over.
                self.restart_session(group, member, out)

    def propagate_error(self, group: Group, error: ErrorCode, out: Result[Any]) -> None:
        """Answer all who wait in SyncGroup with an error."""
        for member in group.members.values():
            if group.answer_sync(member, SyncGroupResponse(error_code=error), out):
                self.restart_session(group, member, out)

    def forget(self, group: Group, out: Result[Any]) -> None:
        """The group is going away: nothing may fire for it any more."""
        out.cancel(join_key(group.group_id))
        out.cancel(sync_key(group.group_id))
        for member_id in [*group.members, *group.pending_join]:
            out.cancel(session_key(group.group_id, member_id))
