"""Brings what leaders propose for their in-sync sets before the metadata store (Kafka: AlterPartitionManager).

One batch is under way at a time; what is proposed meanwhile goes with the next. What becomes of a proposal:

    the state that the partition has now     the leader takes it up at once, without waiting for the watch
    FENCED_LEADER_EPOCH, INVALID_UPDATE_VERSION, NEW_LEADER_ELECTED, UNKNOWN_TOPIC_ID
                                             the leader is behind: it keeps both sets in mind until the watch tells
    INELIGIBLE_REPLICA, INVALID_REQUEST, UNKNOWN_TOPIC_OR_PARTITION
                                             refused: the recorded set stands, and may be proposed against anew
    anything else, and no answer             perhaps done, perhaps not: proposed again after a pause

A follower that has caught up while it may not join yet (another change is pending, this broker does not know of its
registration) is looked at again and again, for ``replica.lag.time.max.ms``, and after that now and then.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Awaitable, Callable, Iterable
from typing import Final

import trio

from kbroker.replication.partition import Partition
from kbroker.replication.ports import AlterInSync, InSyncProposal, PartitionState
from wire.errors import ApiError, ErrorCode

logger = logging.getLogger(__name__)

RETRY_S: Final = 0.05
_LOOK_AGAIN_FIRST_S: Final = 0.1
_LOOK_AGAIN_S: Final = 1.0
_BATCH_MAX: Final = 1000

_BEHIND: Final = frozenset(
    {
        ErrorCode.FENCED_LEADER_EPOCH,
        ErrorCode.INVALID_UPDATE_VERSION,
        ErrorCode.NEW_LEADER_ELECTED,
        ErrorCode.UNKNOWN_TOPIC_ID,
    }
)
_REFUSED: Final = frozenset(
    {ErrorCode.INELIGIBLE_REPLICA, ErrorCode.INVALID_REQUEST, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION}
)


class InSyncChanges:
    """See the module's docstring."""

    def __init__(
        self,
        *,
        alter: AlterInSync,
        partitions: Callable[[], Iterable[Partition]],
        lag_time_max_s: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        self._alter = alter
        self._partitions = partitions
        self._lag_time_max_s = lag_time_max_s
        self._sleep = sleep
        self._wanted: dict[Partition, None] = {}
        self._woken = trio.Event()
        self._undecided: dict[Partition, None] = {}
        self._undecided_woken = trio.Event()

    def request(self, partition: Partition) -> None:
        """The partition has a proposal (``Partition.in_sync_proposal``)."""
        self._wanted[partition] = None
        self._woken.set()

    def look_again(self, partition: Partition) -> None:
        """A follower of the partition may be ready to join before long (``Partition.propose_joining``)."""
        self._undecided[partition] = None
        self._undecided_woken.set()

    async def run(self) -> None:
        """Work for ever; proposals of earlier are brought forward first."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch_lag)
            nursery.start_soon(self._watch_undecided)
            while True:
                await self._woken.wait()
                self._woken = trio.Event()
                while self._wanted:
                    await self._bring_forward()

    async def _watch_lag(self) -> None:
        while True:
            # A follower is found out after 1 to 1.5 times the time that it is allowed, as in Kafka.
            await self._sleep(self._lag_time_max_s() / 2)
            for partition in self._partitions():
                partition.drop_lagging()
                partition.propose_joining()

    async def _watch_undecided(self) -> None:
        while True:
            await self._undecided_woken.wait()
            self._undecided_woken = trio.Event()
            pause_s = _LOOK_AGAIN_FIRST_S
            while self._undecided:
                await self._sleep(pause_s)
                pause_s = min(pause_s * 2, _LOOK_AGAIN_S)
                for partition in list(self._undecided):
                    if not partition.propose_joining():
                        del self._undecided[partition]

    async def _bring_forward(self) -> None:
        batch: dict[Partition, InSyncProposal] = {}
        for partition in list(self._wanted)[:_BATCH_MAX]:
            del self._wanted[partition]
            proposal = partition.in_sync_proposal()
            if proposal is not None:
                batch[partition] = proposal
        if not batch:
            return
        outcome: dict[tuple[uuid.UUID, int], PartitionState | ApiError] = {}
        try:
            outcome = await self._alter(list(batch.values()))
        except ApiError as error:
            logger.warning("in-sync sets could not be changed, will try again: %s", error)
        again = [
            partition
            for partition, proposal in batch.items()
            if not self._settle(partition, proposal, outcome.get((proposal.topic_id, proposal.index)))
        ]
        if again:
            await self._sleep(RETRY_S)
            for partition in again:
                self.request(partition)

    def _settle(
        self, partition: Partition, proposal: InSyncProposal, answer: PartitionState | ApiError | None
    ) -> bool:
        """Whether the matter is in other hands now, and is not to be brought forward again."""
        if answer is None:
            return False
        if not isinstance(answer, ApiError):
            partition.proposal_settled(proposal, answer)
            if partition in self._undecided:
                partition.propose_joining()
            return True
        if answer.code in _BEHIND:
            logger.info("%r is behind the metadata: %s", partition, answer)
            return True
        if answer.code in _REFUSED:
            logger.info("the in-sync set of %r stays: %s", partition, answer)
            partition.proposal_settled(proposal, None)
            return True
        return False
