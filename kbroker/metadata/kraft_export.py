"""This cluster's metadata as Apache Kafka's controllers keep it: records, and a snapshot that holds them (KIP-630).

The other way round than ``kraft_import``. A snapshot that goes further than the log beside it takes the log's place
when Apache Kafka starts (``KafkaMetadataLog.truncateToLatestSnapshot``), as on a controller that was far behind.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from kbroker.metadata.feature_decisions import METADATA_VERSION
from kbroker.metadata.image import NO_LEADER, ClusterImage, PartitionState
from storage.file_names import offset_file_name
from wire.internal.cluster_metadata import (
    ClientQuotaRecord,
    ConfigRecord,
    FeatureLevelRecord,
    MetadataRecord,
    PartitionRecord,
    ProducerIdsRecord,
    TopicRecord,
)
from wire.internal.control import ControlRecordTypeSchema, SnapshotFooterRecord, SnapshotHeaderRecord
from wire.records import ControlType, Record, build_batch
from wire.schema import ZERO_UUID, InternalRecord

_RECORDS_PER_BATCH: Final = 1_000
_KNOWS_DIRECTORIES: Final = 17
"""metadata.version 3.7-IV2, from which on partitions have directories (KIP-858)."""
_KNOWS_ELIGIBLE_REPLICAS: Final = 23
"""metadata.version 4.0-IV1 (KIP-966)."""

Versioned = tuple[MetadataRecord, int]
"""A record, and the version to write it in."""


def exported(image: ClusterImage, next_producer_id: int) -> Iterator[Versioned]:
    """Records that say what ``image`` says, in versions that its metadata.version has. Brokers register anew."""
    for name, level in image.features.items():
        yield FeatureLevelRecord(name=name, feature_level=level), 0
    metadata_version = image.features.get(METADATA_VERSION, 0)
    version = (metadata_version >= _KNOWS_DIRECTORIES) + (metadata_version >= _KNOWS_ELIGIBLE_REPLICAS)
    for topic in image.topics.values():
        yield TopicRecord(name=topic.name, topic_id=topic.topic_id), 0
        for index, state in enumerate(topic.partitions):
            record = _partition(state, version)
            record.topic_id, record.partition_id = topic.topic_id, index
            yield record, version
    for (resource_type, resource), entries in image.configs.items():
        for name, value in entries.items():
            yield (
                ConfigRecord(resource_type=resource_type, resource_name=resource, name=name, value=value),
                0,
            )
    for entity, quotas in image.client_quotas.items():
        for key, limit in quotas.items():
            parts = [
                ClientQuotaRecord.EntityData(entity_type=entity_type, entity_name=name)
                for entity_type, name in entity
            ]
            yield ClientQuotaRecord(entity=parts, key=key, value=limit), 0
    yield ProducerIdsRecord(broker_id=NO_LEADER, next_producer_id=next_producer_id), 0


def _partition(state: PartitionState, version: int) -> PartitionRecord:
    """Without a leader, so that Apache Kafka's controller elects one, in a new epoch, of those in sync.

    Zero directories are not assigned yet: every broker says where it has the log (``DirectoryId.UNASSIGNED``).
    """
    record = PartitionRecord(
        replicas=list(state.replicas),
        isr=list(state.in_sync_replicas),
        adding_replicas=list(state.adding_replicas),
        removing_replicas=list(state.removing_replicas),
        leader=NO_LEADER,
        leader_recovery_state=int(state.is_recovering),
        leader_epoch=state.leader_epoch,
        partition_epoch=state.partition_epoch,
        directories=[ZERO_UUID] * len(state.replicas),
    )
    if version >= 2 and state.eligible_leader_replicas:
        record.eligible_leader_replicas = list(state.eligible_leader_replicas)
    if version >= 2 and state.last_known_eligible_leader_replicas:
        record.last_known_elr = list(state.last_known_eligible_leader_replicas)
    return record


def snapshot_name(end_offset: int, epoch: int) -> str:
    """The file's name in the directory ``__cluster_metadata-0``."""
    return offset_file_name(end_offset, f"-{epoch:010d}.checkpoint")


def snapshot(records: Sequence[Versioned], *, epoch: int, timestamp_ms: int) -> bytes:
    """The content of a snapshot file: a header, the records in batches, a footer. Offsets count records."""
    parts = [
        _control(
            ControlType.SNAPSHOT_HEADER,
            SnapshotHeaderRecord(last_contained_log_timestamp=timestamp_ms),
            0,
            epoch=epoch,
            timestamp_ms=timestamp_ms,
        )
    ]
    offset = 1
    for at in range(0, len(records), _RECORDS_PER_BATCH):
        batch = [
            Record(
                offset=offset + number,
                timestamp=timestamp_ms,
                key=None,
                value=record.encode_framed(version),
            )
            for number, (record, version) in enumerate(records[at : at + _RECORDS_PER_BATCH])
        ]
        parts.append(build_batch(batch, base_offset=offset, partition_leader_epoch=epoch))
        offset += len(batch)
    parts.append(
        _control(
            ControlType.SNAPSHOT_FOOTER,
            SnapshotFooterRecord(),
            offset,
            epoch=epoch,
            timestamp_ms=timestamp_ms,
        )
    )
    return b"".join(parts)


def _control(
    control_type: ControlType, message: InternalRecord, offset: int, *, epoch: int, timestamp_ms: int
) -> bytearray:
    record = Record(
        offset=offset,
        timestamp=timestamp_ms,
        key=ControlRecordTypeSchema(type=control_type).encode_versioned(0),
        value=message.encode(0),
    )
    return build_batch([record], base_offset=offset, partition_leader_epoch=epoch, is_control=True)
