"""The rendering for humans, and APIs by name."""

from __future__ import annotations

from uuid import UUID

import pytest

from tests.wire.messages_under_test import ALL_MESSAGES, Generator, versions_of
from wire.describe import api_by_name, describe
from wire.messages.acls import CreateAclsRequest
from wire.messages.metadata import MetadataResponse
from wire.messages.produce import ProduceRequest


def test_a_whole_message() -> None:
    topic = MetadataResponse.MetadataResponseTopic
    response = MetadataResponse(
        brokers=[MetadataResponse.MetadataResponseBroker(node_id=1, host="localhost", port=9092)],
        topics=[
            topic(
                error_code=3,
                name="orders",
                topic_id=UUID(int=1),
                partitions=[topic.MetadataResponsePartition(replica_nodes=[1, 2], error_code=-77)],
            )
        ],
    )
    assert describe(response, 13).splitlines() == [
        "MetadataResponse version 13",
        "  throttle_time_ms: 0",
        "  brokers: 1",
        "    [0]",
        "      node_id: 1",
        "      host: 'localhost'",
        "      port: 9092",
        "      rack: null",
        "  cluster_id: null",
        "  controller_id: -1",
        "  topics: 1",
        "    [0]",
        "      error_code: 3 (UNKNOWN_TOPIC_OR_PARTITION)",
        "      name: 'orders'",
        "      topic_id: AAAAAAAAAAAAAAAAAAAAAQ (00000000-0000-0000-0000-000000000001)",
        "      is_internal: false",
        "      partitions: 1",
        "        [0]",
        "          error_code: -77 (unknown)",
        "          partition_index: 0",
        "          leader_id: 0",
        "          leader_epoch: -1",
        "          replica_nodes: [1, 2]",
        "          isr_nodes: []",
        "          offline_replicas: []",
        "      topic_authorized_operations: -2147483648",
        "  error_code: 0 (NONE)",
    ]


def test_fields_of_other_versions_are_left_out() -> None:
    assert "topic_id" not in describe(MetadataResponse(topics=[MetadataResponse.MetadataResponseTopic()]), 9)
    assert "topic_id: none" in describe(MetadataResponse(topics=[MetadataResponse.MetadataResponseTopic()]))


def test_payloads_are_shortened() -> None:
    partition = ProduceRequest.TopicProduceData.PartitionProduceData
    assert "records: 3 bytes: 61 62 63" in describe(partition(records=memoryview(b"abc")))
    assert describe(partition(records=bytes(1000))).endswith("00 00 ...")
    assert describe(partition(records=b"")).endswith("records: 0 bytes")


def test_long_lists_are_wrapped() -> None:
    partition = MetadataResponse.MetadataResponseTopic.MetadataResponsePartition
    lines = describe(partition(isr_nodes=list(range(40)))).splitlines()
    assert "  isr_nodes: 40" in lines
    assert "    32, 33, 34, 35, 36, 37, 38, 39" in lines


@pytest.mark.parametrize("message_class", ALL_MESSAGES, ids=lambda message_class: message_class.__name__)
def test_every_message_can_be_described(message_class: type) -> None:
    for version in versions_of(message_class):
        message = Generator(version, 3).structure(message_class, version)
        shown = describe(message, version)
        assert shown.splitlines()[0] == f"{message_class.__name__} version {version}"
        for field in message_class.__fields__:  # type: ignore[attr-defined]
            assert (f"  {field.name}" in shown) >= field.in_version(version)


def test_api_by_name() -> None:
    assert api_by_name("Fetch").key == 1
    assert api_by_name("createacls").key == CreateAclsRequest.api_key
    assert api_by_name("18").name == "ApiVersions"
    for unknown in ("Fletch", "4", "-1", "", "²"):
        with pytest.raises(KeyError):
            api_by_name(unknown)
