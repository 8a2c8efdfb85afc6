"""Bytes that are not a message raise ProtocolError, and nothing else, whatever they are."""

from __future__ import annotations

import random
import tracemalloc
from typing import Any
from uuid import UUID

import construct
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.wire.interpreted import message_of
from tests.wire.messages_under_test import ALL_MESSAGES, Generator, versions_of
from wire.errors import ProtocolError
from wire.headers import RequestHeader, decode_request, decode_response
from wire.internal.consumer_offsets import ConsumerGroupMemberMetadataValue, GroupMetadataValue
from wire.messages import API_KEYS
from wire.messages.api_versions import ApiVersionsRequest, ApiVersionsResponse
from wire.messages.consumer_groups import ConsumerGroupHeartbeatRequest
from wire.messages.fetch import FetchRequest, FetchResponse
from wire.messages.group_membership import HeartbeatRequest
from wire.messages.metadata import DescribeTopicPartitionsResponse, MetadataRequest, MetadataResponse
from wire.messages.produce import ProduceRequest
from wire.messages.share_groups import ShareFetchResponse
from wire.schema import Message, array, int32
from wire.source import UUIDS_CACHED_MAX, UuidCache

INTERESTING = bytes([0, 1, 2, 0x7F, 0x80, 0x81, 0xFF])


def decoded(message_class: type[Message], data: bytes | bytearray, version: int) -> Any:
    """The message, or None for a ProtocolError. Any other exception fails the test."""
    try:
        return message_class.decode(data, version)
    except ProtocolError:
        return None


def interpreted(message_class: type[Message], data: bytes, version: int) -> Any:
    """The message according to interpreted construct, or None where that refuses the bytes."""
    tree = message_class.struct(version)
    try:
        container = construct.Struct("message" / tree, construct.Terminated).parse(data)
    except construct.ConstructError:
        return None
    return message_of(tree, container.message)


def assert_same(found: Any, expected: Any, version: int) -> None:
    """Compared as bytes: a float that is not a number is not even equal to itself."""
    assert (found is None) == (expected is None)
    if found is not None:
        assert found.encode(version) == expected.encode(version)


def mutated(data: bytes, pick: random.Random) -> bytearray:
    """A message with a few bytes changed, cut out, put in or cut off."""
    hostile = bytearray(data)
    for _ in range(pick.choice((1, 1, 1, 2, 5))):
        at = pick.randrange(len(hostile) + 1)
        match pick.randrange(5):
            case 0:
                hostile[at : at + 1] = bytes([pick.choice(INTERESTING)])
            case 1:
                hostile[at : at + 1] = bytes([pick.randrange(256)])
            case 2:
                del hostile[at:]
            case 3:
                hostile[at:at] = pick.randbytes(pick.randrange(1, 5))
            case _:
                hostile[at : at + 4] = pick.choice((b"\x7f\xff\xff\xff", b"\x80\0\0\0", b"\xff" * 5))
    return hostile


@pytest.mark.parametrize("message_class", ALL_MESSAGES, ids=lambda message_class: message_class.__name__)
@settings(max_examples=4, deadline=None, derandomize=True, database=None)
@given(seed=st.integers(0, (1 << 32) - 1), size=st.integers(1, 3))
def test_mutated_messages(message_class: type[Message], seed: int, size: int) -> None:
    """The compiled decoder refuses what interpreted construct refuses, and reads what that reads."""
    pick = random.Random(seed)
    for version in versions_of(message_class):
        data = Generator(seed, size).structure(message_class, version).encode(version)
        for _ in range(4):
            hostile = mutated(data, pick)
            found = decoded(message_class, hostile, version)
            assert_same(found, interpreted(message_class, bytes(hostile), version), version)


@pytest.mark.parametrize("message_class", ALL_MESSAGES, ids=lambda message_class: message_class.__name__)
@settings(max_examples=8, deadline=None, derandomize=True, database=None)
@given(data=st.binary(max_size=120))
def test_arbitrary_bytes(message_class: type[Message], data: bytes) -> None:
    for version in {message_class.min_version, message_class.max_version}:
        found = decoded(message_class, data, version)
        assert_same(found, interpreted(message_class, data, version), version)


