"""Records of `__cluster_metadata`, the log in which Apache Kafka's controllers keep the cluster (KIP-631).

A record has no key. Its value begins with three unsigned varints: the version of this frame, 1, the record's type
and the record's version; the record follows. Declared here is what it takes to know the topics, the configs, the
features and the producer ids, as of Apache Kafka 4.4; `PASSED_OVER` names the types that say nothing about these.
"""

from __future__ import annotations

from typing import ClassVar, Final
from uuid import UUID

from wire.errors import ProtocolError
from wire.schema import (
    Buffer,
    Message,
    Structure,
    array,
    binary,
    boolean,
    float64,
    int8,
    int16,
    int32,
    int64,
    nullable_array,
    nullable_string,
    string,
    uuid,
)

FRAME_VERSION: Final = 1
NO_CHANGE: Final = -2
"""What a `PartitionChangeRecord` has as its leader if that stays."""

RECORD_CLASSES: Final[dict[int, type[MetadataRecord]]] = {}
"""The records declared below, by type."""

PASSED_OVER: Final = {
    0: "RegisterBrokerRecord",
    1: "UnregisterBrokerRecord",
    7: "FenceBrokerRecord",
    8: "UnfenceBrokerRecord",
    17: "BrokerRegistrationChangeRecord",
    20: "NoOpRecord",
    21: "ZkMigrationStateRecord",
    27: "RegisterControllerRecord",
    29: "UnregisterControllerRecord",
}


class UnknownMetadataRecordError(ProtocolError):
    """A type or version that no Kafka up to 4.4 writes, or that is not declared here."""


class MetadataRecord(Message):
    """A record of `__cluster_metadata`."""

    record_type: ClassVar[int]

    def __init_subclass__(cls, *, record_type: int, versions: str) -> None:
        super().__init_subclass__(versions=versions, flexible="0+")
        cls.record_type = record_type
        RECORD_CLASSES[record_type] = cls

    def encode_framed(self, version: int) -> bytes:
        """The record's value. Raises EncodeError as `encode` does."""
        return bytes((FRAME_VERSION, self.record_type, version)) + self.encode(version)


class TopicRecord(MetadataRecord, record_type=2, versions="0"):
    name: str = string()
    topic_id: UUID = uuid()


class PartitionRecord(MetadataRecord, record_type=3, versions="0-2"):
    partition_id: int = int32(default=-1)
    topic_id: UUID = uuid()
    replicas: list[int] = array(int32)
    isr: list[int] = array(int32)
    removing_replicas: list[int] = array(int32)
    adding_replicas: list[int] = array(int32)
    leader: int = int32(default=-1)
    leader_recovery_state: int = int8(tag=0)
    leader_epoch: int = int32(default=-1)
    partition_epoch: int = int32(default=-1)
    directories: list[UUID] = array(uuid, "1+", ignorable=True)
    eligible_leader_replicas: list[int] | None = nullable_array(int32, "2+", default=None, tag=1)
    last_known_elr: list[int] | None = nullable_array(int32, "2+", default=None, tag=2)


class ConfigRecord(MetadataRecord, record_type=4, versions="0"):
    """A null value removes the config."""

    resource_type: int = int8()
    resource_name: str = string()
    name: str = string()
    value: str | None = nullable_string()


class PartitionChangeRecord(MetadataRecord, record_type=5, versions="0-2"):
    """Null, `NO_CHANGE` or a recovery state of -1: that stays as it is."""

    partition_id: int = int32(default=-1)
    topic_id: UUID = uuid()
    isr: list[int] | None = nullable_array(int32, default=None, tag=0)
    leader: int = int32(default=NO_CHANGE, tag=1)
    replicas: list[int] | None = nullable_array(int32, default=None, tag=2)
    removing_replicas: list[int] | None = nullable_array(int32, default=None, tag=3)
    adding_replicas: list[int] | None = nullable_array(int32, default=None, tag=4)
    leader_recovery_state: int = int8(default=-1, tag=5)
    eligible_leader_replicas: list[int] | None = nullable_array(int32, "2+", default=None, tag=6)
    last_known_elr: list[int] | None = nullable_array(int32, "2+", default=None, tag=7)
    directories: list[UUID] | None = nullable_array(uuid, "1+", default=None, tag=8)


