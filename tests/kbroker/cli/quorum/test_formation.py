"""How voters begin, over all orders of questions, lost answers, crashes and lost disks that a small quorum can meet.

``Voters`` is a model of all voters at once: their disks, what their processes know, and who is a member. Cases walk
through its states, each step a choice of what happens next.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest

from kbroker.cli.quorum.formation import Formation, Step


def test_a_voter_alone_forms_a_quorum() -> None:
    assert Formation(1, []).step is Step.FORM


def test_it_waits_until_all_are_heard_and_told() -> None:
    formation = Formation(1, [2, 3])
    formation.answered_blank(2, [])
    assert (formation.step, formation.missing) == (Step.WAIT, {3})
    formation.asked_by(3, [])
    assert (formation.step, formation.missing) == (Step.WAIT, {3}), "3 may not know of this voter"
    formation.asked_by(3, [1])
    assert formation.step is Step.FORM


def test_who_was_heard_and_is_a_member_now_does_not_wait_for_this_one() -> None:
    formation = Formation(1, [2], heard=[2])
    assert formation.step is Step.WAIT
    formation.answered_as_member(2)
    assert formation.step is Step.FORM


def test_a_member_that_was_never_heard_has_a_quorum_without_this_disk() -> None:
    formation = Formation(1, [2, 3], heard=[3])
    formation.answered_as_member(2)
    assert formation.step is Step.JOIN
    formation.answered_blank(2, [])  # its disk is lost too
    formation.answered_blank(3, [])
    assert formation.step is Step.FORM


def test_voters_that_are_not_named_count_for_nothing() -> None:
    formation = Formation(1, [2], heard=[9])
    formation.asked_by(7, [1])
    formation.answered_as_member(8)
    assert (formation.heard, formation.step) == (frozenset(), Step.WAIT)


@dataclass
class Voter:
    """``disk`` counts those that it has lost, ``kept`` is whom it has heard according to the present one."""

    formation: Formation
    disk: int = 0
    kept: frozenset[int] = frozenset()
    is_member: bool = False


@dataclass
class Voters:
    """``served`` are the sets of disks that have acknowledged something as a majority."""

    count: int
    voters: dict[int, Voter] = field(default_factory=dict)
    served: list[frozenset[tuple[int, int]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        for me in range(self.count):
            self.voters[me] = Voter(self._blank(me, frozenset()))

    def _blank(self, me: int, kept: frozenset[int]) -> Formation:
        return Formation(me, set(range(self.count)) - {me}, kept)

    # What can happen

    def ask(self, asking: int, asked: int, *, answer_arrives: bool) -> None:
        one, other = self.voters[asking], self.voters[asked]
        if other.is_member:
            if answer_arrives:
                one.formation.answered_as_member(asked)
            return
        other.formation.asked_by(asking, one.kept)
        other.kept = other.formation.heard
        if answer_arrives:
            one.formation.answered_blank(asked, other.kept)
            one.kept = one.formation.heard

    def crash(self, me: int) -> None:
        self.voters[me].formation = self._blank(me, self.voters[me].kept)

    def lose_disk(self, me: int) -> None:
        voter = self.voters[me]
        self.voters[me] = Voter(self._blank(me, frozenset()), disk=voter.disk + 1)

    def follow_step(self, me: int) -> None:
        """FORM, or JOIN where a majority is there to take it in."""
        voter = self.voters[me]
        if voter.is_member:
            return
        if voter.formation.step is Step.FORM:
            self._check_forming(me)
            voter.is_member = True
        elif voter.formation.step is Step.JOIN and self._majority_serves():
            voter.is_member = True
        self._serve()

    def _members(self) -> frozenset[tuple[int, int]]:
        return frozenset((me, voter.disk) for me, voter in self.voters.items() if voter.is_member)

    def _majority_serves(self) -> bool:
        return len(self._members()) > self.count // 2

    def _serve(self) -> None:
        """Whatever majority there is acknowledges something, which is on the disks of all its members."""
        if self._majority_serves() and self._members() not in self.served:
            self.served.append(self._members())

    def _check_forming(self, me: int) -> None:
        """Nobody returns under an identity that has acknowledged what others still know, and he has forgotten."""
        now = self._members()
        for majority in self.served:
            forgotten = any(voter == me and disk != self.voters[me].disk for voter, disk in majority)
            assert not (forgotten and majority & now), f"{me} forgets what {majority & now} know"

    def lost_at_present(self) -> int:
        return sum(voter.disk > 0 and not voter.is_member for voter in self.voters.values())

    def all_are_members(self) -> bool:
        return all(voter.is_member for voter in self.voters.values())


def walk(voters: Voters, chance: random.Random, steps: int, *, disks_lost_max: int) -> None:
    """Let anything happen, a number of times; so many disks at most are lost at the same time."""
    for _ in range(steps):
        me, other = chance.sample(range(voters.count), 2)
        blank = [number for number, voter in voters.voters.items() if not voter.is_member]
        kind = chance.random()
        if kind < 0.06:
            voters.crash(me)
        elif kind < 0.10 and voters.lost_at_present() < disks_lost_max:
            voters.lose_disk(me)
        elif kind < 0.35:
            voters.follow_step(me)
        elif me in blank:
            voters.ask(me, other, answer_arrives=chance.random() < 0.7)


def settle(voters: Voters) -> None:
    """Everybody is up, and every answer arrives."""
    for _ in range(6 * voters.count):
        for me in range(voters.count):
            for other in range(voters.count):
                if me != other and not voters.voters[me].is_member:
                    voters.ask(me, other, answer_arrives=True)
            voters.follow_step(me)


@pytest.mark.parametrize("count", [2, 3, 5])
def test_whatever_crashes_and_gets_lost_on_the_way_the_quorum_begins(count: int) -> None:
    for seed in range(300):
        voters = Voters(count)
        walk(voters, random.Random(seed), 40, disks_lost_max=0)
        settle(voters)
        assert voters.all_are_members(), f"seed {seed}"


@pytest.mark.parametrize("count", [3, 5])
def test_disks_of_a_minority_may_be_lost_at_any_time(count: int) -> None:
    """Nobody forgets what others know (``_check_forming``), and everybody is a member in the end."""
    began = 0
    for seed in range(300):
        voters = Voters(count)
        walk(voters, random.Random(seed), 20, disks_lost_max=0)
        settle(voters)
        walk(voters, random.Random(-seed), 120, disks_lost_max=(count - 1) // 2)
        settle(voters)
        assert voters.all_are_members(), f"seed {seed}"
        began += len(voters.served) > 1
    assert began > 100, "hardly any seed lost a disk after the quorum had begun"


def test_with_one_member_left_of_three_nobody_begins_anew() -> None:
    voters = Voters(3)
    settle(voters)
    assert voters.all_are_members()
    voters.lose_disk(0)
    voters.lose_disk(1)
    settle(voters)
    assert [voter.is_member for voter in voters.voters.values()] == [False, False, True]
    voters.lose_disk(2)
    settle(voters)
    assert voters.all_are_members(), "there is nothing left to lose"
