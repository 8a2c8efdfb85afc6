"""What the controller decides about topics: plain functions from an image to what is to be written.

Nothing is written here and nothing awaited; ``kbroker.metadata.controller`` does that. Whatever cannot
be granted is raised as an ApiError with the code that Kafka's ``ReplicationControlManager`` gives, and
the checks run in its order, because a request may break several rules at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random
from typing import Final, TypeAlias

from kbroker.config.topic_names import validate_topic_name
from kbroker.metadata.image import ClusterImage, PartitionState, TopicImage
from kbroker.metadata.keys import newborn_partition
from kbroker.metadata.placement import place_replicas
from wire.errors import ApiError, ErrorCode
from wire.messages.topics import CreateTopicsRequest

USE_DEFAULT: Final = -1

# Kafka's controller bounds the metadata records that one request may write (MAX_RECORDS_PER_USER_OP): one
# for each topic, each of its configs, and each of its partitions.
RECORDS_PER_REQUEST_MAX: Final = 10_000


CreatableTopic: TypeAlias = CreateTopicsRequest.CreatableTopic
"""A topic as someone wants it; the protocol's own structure serves the broker's own topics as well."""


def check_new_topic_name(image: ClusterImage, name: str) -> None:
    """INVALID_TOPIC_EXCEPTION for an illegal or a colliding name, TOPIC_ALREADY_EXISTS if it is taken."""
    validate_topic_name(name)
    if name in image.topics:
        raise ApiError(ErrorCode.TOPIC_ALREADY_EXISTS, f"Topic '{name}' already exists.")
    other = image.colliding_topic(name)
    if other is not None:
        raise collision_error(name, other.name)


def collision_error(name: str, other: str) -> ApiError:
    return ApiError(
        ErrorCode.INVALID_TOPIC_EXCEPTION,
        f"Topic name '{name}' differs from the existing topic '{other}' only in '.' and '_', "
        "which metric names do not tell apart.",
    )


def configs_of(topic: CreatableTopic) -> dict[str, str]:
    """The configs asked for, the last of each name; INVALID_CONFIG if one has no value."""
    without_value = [config.name for config in topic.configs if config.value is None]
    if without_value:
        raise ApiError(ErrorCode.INVALID_CONFIG, f"A topic config needs a value: {', '.join(without_value)}.")
    return {config.name: config.value for config in topic.configs if config.value is not None}


def decide_partitions(
    image: ClusterImage,
    topic: CreatableTopic,
    *,
    default_partition_count: int,
    default_replication_factor: int,
    random: Random,
) -> list[PartitionState]:
    """The states in which the new topic's partitions are born.

    INVALID_REQUEST, INVALID_REPLICA_ASSIGNMENT, INVALID_REPLICATION_FACTOR, INVALID_PARTITIONS.
    """
    if topic.assignments:
        return _assigned_partitions(image, topic)
    if topic.replication_factor < USE_DEFAULT or topic.replication_factor == 0:
        raise ApiError(
            ErrorCode.INVALID_REPLICATION_FACTOR,
            "Replication factor must be larger than 0, or -1 to use the default value.",
        )
    if topic.num_partitions < USE_DEFAULT or topic.num_partitions == 0:
        raise ApiError(
            ErrorCode.INVALID_PARTITIONS,
            "Number of partitions was set to an invalid non-positive value.",
        )
    partition_count = default_partition_count if topic.num_partitions == USE_DEFAULT else topic.num_partitions
    replication_factor = (
        default_replication_factor if topic.replication_factor == USE_DEFAULT else topic.replication_factor
    )
    placed = place_replicas(image.brokers.values(), partition_count, replication_factor, random)
    return [newborn_partition(replicas, _active(image, replicas)) for replicas in placed]


def _assigned_partitions(image: ClusterImage, topic: CreatableTopic) -> list[PartitionState]:
    for what, number in (
        ("the replication factor", topic.replication_factor),
        ("the number of partitions", topic.num_partitions),
    ):
        if number != USE_DEFAULT:
            raise ApiError(
                ErrorCode.INVALID_REQUEST,
                f"Where replicas are assigned by hand, {what} must be -1.",
            )
    states: dict[int, PartitionState] = {}
    replication_factor: int | None = None
    for assignment in topic.assignments:
        partition = assignment.partition_index
        if partition in states:
            raise _assignment_error(f"Partition {partition} is assigned more than once.")
        states[partition] = _assigned_partition(image, partition, assignment.broker_ids, replication_factor)
        replication_factor = len(assignment.broker_ids)
    if set(states) != set(range(len(states))):
        raise _assignment_error("The partitions assigned must be numbered from 0 without a gap.")
    return [states[partition] for partition in range(len(states))]


def _assigned_partition(
    image: ClusterImage, partition: int, node_ids: Sequence[int], replication_factor: int | None
) -> PartitionState:
    if not node_ids:
        raise _assignment_error(f"Partition {partition} is assigned to no broker.")
    seen: set[int] = set()
    for node_id in node_ids:
        if node_id not in image.brokers:
            raise _assignment_error(f"Partition {partition} is assigned to unregistered broker {node_id}.")
        if node_id in seen:
            raise _assignment_error(f"Partition {partition} is assigned to broker {node_id} twice.")
        seen.add(node_id)
    if replication_factor is not None and len(node_ids) != replication_factor:
        raise _assignment_error(
            f"Partition {partition} is assigned {len(node_ids)} replica(s), other partitions have "
            f"{replication_factor}."
        )
    replicas = tuple(node_ids)
    in_sync = _active(image, replicas)
    if not in_sync:
        raise _assignment_error(
            f"Every broker that partition {partition} is assigned to is fenced or in controlled shutdown."
        )
    return newborn_partition(replicas, in_sync)


def _assignment_error(message: str) -> ApiError:
    return ApiError(ErrorCode.INVALID_REPLICA_ASSIGNMENT, message)


def _active(image: ClusterImage, replicas: tuple[int, ...]) -> tuple[int, ...]:
    """The replicas that start in sync: those that a partition may be led from."""
    active = tuple(node_id for node_id in replicas if image.is_active(node_id))
    # The very same tuple, so that equal births can be recognised and stored briefly.
    return replicas if len(active) == len(replicas) else active


def decide_more_partitions(
    image: ClusterImage,
    name: str,
    count: int,
    assignments: Sequence[Sequence[int]] | None,
    random: Random,
) -> tuple[TopicImage, list[PartitionState]]:
    """The topic, and the states in which the partitions that it gains are born.

    UNKNOWN_TOPIC_OR_PARTITION, INVALID_PARTITIONS, INVALID_REPLICA_ASSIGNMENT, INVALID_REPLICATION_FACTOR.
    """
    topic = image.topic(name)
    if topic is None:
        raise ApiError(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
    present = len(topic.partitions)
    if count <= present:
        raise ApiError(
            ErrorCode.INVALID_PARTITIONS,
            f"Topic already has {present} partition(s)."
            if count == present
            else f"The topic {name} currently has {present} partition(s); {count} would not be an increase.",
        )
    additional = count - present
    if assignments is not None and len(assignments) != additional:
        raise _assignment_error(
            f"{additional} partition(s) are to be added, but {len(assignments)} assignment(s) are given."
        )
    replication_factor = len(topic.partitions[0].replicas)
    if assignments is not None:
        return topic, [
            _assigned_partition(image, present + position, node_ids, replication_factor)
            for position, node_ids in enumerate(assignments)
        ]
    placed = place_replicas(image.brokers.values(), additional, replication_factor, random)
    return topic, [newborn_partition(replicas, _active(image, replicas)) for replicas in placed]


def births_of(topic: TopicImage) -> list[PartitionState]:
    """What the topic's key says of the partitions that exist.

    It is read for partitions without a key of their own only, and these still are as they were born.
    """
    return [
        state if state.state_revision == 0 else newborn_partition(state.replicas, state.replicas)
        for state in topic.partitions
    ]


def check_request_size(topics: Sequence[CreatableTopic], default_partition_count: int) -> None:
    """POLICY_VIOLATION if the topics, their configs and their partitions are too many for one request."""
    records = 0
    for topic in topics:
        partition_count = (
            default_partition_count if topic.num_partitions == USE_DEFAULT else topic.num_partitions
        )
        records += 1 + len(topic.configs) + max(len(topic.assignments) or partition_count, 0)
    if records > RECORDS_PER_REQUEST_MAX:
        raise ApiError(ErrorCode.POLICY_VIOLATION, "The request asks for too many partitions at once.")


def check_addition_size(image: ClusterImage, counts: Mapping[str, int]) -> None:
    """POLICY_VIOLATION if the topics would gain too many partitions in one request."""
    additional = sum(
        max(0, count - len(topic.partitions))
        for name, count in counts.items()
        if (topic := image.topic(name)) is not None
    )
    if additional > RECORDS_PER_REQUEST_MAX:
        raise ApiError(ErrorCode.POLICY_VIOLATION, "The request asks for too many partitions at once.")
