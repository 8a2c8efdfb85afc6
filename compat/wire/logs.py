"""Records for cases: batches of the same bytes for both brokers, and requests that send and read them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from compat.wire.arrange import Place, Topic, topic_with
from compat.wire.scene import Scene
from wire.errors import ErrorCode
from wire.messages.fetch import FetchRequest, FetchResponse
from wire.messages.produce import ProduceRequest, ProduceResponse
from wire.records import Compression, Header, Record, build_batch
from wire.schema import ZERO_UUID

BASE_TIME_MS = time.time_ns() // 1_000_000_000 * 1_000 - 60_000
"""The time of first records: a minute before the run, so that no retention takes them for old."""
TIMEOUT_MS = 30_000
ALL, LEADER, NOBODY = -1, 1, 0
TOPIC_IDS_SINCE = 13
"""Of Produce and Fetch both."""
BYTES_MAX = 1 << 20

TopicData = ProduceRequest.TopicProduceData
PartitionData = ProduceRequest.TopicProduceData.PartitionProduceData
FetchTopic = FetchRequest.FetchTopic
FetchPartition = FetchRequest.FetchTopic.FetchPartition
Records = bytes | bytearray | None


def records(
    *values: bytes | None,
    keys: Sequence[bytes | None] | None = None,
    headers: tuple[Header, ...] = (),
    time_ms: int = BASE_TIME_MS,
) -> list[Record]:
    """One for each value, a millisecond apart."""
    return [
        Record(
            offset=index,
            timestamp=time_ms + index,
            key=None if keys is None else keys[index],
            value=value,
            headers=headers,
        )
        for index, value in enumerate(values)
    ]


def batch(*values: bytes | None, time_ms: int = BASE_TIME_MS, **options: object) -> bytearray:
    """A batch of records with these values; ``options`` as ``build_batch`` takes them."""
    return build_batch(records(*values, time_ms=time_ms), base_offset=0, **options)  # type: ignore[arg-type]


def patched(data: Records, at: int, replacement: bytes) -> bytearray:
    """A copy with other bytes in one place; the checksum stays as it was."""
    assert data is not None
    changed = bytearray(data)
    changed[at : at + len(replacement)] = replacement
    return changed


def topic_data(version: int, topic: Topic, partitions: Mapping[int, Records]) -> TopicData:
    """By name or by id, as the version has it."""
    data = [PartitionData(index=index, records=found) for index, found in partitions.items()]
    if version >= TOPIC_IDS_SINCE:
        return TopicData(topic_id=topic.topic_id, partition_data=data)
    return TopicData(name=topic.name, partition_data=data)


def produce(
    scene: Scene,
    topic: Topic,
    partitions: Mapping[int, Records] | Records,
    *,
    acks: int = ALL,
    timeout_ms: int = TIMEOUT_MS,
    transactional_id: str | None = None,
    version: int | None = None,
) -> ProduceRequest:
    """To one topic; records without a partition go to the first."""
    given = partitions if isinstance(partitions, Mapping) else {0: partitions}
    used = scene.version if version is None else version
    return ProduceRequest(
        transactional_id=transactional_id,
        acks=acks,
        timeout_ms=timeout_ms,
        topic_data=[topic_data(used, topic, given)],
    )


def produce_to(scene: Scene, to: Place, data: Records, **options: Any) -> ProduceRequest:
    """As ``produce``, to one partition."""
    return produce(scene, to.topic, {to.partition: data}, **options)


def append(
    scene: Scene, topic: Topic, data: Records, *, partition: int = 0, transactional_id: str | None = None
) -> int:
    """Put a batch into the log as a preparation; its base offset."""
    newest = ProduceRequest.max_version
    request = produce(scene, topic, {partition: data}, transactional_id=transactional_id, version=newest)
    answer = scene.call(request, ProduceResponse).responses[0].partition_responses[0]
    assert answer.error_code == ErrorCode.NONE, answer
    return answer.base_offset


def fetch_partition(
    offset: int = 0, *, index: int = 0, bytes_max: int = BYTES_MAX, **fields: int
) -> FetchPartition:
    return FetchPartition(partition=index, fetch_offset=offset, partition_max_bytes=bytes_max, **fields)


def fetch(
    scene: Scene,
    *topics: tuple[Topic, Sequence[FetchPartition]],
    version: int | None = None,
    wait_ms: int = 0,
    bytes_min: int = 0,
    bytes_max: int = 1 << 24,
    **fields: int,
) -> FetchRequest:
    """By names or ids, as the version has it; ``fields`` are others of the request."""
    by_id = (scene.version if version is None else version) >= TOPIC_IDS_SINCE
    return FetchRequest(
        max_wait_ms=wait_ms,
        min_bytes=bytes_min,
        max_bytes=bytes_max,
        topics=[
            FetchTopic(
                topic="" if by_id else topic.name,
                topic_id=topic.topic_id if by_id else ZERO_UUID,
                partitions=list(partitions),
            )
            for topic, partitions in topics
        ],
        **fields,
    )


def ask_for_all(
    scene: Scene, topic: Topic, *, partition: int = 0, read_committed: bool = False
) -> FetchResponse:
    """What the log holds, as an exchange that is compared."""
    newest = FetchRequest.max_version
    request = fetch(
        scene,
        (topic, [fetch_partition(index=partition)]),
        version=newest,
        isolation_level=1 if read_committed else 0,
    )
    return scene.ask(request, FetchResponse, version=newest)


def unknown(topic_id: UUID, name: str) -> Topic:
    """A topic that no broker has."""
    return Topic(name, topic_id, 0)


def standing_log(scene: Scene) -> Topic:
    """Three batches in partition 0, of 3, 2 and 1 records, 10 s apart; nothing in partition 1. Shared by all cases."""

    def make() -> Topic:
        topic = topic_with(scene, 2, "standing-log")
        append(scene, topic, batch(b"a", b"bb", b"ccc"))
        later = BASE_TIME_MS + 10_000
        append(scene, topic, batch(b"dddd", None, time_ms=later, compression=Compression.LZ4))
        append(scene, topic, batch(b"f" * 100, time_ms=later + 10_000))
        return topic

    return scene.side.once("standing log", make)