@pytest.mark.parametrize("message_class", ALL_MESSAGES, ids=lambda message_class: message_class.__name__)
def test_every_truncation(message_class: type[Message]) -> None:
    """No message is a message any more when its end is missing, nor when something follows it."""
    for version in {message_class.min_version, message_class.max_version}:
        data = Generator(5, 2).structure(message_class, version).encode(version)
        for size in range(len(data)):
            assert decoded(message_class, data[:size], version) is None
        assert decoded(message_class, data + b"\0", version) is None


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(frame=st.binary(max_size=64), key=st.sampled_from(sorted(API_KEYS)), version=st.integers(0, 18))
@example(frame=b"", key=0, version=3)
def test_frames(frame: bytes, key: int, version: int) -> None:
    start = key.to_bytes(2, "big") + version.to_bytes(2, "big")
    for whole in (frame, start + frame):
        try:
            decode_request(bytearray(whole))
        except ProtocolError:
            pass
    try:
        decode_response(key, version, bytearray(frame))
    except ProtocolError:
        pass


def refused(message_class: type[Message], data: bytes, version: int, reason: str) -> None:
    for buffer in (data, bytearray(data), memoryview(data)):
        with pytest.raises(ProtocolError, match=reason):
            message_class.decode(buffer, version)


class TestLengths:
    @pytest.mark.parametrize("length", [b"\xff\xff", b"\xff\xfe", b"\x80\x00"])
    def test_any_negative_length_is_null(self, length: bytes) -> None:
        header = decoded(RequestHeader, bytes(8) + length, 1)
        assert header.client_id is None
        assert decoded(MetadataRequest, length + length, 1).topics is None

    def test_negative_string(self) -> None:
        refused(HeartbeatRequest, b"\xff\xfe" + bytes(20), 0, "group_id has a negative length")

    def test_null_string(self) -> None:
        refused(HeartbeatRequest, b"\xff\xff" + bytes(20), 0, "group_id .* is null")
        refused(HeartbeatRequest, b"\0" + bytes(20), 4, "group_id .* is null")

    def test_string_beyond_the_end(self) -> None:
        refused(HeartbeatRequest, b"\x7f\xff" + bytes(20), 0, "group_id ends behind the message")

    @pytest.mark.parametrize(("version", "length"), [(0, b"\0\4"), (4, b"\5")])
    def test_one_byte_beyond_the_end(self, version: int, length: bytes) -> None:
        """In the last string: `member_id`, or `group_instance_id`, without the tagged fields behind it."""
        start = HeartbeatRequest(group_id="g", generation_id=1).encode(version)[:-2]
        refused(HeartbeatRequest, start + length + b"abc", version, "_id ends behind the message")

    def test_compact_string_has_the_limit_of_other_strings(self) -> None:
        """0x8000 bytes, the length of which would fit its varint."""
        refused(HeartbeatRequest, b"\x81\x80\x02" + b"a" * 0x8000 + bytes(20), 4, "exceeds 32767 bytes")

    def test_sizes_of_records(self) -> None:
        start = b"\xff\xff" + b"\0\1" + bytes(4) + b"\0\0\0\1" + b"\0\1a" + b"\0\0\0\1" + bytes(4)
        refused(ProduceRequest, start + b"\x7f\xff\xff\xff", 3, "records ends behind the message")
        for length in (b"\xff\xff\xff\xff", b"\xff\xff\xff\xfe"):
            request = decoded(ProduceRequest, start + length, 3)
            assert request.topic_data[0].partition_data[0].records is None

    def test_records_must_not_be_null_where_kafka_forbids_it(self) -> None:
        response = ShareFetchResponse(
            responses=[
                ShareFetchResponse.ShareFetchableTopicResponse(
                    partitions=[ShareFetchResponse.ShareFetchableTopicResponse.PartitionData(records=b"\x55")]
                )
            ]
        )
        data = response.encode(1)
        assert data.count(b"\x02\x55") == 1
        refused(ShareFetchResponse, data.replace(b"\x02\x55", b"\0"), 1, "records .* is null")

    def test_negative_count(self) -> None:
        refused(MetadataResponse, b"\xff\xff\xff\xfe", 0, "brokers has a negative length")

    def test_null_array(self) -> None:
        refused(MetadataRequest, b"\xff\xff\xff\xff", 0, "topics .* is null")
        assert MetadataRequest.decode(b"\xff\xff\xff\xff", 1).topics is None

    def test_negative_count_of_numbers(self) -> None:
        start = bytes(25) + b"\0\0\0\0" + b"\0\0\0\1" + b"\0\1a"
        refused(FetchRequest, start + b"\xff\xff\xff\xff", 7, "negative count")
        refused(FetchRequest, start + b"\x7f\xff\xff\xff", 7, "behind the message")


