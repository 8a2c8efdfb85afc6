"""Whether this broker may lead, and what its replicas are worth: what it knows of itself that the cluster must know.

A broker may lead as long as no other can believe it to be gone (``is_known_to_be_alive``):

    SECURE    it leads what the metadata gives it
      | the session could not be renewed in time: the store is out of reach, or the process stood still
    INSECURE  partitions answer NOT_LEADER_OR_FOLLOWER, nothing is acknowledged, no coordinator is served here. As long
      |       as it is in doubt who leads, a second or two, producers are left waiting instead: a producer that is told
      |       so of what is in the log sends it elsewhere, or here again, as something new
      | renewed; or registered anew, and it has followed the metadata at least to there
      +--> SECURE, and the coordinators are loaded anew: others may have written to their partitions

A replica is unfit when its disk has less than it once had: its log directory failed, is a new one, or ends before
what a checkpoint vouches for. It leaves the in-sync set before the broker registers, so that it is never elected
where a good replica could be, and fetches what it lacks.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final, Generic, NamedTuple, Protocol, TypeVar

import trio

from kbroker.config.broker_config import BrokerConfig
from kbroker.metadata.image import ClusterImage, ImageDelta
from kbroker.metadata.membership import BrokerSession
from kbroker.replication.ports import Standing
from storage.log_manager import LogManager
from storage.topic_partition import TopicPartition
from wire.errors import ApiError

logger = logging.getLogger(__name__)

PartitionKey = tuple[uuid.UUID, int]
ThingT = TypeVar("ThingT")

_LOOK_S: Final = 1.0
_LOOK_WHILE_INSECURE_S: Final = 0.05
_RETRY_S: Final = 0.25


class World(Protocol):
    """The part of the World that is used here."""

    def monotonic(self) -> float: ...

    async def sleep(self, seconds: float) -> None: ...


def standing_of(
    config: BrokerConfig,
    world: World,
    image: Callable[[], ClusterImage],
    is_secure: Callable[[], bool],
    is_in_doubt: Callable[[], bool],
) -> Standing:
    """How replication sees this broker and the others."""

    def may_join(node_id: int, broker_epoch: int) -> bool:
        broker = image().brokers.get(node_id)
        return broker is not None and broker.is_active and broker_epoch in (-1, broker.broker_epoch)

    return Standing(
        monotonic=world.monotonic,
        may_lead=is_secure,
        is_in_doubt=is_in_doubt,
        may_join=may_join,
        lag_time_max_s=lambda: config.replica_lag_time_max_ms / 1000,
    )


def is_known_to_be_alive(session: BrokerSession, image: ClusterImage) -> bool:
    """Whether no other broker can believe this one to be gone, or to have been gone without its knowing.

    ``image`` is one that has been taken up: if it does not hold the present registration yet, others may have been
    elected since it was.
    """
    own = image.brokers.get(session.registration.node_id)
    return own is not None and own.broker_epoch == session.broker_epoch and session.is_secure()


def is_in_doubt(session: BrokerSession, image: ClusterImage, now: float) -> bool:
    """Whether a broker that is not known to be alive will soon be, or soon learn who leads instead."""
    if is_known_to_be_alive(session, image):
        return False
    # With a session it is only the news that is missing.
    return now < (session.news_due_at if session.is_secure() else session.in_doubt_until)


async def watch_session(
    session: BrokerSession,
    is_secure_now: Callable[[], bool],
    is_in_doubt_now: Callable[[], bool],
    world: World,
    on_change: Callable[[bool], None],
    on_doubt_over: Callable[[], None],
) -> None:
    """Tell for ever when this broker becomes insecure (False) and secure again (True).

    And, as ``on_doubt_over``, when it has been insecure for so long that others will lead.
    """
    was_secure, broker_epoch = True, session.broker_epoch
    was_in_doubt = False
    while True:
        is_secure = is_secure_now()
        if is_secure != was_secure:
            if is_secure:
                logger.info("broker %d leads again", session.registration.node_id)
            else:
                logger.error(
                    "broker %d has no session that it and the others know of: it leads nothing until it has",
                    session.registration.node_id,
                )
        # It may have been lost and had again within one pause.
        if is_secure != was_secure or session.broker_epoch != broker_epoch:
            was_secure, broker_epoch = is_secure, session.broker_epoch
            on_change(is_secure)
        in_doubt = is_in_doubt_now()
        if was_in_doubt and not in_doubt:
            on_doubt_over()
        was_in_doubt = in_doubt
        if is_secure:
            await world.sleep(min(max(session.secure_until - world.monotonic(), 0.001), _LOOK_S))
        else:
            await world.sleep(_LOOK_WHILE_INSECURE_S)


class OwnReplicas(NamedTuple):
    """What a starting broker has to tell of its replicas, by partition; with their logs' names."""

    unfit: dict[PartitionKey, TopicPartition]
    """They count as in sync or eligible, and have not on disk what they once had."""
    whole: dict[PartitionKey, TopicPartition]
    """They were the last that could have led, and are there after all."""


