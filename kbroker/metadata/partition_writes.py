"""Turns a decided partition state into what is written: comparisons, the value, and the line for the log."""

from __future__ import annotations

from kbroker.config.resources import ConfigResourceType
from kbroker.metadata import keys
from kbroker.metadata.decision_writer import Write
from kbroker.metadata.image import NO_LEADER, ClusterImage, PartitionState, TopicImage
from kbroker.metadata.store import ABSENT, Compare, Put


def partition_write(
    image: ClusterImage,
    topic: TopicImage,
    index: int,
    before: PartitionState,
    after: PartitionState,
    reason: str,
    *fences: Compare,
) -> Write:
    """The write's subject is (topic id, index). ``fences``: what is to be compared besides."""
    key = keys.partition_key(topic.topic_id, index)
    return Write(
        (topic.topic_id, index),
        (*_compares(image, topic, key, before, after), *fences),
        (Put(key, keys.encode_partition(after)),),
        change_note(topic, index, before, after, reason),
    )


def _compares(
    image: ClusterImage, topic: TopicImage, key: str, before: PartitionState, after: PartitionState
) -> list[Compare]:
    """All that the decision rests on."""
    compares = [Compare(key, before.state_revision)]
    if before.state_revision == 0:
        # Otherwise the partition of a topic deleted meanwhile would get a key.
        compares.append(Compare(keys.topic_key(topic.name), topic.revision))
    # partition_decisions relies on this for every state that is ever written.
    compares += [registration_compare(image, node_id) for node_id in after.in_sync_replicas]
    if after.leader != NO_LEADER and after.leader in before.eligible_leader_replicas:
        # Who is eligible depends on min.insync.replicas, which must not have been lowered unnoticed.
        resources = ((ConfigResourceType.TOPIC, topic.name), (ConfigResourceType.BROKER, ""))
        compares += [
            Compare(keys.config_key(resource), image.config_revisions.get(resource, ABSENT))
            for resource in resources
        ]
    return compares


def registration_compare(image: ClusterImage, node_id: int) -> Compare:
    """That the broker is registered as the image says, or not at all."""
    broker = image.brokers.get(node_id)
    return Compare(keys.broker_key(node_id), ABSENT if broker is None else broker.revision)


def change_note(
    topic: TopicImage, index: int, before: PartitionState, after: PartitionState, reason: str
) -> str:
    """What the log says of the change: leader, in-sync set, epochs and reason."""
    parts = []
    if after.leader != before.leader or after.leader_epoch != before.leader_epoch:
        parts.append(f"leader {_leader(before.leader)} -> {_leader(after.leader)}")
    for name, old, new in (
        ("in sync", before.in_sync_replicas, after.in_sync_replicas),
        ("eligible", before.eligible_leader_replicas, after.eligible_leader_replicas),
        ("replicas", before.replicas, after.replicas),
        ("adding", before.adding_replicas, after.adding_replicas),
        ("removing", before.removing_replicas, after.removing_replicas),
    ):
        if old != new:
            parts.append(f"{name} {list(old)} -> {list(new)}")
    return (
        f"{topic.name}-{index}: {', '.join(parts) or 'state changed'} "
        f"(leader epoch {after.leader_epoch}, partition epoch {after.partition_epoch}): {reason}"
    )


def _leader(node_id: int) -> str:
    return "none" if node_id == NO_LEADER else str(node_id)
