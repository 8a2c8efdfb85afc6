"""Records."""

from __future__ import annotations

from wire.schema import InternalRecord, Structure, array, int32, nullable_binary, nullable_string, string


class ConsumerProtocolSubscription(InternalRecord, versions="0-3"):
    class TopicPartition(Structure):
        topic: str = string()
        partitions: list[int] = array(int32)

    topics: list[str] = array(string)
    user_data: bytes | None = nullable_binary(default=None)
    owned_partitions: list[TopicPartition] = array(TopicPartition, "1+", ignorable=True)
    generation_id: int = int32("2+", default=-1, ignorable=True)
    rack_id: str | None = nullable_string("3+", default=None, ignorable=True)


class ConsumerProtocolAssignment(InternalRecord, versions="0-3"):
    class TopicPartition(Structure):
        topic: str = string()
        partitions: list[int] = array(int32)

    assigned_partitions: list[TopicPartition] = array(TopicPartition)
    user_data: bytes | None = nullable_binary(default=None)
