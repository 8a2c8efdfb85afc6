"""Random clients against one shard: what must hold after every step, whatever they do.

The clients follow the protocol loosely: they retry, forget, crash and speak out of turn. Appends fail and
commits come late, and the broker restarts.
"""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from kbroker.coordination.group.states import GroupState
from tests.kbroker.coordination.group.harness import GROUP, Call, Harness
from wire.errors import ErrorCode

PROTOCOLS = st.sampled_from([["range"], ["range", "sticky"], ["sticky", "range"], ["sticky"]])
PARTITIONS = st.tuples(st.sampled_from(["t", "u"]), st.integers(0, 1))


class GroupModel(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.shard = Harness()
        self.known_ids: list[str] = []
        self.calls: list[Call] = []
        self.generation = -1
        self.asked: dict[Call, int] = {}
        self.assigning: dict[int, str] = {}
        self.acknowledged: dict[tuple[str, int], int] = {}
        self.maybe: dict[tuple[str, int], set[int]] = {}

    @initialize(delay_ms=st.sampled_from([0, 3_000]), size_max=st.sampled_from([2, 100]))
    def start(self, delay_ms: int, size_max: int) -> None:
        self.shard = Harness(group_initial_rebalance_delay_ms=delay_ms, group_max_size=size_max)

    # What clients do

    def member_id(self, index: int) -> str:
        return self.known_ids[index % len(self.known_ids)] if self.known_ids else "nobody"

    def track(self, call: Call) -> None:
        self.calls.append(call)

    @rule(version=st.sampled_from([0, 9]), instance=st.sampled_from([None, "a", "b"]), protocols=PROTOCOLS)
    def join_as_unknown(self, version: int, instance: str | None, protocols: list[str]) -> None:
        self.track(self.shard.join(version=version, instance=instance, protocols=protocols))

    @rule(index=st.integers(0, 9), instance=st.sampled_from([None, "a", "b"]), protocols=PROTOCOLS)
    def join_as_known(self, index: int, instance: str | None, protocols: list[str]) -> None:
        self.track(self.shard.join(self.member_id(index), instance=instance, protocols=protocols))

    @rule(index=st.integers(0, 9), lag=st.sampled_from([0, 0, 0, 1]))
    def sync(self, index: int, lag: int) -> None:
        member_id, group = self.member_id(index), self.shard.shard.groups.get(GROUP)
        generation = -1 if group is None else group.generation_id - lag
        assignments = {m: f"{m}@{generation}".encode() for m in (group.members if group else ())}
        call = self.shard.sync(member_id, generation, assignments)
        self.asked[call] = generation
        self.track(call)

    @rule(index=st.integers(0, 9))
    def heartbeat(self, index: int) -> None:
        group = self.shard.shard.groups.get(GROUP)
        self.track(self.shard.heartbeat(self.member_id(index), group.generation_id if group else 0))

    @rule(index=st.integers(0, 9))
    def leave(self, index: int) -> None:
        self.track(self.shard.leave(self.member_id(index)))

    @rule(partition=PARTITIONS, offset=st.integers(0, 99), as_member=st.booleans(), index=st.integers(0, 9))
    def commit(self, partition: tuple[str, int], offset: int, as_member: bool, index: int) -> None:
        group = self.shard.shard.groups.get(GROUP)
        if as_member and group is not None:
            call = self.shard.commit({partition: offset}, self.member_id(index), group.generation_id)
        else:
            call = self.shard.commit({partition: offset})
        self.track(call)
        if call.is_parked or call.error is None:
            self.maybe.setdefault(partition, set()).add(offset)
        if call.answers:
            self.acknowledge(partition, offset)

    def acknowledge(self, partition: tuple[str, int], offset: int) -> None:
        self.acknowledged[partition] = offset
        self.maybe[partition] = {offset}

    @rule()
    def delete_group(self) -> None:
        if not self.shard.holding and self.shard.delete_group() is ErrorCode.NONE:
            self.acknowledged.clear()
            self.maybe.clear()
            self.generation = -1
            self.assigning.clear()

    # What the world does

    @rule(seconds=st.sampled_from([0, 1, 3, 11, 61, 301]))
    def time_passes(self, seconds: int) -> None:
        self.shard.sleep(seconds * 1000)

    @rule()
    def appends_fail(self) -> None:
        self.shard.append_error = ErrorCode.COORDINATOR_NOT_AVAILABLE

    @rule()
    def appends_work(self) -> None:
        self.shard.append_error = None

    @rule()
    def replicas_lag(self) -> None:
        self.shard.holding = True

    @precondition(lambda self: self.shard.holding)
    @rule(in_time=st.booleans())
    def replicas_follow(self, in_time: bool) -> None:
        self.shard.holding = False
        if in_time:
            self.shard.release()
        else:
            self.shard.time_out_commits()
            self.shard.release()

    @precondition(lambda self: not self.shard.holding)
    @rule()
    def broker_restarts(self) -> None:
        self.shard.execute(self.shard.shard.unloaded(), None)
        assert not [call for call in self.calls if call.is_parked], "who waited was not answered"
        self.shard = self.shard.restarted()
        # A generation that was never assigned is not in the log.
        group = self.shard.shard.groups.get(GROUP)
        self.generation = -1 if group is None else group.generation_id
        self.assigning.clear()

    # What must hold

    @invariant()
    def answers_make_sense(self) -> None:
        for call in [call for call in self.calls if not call.is_parked]:
            self.calls.remove(call)
            if call.error is not None:
                continue
            if call.name == "join":
                self.check_join(call)
            elif call.name == "sync" and call.code is ErrorCode.NONE and call.response.assignment:
                assert call.response.assignment.endswith(b"@%d" % self.asked[call]), "of another generation"

    def check_join(self, call: Call) -> None:
        response = call.response
        if call.code in (ErrorCode.NONE, ErrorCode.MEMBER_ID_REQUIRED):
            self.known_ids.append(response.member_id)
        if call.code is not ErrorCode.NONE:
            return
        assert response.generation_id >= 0
        assert response.protocol_name in ("range", "sticky")
        if response.members:
            assert response.member_id in {member.member_id for member in response.members}
            assert response.leader == response.member_id, "only the leader is told the members"
            if not response.skip_assignment:
                leader = self.assigning.setdefault(response.generation_id, response.member_id)
                assert leader == response.member_id, "two members were told to assign"

    @invariant()
    def group_is_consistent(self) -> None:
        group = self.shard.shard.groups.get(GROUP)
        if group is None:
            return
        members = group.members
        assert group.awaiting_join_count == sum(member.is_awaiting_join for member in members.values())
        assert all(key == member.member_id for key, member in members.items())
        assert group.static_member_ids == {
            member.group_instance_id: member.member_id for member in members.values() if member.is_static
        }
        assert not set(group.pending_join) & set(members)
        assert set(group.pending_sync) <= set(members)
        if members:
            assert group.leader_id in members
            assert group.state is not GroupState.EMPTY
        elif group.state is not GroupState.PREPARING_REBALANCE:
            assert group.state is GroupState.EMPTY
        if group.is_in(GroupState.COMPLETING_REBALANCE, GroupState.STABLE):
            assert all(group.protocol_name in member.protocol_names for member in members.values())
        if group.state is GroupState.PREPARING_REBALANCE:
            assert not any(member.awaiting_sync for member in members.values())
        if group.state is GroupState.STABLE:
            assert not any(member.awaiting_sync for member in members.values())

    @invariant()
    def generations_grow(self) -> None:
        group = self.shard.shard.groups.get(GROUP)
        if group is not None:
            assert group.generation_id >= self.generation
            self.generation = group.generation_id
        else:
            self.generation = -1
            self.assigning.clear()

    @invariant()
    def whoever_waits_is_waited_for(self) -> None:
        """Every parked call belongs to a member, or to an append that is not committed."""
        group = self.shard.shard.groups.get(GROUP)
        waiting = {id(done.call) for done in self.shard.uncommitted if done.call is not None}
        for member in group.members.values() if group else ():
            waiting |= {id(member.awaiting_join), id(member.awaiting_sync)}
        for call in self.calls:
            assert not call.is_parked or id(call) in waiting, f"{call} waits for nothing"

    @invariant()
    def acknowledged_offsets_stay(self) -> None:
        if self.shard.holding or self.shard.shard.groups.get(GROUP) is None:
            return
        fetched = self.shard.fetch()
        for partition in self.acknowledged:
            # Offsets older than a week may have expired in a run with long sleeps; these sleeps are short.
            assert fetched[partition] in self.maybe[partition]


GroupModel.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestGroupModel = GroupModel.TestCase
