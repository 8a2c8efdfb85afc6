"""Headers and whole frames, byte by byte."""

from __future__ import annotations

import tracemalloc

import pytest

from wire.errors import ErrorCode, ProtocolError
from wire.headers import (
    RequestHeader,
    UnsupportedRequestError,
    decode_request,
    decode_response,
    encode_request,
    encode_response,
    request_header_version,
    response_header_version,
)
from wire.messages import API_KEYS, request_class, response_class
from wire.messages.api_versions import ApiVersionsRequest, ApiVersionsResponse
from wire.messages.authentication import SaslHandshakeRequest
from wire.messages.fetch import FetchResponse
from wire.messages.group_membership import HeartbeatRequest, HeartbeatResponse
from wire.messages.produce import ProduceRequest
from wire.schema import Part, Payload

# key 18, version 3, correlation id 7, client id "kcat" behind two bytes, no tagged fields; then the body
API_VERSIONS_REQUEST = bytes.fromhex("0012 0003 00000007 0004 6b636174 00 05 6b636174 04 312e37 00")


def joined(parts: list[Part]) -> bytes:
    assert all(isinstance(part, bytes | bytearray | memoryview) for part in parts)
    return b"".join(parts)  # type: ignore[arg-type]


class TestRequests:
    def test_flexible(self) -> None:
        header, request = decode_request(bytearray(API_VERSIONS_REQUEST))
        assert header == RequestHeader(
            request_api_key=18, request_api_version=3, correlation_id=7, client_id="kcat"
        )
        assert request == ApiVersionsRequest(client_software_name="kcat", client_software_version="1.7")

    def test_is_written_as_it_is_read(self) -> None:
        request = ApiVersionsRequest(client_software_name="kcat", client_software_version="1.7")
        frame = joined(encode_request(request, 3, 7, "kcat"))
        assert frame == len(API_VERSIONS_REQUEST).to_bytes(4, "big") + API_VERSIONS_REQUEST

    def test_not_flexible(self) -> None:
        frame = bytes.fromhex("000c 0000 ffffffff ffff 0001 67 00000005 0001 6d")
        header, request = decode_request(frame)
        assert header.correlation_id == -1
        assert header.client_id is None
        assert request == HeartbeatRequest(group_id="g", generation_id=5, member_id="m")
        assert joined(encode_request(request, 0, -1, None))[4:] == frame

    def test_tagged_fields_of_the_header_are_skipped(self) -> None:
        frame = API_VERSIONS_REQUEST.replace(b"kcat\x00\x05", b"kcat\x01\x09\x02xy\x05", 1)
        assert decode_request(frame)[1] == decode_request(API_VERSIONS_REQUEST)[1]

    def test_trailing_bytes_are_ignored(self) -> None:
        assert decode_request(API_VERSIONS_REQUEST + b"\0\1\2") == decode_request(API_VERSIONS_REQUEST)

    @pytest.mark.parametrize("size", range(len(API_VERSIONS_REQUEST)))
    def test_cut_off(self, size: int) -> None:
        with pytest.raises(ProtocolError):
            decode_request(API_VERSIONS_REQUEST[:size])


class TestUnsupportedRequests:
    def test_newer_api_versions(self) -> None:
        """The broker answers it with the versions that it has, so it needs the header."""
        with pytest.raises(
            UnsupportedRequestError, match="ApiVersions version 99 is not supported"
        ) as caught:
            decode_request(bytes.fromhex("0012 0063 00000007 0004 6b636174") + b"whatever that version says")
        assert caught.value.header == RequestHeader(
            request_api_key=18, request_api_version=99, correlation_id=7, client_id="kcat"
        )

    def test_old_produce(self) -> None:
        with pytest.raises(UnsupportedRequestError, match="Produce version 2") as caught:
            decode_request(bytes.fromhex("0000 0002 00000001 0001 61 0001"))
        assert caught.value.header.client_id == "a"

    def test_unknown_key(self) -> None:
        with pytest.raises(UnsupportedRequestError, match="API key 4 version 0 is not supported") as caught:
            decode_request(bytes.fromhex("0004 0000 00000002 ffff"))
        assert caught.value.header.request_api_key == 4
        assert caught.value.header.client_id is None

    def test_without_a_readable_client_id(self) -> None:
        with pytest.raises(UnsupportedRequestError) as caught:
            decode_request(bytes.fromhex("7fff 7fff 00000002 7fff 61"))
        assert caught.value.header == RequestHeader(
            request_api_key=32767, request_api_version=32767, correlation_id=2, client_id=None
        )

    def test_negative_version(self) -> None:
        with pytest.raises(UnsupportedRequestError, match="Fetch version -1"):
            decode_request(bytes.fromhex("0001 ffff 00000002 ffff"))


