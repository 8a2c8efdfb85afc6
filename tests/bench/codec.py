"""Codec time of Produce, Fetch, Metadata and OffsetCommit: compiled, interpreted construct, and the `kio` package.

Run by itself (`python -m tests.bench.codec`) it prints the rows. Each time is the best of several rounds, and the
three codecs take turns within each round, so that a busy machine slows all of them alike.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple
from uuid import UUID

from tests.wire.interpreted import container_of
from tests.wire.kio_adapter import kio_class, kio_decode, kio_encode, to_kio
from wire.messages.fetch import FetchRequest, FetchResponse
from wire.messages.group_offsets import OffsetCommitRequest, OffsetCommitResponse
from wire.messages.metadata import MetadataRequest, MetadataResponse
from wire.messages.produce import ProduceRequest, ProduceResponse
from wire.schema import Message

TOPIC_IDS = [UUID(int=0x9E3779B97F4A7C15F39CC0605CEDC834 * (index + 1) % (1 << 128)) for index in range(20)]


class Row(NamedTuple):
    """One message in one direction of travel; times are microseconds per message."""

    message: str
    operation: str
    size_bytes: int
    compiled_us: float
    construct_us: float
    kio_us: float

    @property
    def times_construct(self) -> float:
        """How many times as fast as interpreted construct."""
        return self.construct_us / self.compiled_us

    @property
    def times_kio(self) -> float:
        """How many times as fast as kio."""
        return self.kio_us / self.compiled_us


def produce_request(topics: int, partitions: int, records_bytes: int) -> ProduceRequest:
    topic_class = ProduceRequest.TopicProduceData
    return ProduceRequest(
        acks=-1,
        timeout_ms=30000,
        transactional_id=None,
        topic_data=[
            topic_class(
                topic_id=TOPIC_IDS[topic],
                partition_data=[
                    topic_class.PartitionProduceData(index=index, records=memoryview(bytes(records_bytes)))
                    for index in range(partitions)
                ],
            )
            for topic in range(topics)
        ],
    )


def produce_response(topics: int, partitions: int) -> ProduceResponse:
    topic_class = ProduceResponse.TopicProduceResponse
    return ProduceResponse(
        responses=[
            topic_class(
                topic_id=TOPIC_IDS[topic],
                partition_responses=[
                    topic_class.PartitionProduceResponse(
                        index=index, base_offset=123456 + index, log_append_time_ms=-1, log_start_offset=0
                    )
                    for index in range(partitions)
                ],
            )
            for topic in range(topics)
        ],
    )


def fetch_request(topics: int, partitions: int) -> FetchRequest:
    topic_class = FetchRequest.FetchTopic
    return FetchRequest(
        max_wait_ms=500,
        min_bytes=1,
        max_bytes=52428800,
        session_id=1234567,
        session_epoch=89,
        topics=[
            topic_class(
                topic_id=TOPIC_IDS[topic],
                partitions=[
                    topic_class.FetchPartition(
                        partition=index,
                        current_leader_epoch=5,
                        fetch_offset=1234567 + index,
                        partition_max_bytes=1048576,
                    )
                    for index in range(partitions)
                ],
            )
            for topic in range(topics)
        ],
    )


def fetch_response(topics: int, partitions: int, records_bytes: int) -> FetchResponse:
    topic_class = FetchResponse.FetchableTopicResponse
    return FetchResponse(
        session_id=1234567,
        responses=[
            topic_class(
                topic_id=TOPIC_IDS[topic],
                partitions=[
                    topic_class.PartitionData(
                        partition_index=index,
                        high_watermark=1234567,
                        last_stable_offset=1234567,
                        log_start_offset=0,
                        aborted_transactions=None,
                        records=memoryview(bytes(records_bytes)),
                    )
                    for index in range(partitions)
                ],
            )
            for topic in range(topics)
        ],
    )


def metadata_request(topics: int) -> MetadataRequest:
    return MetadataRequest(
        topics=[
            MetadataRequest.MetadataRequestTopic(topic_id=TOPIC_IDS[topic], name=f"topic-{topic}")
            for topic in range(topics)
        ]
    )


def metadata_response(topics: int, partitions: int) -> MetadataResponse:
    topic_class = MetadataResponse.MetadataResponseTopic
    return MetadataResponse(
        cluster_id="5L6g3nShT-eMCtK--X86sw",
        controller_id=1,
        brokers=[
            MetadataResponse.MetadataResponseBroker(node_id=node, host=f"broker-{node}.example", port=9092)
            for node in (1, 2, 3)
        ],
        topics=[
            topic_class(
                name=f"topic-{topic}",
                topic_id=TOPIC_IDS[topic],
                partitions=[
                    topic_class.MetadataResponsePartition(
                        partition_index=index,
                        leader_id=1 + index % 3,
                        leader_epoch=4,
                        replica_nodes=[1, 2, 3],
                        isr_nodes=[1, 2, 3],
                    )
                    for index in range(partitions)
                ],
            )
            for topic in range(topics)
        ],
    )


def offset_commit_request(topics: int, partitions: int) -> OffsetCommitRequest:
    topic_class = OffsetCommitRequest.OffsetCommitRequestTopic
    return OffsetCommitRequest(
        group_id="orders-service",
        generation_id_or_member_epoch=17,
        member_id="consumer-orders-service-1-3f0e9a52-8f8e-4c9b-a5d5-6f5d3f0b7c11",
        topics=[
            topic_class(
                name=f"topic-{topic}",
                partitions=[
                    topic_class.OffsetCommitRequestPartition(
                        partition_index=index, committed_offset=1234567 + index, committed_metadata=""
                    )
                    for index in range(partitions)
                ],
            )
            for topic in range(topics)
        ],
    )


def offset_commit_response(topics: int, partitions: int) -> OffsetCommitResponse:
    topic_class = OffsetCommitResponse.OffsetCommitResponseTopic
    return OffsetCommitResponse(
        topics=[
            topic_class(
                name=f"topic-{topic}",
                partitions=[
                    topic_class.OffsetCommitResponsePartition(partition_index=index)
                    for index in range(partitions)
                ],
            )
            for topic in range(topics)
        ],
    )


def cases() -> list[tuple[str, Message, int]]:
    """Name, message and version of each case: the newest version that clients of today use."""
    return [
        ("Produce request, 1 partition of 16 KiB", produce_request(1, 1, 16384), 13),
        ("Produce request, 10 partitions of 16 KiB", produce_request(2, 5, 16384), 13),
        ("Produce response, 10 partitions", produce_response(2, 5), 13),
        ("Fetch request, 1 partition", fetch_request(1, 1), 13),
        ("Fetch request, 100 partitions", fetch_request(10, 10), 13),
        ("Fetch response, 1 partition of 16 KiB", fetch_response(1, 1, 16384), 13),
        ("Fetch response, 10 partitions of 16 KiB", fetch_response(2, 5, 16384), 13),
        ("Metadata request, 10 topics", metadata_request(10), 13),
        ("Metadata response, 100 partitions", metadata_response(10, 10), 13),
        ("OffsetCommit request, 10 partitions", offset_commit_request(2, 5), 9),
        ("OffsetCommit response, 10 partitions", offset_commit_response(2, 5), 9),
    ]


def _best_us(functions: list[Callable[[], Any]], seconds: float, rounds: int) -> list[float]:
    """The best time per call of each function, in microseconds; they take turns, `seconds` in all."""
    calls = []
    for function in functions:
        function()
        started = time.perf_counter()
        function()
        once = max(time.perf_counter() - started, 1e-7)
        calls.append(max(1, int(seconds / rounds / len(functions) / once)))
    best = [float("inf")] * len(functions)
    for _ in range(rounds):
        for index, function in enumerate(functions):
            repetitions = range(calls[index])
            started = time.perf_counter()
            for _ in repetitions:
                function()
            best[index] = min(best[index], (time.perf_counter() - started) / calls[index])
    return [seconds * 1e6 for seconds in best]


def run(seconds_per_row: float = 0.4) -> list[Row]:
    """Measure every case, both ways: 22 rows. Refuses to measure codecs that disagree."""
    return [
        row for name, message, version in cases() for row in _measure(name, message, version, seconds_per_row)
    ]


def _measure(name: str, message: Message, version: int, seconds: float) -> list[Row]:
    message_class = type(message)
    entity_class = kio_class(message_class, version)
    tree = message_class.struct(version)
    container = container_of(tree, message)
    entity = to_kio(message, entity_class, version)
    data = message.encode(version)
    assert data == tree.build(container) == kio_encode(entity)
    assert kio_decode(entity_class, data) == entity
    frame = bytearray(data)  # what the server's reader hands over
    assert message_class.decode(frame, version) == message
    decoders: list[Callable[[], Any]] = [
        lambda: message_class.decode(frame, version),
        lambda: tree.parse(data),
        lambda: kio_decode(entity_class, data),
    ]
    encoders: list[Callable[[], Any]] = [
        lambda: message.encode_parts(version),
        lambda: tree.build(container),
        lambda: kio_encode(entity),
    ]
    return [
        Row(name, operation, len(data), *_best_us(functions, seconds, rounds=10))
        for operation, functions in (("decode", decoders), ("encode", encoders))
    ]


def main() -> None:
    print(f"{'message':42} {'':7} {'bytes':>8} {'µs':>8} {'x construct':>12} {'x kio':>7}")
    for row in run():
        print(
            f"{row.message:42} {row.operation:7} {row.size_bytes:8} {row.compiled_us:8.2f} "
            f"{row.times_construct:12.1f} {row.times_kio:7.2f}"
        )


if __name__ == "__main__":
    main()
