"""Declarations: constructors, defaults, comparison; what can be encoded, and what the error says if it cannot."""

from __future__ import annotations

import copy
import subprocess
import sys
from typing import Any
from uuid import UUID

import pytest

from wire.errors import EncodeError, ErrorCode, ProtocolError, UnsupportedFieldError
from wire.messages import API_KEYS, ApiKey, request_class, response_class
from wire.messages.api_versions import ApiVersionsRequest
from wire.messages.consumer_groups import ConsumerGroupHeartbeatRequest
from wire.messages.fetch import FetchRequest, FetchResponse
from wire.messages.group_membership import HeartbeatRequest, JoinGroupResponse, SyncGroupResponse
from wire.messages.metadata import DescribeTopicPartitionsResponse, MetadataRequest, MetadataResponse
from wire.messages.produce import ProduceRequest, ProduceResponse
from wire.messages.topics import CreateTopicsRequest
from wire.messages.transactions import AddPartitionsToTxnRequest
from wire.schema import ALL_VERSIONS, NO_VERSIONS, ZERO_UUID, Structure, parse_versions

TOPIC = FetchRequest.FetchTopic
PARTITION = TOPIC.FetchPartition


class TestConstruction:
    def test_kafkas_defaults(self) -> None:
        request = FetchRequest()
        assert request.replica_id == -1
        assert request.max_bytes == 2**31 - 1
        assert request.cluster_id is None
        assert request.rack_id == ""
        assert request.topics == []
        assert request.replica_state == FetchRequest.ReplicaState(replica_id=-1, replica_epoch=-1)
        assert TOPIC().topic_id == ZERO_UUID
        assert PARTITION().high_watermark == 2**63 - 1
        assert CreateTopicsRequest().timeout_ms == 60000
        assert ProduceRequest.TopicProduceData.PartitionProduceData().records is None

    def test_defaults_are_not_shared(self) -> None:
        one, other = FetchRequest(), FetchRequest()
        one.topics.append(TOPIC())
        one.replica_state.replica_id = 5
        assert other == FetchRequest()

    def test_decoded_defaults_are_not_shared(self) -> None:
        data = FetchResponse(
            responses=[
                FetchResponse.FetchableTopicResponse(
                    partitions=[FetchResponse.FetchableTopicResponse.PartitionData() for _ in range(3)]
                )
            ]
        ).encode(13)
        one, other = FetchResponse.decode(data, 13), FetchResponse.decode(data, 13)
        one.node_endpoints.append(FetchResponse.NodeEndpoint())
        one.responses[0].partitions[0].current_leader.leader_id = 5
        assert one.responses[0].partitions[1] == other.responses[0].partitions[0]
        assert other.node_endpoints == []

    def test_keywords_only(self) -> None:
        constructor: Any = HeartbeatRequest
        with pytest.raises(TypeError):
            constructor("group")
        with pytest.raises(TypeError, match="nonsense"):
            constructor(nonsense=1)

    def test_none_is_not_taken_for_a_missing_argument(self) -> None:
        assert MetadataRequest(topics=None).topics is None
        assert MetadataRequest().topics == []

    def test_slots(self) -> None:
        request: Any = HeartbeatRequest()
        with pytest.raises(AttributeError):
            request.group = "misspelt"

    def test_structures_shared_within_a_message(self) -> None:
        """The message's own class declares it, nested classes refer to it by name."""
        topic = AddPartitionsToTxnRequest.AddPartitionsToTxnTopic(name="t", partitions=[1])
        transaction = AddPartitionsToTxnRequest.AddPartitionsToTxnTransaction(topics=[topic])
        request = AddPartitionsToTxnRequest(transactions=[transaction])
        assert AddPartitionsToTxnRequest.decode(request.encode(4), 4) == request


