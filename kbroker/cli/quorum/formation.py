"""How a voter of the metadata quorum begins: the decision, without I/O, and the design of the whole.

Kafka's nodes find one another by ``controller.quorum.voters``, ``id@host:port`` for each controller, and the
controllers keep the metadata among themselves. kbroker's metadata is in etcd. In a container each voter therefore has
an etcd member beside it: brokers reach it at the voter's address, as they reach Kafka's controllers, and members reach
each other on a port of their own (2380). A node's own data directory holds its member's data.

What makes it a cluster that loses nothing is etcd's; what is left is how a member begins. etcd's Raft counts on a
member keeping what it has acknowledged: one that came back under its old identity with an empty disk could vote for a
leader that lacks what it had acknowledged itself. So an empty disk may mean "this quorum is new" only if it is:

    state      the disk               on the peers' port    what the voter does
    -------    -------------------    ------------------    ------------------------------------------------
    blank      no log of etcd's       this module's         asks the other voters, and answers them
    member     a log of etcd's        etcd                  runs etcd; this module has nothing more to say

    from blank, by what it knows:
    FORM       all others were blank, and none of them waits for this one: etcd begins a new cluster of all voters
    JOIN       one that was never heard to be blank is a member: the quorum exists, without this disk. The members (a
               majority must be there) strike out the old identity and take in a new one (``membership.py``)
    WAIT       anything else, for as long as it takes: once all voters must be there, later a majority will do

Whom a voter has heard to be blank it keeps on its disk, before it answers or acts. So that is never older than the
emptiness of its own disk, and therefore proof enough: whatever an earlier disk of X's helped to acknowledge was then on
other members' disks as well, and none of those can be heard to be blank later, unless it is lost too.

An answer informs both sides: who asks says that it is blank, who answers likewise, and both say whom they have heard.
``told`` are those who do not wait for this voter: those who know of it, because they say so or because this voter has
their answer, and those heard blank that are members by now. So a voter that leaves to run etcd is needed by nobody any
more. It asks everyone once more before it goes, so that the others need not find it gone.

    crash, restart            blank stays blank with all that was heard, a member stays one. Nothing is repeated that
                              could do harm: questions, etcd's own start, striking out an identity that is gone already
    a slow or paused voter    nothing here rests on time. One that was paused between its decision and etcd's start is
                              the late member of a cluster that has counted on it from the beginning
    an answer is lost         the question is asked again; who has become a member meanwhile does not wait
    a disk is lost            JOIN, with the consent of a majority that has its disks; until then WAIT
    a majority loses disks    more than any quorum can bear. As a rule WAIT: who still is a member was
                              not heard to be blank. The log says who is waited for; all of them emptied begin anew
    all disks are lost        there is nothing to lose: a new cluster
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from enum import Enum


class Step(Enum):
    """What a blank voter does next."""

    WAIT = "wait"
    FORM = "form"
    JOIN = "join"


class Formation:
    """What one blank voter knows of the others; all are named by their node ids."""

    def __init__(self, me: int, others: Iterable[int], heard: Iterable[int] = ()) -> None:
        """``heard``: who was heard to be blank since this disk is blank, in this life of the voter or before."""
        self._me = me
        self.others = frozenset(others)
        self._heard = set(heard) & self.others
        self._told: set[int] = set()
        self._members: set[int] = set()

    @property
    def heard(self) -> frozenset[int]:
        """To be on the disk before anybody is told of it, and before ``step`` is followed."""
        return frozenset(self._heard)

    @property
    def missing(self) -> frozenset[int]:
        """Those because of whom this voter waits."""
        return self.others - (self._heard & self._told)

    def asked_by(self, voter: int, its_heard: Collection[int]) -> None:
        """A blank voter asks, and has heard ``its_heard``."""
        if voter in self.others:
            self._heard.add(voter)
            self._members.discard(voter)
            if self._me in its_heard:
                self._told.add(voter)

    def answered_blank(self, voter: int, its_heard: Collection[int]) -> None:
        """A blank voter has answered: now both know of each other."""
        self.asked_by(voter, its_heard)
        self._told.add(voter)

    def answered_as_member(self, voter: int) -> None:
        """etcd has answered in the voter's place."""
        if voter in self._heard:
            self._told.add(voter)
        elif voter in self.others:
            self._members.add(voter)

    @property
    def step(self) -> Step:
        if self._members:
            return Step.JOIN
        return Step.WAIT if self.missing else Step.FORM