def judge_replicas(image: ClusterImage, node_id: int, logs: LogManager) -> OwnReplicas:
    """To be asked before logs that are missing are made anew, and look like any other.

    A partition's only replica is never unfit: there is no better one. A log that is missing and never had a record on
    the disk has lost nothing: nobody was told that it had one. While a log directory is out of reach nothing tells
    which logs it has, so all that are missing count as there.
    """
    found = OwnReplicas({}, {})
    for topic, index, state in image.partitions_of(node_id):
        if len(state.replicas) == 1:
            continue
        key, name = (topic.topic_id, index), TopicPartition(topic.name, index)
        if node_id in (*state.in_sync_replicas, *state.eligible_leader_replicas):
            is_missing = logs.may_be_out_of_reach(name) or (
                logs.get(name) is None and logs.registers.has_new_directory
            )
            if is_missing or name in logs.shortened or logs.registers.is_lost(name, topic.topic_id):
                found.unfit[key] = name
        elif state.last_known_eligible_leader_replicas == (node_id,) and logs.registers.has_all_records(
            name, topic.topic_id
        ):
            found.whole[key] = name
    return found


def given_up_for_nothing(delta: ImageDelta, node_id: int, logs: LogManager) -> list[PartitionKey]:
    """Partitions that have just lost their last replica that could lead, which is this one, and is whole.

    The life before this one gave it up, when its log directory seemed to fail, and its word came late: after this one
    had looked for such (`judge_replicas`).
    """
    return [
        (topic.topic_id, index)
        for topic, index, _, state in delta.partitions_changed
        if state.last_known_eligible_leader_replicas == (node_id,)
        and not state.in_sync_replicas
        and not state.eligible_leader_replicas
        and logs.registers.has_all_records(TopicPartition(topic.name, index), topic.topic_id)
    ]


class Reports(Generic[ThingT]):
    """Tells the metadata store of things that have happened to this broker, until the store has them."""

    def __init__(
        self,
        what: str,
        report: Callable[[Sequence[ThingT]], Awaitable[None]],
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        """``report`` may raise ApiError, and is then called again; ``what`` they are is for the log."""
        self._what = what
        self._report = report
        self._sleep = sleep
        self._pending: dict[ThingT, None] = {}
        self._woken = trio.Event()

    def add(self, things: Iterable[ThingT]) -> None:
        self._pending.update(dict.fromkeys(things))
        if self._pending:
            self._woken.set()

    async def run(self) -> None:
        while True:
            await self._woken.wait()
            self._woken = trio.Event()
            while self._pending:
                things = list(self._pending)
                try:
                    await self._report(things)
                except ApiError as error:
                    logger.warning("%s cannot be reported yet: %s", self._what, error)
                    await self._sleep(_RETRY_S)
                else:
                    for thing in things:
                        self._pending.pop(thing, None)