class TestValues:
    def test_equality(self) -> None:
        assert PARTITION(partition=1) == PARTITION(partition=1)
        assert PARTITION(partition=1) != PARTITION(partition=2)
        assert PARTITION() != TOPIC()
        assert HeartbeatRequest() != "HeartbeatRequest"

    def test_unhashable_as_all_that_can_change(self) -> None:
        with pytest.raises(TypeError):
            hash(HeartbeatRequest())

    def test_repr_shows_no_payload(self) -> None:
        shown = repr(ProduceRequest.TopicProduceData.PartitionProduceData(index=7, records=b"secret"))
        assert shown == "ProduceRequest.TopicProduceData.PartitionProduceData(index=7, records=<6 bytes>)"

    def test_copies(self) -> None:
        topic = TOPIC(topic="t", partitions=[PARTITION(partition=1)])
        shallow, deep = copy.copy(topic), copy.deepcopy(topic)
        assert topic == shallow == deep
        topic.partitions[0].partition = 2
        assert shallow == topic
        assert deep != topic

    def test_error_codes_are_integers(self) -> None:
        data = JoinGroupResponse(error_code=ErrorCode.MEMBER_ID_REQUIRED).encode(4)
        assert JoinGroupResponse.decode(data, 4).error_code == ErrorCode.MEMBER_ID_REQUIRED


class TestFieldsThatAVersionLacks:
    def test_ignorable_ones_are_dropped(self) -> None:
        request = FetchRequest(topics=[TOPIC(topic="t", topic_id=UUID(int=1))], rack_id="r")
        assert FetchRequest.decode(request.encode(12), 12).topics[0].topic_id == ZERO_UUID
        assert FetchRequest.decode(request.encode(13), 13).topics[0].topic == ""
        assert FetchRequest.decode(request.encode(4), 4).rack_id == ""

    def test_others_are_refused(self) -> None:
        forgotten = FetchRequest(forgotten_topics_data=[FetchRequest.ForgottenTopic()])
        with pytest.raises(UnsupportedFieldError, match=r"forgotten_topics_data is set, but .* version 6"):
            forgotten.encode(6)
        nested = FetchRequest(topics=[TOPIC(partitions=[PARTITION(last_fetched_epoch=3)])])
        with pytest.raises(UnsupportedFieldError, match=r"FetchPartition\.last_fetched_epoch is set"):
            nested.encode(11)
        state = FetchRequest(replica_state=FetchRequest.ReplicaState(replica_epoch=1))
        with pytest.raises(UnsupportedFieldError, match="replica_state"):
            state.encode(14)

    def test_refused_as_protocol_error_too(self) -> None:
        with pytest.raises(ProtocolError):
            FetchRequest(replica_id=1, forgotten_topics_data=[FetchRequest.ForgottenTopic()]).encode(4)

    def test_defaults_are_no_obstacle(self) -> None:
        for version in range(4, 19):
            assert FetchRequest.decode(FetchRequest().encode(version), version) == FetchRequest()

    def test_tagged_fields_only_if_set(self) -> None:
        assert FetchRequest(cluster_id="c").encode(12).endswith(b"\x01\x00\x02\x02c")
        assert FetchRequest().encode(12).endswith(b"\x00")


