"""Log directories over a real connection: moving replicas, cordoning, failed ones, deleted records after a crash."""

from __future__ import annotations

from pathlib import Path

import trio

from kbroker.client import BrokerClient
from tests.kbroker.simulated_machine import produce, read_all
from tests.kbroker.test_data_path import Topic, values
from tests.running_broker import batch, create_topic, running_broker
from wire.errors import ErrorCode
from wire.messages.configs import IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse
from wire.messages.log_dirs import (
    AlterReplicaLogDirsRequest,
    AlterReplicaLogDirsResponse,
    DescribeLogDirsRequest,
    DescribeLogDirsResponse,
)
from wire.messages.offsets import DeleteRecordsRequest, DeleteRecordsResponse
from wire.messages.topics import DeleteTopicsRequest, DeleteTopicsResponse

Where = list[tuple[str, int, bool]]
RATE = "replica.alter.log.dirs.io.max.bytes.per.second"


def two(path: Path) -> dict[str, str]:
    return {"log__dirs": f"{path / '1'},{path / '2'}"}


async def move(client: BrokerClient, topic: str, path: Path, index: int = 0) -> ErrorCode:
    directory = AlterReplicaLogDirsRequest.AlterReplicaLogDir
    asked = directory(
        path=str(path), topics=[directory.AlterReplicaLogDirTopic(name=topic, partitions=[index])]
    )
    answer = await client.request(AlterReplicaLogDirsRequest(dirs=[asked]), AlterReplicaLogDirsResponse)
    return ErrorCode(answer.results[0].partitions[0].error_code)


async def where(client: BrokerClient, topic: str) -> Where:
    """(directory, offset lag, whether it is a future replica) of partition 0."""
    answer = await client.request(DescribeLogDirsRequest(topics=None), DescribeLogDirsResponse)
    return [
        (Path(result.log_dir).name, partition.offset_lag, partition.is_future_key)
        for result in answer.results
        for each in result.topics
        for partition in each.partitions
        if (each.name, partition.partition_index) == (topic, 0)
    ]


async def configure(client: BrokerClient, name: str, value: str) -> None:
    resource = IncrementalAlterConfigsRequest.AlterConfigsResource
    request = IncrementalAlterConfigsRequest(
        resources=[
            resource(
                resource_type=4,
                resource_name="1",
                configs=[resource.AlterableConfig(name=name, config_operation=0, value=value)],
            )
        ]
    )
    answer = await client.request(request, IncrementalAlterConfigsResponse)
    assert answer.responses[0].error_code == 0, answer


async def test_a_replica_is_moved_while_it_is_described_and_used(tmp_path: Path) -> None:
    async with running_broker(tmp_path, **two(tmp_path)) as broker, await broker.client() as client:
        await configure(client, RATE, "0")
        assert await move(client, "t", tmp_path / "1") is ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
        topic = await Topic.create(client)
        [(source, _, _)] = await where(client, topic.name)
        target = "2" if source == "1" else "1"
        await topic.produce(batch(b"a"))
        assert await move(client, topic.name, tmp_path / target) is ErrorCode.NONE
        await topic.produce(batch(b"b"))
        assert sorted(await where(client, topic.name)) == sorted([(source, 0, False), (target, 2, True)])
        await configure(client, RATE, "1000000")
        with trio.fail_after(5):
            while await where(client, topic.name) != [(target, 0, False)]:
                await trio.sleep(0.01)
        await topic.produce(batch(b"c"))
        assert values(await topic.fetch()) == [(0, b"a"), (1, b"b"), (2, b"c")]
    async with running_broker(tmp_path, **two(tmp_path)) as broker, await broker.client() as client:
        assert await where(client, topic.name) == [(target, 0, False)]


