"""``kafka-topics --describe``: a line for each topic, and one for each of its partitions."""

from __future__ import annotations

import re
from argparse import Namespace
from base64 import urlsafe_b64decode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from kbroker.tools.cluster import Cluster, Partition
from kbroker.tools.config_resources import SOURCES, TOPIC, Entry, describe_configs
from kbroker.tools.java_order import java_order
from kbroker.tools.reassignment_state import Reassignment, list_reassignments
from kbroker.tools.session import CommandError
from storage.uuid_text import uuid_to_text
from wire.errors import ApiError, ErrorCode
from wire.messages.metadata import (
    DescribeTopicPartitionsRequest,
    DescribeTopicPartitionsResponse,
    MetadataResponse,
)

_PARTITIONS_PER_RESPONSE: Final = 2_000
_UUID_BYTES: Final = 16
_UUID_TEXT_MAX: Final = 24

topic_id_text = uuid_to_text


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionState:
    """One partition; ``eligible`` and ``last_known_eligible`` are None where the cluster does not say (KIP-966)."""

    index: int
    leader: int | None
    replicas: list[int]
    in_sync: list[int]
    eligible: list[int] | None
    last_known_eligible: list[int] | None
    reassignment: Reassignment | None

    @property
    def replication_factor(self) -> int:
        """Without the replicas that a reassignment is adding."""
        moving = self.reassignment
        if moving is not None and set(self.replicas) & {*moving.adding_replicas, *moving.removing_replicas}:
            return len(moving.replicas) - len(moving.adding_replicas)
        return len(self.replicas)


def parse_topic_id(text: str) -> UUID:
    """CommandError if it is no id."""
    if len(text) > _UUID_TEXT_MAX:
        prefix = text[:_UUID_TEXT_MAX]
        raise CommandError(f"Input string with prefix `{prefix}` is too long to be decoded as a base64 UUID")
    digits = text.rstrip("=")
    if odd := re.search(r"[^A-Za-z0-9_-]", digits):
        raise CommandError(f"Illegal base64 character {ord(odd[0]):x}")
    try:
        decoded = urlsafe_b64decode(digits + "=" * (-len(digits) % 4))
    except ValueError:
        raise CommandError("Last unit does not have enough valid bits") from None
    if len(decoded) != _UUID_BYTES:
        raise CommandError(
            f"Input string `{text}` decoded as {len(decoded)} bytes, which is not equal to the expected 16 bytes "
            "of a base64-encoded UUID"
        )
    return UUID(bytes=decoded)


async def describe(
    options: Namespace,
    topics: Mapping[str, MetadataResponse.MetadataResponseTopic],
    cluster: Cluster,
    *,
    by_id: bool,
) -> None:
    """Print these topics, or of them what the flags ask for; ``by_id``: they were asked for so."""
    states = await _states(options, topics, cluster, by_id=by_id)
    described = await describe_configs(cluster, [(TOPIC, name) for name in topics]) if topics else {}
    for name, topic in topics.items():
        result = described[TOPIC, name]
        if result.error_code:
            raise ApiError(ErrorCode(result.error_code), result.error_message)
        _print_topic(options, name, topic.topic_id, states[name], result.configs)


def _print_topic(
    options: Namespace, name: str, topic_id: UUID, partitions: list[PartitionState], configs: list[Entry]
) -> None:
    reports = _reports(options, configs)
    values = {entry.name: "null" if entry.value is None else entry.value for entry in configs}
    changed = {entry.name for entry in configs if SOURCES.get(entry.config_source) != "DEFAULT_CONFIG"}
    own = [f"{key}={values[key]}" for key in java_order(list(values)) if key in changed]
    if reports is None and (own or not options.topics_with_overrides):
        known_id = f"\tTopicId: {uuid_to_text(topic_id)}" if topic_id.int else ""
        print(
            f"Topic: {name}{known_id}\tPartitionCount: {len(partitions)}"
            f"\tReplicationFactor: {partitions[0].replication_factor}\tConfigs: {','.join(own)}"
        )
    if options.topics_with_overrides:
        return
    for partition in partitions:
        if reports is None or any(report(partition) for report in reports):
            _print_partition(name, partition)