class TestEncodeErrors:
    def refused(self, message: Any, version: int, reason: str) -> None:
        with pytest.raises(EncodeError, match=reason):
            message.encode(version)
        with pytest.raises(EncodeError, match=reason):
            message.encode_parts(version)

    def test_out_of_range(self) -> None:
        wrong = FetchRequest(topics=[TOPIC(partitions=[PARTITION(), PARTITION(partition=2**31)])])
        path = r"FetchRequest\.topics\[0\]\.partitions\[1\]\.partition = 2147483648"
        self.refused(wrong, 4, path)
        self.refused(wrong, 13, path)
        numbers = MetadataResponse.MetadataResponseTopic.MetadataResponsePartition(
            isr_nodes=[1, -(2**31) - 1]
        )
        topic = MetadataResponse.MetadataResponseTopic(partitions=[numbers])
        self.refused(MetadataResponse(topics=[topic]), 9, r"isr_nodes\[1\] = -2147483649")

    def test_long_strings(self) -> None:
        fits, exceeds = "ä" * 16383 + "b", "ä" * 16384
        for version in (3, 4):
            message = HeartbeatRequest(group_id=fits)
            assert HeartbeatRequest.decode(message.encode(version), version) == message
            self.refused(
                HeartbeatRequest(group_id=exceeds), version, "group_id has 32768 bytes, more than 32767"
            )

    def test_null(self) -> None:
        message: Any = HeartbeatRequest()
        message.group_id = None
        self.refused(message, 0, r"HeartbeatRequest\.group_id must not be None")
        self.refused(message, 4, r"HeartbeatRequest\.group_id must not be None")

    def test_null_where_only_other_versions_allow_it(self) -> None:
        response = JoinGroupResponse(protocol_name=None)
        assert JoinGroupResponse.decode(response.encode(7), 7) == response
        self.refused(response, 6, r"protocol_name must not be None")
        self.refused(MetadataRequest(topics=None), 0, r"topics must not be None")
        nothing: Any = FetchResponse(responses=None)  # type: ignore[arg-type]
        self.refused(nothing, 4, r"responses must not be None")

    def test_wrong_types(self) -> None:
        message: Any = HeartbeatRequest(group_id=5)  # type: ignore[arg-type]
        self.refused(message, 0, "group_id is not a string but a int")
        message = SyncGroupResponse(assignment="text")  # type: ignore[arg-type]
        self.refused(message, 0, "assignment is not bytes-like but a str")
        message = FetchRequest(topics=[PARTITION()])  # type: ignore[list-item]
        self.refused(message, 4, r"topics\[0\] is not a FetchRequest.FetchTopic but a .*FetchPartition")
        message = FetchRequest(topics=[TOPIC(topic_id="id")])  # type: ignore[arg-type]
        self.refused(message, 13, "topic_id is not a UUID but a str")
        message = FetchRequest(replica_state=None)  # type: ignore[arg-type]
        self.refused(message, 15, "replica_state is not a FetchRequest.ReplicaState")

    def test_lone_surrogate(self) -> None:
        self.refused(HeartbeatRequest(group_id="\ud800"), 0, "group_id cannot be written as UTF-8")

    def test_unknown_version(self) -> None:
        with pytest.raises(ProtocolError, match="HeartbeatRequest has no version 5"):
            HeartbeatRequest().encode(5)
        with pytest.raises(ProtocolError, match="ProduceRequest has no version 2"):
            ProduceRequest.decode(b"", 2)
        with pytest.raises(ProtocolError, match="has no version -1"):
            HeartbeatRequest.struct(-1)


class TestParts:
    def produce(self, *records: Any) -> ProduceRequest:
        topic = ProduceRequest.TopicProduceData
        partitions = [
            topic.PartitionProduceData(index=index, records=data) for index, data in enumerate(records)
        ]
        return ProduceRequest(topic_data=[topic(name="t", partition_data=partitions)])

    @pytest.mark.parametrize("version", [3, 9])
    def test_long_records_are_not_copied(self, version: int) -> None:
        long, short = bytearray(4097), bytes(4096)
        message = self.produce(long, short, long)
        parts = message.encode_parts(version)
        assert [part is long for part in parts[:4]] == [False, True, False, True]
        assert len(parts) == (5 if version == 9 else 4)  # the tagged fields behind the last records
        assert b"".join(parts) == message.encode(version)  # type: ignore[arg-type]

    def test_short_messages_are_one_part(self) -> None:
        assert self.produce(b"abc", None).encode_parts(9) == [self.produce(b"abc", None).encode(9)]

    def test_payloads_are_read_only_where_bytes_are_wanted(self) -> None:
        class Slice:
            reads = 0

            def __len__(self) -> int:
                return 3

            def read(self) -> bytes:
                Slice.reads += 1
                return b"abc"

        payload = Slice()
        parts = self.produce(payload).encode_parts(9)
        assert parts[1] is payload
        assert Slice.reads == 0
        assert self.produce(payload).encode(9) == self.produce(b"abc").encode(9)
        assert Slice.reads == 1

    def test_records_are_views_of_the_buffer(self) -> None:
        data = bytearray(self.produce(b"abc", b"").encode(9))
        decoded = ProduceRequest.decode(data, 9).topic_data[0].partition_data
        view = decoded[0].records
        assert isinstance(view, memoryview)
        view[:] = b"xyz"
        assert data.count(b"xyz") == 1
        assert decoded[1].records == b""


