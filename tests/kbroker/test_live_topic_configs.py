"""Topic configs changed while the topic is in use, by real requests.

Every case passes on Apache Kafka too, if it looks for old segments often enough: ``pytest
tests/kbroker/test_live_topic_configs.py --bootstrap-server HOST:PORT`` with log.retention.check.interval.ms=300.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable

import pytest
import trio

from kbroker.client import BrokerClient
from kbroker.os_world import OsWorld
from tests.kbroker.test_data_path import Connect, FetchAnswer, ProduceAnswer, Topic, values
from wire.compression import Compression
from wire.errors import ErrorCode
from wire.messages.configs import IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse
from wire.messages.offsets import DeleteRecordsRequest, DeleteRecordsResponse
from wire.records import LOG_APPEND_TIME, BatchHeader, Record, build_batch, iterate_batches

Resource = IncrementalAlterConfigsRequest.AlterConfigsResource
TOPIC, BROKER = 2, 4
SET, REMOVE = 0, 1
KIBIBYTE = 1024


@pytest.fixture
def alter(request: pytest.FixtureRequest) -> Callable[..., Awaitable[ErrorCode]]:
    """``await alter(topic, segment_ms="5")`` or ``alter(client, ...)`` for all brokers; None removes."""
    is_external = request.config.getoption("--bootstrap-server") is not None

    async def alter(target: Topic | BrokerClient, **configs: str | None) -> ErrorCode:
        client = target.client if isinstance(target, Topic) else target
        resource = Resource(
            resource_type=TOPIC if isinstance(target, Topic) else BROKER,
            resource_name=target.name if isinstance(target, Topic) else "",
            configs=[
                Resource.AlterableConfig(
                    name=key.replace("_", "."), config_operation=REMOVE if value is None else SET, value=value
                )
                for key, value in configs.items()
            ],
        )
        request = IncrementalAlterConfigsRequest(resources=[resource])
        answer = await client.request(request, IncrementalAlterConfigsResponse)
        if is_external:
            await trio.sleep(0.3)  # Apache Kafka answers before it acts on it
        return ErrorCode(answer.responses[0].error_code)

    return alter


Alter = Callable[..., Awaitable[ErrorCode]]


def now_ms() -> int:
    return OsWorld().wall_clock_ms()


def records(*record_values: bytes, timestamp: int | None = None, **fields: object) -> bytearray:
    """All with one key; record n is n milliseconds later than the first."""
    first = now_ms() if timestamp is None else timestamp
    made = [Record(index, first + index, b"key", value, ()) for index, value in enumerate(record_values)]
    return build_batch(made, base_offset=0, **fields)  # type: ignore[arg-type]


def headers(answer: FetchAnswer) -> list[BatchHeader]:
    assert answer.records is not None
    return [header for _, header in iterate_batches(bytes(answer.records))]  # type: ignore[arg-type]


async def accepted(topic: Topic, data: bytearray) -> ProduceAnswer:
    answer = await topic.produce(data)
    assert answer.error_code == 0, answer
    return answer


async def start_offset(topic: Topic) -> int:
    answer = await topic.list_offset(-2)
    assert isinstance(answer.offset, int)
    return answer.offset


async def wait_for_start(topic: Topic, offset: int) -> None:
    """Until retention has moved the log start there."""
    with trio.fail_after(10):
        while await start_offset(topic) != offset:
            await trio.sleep(0.02)


async def delete_before(topic: Topic, offset: int) -> tuple[ErrorCode, int]:
    asked = DeleteRecordsRequest.DeleteRecordsTopic
    request = DeleteRecordsRequest(
        topics=[
            asked(
                name=topic.name,
                partitions=[asked.DeleteRecordsPartition(partition_index=0, offset=offset)],
            )
        ],
        timeout_ms=5000,
    )
    found = (await topic.client.request(request, DeleteRecordsResponse)).topics[0].partitions[0]
    return ErrorCode(found.error_code), found.low_watermark


RETENTION_CHECK = {"log__retention__check__interval__ms": "20"}


async def test_timestamp_type(connect: Connect, alter: Alter) -> None:
    async with connect() as client:
        topic = await Topic.create(client)
        created = now_ms() - 100_000
        await accepted(topic, records(b"a", b"b", timestamp=created))
        await alter(topic, message_timestamp_type="LogAppendTime")
        before = now_ms()
        answer = await accepted(topic, records(b"c", b"d", timestamp=created + 10))
        assert before <= answer.log_append_time_ms <= now_ms()
        # By the broker's clock only the appended ones are that late; the latest of all is the first of them.
        for asked in (created + 2, before, -3):
            found = await topic.list_offset(asked)
            assert (found.offset, found.timestamp) == (2, answer.log_append_time_ms), asked
        await alter(topic, message_timestamp_type="CreateTime")
        assert (await accepted(topic, records(b"e", timestamp=created + 20))).log_append_time_ms == -1
        types = [(header.timestamp_type, header.max_timestamp) for header in headers(await topic.fetch())]
        assert types == [(0, created + 1), (LOG_APPEND_TIME, answer.log_append_time_ms), (0, created + 20)]


async def test_timestamp_bounds(connect: Connect, alter: Alter) -> None:
    async with connect() as client:
        topic = await Topic.create(client)
        old = now_ms() - 100_000
        await accepted(topic, records(b"a", timestamp=old))
        await alter(topic, message_timestamp_before_max_ms="100001")
        answer = await topic.produce(records(b"a", b"b", timestamp=old - 1_000))
        assert answer.error_code == ErrorCode.INVALID_TIMESTAMP
        assert [error.batch_index for error in answer.record_errors] == [0, 1]
        soon = now_ms() + 100_000
        await accepted(topic, records(b"a", timestamp=soon))
        await alter(topic, message_timestamp_after_max_ms="50000")
        answer = await topic.produce(records(b"a", timestamp=soon))
        assert (answer.error_code, answer.base_offset) == (ErrorCode.INVALID_TIMESTAMP, -1)
        # What the producer says does not matter where the broker's clock counts.
        await alter(topic, message_timestamp_type="LogAppendTime")
        await accepted(topic, records(b"a", timestamp=old - 1_000))


async def test_compression(connect: Connect, alter: Alter) -> None:
    async with connect() as client:
        topic = await Topic.create(client)
        expected = []
        for setting, codec in (
            ("gzip", Compression.GZIP),
            ("snappy", Compression.SNAPPY),
            ("lz4", Compression.LZ4),
            ("zstd", Compression.ZSTD),
            ("uncompressed", Compression.NONE),
            ("producer", Compression.GZIP),
        ):
            await alter(topic, compression_type=setting)
            await accepted(topic, records(*[b"x" * 100] * 5, compression=Compression.GZIP))
            expected.append((codec, 5))
        answer = await topic.fetch()
        assert [(header.compression, header.record_count) for header in headers(answer)] == expected
        assert [offset for offset, _ in values(answer)] == list(range(30))


@pytest.mark.parametrize(
    ("codec", "low", "high"), [("gzip", "1", "9"), ("lz4", "1", "17"), ("zstd", "-5", "22")]
)
async def test_compression_level(connect: Connect, alter: Alter, codec: str, low: str, high: str) -> None:
    async with connect() as client:
        topic = await Topic.create(client, compression_type=codec)
        data = [os.urandom(40).hex().encode() + b"%d" % number for number in range(300)]
        for level in (low, high):
            assert await alter(topic, **{f"compression_{codec}_level": level}) is ErrorCode.NONE
            await accepted(topic, records(*data))
        small, large = sorted(header.size_bytes for header in headers(await topic.fetch()))
        assert small < large
        assert await alter(topic, **{f"compression_{codec}_level": "99"}) is ErrorCode.INVALID_CONFIG


async def test_max_message_bytes(connect: Connect, alter: Alter) -> None:
    async with connect() as client:
        topic = await Topic.create(client)
        await accepted(topic, records(b"x" * 5000))
        await alter(topic, max_message_bytes="1000")
        assert (await topic.produce(records(b"x" * 5000))).error_code == ErrorCode.MESSAGE_TOO_LARGE
        await accepted(topic, records(b"x" * 5000, compression=Compression.GZIP))
        # Counts after recompression, and before it.
        await alter(topic, compression_type="uncompressed")
        packed = records(b"x" * 5000, compression=Compression.GZIP)
        assert (await topic.produce(packed)).error_code == ErrorCode.MESSAGE_TOO_LARGE
        await alter(topic, compression_type="gzip")
        assert (await topic.produce(records(b"x" * 5000))).error_code == ErrorCode.MESSAGE_TOO_LARGE
        await alter(topic, max_message_bytes="6000")
        await accepted(topic, records(b"x" * 5000))
        # What is in the log is delivered whatever the limit says now.
        assert [offset for offset, _ in values(await topic.fetch(0, partition_max_bytes=100))] == [0]


async def test_segment_bytes(connect: Connect, alter: Alter) -> None:
    async with connect(**RETENTION_CHECK) as client:
        topic = await Topic.create(client)
        for _ in range(4):
            await accepted(topic, records(bytes(400 * KIBIBYTE)))
        await alter(topic, segment_bytes=str(1024 * KIBIBYTE))
        await accepted(topic, records(bytes(400 * KIBIBYTE)))  # does not fit into what there is
        await alter(topic, retention_bytes=str(300 * KIBIBYTE))
        await wait_for_start(topic, 4)


async def test_a_batch_larger_than_a_segment(connect: Connect, alter: Alter) -> None:
    async with connect() as client:
        topic = await Topic.create(client, max_message_bytes="3000000")
        data = os.urandom(2_000_000)
        await accepted(topic, records(data))
        await alter(topic, segment_bytes=str(1024 * KIBIBYTE))
        assert (await topic.produce(records(data))).error_code == ErrorCode.RECORD_LIST_TOO_LARGE
        assert values(await topic.fetch()) == [(0, data)]


@pytest.mark.parametrize("kind", ["CreateTime", "LogAppendTime"])
async def test_segment_ms(connect: Connect, alter: Alter, kind: str) -> None:
    async with connect(**RETENTION_CHECK) as client:
        topic = await Topic.create(client, message_timestamp_type=kind)
        first = now_ms() - 10_000
        await accepted(topic, records(b"a", timestamp=first))
        await alter(topic, segment_ms="300")
        await trio.sleep(0.31)
        if kind == "CreateTime":  # the producer's clock counts, not the time that has passed
            await accepted(topic, records(b"b", timestamp=first + 300))
            await accepted(topic, records(b"c", timestamp=first + 301))
        else:
            await accepted(topic, records(b"c", timestamp=first))
        end = (await topic.list_offset(-1)).offset
        await alter(topic, retention_bytes="1")
        await wait_for_start(topic, end - 1)


async def test_index_settings(connect: Connect, alter: Alter) -> None:
    async with connect(**RETENTION_CHECK) as client:
        topic = await Topic.create(client, segment_index_bytes="48", index_interval_bytes="1000000")
        first = now_ms()
        for number in range(10):
            await accepted(topic, records(b"x", timestamp=first + number))
        await alter(topic, index_interval_bytes="0")
        # The active segment keeps its interval, so it never fills its index.
        for number in range(10, 20):
            await accepted(topic, records(b"x", timestamp=first + number))
        await alter(topic, retention_bytes="1")
        await trio.sleep(0.4)
        assert await start_offset(topic) == 0
        await alter(topic, retention_bytes="0")
        await wait_for_start(topic, 20)
        await alter(topic, retention_bytes="-1")
        # The next one has the new interval: four entries of twelve bytes fill the time index.
        for number in range(20, 30):
            await accepted(topic, records(b"x", timestamp=first + number))
        await alter(topic, retention_bytes="1")
        with trio.fail_after(10):
            while await start_offset(topic) == 20:
                await trio.sleep(0.02)
        assert 20 < await start_offset(topic) < 30


async def test_retention_of_the_active_segment(connect: Connect, alter: Alter) -> None:
    async with connect(**RETENTION_CHECK) as client:
        topic = await Topic.create(client)
        await accepted(topic, records(b"old", timestamp=now_ms() - 100_000))
        await alter(topic, retention_ms="50000")
        await wait_for_start(topic, 1)
        assert (await accepted(topic, records(b"new"))).base_offset == 1
        assert values(await topic.fetch(1)) == [(1, b"new")]


async def test_retention_with_timestamps_of_the_future(connect: Connect, alter: Alter) -> None:
    async with connect(**RETENTION_CHECK) as client:
        topic = await Topic.create(client, retention_ms="1")
        await accepted(topic, records(b"a", timestamp=now_ms() + 1_000_000))
        await trio.sleep(0.4)
        assert await start_offset(topic) == 0
        assert await alter(topic, retention_ms="-2") is ErrorCode.INVALID_CONFIG


async def test_no_retention_and_then_some(connect: Connect, alter: Alter) -> None:
    async with connect(**RETENTION_CHECK) as client:
        topic = await Topic.create(client, retention_ms="-1")
        await accepted(topic, records(b"a", timestamp=now_ms() - 10**10))
        await trio.sleep(0.4)
        assert await start_offset(topic) == 0
        await alter(topic, retention_ms=None)  # the broker's week
        await wait_for_start(topic, 1)


async def test_retention_bytes(connect: Connect, alter: Alter) -> None:
    async with connect(**RETENTION_CHECK) as client:
        topic = await Topic.create(client, segment_bytes=str(1024 * KIBIBYTE))
        for _ in range(5):
            await accepted(topic, records(bytes(600 * KIBIBYTE)))
        await alter(topic, retention_bytes=str(1300 * KIBIBYTE))
        await wait_for_start(topic, 2)  # what remains without another one would be too little
        await alter(topic, retention_bytes="0")
        await wait_for_start(topic, 5)
        await alter(topic, retention_bytes="-1")
        await accepted(topic, records(b"x"))


async def test_cleanup_policy(connect: Connect, alter: Alter) -> None:
    async with connect(**RETENTION_CHECK) as client:
        topic = await Topic.create(client, cleanup_policy="compact", retention_ms="1000")
        await accepted(topic, records(b"a", timestamp=now_ms() - 100_000))
        await trio.sleep(0.4)
        assert await start_offset(topic) == 0
        keyless = build_batch([Record(0, now_ms(), None, b"no key", ())], base_offset=0)
        assert (await topic.produce(bytearray(keyless))).error_code == ErrorCode.INVALID_RECORD
        await alter(topic, cleanup_policy="delete")
        await wait_for_start(topic, 1)
        await accepted(topic, bytearray(keyless))


@pytest.mark.parametrize(
    ("policy", "outcome"),
    [
        ("compact", (ErrorCode.POLICY_VIOLATION, -1)),
        ("compact,delete", (ErrorCode.NONE, 1)),
        ("delete", (ErrorCode.NONE, 1)),
        ("", (ErrorCode.NONE, 1)),
    ],
)
async def test_delete_records_by_policy(
    connect: Connect, alter: Alter, policy: str, outcome: tuple[ErrorCode, int]
) -> None:
    async with connect() as client:
        topic = await Topic.create(client)
        await accepted(topic, records(b"a", b"b", b"c"))
        await alter(topic, cleanup_policy=policy)
        assert await delete_before(topic, 1) == outcome


async def test_delete_records_offsets(connect: Connect) -> None:
    async with connect() as client:
        topic = await Topic.create(client)
        for _ in range(5):
            await accepted(topic, records(b"a", b"b"))
        assert await delete_before(topic, 3) == (ErrorCode.NONE, 3)
        assert await delete_before(topic, 2) == (ErrorCode.NONE, 3)  # is gone already
        for offset in (11, -2, 1 << 40):
            assert await delete_before(topic, offset) == (ErrorCode.OFFSET_OUT_OF_RANGE, -1)
        answer = await topic.fetch(2)
        assert (answer.error_code, answer.high_watermark) == (ErrorCode.OFFSET_OUT_OF_RANGE, -1)
        assert values(await topic.fetch(3), 3)[0] == (3, b"b")
        assert (await accepted(topic, records(b"x"))).log_start_offset == 3
        assert await delete_before(topic, -1) == (ErrorCode.NONE, 11)
        assert (await topic.list_offset(-2)).offset == (await topic.list_offset(-1)).offset == 11


async def test_min_insync_replicas(connect: Connect, alter: Alter) -> None:
    """More than there are replicas count as all that there are (KIP-966 makes no difference to that)."""
    async with connect() as client:
        topic = await Topic.create(client)
        assert await alter(topic, min_insync_replicas="2") is ErrorCode.NONE
        await accepted(topic, records(b"a"))
        assert await alter(topic, min_insync_replicas="0") is ErrorCode.INVALID_CONFIG


async def test_flush_settings(connect: Connect, alter: Alter) -> None:
    async with connect() as client:
        topic = await Topic.create(client)
        for configs in ({"flush_messages": "1"}, {"flush_ms": "0"}, {"preallocate": "true"}):
            assert await alter(topic, **configs) is ErrorCode.NONE
            await accepted(topic, records(b"a"))
        assert await alter(topic, flush_messages="0") is ErrorCode.INVALID_CONFIG


@pytest.mark.parametrize(
    "removed",
    ["message.format.version", "message.timestamp.difference.max.ms", "message.downconversion.enable"],
)
async def test_what_kafka_4_has_no_more(connect: Connect, alter: Alter, removed: str) -> None:
    async with connect() as client:
        topic = await Topic.create(client)
        assert await alter(topic, **{removed.replace(".", "_"): "1"}) is ErrorCode.INVALID_CONFIG


async def test_topics_without_a_value_of_their_own_follow_the_broker(connect: Connect, alter: Alter) -> None:
    defaults = {
        "message_max_bytes": "500",
        "compression_type": "gzip",
        "log_message_timestamp_type": "LogAppendTime",
    }
    async with connect() as client:
        follows = await Topic.create(client)
        own = await Topic.create(
            client, max_message_bytes="9000", compression_type="lz4", message_timestamp_type="CreateTime"
        )
        try:
            await alter(client, **defaults)
            assert (await follows.produce(records(os.urandom(800)))).error_code == ErrorCode.MESSAGE_TOO_LARGE
            await accepted(own, records(os.urandom(800)))
            found = []
            for topic in (follows, own):
                answer = await accepted(topic, records(b"z" * 100))
                [header] = headers(await topic.fetch(answer.base_offset))
                found.append((header.compression, header.timestamp_type))
            assert found == [(Compression.GZIP, LOG_APPEND_TIME), (Compression.LZ4, 0)]
        finally:
            await alter(client, **dict.fromkeys(defaults))
        await accepted(follows, records(os.urandom(800)))