async def test_cordoned_directories(tmp_path: Path) -> None:
    async with running_broker(tmp_path, **two(tmp_path)) as broker, await broker.client() as client:
        await configure(client, "cordoned.log.dirs", str(tmp_path / "1"))
        answer = await client.request(DescribeLogDirsRequest(topics=[]), DescribeLogDirsResponse)
        assert [result.is_cordoned for result in answer.results] == [True, False]
        for _ in range(3):
            topic = await Topic.create(client)
            assert await where(client, topic.name) == [("2", 0, False)]
        assert await move(client, topic.name, tmp_path / "1") is ErrorCode.INVALID_REPLICA_ASSIGNMENT


async def test_a_log_in_a_directory_that_is_offline_at_the_start_is_not_made_anew(tmp_path: Path) -> None:
    async with running_broker(tmp_path, **two(tmp_path)) as broker, await broker.client() as client:
        await configure(client, "cordoned.log.dirs", str(tmp_path / "1"))
        topic = await Topic.create(client)
        await topic.produce(batch(b"a"))
    (tmp_path / "2").rename(tmp_path / "away")
    (tmp_path / "2").write_text("not a directory")
    async with running_broker(tmp_path, **two(tmp_path)) as broker, await broker.client() as client:
        there = Topic(client, topic.name, topic.topic_id)
        assert (await there.produce(batch(b"b"))).error_code == ErrorCode.KAFKA_STORAGE_ERROR
        await configure(client, "cordoned.log.dirs", "")
        assert await move(client, topic.name, tmp_path / "1") is ErrorCode.KAFKA_STORAGE_ERROR
        other = await Topic.create(client)  # a new one can have no log there
        assert (await other.produce(batch(b"c"))).error_code == 0
    (tmp_path / "2").unlink()
    (tmp_path / "away").rename(tmp_path / "2")
    async with running_broker(tmp_path, **two(tmp_path)) as broker, await broker.client() as client:
        assert values(await Topic(client, topic.name, topic.topic_id).fetch()) == [(0, b"a")]


async def test_a_topic_that_was_made_anew_while_a_directory_was_offline(tmp_path: Path) -> None:
    async with running_broker(tmp_path, **two(tmp_path)) as broker, await broker.client() as client:
        await configure(client, "cordoned.log.dirs", str(tmp_path / "1"))
        await create_topic(client, "t")
        assert await where(client, "t") == [("2", 0, False)]
        await configure(client, "cordoned.log.dirs", "")
        await produce(client, 0, b"old")
    (tmp_path / "2").rename(tmp_path / "away")
    (tmp_path / "2").write_text("not a directory")
    async with running_broker(tmp_path, **two(tmp_path)) as broker, await broker.client() as client:
        request = DeleteTopicsRequest(
            topics=[DeleteTopicsRequest.DeleteTopicState(name="t")], timeout_ms=5000
        )
        assert (await client.request(request, DeleteTopicsResponse)).responses[0].error_code == 0
        await create_topic(client, "t")
        assert (await produce(client, 0, b"new"))[0] is ErrorCode.NONE
    (tmp_path / "2").unlink()
    (tmp_path / "away").rename(tmp_path / "2")
    async with running_broker(tmp_path, **two(tmp_path)) as broker, await broker.client() as client:
        assert await where(client, "t") == [("1", 0, False)]
        assert await read_all(client, 0) == {(0, 0): b"new"}
    assert [path.name for path in (tmp_path / "2").glob("t-0*-stray")] != []


async def test_deleted_records_stay_deleted_after_a_crash(tmp_path: Path) -> None:
    async with running_broker(tmp_path) as broker, await broker.client() as client:
        topic = await Topic.create(client)
        await topic.produce(batch(b"a", b"b", b"c"))
        asked = DeleteRecordsRequest.DeleteRecordsTopic
        request = DeleteRecordsRequest(
            topics=[
                asked(name=topic.name, partitions=[asked.DeleteRecordsPartition(partition_index=0, offset=2)])
            ],
            timeout_ms=5000,
        )
        await client.request(request, DeleteRecordsResponse)
        # This is all that a killed broker knows of it when it starts again.
        assert (tmp_path / "log-start-offset-checkpoint").read_text() == f"0\n1\n{topic.name} 0 2\n"