class TestResponses:
    def test_not_flexible(self) -> None:
        frame = joined(encode_response(HeartbeatResponse(error_code=ErrorCode.UNKNOWN_MEMBER_ID), 0, 7))
        assert frame.hex(" ") == "00 00 00 06 00 00 00 07 00 19"
        assert decode_response(12, 0, frame[4:]) == (7, HeartbeatResponse(error_code=25))

    def test_flexible(self) -> None:
        frame = joined(encode_response(HeartbeatResponse(error_code=27), 4, 7))
        assert frame.hex(" ") == "00 00 00 0c 00 00 00 07 00 00 00 00 00 00 1b 00"
        assert decode_response(12, 4, frame[4:]) == (7, HeartbeatResponse(error_code=27))

    def test_header_of_api_versions_is_never_flexible(self) -> None:
        """A client cannot know which version a broker answers it in."""
        response = ApiVersionsResponse(
            api_keys=[ApiVersionsResponse.ApiVersion(api_key=18, min_version=0, max_version=4)]
        )
        for version in range(5):
            frame = joined(encode_response(response, version, 7))
            assert frame[4:10].hex(" ") == "00 00 00 07 00 00"
            assert decode_response(18, version, frame[4:]) == (7, response)
        assert frame.hex(" ") == "00 00 00 13 00 00 00 07 00 00 02 00 12 00 00 00 04 00 00 00 00 00 00"

    def test_negative_correlation_id(self) -> None:
        frame = joined(encode_response(HeartbeatResponse(), 0, -(2**31)))
        assert decode_response(12, 0, frame[4:])[0] == -(2**31)

    def test_trailing_bytes(self) -> None:
        frame = joined(encode_response(HeartbeatResponse(), 4, 7))
        with pytest.raises(ProtocolError, match="1 bytes too many after HeartbeatResponse 4"):
            decode_response(12, 4, frame[4:] + b"\0")

    def test_records_stay_as_they_are(self) -> None:
        """A slice of a log file is neither read nor copied, and its length counts."""

        class LogSlice:
            def __len__(self) -> int:
                return 100_000

            def read(self) -> bytes:
                raise AssertionError("not to be read here")

        partition = FetchResponse.FetchableTopicResponse.PartitionData
        topic = FetchResponse.FetchableTopicResponse
        payload: Payload = LogSlice()
        response = FetchResponse(responses=[topic(partitions=[partition(records=payload)])])
        first, second, third = encode_response(response, 13, 7)
        assert second is payload
        assert isinstance(first, bytes)
        assert isinstance(third, bytes)
        assert int.from_bytes(first[:4], "big") == len(first) - 4 + 100_000 + len(third)


def test_large_frames_are_not_copied() -> None:
    """Neither to read the header, nor to read the body of a message with records."""
    topic = ProduceRequest.TopicProduceData
    partition = topic.PartitionProduceData(index=0, records=bytes(20_000_000))
    request = ProduceRequest(topic_data=[topic(name="t", partition_data=[partition])])
    frame = bytearray(joined(encode_request(request, 9, 1, "client"))[4:])
    decode_request(frame)
    tracemalloc.start()
    try:
        header, _ = decode_request(frame)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert header.client_id == "client"
    assert peak_bytes < 100_000


def test_header_versions() -> None:
    for key, api in API_KEYS.items():
        for version in range(api.min_version, api.max_version + 1):
            flexible = request_class(key).is_flexible(version)
            assert response_class(key).is_flexible(version) == flexible
            assert request_header_version(key, version) == (2 if flexible else 1)
            assert response_header_version(key, version) == (1 if flexible and key != 18 else 0)
    assert request_header_version(SaslHandshakeRequest.api_key, 1) == 1


def test_a_frame_of_its_own_buffer_can_be_edited_through_its_records() -> None:
    """Offsets are set in place before the frame's bytes go into the log."""
    topic = ProduceRequest.TopicProduceData
    request = ProduceRequest(
        topic_data=[
            topic(name="t", partition_data=[topic.PartitionProduceData(index=0, records=b"abc" * 50)])
        ]
    )
    frame = bytearray(joined(encode_request(request, 9, 1, None))[4:])
    _, decoded = decode_request(frame)
    assert isinstance(decoded, ProduceRequest)
    records = decoded.topic_data[0].partition_data[0].records
    assert isinstance(records, memoryview)
    records[:3] = b"xyz"
    assert frame.count(b"xyz") == 1