class TestShapesOfArrays:
    """Elements that differ from the first one leave the fast path, at any place."""

    @pytest.mark.parametrize("odd_one", range(6))
    def test_tagged_field_in_one_of_fixed_size(self, odd_one: int) -> None:
        partitions = [PARTITION(partition=index, fetch_offset=index * 10) for index in range(6)]
        partitions[odd_one].high_watermark = 77
        request = FetchRequest(topics=[TOPIC(topic_id=UUID(int=5), partitions=partitions)], rack_id="r")
        assert FetchRequest.decode(request.encode(18), 18) == request

    @pytest.mark.parametrize("odd_one", range(5))
    @pytest.mark.parametrize("message", ["", "why", None])
    def test_string_in_one_that_is_mostly_null(self, odd_one: int, message: str | None) -> None:
        topic = ProduceResponse.TopicProduceResponse
        partitions = [topic.PartitionProduceResponse(index=index) for index in range(5)]
        partitions[odd_one].error_message = message
        partitions[odd_one].record_errors = [
            topic.PartitionProduceResponse.BatchIndexAndErrorMessage(batch_index=3)
        ]
        response = ProduceResponse(responses=[topic(name="t", partition_responses=partitions)])
        for version in (8, 9, 12):
            assert ProduceResponse.decode(response.encode(version), version) == response

    @pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 15, 16, 17, 126, 127, 128, 129, 500])
    def test_counts_around_the_limits(self, count: int) -> None:
        numbers = list(range(count))
        partition_class = MetadataResponse.MetadataResponseTopic.MetadataResponsePartition
        partition = partition_class(replica_nodes=numbers, isr_nodes=numbers[::-1], offline_replicas=numbers)
        topics = [
            MetadataResponse.MetadataResponseTopic(name="n" * index, partitions=[partition] * (index % 3))
            for index in range(count)
        ]
        response = MetadataResponse(topics=topics[:20] + topics[-1:])
        for version in (8, 9, 13):
            assert MetadataResponse.decode(response.encode(version), version) == response
        pages = DescribeTopicPartitionsResponse.DescribeTopicPartitionsResponseTopic
        one = pages.DescribeTopicPartitionsResponsePartition(last_known_elr=numbers)
        paged = DescribeTopicPartitionsResponse(topics=[pages(partitions=[one] * count)])
        assert DescribeTopicPartitionsResponse.decode(paged.encode(0), 0) == paged


class TestTheTable:
    def test_classes_agree_with_it(self) -> None:
        for key, api in API_KEYS.items():
            for message_class in (request_class(key), response_class(key)):
                declared = (
                    message_class.api_key,
                    message_class.min_version,
                    message_class.max_version,
                    message_class.flexible_version,
                )
                assert declared == (api.key, api.min_version, api.max_version, api.flexible_version)
                assert message_class.__module__ == f"wire.messages.{api.module}"
            assert request_class(key).response_class is response_class(key)

    def test_produce_is_advertised_from_zero(self) -> None:
        assert API_KEYS[0].advertised_min_version == 0
        assert {api.name for api in API_KEYS.values() if api.advertised_min_version != api.min_version} == {
            "Produce"
        }

    def test_unknown_key(self) -> None:
        with pytest.raises(KeyError):
            request_class(4)
        with pytest.raises(KeyError):
            response_class(93)

    def test_flexibility(self) -> None:
        api = ApiKey(1, "Fetch", "fetch", 4, 18, 12)
        assert not api.is_flexible(11)
        assert api.is_flexible(12)
        assert not API_KEYS[17].is_flexible(1)

    def test_families_are_imported_when_they_are_needed(self) -> None:
        """Neither the table nor a family needs construct or another family: start-up must be quick."""
        script = (
            "import sys, wire.messages, wire.headers; from wire.messages.fetch import FetchRequest; FetchRequest();"
            "loaded = [name for name in sys.modules if name.startswith('wire.messages.')];"
            "assert loaded == ['wire.messages.fetch'], loaded;"
            "assert 'construct' not in sys.modules;"
            "FetchRequest().encode(13); assert 'construct' in sys.modules"
        )
        subprocess.run([sys.executable, "-c", script], check=True)


def test_version_ranges() -> None:
    assert parse_versions("4-18") == (4, 18)
    assert parse_versions("12+") == (12, ALL_VERSIONS[1])
    assert parse_versions("3") == (3, 3)
    assert parse_versions("none") == NO_VERSIONS


def test_every_declared_structure_can_be_constructed() -> None:
    def visit(structure_class: type[Structure]) -> int:
        assert structure_class() == structure_class()
        nested = [value for value in vars(structure_class).values() if isinstance(value, type)]
        return 1 + sum(visit(value) for value in nested if issubclass(value, Structure))

    classes = sum(visit(request_class(key)) + visit(response_class(key)) for key in API_KEYS)
    assert classes > 400
    assert visit(ConsumerGroupHeartbeatRequest) == 2
    assert visit(ApiVersionsRequest) == 1
