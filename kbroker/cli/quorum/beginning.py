"""Drives a blank voter until it is known how its etcd begins: asks, answers, and follows ``formation.py``."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Final

import trio

from kbroker.broker import StartError
from kbroker.cli.quorum.formation import Formation, Step
from kbroker.cli.quorum.membership import ForeignCluster, take_place
from kbroker.cli.quorum.voter_disk import VoterDisk
from kbroker.cli.quorum.voter_port import Members, NoAnswer, Statement, answer_voters, ask
from kbroker.cli.quorum.voters import Voter, VoterSettings
from kbroker.metadata.store import StoreError
from kbroker.world import World

logger = logging.getLogger(__name__)

_ASK_AGAIN_S: Final = 0.1
_JOIN_AGAIN_S: Final = 1.0
_TELL_AGAIN_S: Final = 15.0
_GOODBYE_S: Final = 0.5


class QuorumFailed(StartError):
    """The voter cannot begin or go on; the message is for whoever started the node."""


@dataclass(frozen=True, slots=True)
class Place:
    """How etcd is to begin: with a cluster that is new or not, and these members, by node id."""

    is_new: bool
    peer_addresses: dict[int, str]


class Beginning:
    """One blank voter, until it has its place."""

    def __init__(self, settings: VoterSettings, world: World, disk: VoterDisk, heard: frozenset[int]) -> None:
        self._settings = settings
        self._world = world
        self._disk = disk
        self._formation = Formation(settings.node_id, (other.node_id for other in settings.others), heard)
        self._kept = heard
        self._keeping = trio.Lock()
        self._news = trio.Event()
        self._unheard: dict[int, str] = {}
        self._strangers: set[str] = set()

    async def find_place(self) -> Place:
        """Ask and answer until there is one, however long it takes. QuorumFailed in a group, if there will not be."""
        settings = self._settings
        if not settings.others:
            return self._new_cluster()
        async with trio.open_nursery() as nursery:
            network, host, port = self._world.network, settings.listen_host, settings.peer_port
            try:
                await nursery.start(answer_voters, network, host, port, self._converse)
            except OSError as error:
                raise QuorumFailed(f"port {port}, where voters meet, cannot be opened: {error}") from error
            for other in settings.others:
                nursery.start_soon(self._keep_asking, other)
            nursery.start_soon(self._tell_why_it_waits)
            place = await self._follow_steps()
            nursery.cancel_scope.cancel()
        return place

    async def _follow_steps(self) -> Place:
        while True:
            self._news = news = trio.Event()
            step = self._formation.step
            if step is Step.FORM:
                await self._keep_heard()
                await self._say_goodbye()
                logger.info("all voters are here: a new metadata quorum of %s", self._settings.voters_text)
                return self._new_cluster()
            if step is Step.JOIN:
                members = await self._join()
                if members is not None:
                    return Place(False, members)
                await self._world.sleep(_JOIN_AGAIN_S)
            else:
                await news.wait()

    def _new_cluster(self) -> Place:
        settings = self._settings
        return Place(
            True, {voter.node_id: voter.peer_address(settings.peer_port) for voter in settings.voters}
        )

    async def _keep_asking(self, other: Voter) -> None:
        while True:
            await self._ask(other)
            self._news.set()
            await self._world.sleep(_ASK_AGAIN_S)

    async def _say_goodbye(self) -> None:
        with trio.move_on_after(_GOODBYE_S):
            async with trio.open_nursery() as asking:
                for other in self._settings.others:
                    asking.start_soon(self._ask, other)

    async def _ask(self, other: Voter) -> None:
        try:
            answer = await ask(self._world.network, other.host, self._settings.peer_port, self._statement())
        except NoAnswer as reason:
            self._unheard[other.node_id] = str(reason)
            return
        self._unheard.pop(other.node_id, None)
        if isinstance(answer, Members):
            self._formation.answered_as_member(other.node_id)
        elif answer.node_id != other.node_id:
            self._unheard[other.node_id] = f"voter {answer.node_id} answers there"
        elif not answer.means_the_same_quorum_as(self._statement()):
            self._tell_of_stranger(answer)
        else:
            self._formation.answered_blank(other.node_id, answer.heard)
            await self._keep_heard()

    async def _converse(self, asking: Statement) -> Statement:
        """What is heard is kept before it is said."""
        if asking.means_the_same_quorum_as(self._statement()):
            self._formation.asked_by(asking.node_id, asking.heard)
            await self._keep_heard()
            self._news.set()
        return self._statement()

    def _statement(self) -> Statement:
        settings = self._settings
        return Statement(settings.node_id, settings.cluster_id, settings.voters_text, self._kept)

    def _tell_of_stranger(self, theirs: Statement) -> None:
        """One of the two is set up wrongly, and this one cannot know which: it waits, and says so at once."""
        mine = self._statement()
        reason = (
            f"it means another quorum: CLUSTER_ID {theirs.cluster_id or '(none)'} and voters {theirs.voters} there, "
            f"{mine.cluster_id or '(none)'} and {mine.voters} here"
        )
        self._unheard[theirs.node_id] = reason
        if reason not in self._strangers:
            self._strangers.add(reason)
            logger.error("voter %d: %s", theirs.node_id, reason)

    async def _keep_heard(self) -> None:
        """What was heard is on the disk when this returns."""
        async with self._keeping:
            heard = self._formation.heard
            if heard != self._kept:
                try:
                    await self._world.run_blocking(self._disk.keep, heard)
                except OSError as error:
                    raise QuorumFailed(f"{self._settings.directory}: {error}") from error
                self._kept = heard

    async def _join(self) -> dict[int, str] | None:
        """The members, this voter among them; None if they do not let it in yet."""
        try:
            members = await take_place(self._settings, self._world.run_blocking)
        except ForeignCluster as error:
            raise QuorumFailed(str(error)) from error
        except StoreError as error:
            self._unheard[self._settings.node_id] = (
                f"the quorum exists and does not take this voter in yet: {error}"
            )
            return None
        logger.warning(
            "the metadata quorum exists, and this disk is empty: it is copied anew from the other voters"
        )
        return members

    async def _tell_why_it_waits(self) -> None:
        while True:
            await self._world.sleep(_TELL_AGAIN_S)
            missing = self._formation.missing | self._unheard.keys()
            reasons = [
                f"{voter} ({self._unheard.get(voter.node_id, 'not yet')})"
                for voter in self._settings.voters
                if voter.node_id in missing
            ]
            logger.warning(
                "waiting for voters, all of which must be there once to begin a metadata quorum: %s",
                "; ".join(reasons),
            )