class TestVarints:
    def test_six_bytes(self) -> None:
        refused(HeartbeatRequest, b"\x80\x80\x80\x80\x80\x00" + bytes(20), 4, "longer than five bytes")

    def test_beyond_32_bits(self) -> None:
        refused(HeartbeatRequest, b"\x80\x80\x80\x80\x10" + bytes(20), 4, "exceeds 32 bits")

    def test_longer_than_needed(self) -> None:
        """As Kafka: a varint may have leading zeroes."""
        assert ApiVersionsRequest.decode(
            b"\x82\x00a\x82\x80\x00b\x80\x80\x80\x80\x00", 3
        ) == ApiVersionsRequest(client_software_name="a", client_software_version="b")


class TestTaggedFields:
    START = b"\x02a\x02b"

    def test_unknown_ones_are_skipped(self) -> None:
        data = self.START + b"\x02" + b"\x07\x03xyz" + b"\xff\xff\xff\xff\x0f\x00"
        message = ApiVersionsRequest.decode(data, 3)
        assert message == ApiVersionsRequest(client_software_name="a", client_software_version="b")
        assert message.encode(3) == self.START + b"\0"

    @pytest.mark.parametrize("second", [b"\x06\x00", b"\x07\x00"], ids=["out of order", "twice"])
    def test_in_any_order(self, second: bytes) -> None:
        """As Kafka, whatever KIP-482 says."""
        message = decoded(ApiVersionsRequest, self.START + b"\x02\x07\x00" + second, 3)
        assert message == ApiVersionsRequest(client_software_name="a", client_software_version="b")

    def test_behind_the_end(self) -> None:
        refused(
            ApiVersionsRequest, self.START + b"\x01\x07\x04xyz", 3, "tag 7 of 4 bytes ends behind the message"
        )

    def test_more_than_there_are(self) -> None:
        refused(ApiVersionsRequest, self.START + b"\xff\xff\xff\xff\x0f\x07\x00", 3, "cut off")

    @pytest.mark.parametrize(
        ("tail", "reason"),
        [
            (b"\x01\x01\x07" + bytes(8), "finalized_features_epoch does not have its size"),
            (b"\x01\x01\x09" + bytes(9), "finalized_features_epoch does not have its size"),
            (b"\x01\x01\x09" + bytes(8), "ends behind the message"),
        ],
    )
    def test_known_ones(self, tail: bytes, reason: str) -> None:
        start = b"\0\0" + b"\x01" + bytes(4)
        refused(ApiVersionsResponse, start + tail, 3, reason)
        assert ApiVersionsResponse.decode(
            start + b"\x01\x01\x08" + bytes(7) + b"\x05", 3
        ) == ApiVersionsResponse(finalized_features_epoch=5)

    def test_of_one_that_is_there_twice_the_last_counts(self) -> None:
        tail = b"\x02" + b"".join(b"\x01\x08" + bytes(7) + epoch for epoch in (b"\x05", b"\x06"))
        message = decoded(ApiVersionsResponse, b"\0\0" + b"\x01" + bytes(4) + tail, 3)
        assert message == ApiVersionsResponse(finalized_features_epoch=6)


class TestValues:
    @pytest.mark.parametrize("bad", [b"\xff", b"\xed\xa0\x80"], ids=["no UTF-8", "a surrogate"])
    def test_bad_utf_8(self, bad: bytes) -> None:
        """As Java: what cannot be read is U+FFFD."""
        data = len(bad).to_bytes(2, "big") + bad + bytes(6)
        assert set(decoded(HeartbeatRequest, data, 0).group_id) == {"\ufffd"}

    def test_any_byte_but_zero_is_true(self) -> None:
        data = MetadataRequest(topics=[]).encode(4)
        assert data[-1:] == b"\1"
        assert MetadataRequest.decode(data[:-1] + b"\x80", 4).allow_auto_topic_creation is True

    def test_any_negative_marker_is_a_null_structure(self) -> None:
        data = DescribeTopicPartitionsResponse(next_cursor=None).encode(0)
        assert data[-2:] == b"\xff\0"
        assert DescribeTopicPartitionsResponse.decode(data[:-2] + b"\x80\0", 0).next_cursor is None


