"""A group of the classic protocol: its members, its generation, its phase (Kafka's ``ClassicGroup``).

This is the named place of the coordinator's soft state. What of it is durable stands in one GroupMetadata
record, written whenever the leader's assignment arrives, a static member gets a new member id, or the group
becomes empty; the rest (who has joined or synced in the current phase) is gone when the coordinator moves.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from typing import Any

from kbroker.coordination.group.member import Member, Protocol
from kbroker.coordination.group.states import PREVIOUS_STATES, GroupState
from kbroker.coordination.group.subscription import CONSUMER_PROTOCOL_TYPE, subscribed_topics
from kbroker.coordination.machine import Caller, Result
from wire.errors import ApiError, ErrorCode
from wire.messages.group_membership import JoinGroupResponse, SyncGroupResponse

GENERATION_MAX = 2**31 - 1


class Group:
    """Members are kept in the order in which they came, which is also the order in which a leader is sought.

    ``protocol_type`` is None for a simple group: one that only has offsets, and never had a member.
    ``state_since_ms`` is the wall clock of the last change of state; None if an old record did not say.
    ``pending_join`` are the member ids that were given out (KIP-394) and have not joined yet.
    ``pending_sync`` are the members of this generation that have not asked for their assignment yet.
    ``new_member_came`` says whether the delay of the initial rebalance is to be extended.
    """

    def __init__(
        self,
        group_id: str,
        *,
        state: GroupState = GroupState.EMPTY,
        generation_id: int = 0,
        protocol_type: str | None = None,
        protocol_name: str | None = None,
        leader_id: str | None = None,
        state_since_ms: int | None = None,
    ) -> None:
        self.group_id = group_id
        self.state = state
        self.previous_state = GroupState.DEAD
        self.state_since_ms = state_since_ms
        self.generation_id = generation_id
        self.protocol_type = protocol_type
        self.protocol_name = protocol_name
        self.leader_id = leader_id
        self.members: dict[str, Member] = {}
        self.static_member_ids: dict[str, str] = {}
        self.pending_join: dict[str, None] = {}
        self.pending_sync: dict[str, None] = {}
        self.awaiting_join_count = 0
        self.new_member_came = False
        self.subscribed_topics: frozenset[str] | None = None
        self._supporters: Counter[str] = Counter()

    def __repr__(self) -> str:
        return (
            f"<Group {self.group_id!r} {self.state.value} generation {self.generation_id} "
            f"of {len(self.members)} members>"
        )

    # State

    def is_in(self, *states: GroupState) -> bool:
        return self.state in states

    @property
    def can_rebalance(self) -> bool:
        return self.state in PREVIOUS_STATES[GroupState.PREPARING_REBALANCE]

    @property
    def uses_consumer_protocol(self) -> bool:
        return self.protocol_type == CONSUMER_PROTOCOL_TYPE

    def transition_to(self, state: GroupState, now_ms: int) -> None:
        assert self.state in PREVIOUS_STATES[state], f"{self.state} cannot become {state}"
        self.previous_state = self.state
        self.state = state
        self.state_since_ms = now_ms

    # Members

    def add(self, member: Member, caller: Caller | None) -> None:
        """Take in a member with supported protocols; ``caller`` waits for the end of the join phase."""
        if member.group_instance_id is not None:
            assert member.group_instance_id not in self.static_member_ids, "its instance id is taken"
            self.static_member_ids[member.group_instance_id] = member.member_id
        if not self.members:
            self.protocol_type = member.protocol_type
        assert self.supports(member.protocol_type, member.protocol_names), "it has no common protocol"
        if self.leader_id is None:
            self.leader_id = member.member_id
        self.members[member.member_id] = member
        self._supporters.update(member.protocol_names)
        self.pending_join.pop(member.member_id, None)
        if caller is not None:
            member.awaiting_join = caller
            self.awaiting_join_count += 1

    def remove(self, member_id: str) -> None:
        """Remove a member, pending or real; a leader is succeeded by the oldest member."""
        member = self.members.pop(member_id, None)
        if member is not None:
            self._supporters.subtract(member.protocol_names)
            if member.is_awaiting_join:
                self.awaiting_join_count -= 1
            if member.group_instance_id is not None:
                del self.static_member_ids[member.group_instance_id]
        if self.leader_id == member_id:
            self.leader_id = next(iter(self.members), None)
        self.pending_join.pop(member_id, None)
        self.pending_sync.pop(member_id, None)

    def update(
        self,
        member: Member,
        protocols: tuple[Protocol, ...],
        *,
        rebalance_timeout_ms: int,
        session_timeout_ms: int,
    ) -> None:
        """Take over what a member says about itself when it joins again."""
        self._supporters.subtract(member.protocol_names)
        member.protocols = protocols
        self._supporters.update(member.protocol_names)
        member.rebalance_timeout_ms = rebalance_timeout_ms
        member.session_timeout_ms = session_timeout_ms

    def rename_static_member(self, member: Member, member_id: str) -> None:
        """Give a static member the member id of its new incarnation; its place and its assignment stay."""
        assert member.group_instance_id is not None
        old_member_id = member.member_id
        self.members = {
            member_id if key == old_member_id else key: value for key, value in self.members.items()
        }
        member.member_id = member_id
        self.static_member_ids[member.group_instance_id] = member_id
        if self.leader_id == old_member_id:
            self.leader_id = member_id
        if old_member_id in self.pending_sync:
            del self.pending_sync[old_member_id]
            self.pending_sync[member_id] = None

    def check_member(self, member_id: str, group_instance_id: str | None) -> Member:
        """The member; or ApiError UNKNOWN_MEMBER_ID, FENCED_INSTANCE_ID if the instance has a newer id."""
        if group_instance_id is not None:
            current = self.static_member_ids.get(group_instance_id)
            if current is None:
                raise ApiError(ErrorCode.UNKNOWN_MEMBER_ID)
            if current != member_id:
                raise ApiError(ErrorCode.FENCED_INSTANCE_ID)
        member = self.members.get(member_id)
        if member is None:
            raise ApiError(ErrorCode.UNKNOWN_MEMBER_ID)
        return member

    def not_yet_rejoined(self) -> Iterator[Member]:
        return (member for member in self.members.values() if not member.is_awaiting_join)

    @property
    def rebalance_timeout_ms(self) -> int:
        """How long the slowest member may take to join a rebalance."""
        return max((member.rebalance_timeout_ms for member in self.members.values()), default=0)

    # Phases

    def park_join(self, member: Member, caller: Caller, out: Result[Any]) -> None:
        """Have ``caller`` wait for the end of the join phase, in place of an earlier call of the member."""
        if member.awaiting_join is not None:
            self.answer_join(member, ErrorCode.REBALANCE_IN_PROGRESS, out)
        member.awaiting_join = caller
        self.awaiting_join_count += 1

    def park_sync(self, member: Member, caller: Caller, out: Result[Any]) -> None:
        if member.awaiting_sync is not None:
            self.answer_sync(member, SyncGroupResponse(error_code=ErrorCode.REBALANCE_IN_PROGRESS), out)
        member.awaiting_sync = caller

    def answer_join(
        self,
        member: Member,
        answer: JoinGroupResponse | ErrorCode,
        out: Result[Any],
        *,
        member_id: str | None = None,
    ) -> None:
        """Answer the call that waits for the member to have joined, if there is one."""
        if member.awaiting_join is None:
            return
        if isinstance(answer, ErrorCode):
            shown = member.member_id if member_id is None else member_id
            answer = JoinGroupResponse(member_id=shown, protocol_name=None, error_code=answer)
        out.reply(member.awaiting_join, answer)
        member.awaiting_join = None
        self.awaiting_join_count -= 1

    def answer_sync(self, member: Member, answer: SyncGroupResponse, out: Result[Any]) -> bool:
        """Answer the call that waits for the member's assignment; False if there is none."""
        if member.awaiting_sync is None:
            return False
        out.reply(member.awaiting_sync, answer)
        member.awaiting_sync = None
        return True

    @property
    def all_have_joined(self) -> bool:
        return self.awaiting_join_count == len(self.members) and not self.pending_join

    def elect_joined_leader(self) -> bool:
        """Make sure that the leader is one of those who have joined; False if nobody has."""
        if self.leader_id is None:
            return False
        if self.members[self.leader_id].is_awaiting_join:
            return True
        for member in self.members.values():
            if member.is_awaiting_join:
                self.leader_id = member.member_id
                return True
        return False

    def begin_generation(self, now_ms: int) -> None:
        """The join phase is over: who is a member now is a member of the next generation."""
        # The generation is a signed 32-bit number on the wire, and a negative one means none.
        self.generation_id = 0 if self.generation_id == GENERATION_MAX else self.generation_id + 1
        self.protocol_name = self.select_protocol() if self.members else None
        self.refresh_subscribed_topics()
        self.transition_to(GroupState.COMPLETING_REBALANCE if self.members else GroupState.EMPTY, now_ms)

    def join_response(
        self, member: Member, *, with_members: bool, skip_assignment: bool = False
    ) -> JoinGroupResponse:
        """What a member of the current generation is told; the leader gets everybody's metadata."""
        members: list[JoinGroupResponse.JoinGroupResponseMember] = []
        if with_members:
            members = [
                JoinGroupResponse.JoinGroupResponseMember(
                    member_id=other.member_id,
                    group_instance_id=other.group_instance_id,
                    metadata=other.metadata(self.protocol_name),
                )
                for other in self.members.values()
            ]
        return JoinGroupResponse(
            member_id=member.member_id,
            generation_id=self.generation_id,
            protocol_type=self.protocol_type,
            protocol_name=self.protocol_name,
            leader=self.leader_id or "",
            skip_assignment=skip_assignment,
            members=members,
        )

    # Protocols

    def supports(self, protocol_type: str, protocol_names: Collection[str]) -> bool:
        """Whether a member with these could join: one protocol at least must be common to all."""
        if self.state is GroupState.EMPTY:
            return bool(protocol_type) and bool(protocol_names)
        return self.protocol_type == protocol_type and any(
            self._supporters[name] == len(self.members) for name in protocol_names
        )

    def select_protocol(self) -> str:
        """The protocol with the most votes among those that all members support."""
        candidates = {
            name for name, supporters in self._supporters.items() if supporters == len(self.members)
        }
        votes = Counter(member.vote(candidates) for member in self.members.values())
        return votes.most_common(1)[0][0]

    def refresh_subscribed_topics(self) -> None:
        """Read from the members' metadata what they are subscribed to; None if that cannot be known."""
        if not self.uses_consumer_protocol:
            self.subscribed_topics = None
        elif not self.members:
            self.subscribed_topics = frozenset()
        elif self.protocol_name is None:
            self.subscribed_topics = None
        else:
            name = self.protocol_name
            self.subscribed_topics = subscribed_topics(
                member.metadata(name) for member in self.members.values()
            )

    def is_subscribed_to(self, topic: str) -> bool:
        """A consumer group whose subscription cannot be read counts as subscribed to everything."""
        if self.subscribed_topics is None:
            return self.uses_consumer_protocol
        return topic in self.subscribed_topics
