"""The one broker that reacts to brokers coming and going: elections, in-sync sets, balance (Kafka's controller).

    waiting       somebody else is the controller, or this broker is not a member: watch the image
    candidate     there is no controller: put the key, which one broker succeeds in
    in office     settle every partition once, then those that a change of the image touches; now and then look for
                  leaders that are not the preferred ones, and for partitions that only an unclean election can help

The controller's key is put under the broker's own lease and goes with it. Every write compares it, so one that
was deposed, and does not know yet, can write nothing. The controller epoch counts the terms of all brokers.

What is to be done is always worked out from the image (``partition_decisions.settle``), never from the events
themselves: an event only says which partitions to look at. So nothing is lost when the controller changes, a
write loses a race, or the store is out of reach for a while.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final, Protocol
from uuid import UUID

import trio

from kbroker.config.resources import ConfigResourceType
from kbroker.metadata import keys
from kbroker.metadata.decision_writer import DecisionWriter, Write
from kbroker.metadata.elections import TopicRules
from kbroker.metadata.follower import CATCH_UP_WAIT_S, ClusterMetadata
from kbroker.metadata.fresh_partitions import PartitionId
from kbroker.metadata.image import (
    NO_LEADER,
    ClusterImage,
    ControllerRegistration,
    ImageDelta,
    PartitionState,
    TopicImage,
)
from kbroker.metadata.image_update import difference
from kbroker.metadata.partition_controller import PartitionSettings
from kbroker.metadata.partition_decisions import balance, reason_to_settle, settle
from kbroker.metadata.partition_writes import partition_write, registration_compare
from kbroker.metadata.store import (
    ABSENT,
    NO_LEASE,
    Compare,
    LeaseExpiredError,
    MetadataStore,
    Put,
    StoreUnavailableError,
)

logger = logging.getLogger(__name__)

_RETRY_S: Final = 0.25
# Partitions decided and written before the image is looked at again: a broker that goes meanwhile is noticed.
_PARTITIONS_PER_ROUND: Final = 1000
# And this many are decided before other tasks of the broker have their turn.
_PARTITIONS_PER_TURN: Final = 100

Decide = Callable[[ClusterImage, TopicImage, PartitionState, TopicRules], PartitionState | None]
Reason = Callable[[ClusterImage, TopicImage, PartitionState, PartitionState], str]


class ElectedControllerSettings(PartitionSettings, Protocol):
    """What the broker's configs say; read anew for every look."""

    @property
    def auto_leader_rebalance_enable(self) -> bool: ...

    @property
    def leader_imbalance_check_interval_seconds(self) -> int: ...

    @property
    def unclean_leader_election_interval_ms(self) -> int: ...