class RemoveTopicRecord(MetadataRecord, record_type=9, versions="0"):
    topic_id: UUID = uuid()


class DelegationTokenRecord(MetadataRecord, record_type=10, versions="0"):
    owner: str = string()
    requester: str = string()
    renewers: list[str] = array(string)
    issue_timestamp: int = int64()
    max_timestamp: int = int64()
    expiration_timestamp: int = int64()
    token_id: str = string()


class UserScramCredentialRecord(MetadataRecord, record_type=11, versions="0"):
    name: str = string()
    mechanism: int = int8()
    salt: bytes = binary()
    stored_key: bytes = binary()
    server_key: bytes = binary()
    iterations: int = int32()


class FeatureLevelRecord(MetadataRecord, record_type=12, versions="0"):
    """Level 0 removes the feature."""

    name: str = string()
    feature_level: int = int16()


class ClientQuotaRecord(MetadataRecord, record_type=14, versions="0"):
    class EntityData(Structure):
        entity_type: str = string()
        entity_name: str | None = nullable_string()

    entity: list[EntityData] = array(EntityData)
    key: str = string()
    value: float = float64()
    remove: bool = boolean()


class ProducerIdsRecord(MetadataRecord, record_type=15, versions="0"):
    """A broker has got the block of ids that ends before `next_producer_id`."""

    broker_id: int = int32()
    broker_epoch: int = int64(default=-1)
    next_producer_id: int = int64()


class AccessControlEntryRecord(MetadataRecord, record_type=18, versions="0"):
    id: UUID = uuid()
    resource_type: int = int8()
    resource_name: str = string()
    pattern_type: int = int8()
    principal: str = string()
    host: str = string()
    operation: int = int8()
    permission_type: int = int8()


class RemoveAccessControlEntryRecord(MetadataRecord, record_type=19, versions="0"):
    id: UUID = uuid()


class RemoveUserScramCredentialRecord(MetadataRecord, record_type=22, versions="0"):
    name: str = string()
    mechanism: int = int8()


class BeginTransactionRecord(MetadataRecord, record_type=23, versions="0"):
    """What follows counts once the transaction ends, and not at all if it is aborted (KIP-868)."""

    name: str | None = nullable_string(default=None, tag=0)


class EndTransactionRecord(MetadataRecord, record_type=24, versions="0"):
    pass


class AbortTransactionRecord(MetadataRecord, record_type=25, versions="0"):
    reason: str | None = nullable_string(default=None, tag=0)


class RemoveDelegationTokenRecord(MetadataRecord, record_type=26, versions="0"):
    token_id: str = string()


class ClearElrRecord(MetadataRecord, record_type=28, versions="0"):
    """The topic's eligible leader replicas count no more; an empty name means every topic's."""

    topic_name: str = string()


def decode_metadata_record(value: Buffer) -> MetadataRecord | None:
    """The record in a value; None for the types that are passed over.

    Raises UnknownMetadataRecordError for another frame, type or version, ProtocolError when the bytes make no sense.
    """
    frame_version, position = _read_unsigned(value, 0)
    if frame_version != FRAME_VERSION:
        raise UnknownMetadataRecordError(f"a metadata record in a frame of version {frame_version}")
    record_type, position = _read_unsigned(value, position)
    version, position = _read_unsigned(value, position)
    record_class = RECORD_CLASSES.get(record_type)
    if record_class is None:
        if record_type in PASSED_OVER:
            return None
        raise UnknownMetadataRecordError(f"a metadata record of type {record_type}, version {version}")
    if version > record_class.max_version:
        raise UnknownMetadataRecordError(f"a {record_class.__name__} of version {version}")
    record, end = record_class.decode_from(value, version, position)
    if end != len(value):
        raise ProtocolError(
            f"{len(value) - end} bytes too many after {record_class.__name__} version {version}"
        )
    return record


_SHIFT_MAX: Final = 28


def _read_unsigned(data: Buffer, position: int) -> tuple[int, int]:
    """An unsigned varint of at most five bytes, and where it ends."""
    number = shift = 0
    while position < len(data) and shift <= _SHIFT_MAX:
        byte = data[position]
        position += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, position
        shift += 7
    raise ProtocolError("a metadata record ends within its frame, or has no number there")
