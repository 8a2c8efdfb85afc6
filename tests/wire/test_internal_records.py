"""Records of internal topics: the two bytes in front, and how unknown versions are met."""

from __future__ import annotations

import pytest

from tests.wire.messages_under_test import INTERNAL_RECORDS, versions_of
from wire.errors import ProtocolError
from wire.internal.consumer_offsets import (
    GroupMetadataKey,
    GroupMetadataValue,
    LegacyOffsetCommitKey,
    OffsetCommitKey,
    OffsetCommitValue,
)
from wire.internal.consumer_protocol import ConsumerProtocolAssignment, ConsumerProtocolSubscription
from wire.internal.control import ControlRecordTypeSchema, EndTxnMarker
from wire.internal.transaction_log import TransactionLogKey, TransactionLogValue
from wire.schema import CoordinatorKey, InternalRecord


def test_keys_begin_with_their_record_type() -> None:
    key = OffsetCommitKey(group="g", topic="tt", partition=3)
    assert key.encode_versioned().hex(" ") == "00 01 00 01 67 00 02 74 74 00 00 00 03"
    assert OffsetCommitKey.decode_versioned(key.encode_versioned()) == (0, key)
    assert LegacyOffsetCommitKey(group="g", topic="t", partition=3).encode_versioned()[:2] == b"\0\0"
    assert GroupMetadataKey(group="g").encode_versioned().hex(" ") == "00 02 00 01 67"
    assert TransactionLogKey(transactional_id="t").encode_versioned().hex(" ") == "00 00 00 01 74"


def test_a_key_of_another_type_is_refused() -> None:
    data = LegacyOffsetCommitKey(group="g", topic="t", partition=3).encode_versioned()
    with pytest.raises(ProtocolError, match="record type 0 is not OffsetCommitKey"):
        OffsetCommitKey.decode_versioned(data)


def test_record_types_are_kafkas() -> None:
    types: dict[str, list[int]] = {}
    for record in INTERNAL_RECORDS:
        if issubclass(record, CoordinatorKey):
            types.setdefault(record.__module__.rpartition(".")[2], []).append(record.record_type)
    assert {topic: sorted(found) for topic, found in types.items()} == {
        "consumer_offsets": [*range(9), *range(10, 18), *range(19, 24)],
        "share_group_state": [0, 1],
        "transaction_log": [0],
    }


def test_values_begin_with_their_version() -> None:
    value = OffsetCommitValue(offset=5, leader_epoch=2, metadata="m", commit_timestamp=9)
    assert value.encode_versioned(3).hex() == "000300000000000000050000000200016d0000000000000009"
    for version in versions_of(OffsetCommitValue):
        found_version, found = OffsetCommitValue.decode_versioned(value.encode_versioned(version))
        assert found_version == version
        assert found.offset == 5
    assert EndTxnMarker(coordinator_epoch=7).encode_versioned(0).hex(" ") == "00 00 00 00 00 07"
    assert ControlRecordTypeSchema(type=1).encode_versioned(0).hex(" ") == "00 00 00 01"
    assert TransactionLogValue.decode_versioned(TransactionLogValue().encode_versioned(1))[0] == 1


@pytest.mark.parametrize("record", INTERNAL_RECORDS, ids=lambda record: record.__name__)
def test_unknown_versions_and_wrong_sizes(record: type[InternalRecord]) -> None:
    data = record().encode_versioned(record.max_version)
    assert record.decode_versioned(data)[1] == record()
    for wrong in (b"", b"\0", b"\xff\xff" + data[2:], data[:-1]):
        with pytest.raises(ProtocolError):
            record.decode_versioned(wrong)
    if record.__module__ != "wire.internal.consumer_protocol":
        for wrong in (b"\x00\x63" + data[2:], data + b"\0"):
            with pytest.raises(ProtocolError):
                record.decode_versioned(wrong)


def test_group_of_the_classic_protocol() -> None:
    value = GroupMetadataValue(
        protocol_type="consumer",
        generation=3,
        protocol="range",
        leader="m",
        members=[GroupMetadataValue.MemberMetadata(member_id="m", subscription=b"s", assignment=b"a")],
    )
    for version in (3, 4):
        assert GroupMetadataValue.decode_versioned(value.encode_versioned(version)) == (version, value)


class TestConsumerProtocol:
    SUBSCRIPTION = ConsumerProtocolSubscription(
        topics=["a", "b"], user_data=b"u", generation_id=4, rack_id="r"
    )

    def test_versions(self) -> None:
        for version in versions_of(ConsumerProtocolSubscription):
            data = self.SUBSCRIPTION.encode_versioned(version)
            assert ConsumerProtocolSubscription.decode_versioned(data)[1].topics == ["a", "b"]
        assert ConsumerProtocolSubscription.decode_versioned(data) == (3, self.SUBSCRIPTION)

    def test_newer_versions_are_read_as_the_newest_known(self) -> None:
        data = self.SUBSCRIPTION.encode_versioned(3)
        newer = b"\0\x09" + data[2:] + b"something new"
        assert ConsumerProtocolSubscription.decode_versioned(newer) == (9, self.SUBSCRIPTION)
        assignment = ConsumerProtocolAssignment(
            assigned_partitions=[ConsumerProtocolAssignment.TopicPartition(topic="a", partitions=[0, 1])]
        )
        newer = b"\0\x09" + assignment.encode(3) + b"something new"
        assert ConsumerProtocolAssignment.decode_versioned(newer) == (9, assignment)

    def test_negative_versions_are_refused(self) -> None:
        with pytest.raises(ProtocolError, match="no version -1"):
            ConsumerProtocolSubscription.decode_versioned(b"\xff\xff" + bytes(8))
