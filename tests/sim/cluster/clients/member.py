"""A member of a consumer group of the classic protocol (KIP-62, KIP-394): joins, reads what it is given, commits.

join ---- JoinGroup; the leader gives partitions to members in turn; SyncGroup; positions from the group's offsets
stay ---- read, commit, heartbeat; told of a rebalance, it joins again with its member id
lost ---- its generation or membership is not known any more: it joins as a new member
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.anomalies.history import Assigned, CommitOffsets, Poll, Position
from tests.sim.cluster.clients.brokers import GROUP, Partition, Unanswered
from tests.sim.cluster.clients.client import Client
from tests.sim.cluster.clients.fetching import Place, Truncated, fetch
from tests.sim.cluster.clients.offsets import committed_offsets
from wire.errors import ErrorCode
from wire.internal.consumer_protocol import ConsumerProtocolAssignment, ConsumerProtocolSubscription
from wire.messages.group_membership import (
    HeartbeatRequest,
    HeartbeatResponse,
    JoinGroupRequest,
    JoinGroupResponse,
    LeaveGroupRequest,
    LeaveGroupResponse,
    SyncGroupRequest,
    SyncGroupResponse,
)
from wire.messages.group_offsets import OffsetCommitRequest, OffsetCommitResponse

if TYPE_CHECKING:
    from tests.sim.cluster.simulation import Simulation

_SESSION_S = 6.0
_REBALANCE_S = 8.0
_COMMIT_VERSION_MAX = 9
_AGAIN = frozenset(
    {
        ErrorCode.COORDINATOR_LOAD_IN_PROGRESS,
        ErrorCode.COORDINATOR_NOT_AVAILABLE,
        ErrorCode.NOT_COORDINATOR,
        ErrorCode.REQUEST_TIMED_OUT,
        ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
    }
)
_LOST = frozenset({ErrorCode.UNKNOWN_MEMBER_ID, ErrorCode.ILLEGAL_GENERATION, ErrorCode.FENCED_INSTANCE_ID})


class Rejoin(Exception):
    """The member has to join again."""


class Member(Client):
    """See the module's docstring."""

    must_progress = False

    def __init__(self, simulation: Simulation, name: str, group: str, partitions: list[Partition]) -> None:
        super().__init__(simulation, name)
        self._group = group
        self._partitions = partitions
        self._member_id = ""
        self._generation = -1
        self._life = 0
        self._places: list[Place] = []

    @property
    def _process(self) -> str:
        return f"{self.name}.{self._life}"

    async def work(self) -> None:
        while not self.is_finishing:
            try:
                await self._join()
                while not self.is_finishing:
                    await self._turn()
            except Rejoin:
                self.simulation.coverage.count("member", "joins again")
            except Unanswered:
                await self.brokers.pause(0.3)
            except Truncated as truncated:
                if not self.simulation.may_take_back_reads:
                    self.found(str(truncated))
                await self.brokers.pause(1.0)
        await self._leave()

    # Joining

    async def _join(self) -> None:
        subscription = ConsumerProtocolSubscription(topics=sorted({topic for topic, _ in self._partitions}))
        protocol = JoinGroupRequest.JoinGroupRequestProtocol(
            name="range", metadata=b"\x00\x00" + subscription.encode(0)
        )
        request = JoinGroupRequest(
            group_id=self._group,
            session_timeout_ms=int(_SESSION_S * 1000),
            rebalance_timeout_ms=int(_REBALANCE_S * 1000),
            member_id=self._member_id,
            protocol_type="consumer",
            protocols=[protocol],
        )
        node_id = await self.brokers.coordinator(self._group, GROUP)
        joined = await self.brokers.request(node_id, request, JoinGroupResponse, timeout_s=_REBALANCE_S + 5)
        code = self.brokers.answered(JoinGroupRequest, joined.error_code)
        if code is ErrorCode.MEMBER_ID_REQUIRED:
            self._member_id = joined.member_id
            raise Rejoin
        await self._check(code)
        self._member_id, self._generation = joined.member_id, joined.generation_id
        assignments = self._assign(joined) if joined.leader == joined.member_id else []
        sync = SyncGroupRequest(
            group_id=self._group,
            generation_id=self._generation,
            member_id=self._member_id,
            protocol_type="consumer",
            protocol_name="range",
            assignments=assignments,
        )
        synced = await self.brokers.request(node_id, sync, SyncGroupResponse, timeout_s=_REBALANCE_S + 5)
        await self._check(self.brokers.answered(SyncGroupRequest, synced.error_code))
        await self._take_up(synced.assignment)

    def _assign(self, joined: JoinGroupResponse) -> list[SyncGroupRequest.SyncGroupRequestAssignment]:
        members = sorted(member.member_id for member in joined.members)
        assigned = []
        for at, member_id in enumerate(members):
            topics: dict[str, list[int]] = {}
            for topic, index in self._partitions[at :: len(members)]:
                topics.setdefault(topic, []).append(index)
            content = ConsumerProtocolAssignment(
                assigned_partitions=[
                    ConsumerProtocolAssignment.TopicPartition(topic=topic, partitions=indexes)
                    for topic, indexes in topics.items()
                ]
            )
            assigned.append(
                SyncGroupRequest.SyncGroupRequestAssignment(
                    member_id=member_id, assignment=b"\x00\x00" + content.encode(0)
                )
            )
        return assigned

    async def _take_up(self, assignment: bytes) -> None:
        self._life += 1
        mine: list[Partition] = []
        if assignment:
            _, content = ConsumerProtocolAssignment.decode_versioned(assignment)
            mine = [(each.topic, index) for each in content.assigned_partitions for index in each.partitions]
        committed = await committed_offsets(self.brokers, self._group, mine) if mine else {}
        self._places = [Place(partition, committed.get(partition, 0)) for partition in mine]
        positions = tuple((*place.partition, place.offset) for place in self._places)
        self.record(Assigned(process=self._process, at=self.now, positions=positions, group=self._group))

    async def _check(self, code: ErrorCode) -> None:
        """Rejoin after any error that a member may get."""
        if code is ErrorCode.NONE:
            return
        if code in _LOST:
            self._member_id, self._generation = "", -1
        elif code not in _AGAIN and code is not ErrorCode.REBALANCE_IN_PROGRESS:
            self.found(f"was answered with {code.name}")
        await self.brokers.pause(0.3)
        raise Rejoin

    # Staying

    async def _turn(self) -> None:
        await self._heartbeat()
        if self._places:
            place = self.random.choice(self._places)
            begun = self.now
            found = await fetch(self.brokers, place, "read_uncommitted", max_wait_ms=500)
            if found is not None and found.records:
                positions = (Position(*place.partition, place.offset),)
                self.record(
                    Poll(
                        process=self._process,
                        begun=begun,
                        ended=self.now,
                        isolation="read_uncommitted",
                        records=tuple(found.records),
                        group=self._group,
                        positions=positions,
                    )
                )
                await self._commit(positions)
        await self.brokers.pause(1.0)

    async def _heartbeat(self) -> None:
        request = HeartbeatRequest(
            group_id=self._group, generation_id=self._generation, member_id=self._member_id
        )
        node_id = await self.brokers.coordinator(self._group, GROUP)
        response = await self.brokers.request(node_id, request, HeartbeatResponse)
        await self._check(self.brokers.answered(HeartbeatRequest, response.error_code))

    async def _commit(self, positions: tuple[Position, ...]) -> None:
        begun = self.now
        topic_class = OffsetCommitRequest.OffsetCommitRequestTopic
        request = OffsetCommitRequest(
            group_id=self._group,
            generation_id_or_member_epoch=self._generation,
            member_id=self._member_id,
            topics=[
                topic_class(
                    name=position.topic,
                    partitions=[
                        topic_class.OffsetCommitRequestPartition(
                            partition_index=position.partition,
                            committed_offset=position.offset,
                            committed_metadata=None,
                        )
                    ],
                )
                for position in positions
            ],
        )
        commit = CommitOffsets(
            process=self._process,
            begun=begun,
            ended=None,
            group=self._group,
            positions=positions,
            outcome="unknown",
        )
        try:
            node_id = await self.brokers.coordinator(self._group, GROUP)
            response = await self.brokers.request(
                node_id, request, OffsetCommitResponse, version_max=_COMMIT_VERSION_MAX
            )
        except Unanswered:
            self.record(commit)
            raise
        code = self.brokers.answered(OffsetCommitRequest, response.topics[0].partitions[0].error_code)
        outcome = "ok" if code is ErrorCode.NONE else "unknown"
        self.record(
            CommitOffsets(
                process=self._process,
                begun=begun,
                ended=self.now,
                group=self._group,
                positions=positions,
                outcome=outcome,  # type: ignore[arg-type]
            )
        )
        self.progress += 1
        await self._check(code)

    async def _leave(self) -> None:
        if not self._member_id:
            return
        request = LeaveGroupRequest(
            group_id=self._group,
            members=[LeaveGroupRequest.MemberIdentity(member_id=self._member_id)],
        )
        try:
            node_id = await self.brokers.coordinator(self._group, GROUP)
            response = await self.brokers.request(node_id, request, LeaveGroupResponse)
            self.brokers.answered(LeaveGroupRequest, response.error_code)
        except Unanswered:
            pass