class TestAllocation:
    """Counts and lengths that claim much more than there is must not cost memory."""

    @pytest.mark.parametrize(
        ("message_class", "version", "data"),
        [
            (MetadataRequest, 1, b"\x7f\xff\xff\xff"),
            (MetadataRequest, 9, b"\xff\xff\xff\xff\x0f"),
            (
                ConsumerGroupHeartbeatRequest,
                0,
                b"\x01\x01" + bytes(4) + b"\0\0\0" + bytes(3) + b"\xff\xff\xff\xff\x07",
            ),
            (FetchRequest, 7, bytes(25) + b"\0\0\0\0" + b"\0\0\0\1" + b"\0\1a" + b"\x7f\xff\xff\xff"),
            (FetchResponse, 4, bytes(4) + b"\x7f\xff\xff\xff"),
            (GroupMetadataValue, 0, b"\0\0" + bytes(4) + b"\xff\xff" * 2 + b"\x7f\xff\xff\xff"),
        ],
    )
    def test_claimed_elements(self, message_class: type[Message], version: int, data: bytes) -> None:
        refused(message_class, data, version, "more elements than the bytes left|behind the message|cut off")
        tracemalloc.start()
        try:
            assert decoded(message_class, data, version) is None
            _, peak_bytes = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak_bytes < 100_000

    def test_a_count_is_refused_before_its_elements_are_read(self) -> None:
        """200 topics of two bytes each at the least, of which there are but 399 bytes."""
        refused(
            MetadataRequest,
            b"\0\0\0\xc8" + bytes(399),
            1,
            "topics has more elements than the bytes left can hold",
        )
        assert len(MetadataRequest.decode(b"\0\0\0\xc8" + bytes(400), 1).topics or ()) == 200

    def test_too_many_elements_in_a_large_frame(self) -> None:
        """Elements of two bytes each: small enough for the frame, too many for the memory."""
        count = MetadataRequest.elements_max + 1
        data = count.to_bytes(4, "big") + b"\0\0" * count
        refused(MetadataRequest, data, 1, "more than 1048576 array elements")

    def test_too_many_elements_in_all(self) -> None:
        """No single array has too many."""

        class Nested(Message, versions="0"):
            elements_max = 10
            first: list[int] = array(int32)
            second: list[int] = array(int32)

        assert Nested.decode(Nested(first=[1] * 5, second=[2] * 5).encode(0), 0).second == [2] * 5
        refused(Nested, Nested(first=[1] * 6, second=[2] * 5).encode(0), 0, "too long")

    def test_large_frames_are_read_as_well(self) -> None:
        """The careful decoder, which only large frames and views get, reads the same."""
        partition = ProduceRequest.TopicProduceData.PartitionProduceData
        topic = ProduceRequest.TopicProduceData
        request = ProduceRequest(
            acks=-1,
            topic_data=[
                topic(
                    name="tøpic",
                    partition_data=[
                        partition(index=index, records=memoryview(bytes([index]) * 600_000))
                        for index in range(4)
                    ],
                )
            ],
        )
        for version in (3, 9, 12):
            data = request.encode(version)
            assert len(data) > ProduceRequest.elements_max
            assert ProduceRequest.decode(bytearray(data), version) == request


def test_remembered_uuids_are_bounded() -> None:
    """Topic ids are remembered as objects; a client that sends ever new ones must not fill the memory."""
    cache = UuidCache()
    for value in range(UUIDS_CACHED_MAX + 10):
        assert cache[value.to_bytes(16, "big")] == UUID(int=value)
    assert len(cache) == 10
    assert cache[bytes(16)] is cache[bytes(16)]


def test_nullable_structure_as_tagged_field() -> None:
    """Kafka has one in an internal record: as a tagged field its marker is a varint."""
    member = ConsumerGroupMemberMetadataValue.ClassicMemberMetadata(session_timeout_ms=5)
    none = ConsumerGroupMemberMetadataValue(classic_member_metadata=None)
    some = ConsumerGroupMemberMetadataValue(classic_member_metadata=member)
    for value in (none, some, ConsumerGroupMemberMetadataValue()):
        assert ConsumerGroupMemberMetadataValue.decode(value.encode(0), 0) == value
    assert none.encode(0).endswith(b"\x01\x00\x01\x00")
    hostile = none.encode(0)[:-1] + b"\x01"
    refused(ConsumerGroupMemberMetadataValue, hostile, 0, "cut off")