class ElectedController:
    """See the module's docstring. Run it beside the session and the metadata of the same broker."""

    def __init__(
        self,
        *,
        node_id: int,
        lease_id: Callable[[], int],
        store: MetadataStore,
        metadata: ClusterMetadata,
        settings: ElectedControllerSettings,
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        """``lease_id``: that of this broker's session, NO_LEASE while it is not registered."""
        self._node_id = node_id
        self._lease_id = lease_id
        self._store = store
        self._metadata = metadata
        self._settings = settings
        self._sleep = sleep

    @property
    def is_in_office(self) -> bool:
        """Whether the newest image says that this broker is the controller."""
        controller = self._metadata.newest.controller
        return controller is not None and controller.node_id == self._node_id

    async def run(self) -> None:
        """Stand for election and act, for ever. Cancel it to stop; the key goes with the session."""
        while True:
            image = self._metadata.newest
            if self.is_in_office:
                await self._serve_term()
            elif image.controller is None and await self._elect_itself(image):
                continue
            else:
                await self._metadata.wait_for_newer(image)

    # The election

    async def _elect_itself(self, image: ClusterImage) -> bool:
        """Whether there is reason to look again at once: the key was there for the taking."""
        if self._lease_id() == NO_LEASE or self._node_id not in image.brokers:
            return False
        try:
            found = await self._store.get(keys.CONTROLLER_EPOCH_KEY)
            epoch = 1 if found is None else keys.decode_controller_epoch(found.value) + 1
            registration = ControllerRegistration(self._node_id, epoch)
            result = await self._store.transact(
                [
                    Compare(keys.CONTROLLER_KEY, ABSENT),
                    Compare(keys.CONTROLLER_EPOCH_KEY, ABSENT if found is None else found.mod_revision),
                    registration_compare(image, self._node_id),
                ],
                [
                    Put(keys.CONTROLLER_KEY, keys.encode_controller(registration), self._lease_id()),
                    Put(keys.CONTROLLER_EPOCH_KEY, keys.encode_controller_epoch(epoch)),
                ],
            )
        except (StoreUnavailableError, LeaseExpiredError) as error:
            logger.warning("broker %d could not stand for controller: %s", self._node_id, error)
            await self._sleep(_RETRY_S)
            return True
        if result.succeeded:
            logger.info("broker %d is the controller, in controller epoch %d", self._node_id, epoch)
        with trio.move_on_after(CATCH_UP_WAIT_S):
            await self._metadata.wait_for_newer(image)
        return True

    # The term of office

    async def _serve_term(self) -> None:
        image = self._metadata.newest
        controller = image.controller
        assert controller is not None
        term = _Term(
            controller,
            image,
            metadata=self._metadata,
            writer=DecisionWriter(self._store, self._metadata),
            settings=self._settings,
            sleep=self._sleep,
        )
        await term.run()
        logger.info("broker %d is not the controller any more", self._node_id)


class _Term:
    """One term of office, as ``controller`` in the image says."""

    def __init__(
        self,
        controller: ControllerRegistration,
        image: ClusterImage,
        *,
        metadata: ClusterMetadata,
        writer: DecisionWriter,
        settings: ElectedControllerSettings,
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        self._controller = controller
        self._image = image
        self._metadata = metadata
        self._writer = writer
        self._settings = settings
        self._sleep = sleep
        self._dirty: dict[PartitionId, None] = {}
        self._awake = trio.Event()
        # Two decisions at a time would be in each other's way.
        self._turn = trio.Lock()
        # Written, perhaps: what the log is told once the image bears it out.
        self._unconfirmed: dict[PartitionId, tuple[PartitionState, str]] = {}

    async def run(self) -> None:
        """Settle everything, then whatever changes, until the term is over."""
        self._look_at(_every_partition(self._image.topics.values()))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._settle)
            nursery.start_soon(self._balance_now_and_then)
            nursery.start_soon(self._hold_unclean_elections)
            while self._is_on():
                image = await self._metadata.wait_for_newer(self._image)
                delta = difference(self._image, image)
                self._image = image
                self._confirm(delta)
                self._look_at(_touched(delta))
            nursery.cancel_scope.cancel()

    def _is_on(self) -> bool:
        return self._image.controller == self._controller

    def _look_at(self, partitions: Iterable[PartitionId]) -> None:
        self._dirty.update(dict.fromkeys(partitions))
        self._awake.set()

    async def _balance_now_and_then(self) -> None:
        while True:
            await self._sleep(self._settings.leader_imbalance_check_interval_seconds)
            if self._settings.auto_leader_rebalance_enable:
                imbalanced = self._find(lambda state: state.leader not in (state.replicas[0], NO_LEADER))
                await self._carry_out(imbalanced, balance, lambda *_: "preferred leader election")

    async def _hold_unclean_elections(self) -> None:
        while True:
            await self._sleep(self._settings.unclean_leader_election_interval_ms / 1000)
            self._look_at(self._find(lambda state: state.leader == NO_LEADER))

    def _find(self, condition: Callable[[PartitionState], bool]) -> list[PartitionId]:
        return [
            (topic.topic_id, index)
            for topic in self._image.topics.values()
            for index, state in enumerate(topic.partitions)
            if condition(state)
        ]

    async def _settle(self) -> None:
        while True:
            await self._awake.wait()
            self._awake = trio.Event()
            while self._dirty:
                partitions = list(self._dirty)[:_PARTITIONS_PER_ROUND]
                for partition in partitions:
                    del self._dirty[partition]
                self._look_at(await self._carry_out(partitions, settle, reason_to_settle))

    async def _carry_out(
        self, partitions: Sequence[PartitionId], decide: Decide, reason: Reason
    ) -> list[PartitionId]:
        """Decide and write; those for which that did not come off, after a pause that lets the image catch up."""
        async with self._turn:
            image = self._image
            writes, states = await self._decide(image, partitions, decide, reason)
            if not writes:
                return []
            written = await self._writer.write_now(writes)
        for write in written.unknown:
            partition = _partition_of(write)
            self._unconfirmed[partition] = (states[partition], write.note)
        failed = [_partition_of(write) for write in (*written.lost, *written.unknown)]
        if written.unknown:
            await self._sleep(_RETRY_S)
        else:
            # A store may count revisions that are none of ours: then waiting for them must end by itself.
            with trio.move_on_after(CATCH_UP_WAIT_S):
                await self._wait_for(max(written.revisions.values(), default=image.revision + 1))
        return failed

    async def _decide(
        self, image: ClusterImage, partitions: Sequence[PartitionId], decide: Decide, reason: Reason
    ) -> tuple[list[Write], dict[PartitionId, PartitionState]]:
        fence = Compare(keys.CONTROLLER_KEY, self._controller.revision)
        rules: dict[UUID, TopicRules] = {}
        writes: list[Write] = []
        states: dict[PartitionId, PartitionState] = {}
        for count, (topic_id, index) in enumerate(partitions, start=1):
            if count % _PARTITIONS_PER_TURN == 0:
                await trio.lowlevel.checkpoint()
            topic = image.topic_by_id(topic_id)
            if topic is None or index >= len(topic.partitions):
                continue
            if topic_id not in rules:
                rules[topic_id] = self._settings.topic_rules(image.topic_config(topic.name))
            before = topic.partitions[index]
            after = decide(image, topic, before, rules[topic_id])
            if after is not None:
                states[topic_id, index] = after
                why = reason(image, topic, before, after)
                writes.append(partition_write(image, topic, index, before, after, why, fence))
        return writes, states

    async def _wait_for(self, revision: int) -> None:
        while self._image.revision < revision:
            await self._metadata.wait_for_newer(self._image)
            # ``run`` is woken by the same image and takes it up; it may come after this task.
            await trio.lowlevel.checkpoint()

    def _confirm(self, delta: ImageDelta) -> None:
        """Tell the log of writes whose answer was lost, now that they have shown."""
        for topic, index, _, state in delta.partitions_changed:
            found = self._unconfirmed.pop((topic.topic_id, index), None)
            if found is not None and found[0]._replace(state_revision=state.state_revision) == state:
                logger.info("%s", found[1])


def _partition_of(write: Write) -> PartitionId:
    assert isinstance(write.subject, tuple)
    topic_id, index = write.subject
    return topic_id, index


def _every_partition(topics: Iterable[TopicImage]) -> Iterable[PartitionId]:
    for topic in topics:
        for index in range(len(topic.partitions)):
            yield topic.topic_id, index


def _touched(delta: ImageDelta) -> Iterable[PartitionId]:
    """The partitions for which something may have changed that ``settle`` looks at."""
    image = delta.after
    if (ConfigResourceType.BROKER, "") in delta.configs_changed:
        yield from _every_partition(image.topics.values())
        return
    yield from _every_partition(delta.topics_created)
    for topic, index, _ in delta.partitions_added:
        yield topic.topic_id, index
    for topic, index, _, _ in delta.partitions_changed:
        yield topic.topic_id, index
    configured = (
        image.topic(name) for kind, name in delta.configs_changed if kind == ConfigResourceType.TOPIC
    )
    yield from _every_partition(topic for topic in configured if topic is not None)
    if delta.brokers_changed:
        changed = set(delta.brokers_changed)
        for topic in image.topics.values():
            for index, state in enumerate(topic.partitions):
                if not changed.isdisjoint(state.replicas):
                    yield topic.topic_id, index
