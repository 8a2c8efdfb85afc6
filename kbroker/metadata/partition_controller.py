"""Carries out what is asked for about partitions that exist: by their leaders, by brokers with a broken disk, by
administrators. The decisions are in ``partition_decisions`` and ``reassignment``.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, Protocol
from uuid import UUID

import trio

from kbroker.metadata import keys
from kbroker.metadata.decision_writer import (
    ATTEMPTS_MAX,
    DecisionWriter,
    Write,
    lost_every_race,
    reachable,
    store_unreachable,
)
from kbroker.metadata.elections import Election, TopicRules
from kbroker.metadata.follower import CATCH_UP_WAIT_S, ClusterMetadata
from kbroker.metadata.fresh_partitions import FreshPartitions, PartitionId
from kbroker.metadata.image import ClusterImage, PartitionState, TopicImage
from kbroker.metadata.partition_decisions import (
    ProposedChange,
    alter_partition,
    elect_by_hand,
    reclaim,
    resign,
)
from kbroker.metadata.partition_writes import partition_write, registration_compare
from kbroker.metadata.reassignment import begin_reassignment, cancel_reassignment, reassignments
from kbroker.metadata.store import Compare, Delete, MetadataStore, Operation, Put
from wire.errors import ApiError, ErrorCode

logger = logging.getLogger(__name__)

_ALTER_ATTEMPTS_MAX: Final = 3
# The protocol's numbers (Kafka's ``ElectionType``).
_ELECTIONS: Final = {0: Election.PREFERRED, 1: Election.UNCLEAN}

TopicPartition = tuple[str, int]
"""(topic name, partition index)."""


class PartitionSettings(Protocol):
    """What the broker's configs say; read anew for every decision."""

    def topic_rules(self, overrides: Mapping[str, str]) -> TopicRules:
        """The rules for a topic with these configs of its own; configs that cannot be read count for nothing."""
        ...


