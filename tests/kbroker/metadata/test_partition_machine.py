"""One partition under everything that can happen to it, held to what must never happen.

Logs are lists of record numbers. A leader commits what every in-sync replica has, as long as they are enough.
A record that was committed must be in the log of every leader that is elected after, unless the election was
unclean. Disks keep what was committed, or lose everything and say so (``resign``).
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection
from itertools import count

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from kbroker.metadata.elections import Election, TopicRules, effective_min_in_sync_replicas
from kbroker.metadata.image import NO_LEADER, BrokerRegistration, ClusterImage, PartitionState, TopicImage
from kbroker.metadata.keys import newborn_partition
from kbroker.metadata.partition_decisions import (
    AlterPartitionChange,
    alter_partition,
    balance,
    elect_by_hand,
    resign,
    settle,
)
from kbroker.metadata.reassignment import begin_reassignment, cancel_reassignment
from tests.kbroker.metadata.cluster import broker
from wire.errors import ApiError

NODE_IDS = (1, 2, 3, 4)
TOPIC_ID = uuid.UUID(int=1)
nodes = st.sampled_from(NODE_IDS)
node_lists = st.lists(nodes, unique=True, min_size=1, max_size=3)


class PartitionMachine(RuleBasedStateMachine):
    """``revision`` is the store's; every step that writes raises it."""

    def __init__(self) -> None:
        super().__init__()
        self.revision = 0
        self.records = count()
        self.brokers: dict[int, BrokerRegistration] = {}
        self.logs: dict[int, list[int]] = {node_id: [] for node_id in NODE_IDS}
        self.committed: list[int] = []
        self.epoch_start = 0
        self.rules = TopicRules()

    @initialize(replicas=node_lists, minimum=st.integers(1, 3), unclean=st.booleans())
    def begin(self, replicas: list[int], minimum: int, unclean: bool) -> None:
        for node_id in NODE_IDS:
            self.register(node_id)
        self.rules = TopicRules(minimum, unclean)
        self.state = newborn_partition(tuple(replicas), tuple(replicas))
        self.topic_revision = self.next_revision()

    def next_revision(self) -> int:
        self.revision += 1
        return self.revision

    def register(self, node_id: int) -> None:
        revision = self.next_revision()
        self.brokers[node_id] = broker(
            node_id, broker_epoch=revision, revision=revision, created_revision=revision
        )

    @property
    def topic(self) -> TopicImage:
        return TopicImage("t", TOPIC_ID, (self.state,), self.topic_revision)

    @property
    def image(self) -> ClusterImage:
        return ClusterImage(
            revision=self.revision,
            brokers=dict(self.brokers),
            topics={"t": self.topic},
            topics_by_id={TOPIC_ID: self.topic},
        )

    @property
    def leader(self) -> int | None:
        """Who leads, and may."""
        node_id = self.state.leader
        if node_id not in self.brokers or self.image.was_away(self.topic, self.state, node_id):
            return None
        return node_id

    # Deciding

    def decide(
        self,
        decision: Callable[..., PartitionState | None],
        *arguments: object,
        unclean: bool = False,
        joining: Collection[int] = (),
    ) -> None:
        try:
            after = decision(self.image, self.topic, self.state, self.rules, *arguments)
        except ApiError:
            return
        if after is not None:
            self.write(after, unclean, joining)

    def write(self, after: PartitionState, unclean: bool, joining: Collection[int]) -> None:
        before = self.state
        assert after.partition_epoch > before.partition_epoch
        assert after.leader_epoch >= before.leader_epoch
        assert after.leader == before.leader or after.leader_epoch > before.leader_epoch
        assert after.leader not in self.brokers or (
            after.leader_epoch > before.leader_epoch
            or not self.image.was_away(self.topic, before, after.leader)
        )
        assert after.state_revision == before.state_revision
        for node_id in after.in_sync_replicas:
            assert node_id in self.brokers, "somebody who is gone was written as in sync"
        self.state = after._replace(state_revision=self.next_revision())
        if after.leader_epoch > before.leader_epoch and after.leader != NO_LEADER:
            self.check_election(before, after, unclean, joining)

    def check_election(
        self, before: PartitionState, after: PartitionState, unclean: bool, joining: Collection[int]
    ) -> None:
        log = self.logs[after.leader]
        had_everything = {*before.in_sync_replicas, *before.eligible_leader_replicas, *joining}
        if after.leader in had_everything:
            assert log[: len(self.committed)] == self.committed
        else:
            assert after.is_recovering
            assert unclean or self.rules.unclean_leader_election or len(before.replicas) == 1
            # What was lost is lost.
            self.committed = [
                record for record, other in zip(self.committed, log, strict=False) if record == other
            ]
        self.epoch_start = len(log)

    # The leader and its followers

    @precondition(lambda self: self.leader is not None)
    @rule(followers=st.sets(nodes) | st.just(set(NODE_IDS)), wants_new=st.booleans())
    def replicate(self, followers: set[int], wants_new: bool) -> None:
        """The leader takes a record, some of the others fetch, and what all in sync have is committed."""
        state = self.state
        log = self.logs[state.leader]
        if wants_new:
            log.append(next(self.records))
        for node_id in followers & set(state.replicas) & set(self.brokers):
            self.logs[node_id] = list(log)
        required = effective_min_in_sync_replicas(self.rules.min_in_sync_replicas, state.replicas)
        if len(state.in_sync_replicas) >= required and all(
            self.logs[node_id] == log for node_id in state.in_sync_replicas
        ):
            assert log[: len(self.committed)] == self.committed
            self.committed = list(log)

    @precondition(lambda self: self.leader is not None)
    @rule(wanted=st.sets(nodes), epochs_known=st.booleans())
    def propose(self, wanted: set[int], epochs_known: bool) -> None:
        state, log = self.state, self.logs[self.state.leader]
        enough = max(len(self.committed), self.epoch_start)
        members = [(state.leader, self.brokers[state.leader].broker_epoch)]
        for node_id in sorted(wanted & set(self.brokers) - {state.leader}):
            own = self.logs[node_id]
            has_caught_up = len(own) >= enough and own == log[: len(own)]
            # A leader that is told epochs sees that a member has restarted, and what it has now; else it does not.
            is_believed = node_id in state.in_sync_replicas and not (
                epochs_known and self.image.was_away(self.topic, state, node_id)
            )
            if has_caught_up or is_believed:
                members.append((node_id, self.brokers[node_id].broker_epoch if epochs_known else -1))
        change = AlterPartitionChange(TOPIC_ID, 0, state.leader_epoch, state.partition_epoch, tuple(members))
        joining = [node_id for node_id, _ in members]
        self.decide(alter_partition, state.leader, change, joining=joining)

    # Brokers and disks

    @rule(node_id=nodes, lost=st.integers(0, 2), is_noticed=st.booleans())
    def kill(self, node_id: int, lost: int, is_noticed: bool) -> None:
        """The end of its log may be lost, but nothing that was committed."""
        if self.brokers.pop(node_id, None) is not None:
            self.next_revision()
            log = self.logs[node_id]
            kept = len([1 for record, other in zip(self.committed, log, strict=False) if record == other])
            del log[max(kept, len(log) - lost) :]
            self.settle_if(is_noticed)

    @precondition(lambda self: len(self.brokers) < len(NODE_IDS))
    @rule(disk_is_new=st.integers(0, 3), is_noticed=st.booleans())
    def restart(self, disk_is_new: int, is_noticed: bool) -> None:
        """The disk is another one, every fourth time."""
        node_id = next(node_id for node_id in NODE_IDS if node_id not in self.brokers)
        if disk_is_new == 0:
            self.lose_log(node_id)
        self.register(node_id)
        self.settle_if(is_noticed)

    @rule(node_id=nodes)
    def lose_session(self, node_id: int) -> None:
        """Away for a moment, with everything that it had."""
        if node_id in self.brokers:
            self.register(node_id)

    @rule(node_id=nodes)
    def lose_log(self, node_id: int) -> None:
        if node_id in self.state.replicas:
            self.logs[node_id] = []
            self.decide(resign, node_id)

    @rule(node_id=nodes, flag=st.sampled_from(["fenced", "in_controlled_shutdown"]))
    def flag(self, node_id: int, flag: str) -> None:
        """Until it registers anew, or is flagged again."""
        if node_id in self.brokers:
            value = not getattr(self.brokers[node_id], flag)
            self.brokers[node_id] = self.brokers[node_id]._replace(
                **{flag: value}, revision=self.next_revision()
            )

    def settle_if(self, is_noticed: bool) -> None:
        if is_noticed:
            self.settle()

    # The controller and administrators

    @rule()
    def settle(self) -> None:
        # An election can be what a reassignment waited for: the controller looks again at what it changed.
        for _ in range(2):
            self.decide(settle)
        assert settle(self.image, self.topic, self.state, self.rules) is None
        leader = self.brokers.get(self.state.leader)
        assert self.state.leader == NO_LEADER or (leader is not None and not leader.fenced)
        if leader is not None and leader.in_controlled_shutdown:
            assert not any(map(self.image.is_active, self.state.in_sync_replicas))
        if self.state.leader == NO_LEADER:
            could_lead = {*self.state.in_sync_replicas} or {*self.state.eligible_leader_replicas}
            assert not any(map(self.image.is_active, could_lead))
            if self.rules.unclean_leader_election:
                assert not any(map(self.image.is_active, self.state.replicas))

    @rule()
    def balance(self) -> None:
        self.decide(balance)

    @rule(election=st.sampled_from([Election.PREFERRED, Election.UNCLEAN]))
    def elect(self, election: Election) -> None:
        self.decide(elect_by_hand, election, unclean=election is Election.UNCLEAN)

    @rule(wanted=node_lists)
    def reassign(self, wanted: list[int]) -> None:
        self.decide(begin_reassignment, wanted)

    @rule()
    def cancel(self) -> None:
        self.decide(cancel_reassignment)

    @rule(minimum=st.integers(1, 3), unclean=st.booleans())
    def configure(self, minimum: int, unclean: bool) -> None:
        """The controller has taken up the change before the next one comes."""
        self.settle()
        self.rules = TopicRules(minimum, unclean)

    # What must hold at any time

    @invariant()
    def sets_are_in_order(self) -> None:
        state = getattr(self, "state", None)
        if state is None:
            return
        replicas, in_sync = set(state.replicas), set(state.in_sync_replicas)
        eligible = set(state.eligible_leader_replicas)
        assert len(replicas) == len(state.replicas) > 0
        assert len(in_sync) == len(state.in_sync_replicas)
        assert in_sync <= replicas
        assert eligible <= replicas
        assert not in_sync & eligible
        assert state.leader == NO_LEADER or state.leader in in_sync
        assert set(state.adding_replicas) | set(state.removing_replicas) <= replicas
        assert not state.is_recovering or state.leader == NO_LEADER or len(in_sync) == 1
        if state.last_known_eligible_leader_replicas:
            assert state.leader == NO_LEADER


TestPartition = pytest.mark.slow(PartitionMachine.TestCase)
TestPartition.settings = settings(
    max_examples=200,
    stateful_step_count=50,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
