"""Records of `__cluster_metadata`: their frame, and what Apache Kafka 4.4.0 wrote.

`compat/disk/test_cluster_metadata.py` has Apache Kafka's own code read and write every type and version.
"""

from __future__ import annotations

from uuid import UUID

import pytest

from wire.errors import ProtocolError
from wire.internal.cluster_metadata import (
    NO_CHANGE,
    PASSED_OVER,
    RECORD_CLASSES,
    BeginTransactionRecord,
    ClearElrRecord,
    ConfigRecord,
    EndTransactionRecord,
    FeatureLevelRecord,
    MetadataRecord,
    PartitionChangeRecord,
    PartitionRecord,
    ProducerIdsRecord,
    TopicRecord,
    UnknownMetadataRecordError,
    decode_metadata_record,
)

TOPIC_ID = UUID("975b7f7f-9eeb-4f4a-9704-30f878317689")
DIRECTORY_ID = UUID("ce802c01-0bf5-f613-4fd3-1e8ea8bebbbc")

# From the metadata log of a node that had made a topic of three partitions and was stopped.
WRITTEN_BY_KAFKA: dict[str, MetadataRecord] = {
    "01170001001212426f6f747374726170207265636f726473": BeginTransactionRecord(name="Bootstrap records"),
    "01180000": EndTransactionRecord(),
    "010c00116d657461646174612e76657273696f6e002100": FeatureLevelRecord(
        name="metadata.version", feature_level=33
    ),
    "0104000401146d696e2e696e73796e632e7265706c69636173023100": ConfigRecord(
        resource_type=4, resource_name="", name="min.insync.replicas", value="1"
    ),
    "01020006706c61696e975b7f7f9eeb4f4a970430f87831768900": TopicRecord(name="plain", topic_id=TOPIC_ID),
    "01030200000000975b7f7f9eeb4f4a970430f8783176890200000001020000000101010000000100000000000000000"
    "2ce802c010bf5f6134fd31e8ea8bebbbc00": PartitionRecord(
        partition_id=0,
        topic_id=TOPIC_ID,
        replicas=[1],
        isr=[1],
        leader=1,
        leader_epoch=0,
        partition_epoch=0,
        directories=[DIRECTORY_ID],
    ),
    "010f0000000001000000000000000d00000000000003e800": ProducerIdsRecord(
        broker_id=1, broker_epoch=13, next_producer_id=1000
    ),
    "011c00145f5f7472616e73616374696f6e5f737461746500": ClearElrRecord(topic_name="__transaction_state"),
    "01050200000002975b7f7f9eeb4f4a970430f878317689040001010104ffffffff0605020000000107050200000001": (
        PartitionChangeRecord(
            partition_id=2,
            topic_id=TOPIC_ID,
            isr=[],
            leader=-1,
            eligible_leader_replicas=[1],
            last_known_elr=[1],
        )
    ),
}


@pytest.mark.parametrize(("value", "record"), WRITTEN_BY_KAFKA.items(), ids=lambda given: str(given)[:24])
def test_what_kafka_wrote(value: str, record: MetadataRecord) -> None:
    data = bytes.fromhex(value)
    assert decode_metadata_record(data) == record
    assert record.encode_framed(data[2]) == data


def test_what_a_change_leaves_out_stays() -> None:
    """No tagged field at all: nothing changes but the partition's epoch."""
    record = decode_metadata_record(bytes.fromhex("010500" + "00000001" + TOPIC_ID.hex + "00"))
    assert record == PartitionChangeRecord(partition_id=1, topic_id=TOPIC_ID)
    assert isinstance(record, PartitionChangeRecord)
    assert record.leader == NO_CHANGE
    assert (record.isr, record.replicas, record.leader_recovery_state) == (None, None, -1)


@pytest.mark.parametrize("record_type", sorted(PASSED_OVER))
def test_types_without_news_are_passed_over(record_type: int) -> None:
    """Whatever is in them, and in any version: they are not read."""
    assert decode_metadata_record(bytes((1, record_type, 99)) + b"anything") is None
    assert record_type not in RECORD_CLASSES


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("02020006", "frame of version 2"),
        ("00020006", "frame of version 0"),
        ("016300", "type 99, version 0"),
        ("01ac0200", "type 300, version 0"),
        ("010203", "TopicRecord of version 3"),
    ],
)
def test_what_a_later_kafka_may_write_is_refused(value: str, message: str) -> None:
    with pytest.raises(UnknownMetadataRecordError, match=message):
        decode_metadata_record(bytes.fromhex(value))


@pytest.mark.parametrize("value", ["", "01", "0102", "01ffffffffffff", "0180", "01020006", "0118000000"])
def test_nonsense_is_refused(value: str) -> None:
    with pytest.raises(ProtocolError):
        decode_metadata_record(bytes.fromhex(value))


@pytest.mark.parametrize("value", list(WRITTEN_BY_KAFKA))
def test_bytes_behind_a_record_are_refused(value: str) -> None:
    with pytest.raises(ProtocolError, match="1 bytes too many"):
        decode_metadata_record(bytes.fromhex(value + "00"))
