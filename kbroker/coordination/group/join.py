"""JoinGroup: becoming a member, and staying one through rebalances.

    member id empty, dynamic   v4+: given a member id and asked to join again with it (KIP-394); else taken in
    member id empty, static    replaces the member that has the same group.instance.id (KIP-345), or taken in
    member id pending          taken in
    member id of a member      PREPARING_REBALANCE: waits for the others
                               COMPLETING_REBALANCE: told the generation again, if nothing changed
                               STABLE: likewise, unless it is the leader, who may have reasons of its own

Whoever is taken in, or changed something, begins a rebalance and is answered when its join phase is over.

Kafka: ``GroupMetadataManager.classicGroupJoinToClassicGroup`` and what it calls.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable
from typing import NamedTuple

from kbroker.coordination.group.config import GroupConfig
from kbroker.coordination.group.group import Group
from kbroker.coordination.group.member import UNKNOWN_MEMBER_ID, Member, Protocol, java_host
from kbroker.coordination.group.rebalance import Rebalances, SessionExpired, session_key
from kbroker.coordination.group.records import group_metadata_record, new_group_record
from kbroker.coordination.group.registry import GroupRegistry
from kbroker.coordination.group.states import GroupState
from kbroker.coordination.machine import AppendFailure, Caller, Result
from kbroker.coordination.ports import RequestOrigin
from wire.errors import ApiError, ErrorCode
from wire.messages.group_membership import JoinGroupRequest, JoinGroupResponse, SyncGroupResponse

logger = logging.getLogger(__name__)

NEW_MEMBER_JOIN_TIMEOUT_MS = 5 * 60 * 1000
"""How long a member that has never been part of a generation may wait for one; a constant in Kafka, too."""

_MEMBER_ID_REQUIRED_SINCE = 4
_SKIP_ASSIGNMENT_SINCE = 9
_REASON_LENGTH_MAX = 255


class GroupCreated(NamedTuple):
    """The record that makes a new group durable."""

    group_id: str


class StaticMemberStored(NamedTuple):
    """The record that gives a static member of a stable group its new member id; and what it was before."""

    group_id: str
    generation_id: int
    member_id: str
    old_member_id: str
    old_protocols: tuple[Protocol, ...]
    old_rebalance_timeout_ms: int
    old_session_timeout_ms: int
    old_leader_id: str
    api_version: int
    caller: Caller


class _Join(NamedTuple):
    """One JoinGroup call on its way through the functions below."""

    request: JoinGroupRequest
    protocols: tuple[Protocol, ...]
    origin: RequestOrigin
    caller: Caller
    now_ms: int
    out: Result[JoinGroupResponse]

    @property
    def reason(self) -> str:
        return (self.request.reason or "not provided")[:_REASON_LENGTH_MAX]

    def refuse(self, error: ErrorCode, member_id: str = UNKNOWN_MEMBER_ID) -> None:
        self.out.response = JoinGroupResponse(member_id=member_id, error_code=error)


class Joins:
    """Answers JoinGroup."""

    def __init__(
        self,
        groups: GroupRegistry,
        rebalances: Rebalances,
        config: GroupConfig,
        new_uuid: Callable[[], uuid.UUID],
    ) -> None:
        self._groups = groups
        self._rebalances = rebalances
        self._config = config
        self._new_uuid = new_uuid

    def join(
        self, request: JoinGroupRequest, origin: RequestOrigin, caller: Caller, now_ms: int
    ) -> Result[JoinGroupResponse]:
        protocols = tuple(Protocol(protocol.name, protocol.metadata) for protocol in request.protocols)
        join = _Join(request, protocols, origin, caller, now_ms, Result())
        is_unknown_member = request.member_id == UNKNOWN_MEMBER_ID
        group = self._groups.get(request.group_id)
        is_new_group = group is None
        if group is None:
            if not is_unknown_member:
                join.refuse(ErrorCode.UNKNOWN_MEMBER_ID, request.member_id)
                return join.out
            group = Group(request.group_id, state_since_ms=now_ms)
            self._groups.add(group)
        if group.state is GroupState.DEAD:
            join.refuse(ErrorCode.COORDINATOR_NOT_AVAILABLE, request.member_id)
        elif not self._has_room_for(group, request.member_id):
            group.remove(request.member_id)
            join.out.cancel(session_key(group.group_id, request.member_id))
            join.refuse(ErrorCode.GROUP_MAX_SIZE_REACHED)
        elif not group.supports(request.protocol_type, {protocol.name for protocol in protocols}):
            join.refuse(ErrorCode.INCONSISTENT_GROUP_PROTOCOL, request.member_id)
        elif is_unknown_member:
            self._join_unknown(group, join)
        else:
            self._join_known(group, join)
        if is_new_group:
            assert not join.out.records, "a new group waits for its initial delay"
            join.out.records.append(new_group_record(group))
            join.out.replay = False
            join.out.pending = GroupCreated(group.group_id)
        return join.out

    def _has_room_for(self, group: Group, member_id: str) -> bool:
        """Whether group.max.size lets this one join; members that have joined keep their place."""
        size_max = self._config.group_max_size
        member = group.members.get(member_id)
        if group.state is GroupState.EMPTY:
            return True
        if group.state is GroupState.PREPARING_REBALANCE:
            # The group may be larger than it may become: only who joins first stays.
            return (member is not None and member.is_awaiting_join) or group.awaiting_join_count < size_max
        return member is not None or len(group.members) < size_max

    def _join_unknown(self, group: Group, join: _Join) -> None:
        instance_id = join.request.group_instance_id
        prefix = instance_id if instance_id is not None else join.origin.client_id or ""
        member_id = f"{prefix}-{self._new_uuid()}"
        if instance_id is not None:
            old_member_id = group.static_member_ids.get(instance_id)
            if old_member_id is not None:
                self._replace_static_member(group, group.members[old_member_id], member_id, join)
            else:
                self._take_in(group, member_id, join)
        elif join.origin.api_version >= _MEMBER_ID_REQUIRED_SINCE:
            group.pending_join[member_id] = None
            event = SessionExpired(group.group_id, member_id)
            join.out.schedule(session_key(group.group_id, member_id), join.request.session_timeout_ms, event)
            join.refuse(ErrorCode.MEMBER_ID_REQUIRED, member_id)
        else:
            self._take_in(group, member_id, join)

    def _join_known(self, group: Group, join: _Join) -> None:
        request = join.request
        if request.member_id in group.pending_join:
            if request.group_instance_id is not None:
                # Member ids are only given out to dynamic members, so no client gets here.
                raise ApiError(ErrorCode.UNKNOWN_SERVER_ERROR, "a pending member cannot become static")
            self._take_in(group, request.member_id, join)
            return
        try:
            member = group.check_member(request.member_id, request.group_instance_id)
        except ApiError as error:
            join.refuse(error.code, request.member_id)
            return
        is_leader = member.member_id == group.leader_id
        has_changed = member.protocols != join.protocols
        if (
            group.state is GroupState.PREPARING_REBALANCE
            or has_changed
            or (group.state is GroupState.STABLE and is_leader)
        ):
            # A leader that joins a stable group wants to assign anew: the topics may have changed.
            self._rejoin(group, member, join)
        else:
            # It did not get the answer the last time.
            join.out.response = group.join_response(member, with_members=is_leader)

    def _take_in(self, group: Group, member_id: str, join: _Join) -> None:
        """Make a member of somebody new, and rebalance."""
        request = join.request
        member = Member(
            member_id=member_id,
            group_instance_id=request.group_instance_id,
            client_id=join.origin.client_id or "",
            client_host=java_host(join.origin.client_host),
            rebalance_timeout_ms=request.rebalance_timeout_ms,
            session_timeout_ms=request.session_timeout_ms,
            protocol_type=request.protocol_type,
            protocols=join.protocols,
            is_new=True,
        )
        if group.state is GroupState.PREPARING_REBALANCE and group.previous_state is GroupState.EMPTY:
            group.new_member_came = True
        group.add(member, join.caller)
        # It cannot send heartbeats before it knows its member id, and nobody notices when it disconnects.
        self._rebalances.restart_session(group, member, join.out, NEW_MEMBER_JOIN_TIMEOUT_MS)
        reason = f"{member_id} joins; client reason: {join.reason}"
        self._rebalances.prepare_or_complete(group, reason, join.out, join.now_ms)

    def _rejoin(self, group: Group, member: Member, join: _Join) -> None:
        self._update(group, member, join)
        reason = f"{member.member_id} joins again; client reason: {join.reason}"
        self._rebalances.prepare_or_complete(group, reason, join.out, join.now_ms)

    def _update(self, group: Group, member: Member, join: _Join) -> None:
        """Take over what the member says now, and let the call wait for the end of the join phase."""
        group.update(
            member,
            join.protocols,
            rebalance_timeout_ms=join.request.rebalance_timeout_ms,
            session_timeout_ms=join.request.session_timeout_ms,
        )
        group.park_join(member, join.caller, join.out)

    # Static members

    def _replace_static_member(self, group: Group, member: Member, member_id: str, join: _Join) -> None:
        """A new incarnation of a static member: it gets a new member id, and the old one is fenced."""
        before = StaticMemberStored(
            group_id=group.group_id,
            generation_id=group.generation_id,
            member_id=member_id,
            old_member_id=member.member_id,
            old_protocols=member.protocols,
            old_rebalance_timeout_ms=member.rebalance_timeout_ms,
            old_session_timeout_ms=member.session_timeout_ms,
            old_leader_id=group.leader_id or "",
            api_version=join.origin.api_version,
            caller=join.caller,
        )
        self._rename(group, member, member_id, join.out)
        self._update(group, member, join)
        if group.state is GroupState.STABLE and group.select_protocol() == group.protocol_name:
            # Nothing changes for the others: no rebalance, but the new member id must be durable.
            assignments = {other.member_id: other.assignment for other in group.members.values()}
            join.out.records.append(group_metadata_record(group, assignments))
            join.out.replay = False
            join.out.pending = before
            return
        reason = f"static member {member_id} replaces {before.old_member_id}; client reason: {join.reason}"
        # From COMPLETING_REBALANCE, too: the leader may have been told the old member id already.
        self._rebalances.prepare_or_complete(group, reason, join.out, join.now_ms)

    def _rename(self, group: Group, member: Member, member_id: str, out: Result[JoinGroupResponse]) -> None:
        group.answer_join(member, ErrorCode.FENCED_INSTANCE_ID, out)
        group.answer_sync(member, SyncGroupResponse(error_code=ErrorCode.FENCED_INSTANCE_ID), out)
        out.cancel(session_key(group.group_id, member.member_id))
        group.rename_static_member(member, member_id)
        member.is_new = False
        self._rebalances.restart_session(group, member, out)

    def static_member_stored(
        self, stored: StaticMemberStored, failure: AppendFailure | None, out: Result[None]
    ) -> None:
        """Tell the new incarnation its generation; or take the change back, and have it try again."""
        group = self._groups.get(stored.group_id)
        member = None if group is None else group.members.get(stored.member_id)
        if group is None or member is None or member.awaiting_join is not stored.caller:
            return
        if failure is not None:
            self._restore_static_member(group, member, stored, failure.error, out)
        elif group.state is GroupState.STABLE and group.generation_id == stored.generation_id:
            self._answer_static_member(group, member, stored, out)
        # Otherwise a rebalance has begun, of which the member is part: it waits for its end.

    def _answer_static_member(
        self, group: Group, member: Member, stored: StaticMemberStored, out: Result[None]
    ) -> None:
        if stored.api_version >= _SKIP_ASSIGNMENT_SINCE:
            # It may lead, but not assign: there is no rebalance (KIP-814).
            is_leader = member.member_id == group.leader_id
            response = group.join_response(member, with_members=is_leader, skip_assignment=is_leader)
        else:
            # Told that it leads, an older client would assign; so it is told the leader's former id.
            response = group.join_response(member, with_members=False)
            response.leader = stored.old_leader_id
        group.answer_join(member, response, out)

    def _restore_static_member(
        self,
        group: Group,
        member: Member,
        stored: StaticMemberStored,
        error: ErrorCode,
        out: Result[None],
    ) -> None:
        logger.warning(
            "group %s keeps member id %s: its new one could not be stored (%s)",
            group.group_id, stored.old_member_id, error.name,
        )  # fmt: skip
        response = JoinGroupResponse(
            member_id=UNKNOWN_MEMBER_ID,
            generation_id=group.generation_id,
            protocol_type=group.protocol_type,
            protocol_name=group.protocol_name,
            leader=stored.old_leader_id,
            error_code=error,
        )
        group.answer_join(member, response, out)
        group.update(
            member,
            stored.old_protocols,
            rebalance_timeout_ms=stored.old_rebalance_timeout_ms,
            session_timeout_ms=stored.old_session_timeout_ms,
        )
        out.cancel(session_key(group.group_id, member.member_id))
        group.rename_static_member(member, stored.old_member_id)
        self._rebalances.restart_session(group, member, out)

    # New groups

    def group_created(self, created: GroupCreated, failure: AppendFailure | None, out: Result[None]) -> None:
        """Without a record in the log there is no group: forget it, and have its members try again."""
        group = self._groups.get(created.group_id)
        if group is None or failure is None or failure.written:
            return
        for member in group.members.values():
            group.answer_join(member, failure.error, out, member_id=UNKNOWN_MEMBER_ID)
        self._rebalances.forget(group, out)
        self._groups.discard(group.group_id)
