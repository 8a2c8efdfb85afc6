"""What consumers of the classic protocol tell one another through the group coordinator.

The metadata of a member that joins with protocol type `consumer` is a subscription, what the leader hands out are
assignments. Versions 0-3: 1: partitions that the member owns (KIP-429). 2: its generation (KIP-792). 3: its rack
(KIP-881).

Versions grow at their end only: a reader takes a version that it does not know for the newest one that it does,
and does not mind bytes behind it (`ConsumerProtocol` in Kafka).
"""

from __future__ import annotations

from typing import Self

from wire.errors import ProtocolError
from wire.schema import (
    Buffer,
    InternalRecord,
    Structure,
    array,
    int32,
    nullable_binary,
    nullable_string,
    read_version_prefix,
    string,
)


class ConsumerProtocolRecord(InternalRecord):
    """What both have in common: how newer versions are read."""

    @classmethod
    def decode_versioned(cls, buffer: Buffer) -> tuple[int, Self]:
        """The version in the first two bytes, as it stands there, and the message.

        Raises ProtocolError when the version is negative or the rest does not begin with such a message.
        """
        version = read_version_prefix(buffer)
        if version < cls.min_version:
            raise ProtocolError(f"{cls.__name__} has no version {version}")
        message, _ = cls.decode_from(buffer, min(version, cls.max_version), 2)
        return version, message


class ConsumerProtocolSubscription(ConsumerProtocolRecord, versions="0-3"):
    class TopicPartition(Structure):
        topic: str = string()
        partitions: list[int] = array(int32)

    topics: list[str] = array(string)
    user_data: bytes | None = nullable_binary(default=None)
    owned_partitions: list[TopicPartition] = array(TopicPartition, "1+", ignorable=True)
    generation_id: int = int32("2+", default=-1, ignorable=True)
    rack_id: str | None = nullable_string("3+", default=None, ignorable=True)


class ConsumerProtocolAssignment(ConsumerProtocolRecord, versions="0-3"):
    class TopicPartition(Structure):
        topic: str = string()
        partitions: list[int] = array(int32)

    assigned_partitions: list[TopicPartition] = array(TopicPartition)
    user_data: bytes | None = nullable_binary(default=None)
