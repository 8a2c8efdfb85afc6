"""The records of ``__consumer_offsets``: byte for byte what Apache Kafka 4.4 wrote."""

from __future__ import annotations

import uuid

import pytest

from kbroker.coordination.group.group import Group
from kbroker.coordination.group.member import Member, Protocol
from kbroker.coordination.group.records import (
    CommittedOffset,
    GroupChange,
    OffsetChange,
    decode,
    group_metadata_record,
    group_tombstone,
    offset_commit_record,
    offset_tombstone,
)
from kbroker.coordination.group.states import GroupState
from wire.errors import ProtocolError
from wire.internal.consumer_offsets import (
    ConsumerGroupMetadataKey,
    LegacyOffsetCommitKey,
    LegacyOffsetCommitValue,
)

# Read out of the log directory of an Apache Kafka 4.4.0 after kafka-python had committed to it.
COMMIT_KEY = "000100106d697865642d313063323962646634350010746f7069632d6532386565326537373100000001"
COMMIT_VALUE = "000400000000000000640000000001000001a208df134d010010473a47df9ce8469a8688e747c735e1b3"
COMMIT = CommittedOffset(
    100, 0, "", 1795445166925, topic_id=uuid.UUID("473a47df-9ce8-469a-8688-e747c735e1b3")
)
EXPIRING_KEY = "0001000e70726f62652d3035303231313837000b70742d303530323131383700000001"
EXPIRING_VALUE = "0001000000000000000f0000000001a208dc783f000001a208dc7c27"
EXPIRING = CommittedOffset(15, -1, "", 1795444996159, expire_timestamp_ms=1795444997159)
GROUP_KEY = "000200117374617469632d66336632646164373662"
GROUP_VALUE = (
    "00030008636f6e73756d657200000001000572616e676500286f6e652d63623333636265352d616131332d346161652d"
    "613261642d653062306131323166646661000001a208cd6fe60000000100286f6e652d63623333636265352d61613133"
    "2d346161652d613261642d65306230613132316664666100036f6e6500136b61666b612d707974686f6e2d332e302e31"
    "32000a2f3132372e302e302e31000493e00000afc80000001c0000000000010010746f7069632d643731613561656231"
    "32000000000000000a00000000000000000000"
)


def test_offset() -> None:
    record = offset_commit_record("mixed-10c29bdf45", "topic-e28ee2e771", 1, COMMIT)
    assert (record.key.hex(), (record.value or b"").hex()) == (COMMIT_KEY, COMMIT_VALUE)
    assert decode(record.key, record.value) == record.content


def test_offset_with_a_retention_of_its_own() -> None:
    record = offset_commit_record("probe-05021187", "pt-05021187", 1, EXPIRING)
    assert (record.key.hex(), (record.value or b"").hex()) == (EXPIRING_KEY, EXPIRING_VALUE)
    assert decode(record.key, record.value) == record.content


def test_group() -> None:
    member_id = "one-cb33cbe5-aa13-4aae-a2ad-e0b0a121fdfa"
    group = Group("static-f3f2dad76b", generation_id=1, state_since_ms=1795444010982)
    subscription = bytes.fromhex("0000000000010010746f7069632d64373161356165623132" + "00000000")
    group.add(
        Member(
            member_id=member_id,
            group_instance_id="one",
            client_id="kafka-python-3.0.12",
            client_host="/127.0.0.1",
            rebalance_timeout_ms=300000,
            session_timeout_ms=45000,
            protocol_type="consumer",
            protocols=(Protocol("range", subscription),),
        ),
        None,
    )
    group.protocol_name = "range"
    record = group_metadata_record(group, {member_id: bytes(10)})
    assert (record.key.hex(), (record.value or b"").hex()) == (GROUP_KEY, GROUP_VALUE)
    assert decode(record.key, record.value) == record.content


@pytest.mark.parametrize(
    ("record", "content"),
    [
        (offset_tombstone("g", "t", 3), OffsetChange("g", "t", 3, None)),
        (group_tombstone("g"), GroupChange("g", None)),
    ],
)
def test_tombstones(record: object, content: object) -> None:
    key, value, own = record  # type: ignore[misc]
    assert value is None
    assert decode(key, None) == own == content


def test_records_older_than_0_9() -> None:
    key = LegacyOffsetCommitKey(group="g", topic="t", partition=3).encode_versioned()
    value = LegacyOffsetCommitValue(offset=5, metadata="m", commit_timestamp=9).encode_versioned(0)
    assert decode(key, value) == OffsetChange("g", "t", 3, CommittedOffset(5, -1, "m", 9))
    assert decode(key, None) == OffsetChange("g", "t", 3, None)


def test_records_of_other_group_protocols_are_passed_over() -> None:
    assert decode(ConsumerGroupMetadataKey(group_id="g").encode_versioned(), b"\x00\x00") is None
    assert decode(b"\x7f\xff", None) is None


@pytest.mark.parametrize(
    ("key", "value"),
    [(b"", None), (b"\x00", None), (b"\x00\x01", None), (bytes.fromhex(COMMIT_KEY), b"\x00\x63")],
)
def test_garbled_records(key: bytes, value: bytes | None) -> None:
    with pytest.raises(ProtocolError):
        decode(key, value)


def test_empty_generation_keeps_its_protocol_type() -> None:
    group = Group("g", state=GroupState.EMPTY, generation_id=7, protocol_type="consumer")
    value = decode(*group_metadata_record(group, {})[:2])
    assert isinstance(value, GroupChange) and value.value is not None
    assert (value.value.protocol_type, value.value.generation) == ("consumer", 7)
    assert value.value.protocol is value.value.leader is None