class PartitionController:
    """The part of a ``Controller`` that changes partitions."""

    def __init__(
        self, *, node_id: int, store: MetadataStore, metadata: ClusterMetadata, settings: PartitionSettings
    ) -> None:
        self._node_id = node_id
        self._store = store
        self._metadata = metadata
        self._partition_settings = settings
        self._writer = DecisionWriter(store, metadata)
        self._fresh = FreshPartitions(store, metadata)

    def _rules(self, image: ClusterImage, topic: TopicImage) -> TopicRules:
        return self._partition_settings.topic_rules(image.topic_config(topic.name))

    # What brokers ask for. These do not wait until the image has followed.

    async def alter_partitions(
        self, node_id: int, broker_epoch: int, changes: Sequence[ProposedChange]
    ) -> dict[PartitionId, PartitionState | ApiError]:
        """Change in-sync sets as their leader ``node_id`` proposes; each partition by itself (KIP-497).

        By (topic id, index) the state that the partition has now, or why not: UNKNOWN_TOPIC_ID,
        UNKNOWN_TOPIC_OR_PARTITION, NEW_LEADER_ELECTED (also where the change itself brought another leader), what
        ``partition_decisions.alter_partition`` raises, REQUEST_TIMED_OUT where nobody knows whether it was done or
        others kept changing the partition. Raises STALE_BROKER_EPOCH for all of them.

        Returns as soon as the store has answered: the image follows later. So it may be awaited where a
        metadata listener waits for the caller.
        """
        outcome: dict[PartitionId, PartitionState | ApiError] = {}
        pending = {(change.topic_id, change.index): change for change in changes}
        for attempt in range(_ALTER_ATTEMPTS_MAX):
            if attempt:
                try:
                    await reachable(self._fresh.reread(pending))
                except ApiError as error:
                    outcome.update(dict.fromkeys(pending, error))
                    return outcome
            image = self._fresh.image()
            broker = image.brokers.get(node_id)
            if broker is not None and broker.broker_epoch == broker_epoch:
                is_final = attempt > 0 or not self._fresh.is_mixed
                pending = await self._alter(image, node_id, pending, outcome, refusals_are_final=is_final)
            elif attempt:
                raise ApiError(ErrorCode.STALE_BROKER_EPOCH)
            if not pending:
                return outcome
        outcome.update(dict.fromkeys(pending, lost_every_race()))
        return outcome

    async def _alter(
        self,
        image: ClusterImage,
        node_id: int,
        changes: Mapping[PartitionId, ProposedChange],
        outcome: dict[PartitionId, PartitionState | ApiError],
        *,
        refusals_are_final: bool,
    ) -> dict[PartitionId, ProposedChange]:
        """Those changes that are to be decided again on what the store has now."""
        writes: list[Write] = []
        states: dict[PartitionId, PartitionState] = {}
        again: dict[PartitionId, ProposedChange] = {}
        for partition, change in changes.items():
            try:
                topic, before = self._find(image, partition)
                rules = self._rules(image, topic)
                after = alter_partition(image, topic, before, rules, node_id, change)
            except ApiError as error:
                outcome[partition] = error
                if error.code == ErrorCode.NOT_CONTROLLER or not refusals_are_final:
                    again[partition] = change
                continue
            outcome[partition] = before
            if after is not None:
                states[partition] = after
                reason = _reason_to_alter(node_id, before, after)
                fence = registration_compare(image, node_id)
                writes.append(partition_write(image, topic, change.index, before, after, reason, fence))
        written = await self._writer.write_now(writes)
        for partition, state in states.items():
            if partition in written.revisions:
                state = state._replace(state_revision=written.revisions[partition])
                self._fresh.learned(partition, state)
                if state.leader == node_id:
                    outcome[partition] = state
                else:
                    outcome[partition] = ApiError(
                        ErrorCode.NEW_LEADER_ELECTED, f"The leader is broker {state.leader} now."
                    )
            else:
                outcome[partition] = store_unreachable()
        lost = {write.subject for write in written.lost}
        again.update({partition: change for partition, change in changes.items() if partition in lost})
        return again

    def _find(self, image: ClusterImage, partition: PartitionId) -> tuple[TopicImage, PartitionState]:
        found = self._fresh.find(image, partition)
        if found is None and image.topic_by_id(partition[0]) is None:
            raise ApiError(ErrorCode.UNKNOWN_TOPIC_ID)
        if found is None:
            raise ApiError(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
        return found

    async def resign(self, partitions: Sequence[PartitionId]) -> None:
        """Take this broker's replicas of the partitions (topic id, index) out of whatever they could be led from.

        For replicas whose log is lost or damaged, or whose log directory failed. Others take over where they
        can. Before the broker registers is a good time, after it is none too late. Unknown partitions are
        passed over. ApiError REQUEST_TIMED_OUT; does not wait for the image.
        """
        await self._change_own(partitions, self._resignation)

    async def reclaim(self, partitions: Sequence[PartitionId]) -> None:
        """Make this broker's replicas eligible again where they were the last to be, and have all their records.

        For a broker that has started with a log directory that had failed before. As ``resign``.
        """
        await self._change_own(partitions, self._reclamation)

    async def _change_own(
        self,
        partitions: Sequence[PartitionId],
        decide: Callable[[ClusterImage, PartitionId], Write | None],
    ) -> None:
        pending = list(dict.fromkeys(partitions))
        for attempt in range(ATTEMPTS_MAX):
            if attempt:
                await reachable(self._fresh.reread(pending))
                if attempt > 1:
                    with trio.move_on_after(CATCH_UP_WAIT_S):
                        await self._metadata.wait_for_newer(self._metadata.newest)
            image = self._fresh.image()
            writes = [write for partition in pending if (write := decide(image, partition))]
            written = await self._writer.write_now(writes)
            if written.unknown:
                raise store_unreachable()
            if not written.lost:
                return
            lost = {write.subject for write in written.lost}
            pending = [partition for partition in pending if partition in lost]
        raise lost_every_race()

    def _resignation(self, image: ClusterImage, partition: PartitionId) -> Write | None:
        found = self._fresh.find(image, partition)
        if found is None:
            return None
        topic, before = found
        after = resign(image, topic, before, self._rules(image, topic), self._node_id)
        if after is None:
            return None
        reason = f"the log on broker {self._node_id} is lost, or its directory failed"
        return partition_write(image, topic, partition[1], before, after, reason)

    def _reclamation(self, image: ClusterImage, partition: PartitionId) -> Write | None:
        found = self._fresh.find(image, partition)
        if found is None:
            return None
        topic, before = found
        after = reclaim(before, self._node_id)
        if after is None:
            return None
        reason = f"broker {self._node_id} has its log again"
        return partition_write(image, topic, partition[1], before, after, reason)

    # What administrators ask for

    async def catch_up(self) -> None:
        """Wait until this broker's image holds whatever any broker had changed before this call.

        So an administrator who asks one broker after another finds what he did. ApiError REQUEST_TIMED_OUT.
        """
        await self._writer.catch_up()

    async def elect_leaders(
        self, election_type: int, partitions: Sequence[TopicPartition] | None
    ) -> dict[TopicPartition, ApiError | None]:
        """Elect leaders by hand; None where another one leads now (KIP-183, KIP-460).

        ``election_type``: 0 for the preferred leader, 1 for any replica; else INVALID_REQUEST for all.
        UNKNOWN_TOPIC_OR_PARTITION, and what ``partition_decisions.elect_by_hand`` raises. With ``partitions`` None
        all of them are meant, and those that need no election are not in the result.
        """
        election = _ELECTIONS.get(election_type)
        if election is None:
            raise ApiError(ErrorCode.INVALID_REQUEST, f"There is no election type {election_type}.")

        def decide(image: ClusterImage, topic: TopicImage, state: PartitionState) -> PartitionState:
            return elect_by_hand(image, topic, state, self._rules(image, topic), election)

        wanted = partitions
        if wanted is None:
            await self.catch_up()
            wanted = [
                (topic.name, index)
                for topic in self._metadata.newest.topics.values()
                for index in range(len(topic.partitions))
            ]
        outcome = await self._change_partitions(
            dict.fromkeys(wanted, decide),
            f"{election.value} election by hand",
            has_caught_up=partitions is None,
        )
        if partitions is not None:
            return outcome
        return {
            partition: error
            for partition, error in outcome.items()
            if error is None or error.code != ErrorCode.ELECTION_NOT_NEEDED
        }

    async def alter_reassignments(
        self,
        targets: Mapping[TopicPartition, Sequence[int] | None],
        *,
        allow_replication_factor_change: bool = True,
    ) -> dict[TopicPartition, ApiError | None]:
        """Begin to move partitions to the brokers given, or with None take such a move back (KIP-455)."""

        def changing(target: Sequence[int] | None) -> _Decide:
            def decide(
                image: ClusterImage, topic: TopicImage, state: PartitionState
            ) -> PartitionState | None:
                rules = self._rules(image, topic)
                if target is None:
                    return cancel_reassignment(image, topic, state, rules)
                return begin_reassignment(
                    image,
                    topic,
                    state,
                    rules,
                    target,
                    allow_replication_factor_change=allow_replication_factor_change,
                )

            return decide

        return await self._change_partitions(
            {partition: changing(target) for partition, target in targets.items()}, "reassignment"
        )

    async def list_reassignments(
        self, wanted: Sequence[tuple[str, Sequence[int]]] | None
    ) -> Iterator[tuple[TopicImage, int, PartitionState]]:
        """The reassignments under way, of all partitions or of the (topic name, indexes) given."""
        await self.catch_up()
        return reassignments(self._metadata.image, wanted)

    async def _change_partitions(
        self, decisions: Mapping[TopicPartition, _Decide], reason: str, *, has_caught_up: bool = False
    ) -> dict[TopicPartition, ApiError | None]:
        outcome: dict[TopicPartition, ApiError | None] = {}

        def decide(pending: Sequence[TopicPartition]) -> list[Write]:
            image = self._metadata.newest
            writes = []
            for partition in pending:
                try:
                    write = _decided(image, partition, decisions[partition], reason)
                except ApiError as error:
                    outcome[partition] = error
                    continue
                outcome[partition] = None
                if write is not None:
                    writes.append(write)
            return writes

        await self._writer.carry_out(list(decisions), decide, has_caught_up=has_caught_up)
        return outcome

    async def unregister_broker(self, node_id: int) -> None:
        """Forget a broker that will not come back (KIP-500); BROKER_ID_NOT_REGISTERED if nothing is known of it.

        A broker that is down has no registration here, unlike in Kafka: then this only stops the deletion of
        topics from waiting for it. One that is alive loses its registration, and with it leadership and its place
        in the in-sync sets, and registers anew when it finds out. Its replicas stay assigned to it, as in Kafka.
        """
        await self.catch_up()
        image = self._metadata.newest
        is_known = (
            node_id in image.brokers
            or any(node_id in deleted.node_ids for deleted in image.deleted_topics.values())
            or next(image.partitions_of(node_id), None) is not None
        )
        if not is_known:
            raise ApiError(
                ErrorCode.BROKER_ID_NOT_REGISTERED, f"Broker ID {node_id} is not currently registered"
            )

        def decide(pending: Sequence[int]) -> list[Write]:
            image = self._metadata.newest
            if node_id not in image.brokers:
                return []
            logger.info("the registration of broker %d is taken away", node_id)
            key = keys.broker_key(node_id)
            return [Write(node_id, (registration_compare(image, node_id),), (Delete(key),))]

        await self._writer.carry_out([node_id], decide, has_caught_up=True)
        await self._deletions_done(list(image.deleted_topics), node_id)

    # Topics that are gone

    async def deletion_done(self, topic_ids: Sequence[UUID]) -> None:
        """This broker has no logs of these deleted topics any more. The last one to say so ends the deletion."""
        await self._deletions_done(topic_ids, self._node_id)

    async def _deletions_done(self, topic_ids: Sequence[UUID], node_id: int) -> None:
        def decide(pending: Sequence[UUID]) -> list[Write]:
            writes = []
            for topic_id in pending:
                deleted = self._metadata.newest.deleted_topics.get(topic_id)
                if deleted is None or node_id not in deleted.node_ids:
                    continue
                key = keys.deleted_topic_key(topic_id)
                others = [other for other in deleted.node_ids if other != node_id]
                operation: Operation = (
                    Put(key, keys.encode_deleted_topic(deleted.name, others)) if others else Delete(key)
                )
                writes.append(Write(topic_id, (Compare(key, deleted.revision),), (operation,)))
            return writes

        await self._writer.carry_out(list(topic_ids), decide)


_Decide = Callable[[ClusterImage, TopicImage, PartitionState], PartitionState | None]


def _decided(image: ClusterImage, partition: TopicPartition, decide: _Decide, reason: str) -> Write | None:
    name, index = partition
    topic = image.topic(name)
    if topic is None or not 0 <= index < len(topic.partitions):
        raise ApiError(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, f"There is no partition {name}-{index}.")
    before = topic.partitions[index]
    after = decide(image, topic, before)
    if after is None:
        return None
    return partition_write(image, topic, index, before, after, reason)._replace(subject=partition)


def _reason_to_alter(node_id: int, before: PartitionState, after: PartitionState) -> str:
    if before.is_reassigning and not after.is_reassigning:
        return "reassignment completed"
    joined = [replica for replica in after.in_sync_replicas if replica not in before.in_sync_replicas]
    left = [replica for replica in before.in_sync_replicas if replica not in after.in_sync_replicas]
    parts = [f"{_listed(joined)} caught up"] if joined else []
    parts += [f"{_listed(left)} fell behind"] if left else []
    return f"leader {node_id} says: {', '.join(parts) or 'recovered'}"


def _listed(node_ids: Sequence[int]) -> str:
    return " and ".join(map(str, node_ids))