def _reports(options: Namespace, configs: list[Entry]) -> list[Callable[[PartitionState], bool]] | None:
    """The conditions of which one must hold for a partition to be shown; None if all are shown."""
    in_sync_min = next((int(entry.value or 1) for entry in configs if entry.name == "min.insync.replicas"), 1)
    reports: list[Callable[[PartitionState], bool]] = []
    if options.under_replicated_partitions:
        reports.append(lambda partition: partition.replication_factor > len(partition.in_sync))
    if options.unavailable_partitions:
        reports.append(lambda partition: partition.leader is None)
    if options.under_min_isr_partitions:
        reports.append(lambda partition: partition.leader is None or len(partition.in_sync) < in_sync_min)
    if options.at_min_isr_partitions:
        reports.append(lambda partition: len(partition.in_sync) == in_sync_min)
    return reports or None


async def _states(
    options: Namespace,
    topics: Mapping[str, MetadataResponse.MetadataResponseTopic],
    cluster: Cluster,
    *,
    by_id: bool,
) -> dict[str, list[PartitionState]]:
    """The partitions of these topics in order. By topic id Kafka's command asks Metadata, which knows less."""
    moving = await _reassignments(
        cluster, [(name, one.partition_index) for name, topic in topics.items() for one in topic.partitions]
    )
    if not by_id:
        try:
            return await _detailed_states(options, list(topics), moving, cluster)
        except ApiError as error:
            if error.code != ErrorCode.UNSUPPORTED_VERSION:
                raise
    return {
        name: [
            PartitionState(
                index=one.partition_index,
                leader=one.leader_id if one.leader_id in cluster.brokers else None,
                replicas=one.replica_nodes,
                in_sync=one.isr_nodes,
                eligible=None,
                last_known_eligible=None,
                reassignment=moving.get((name, one.partition_index)),
            )
            for one in sorted(topic.partitions, key=lambda partition: partition.partition_index)
        ]
        for name, topic in topics.items()
    }


async def _detailed_states(
    options: Namespace, names: list[str], moving: Mapping[Partition, Reassignment], cluster: Cluster
) -> dict[str, list[PartitionState]]:
    """By DescribeTopicPartitions, page by page. ApiError UNSUPPORTED_VERSION with brokers that do not have it."""
    limit = options.partition_size_limit_per_response
    states: dict[str, list[PartitionState]] = {name: [] for name in names}
    cursor: DescribeTopicPartitionsResponse.Cursor | None = None
    while names:
        request = DescribeTopicPartitionsRequest(
            topics=[DescribeTopicPartitionsRequest.TopicRequest(name=name) for name in names],
            response_partition_limit=_PARTITIONS_PER_RESPONSE if limit is None else int(limit),
        )
        if cursor is not None:
            request.cursor = DescribeTopicPartitionsRequest.Cursor(
                topic_name=cursor.topic_name, partition_index=cursor.partition_index
            )
        response = await cluster.any(request, DescribeTopicPartitionsResponse)
        for topic in response.topics:
            if topic.error_code:
                raise ApiError(ErrorCode(topic.error_code))
            assert topic.name is not None
            states[topic.name] += [
                PartitionState(
                    index=one.partition_index,
                    leader=one.leader_id if one.leader_id in cluster.brokers else None,
                    replicas=one.replica_nodes,
                    in_sync=one.isr_nodes,
                    eligible=one.eligible_leader_replicas,
                    last_known_eligible=one.last_known_elr,
                    reassignment=moving.get((topic.name, one.partition_index)),
                )
                for one in topic.partitions
            ]
        cursor = response.next_cursor
        if cursor is None:
            break
        names = names[names.index(cursor.topic_name) :]
    return {name: sorted(found, key=lambda state: state.index) for name, found in states.items()}


async def _reassignments(cluster: Cluster, partitions: list[Partition]) -> dict[Partition, Reassignment]:
    try:
        return await list_reassignments(cluster, partitions)
    except ApiError as error:
        if error.code in (ErrorCode.UNSUPPORTED_VERSION, ErrorCode.CLUSTER_AUTHORIZATION_FAILED):
            return {}
        raise


def _print_partition(topic: str, partition: PartitionState) -> None:
    moving = ""
    if partition.reassignment is not None:
        moving = (
            f"\tAdding Replicas: {_listed(partition.reassignment.adding_replicas)}"
            f"\tRemoving Replicas: {_listed(partition.reassignment.removing_replicas)}"
        )
    print(
        f"\tTopic: {topic}\tPartition: {partition.index}"
        f"\tLeader: {'none' if partition.leader is None else partition.leader}"
        f"\tReplicas: {_listed(partition.replicas)}\tIsr: {_listed(partition.in_sync)}{moving}"
        f"\tElr: {_listed(partition.eligible)}\tLastKnownElr: {_listed(partition.last_known_eligible)}"
    )


def _listed(brokers: list[int] | None) -> str:
    return "N/A" if brokers is None else ",".join(map(str, brokers))
