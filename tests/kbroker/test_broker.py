"""A broker from start to stop, and from one start to the next."""

from __future__ import annotations

import uuid
from base64 import urlsafe_b64encode
from pathlib import Path

import pytest
import trio

from kbroker.broker import Broker, StartError
from kbroker.client import BrokerClient
from kbroker.config.broker_config import BrokerConfig
from kbroker.metadata import keys
from kbroker.metadata.image import NO_LEADER
from kbroker.metadata.store import Put
from kbroker.os_world import OsWorld
from kbroker.replication.replica_manager import NoLogDirectoryLeft
from storage.errors import StorageError
from storage.log_manager import LogManager
from tests.running_broker import batch, create_topic, running_broker
from wire.errors import ErrorCode
from wire.messages.configs import IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse
from wire.messages.fetch import FetchRequest, FetchResponse
from wire.messages.metadata import MetadataRequest, MetadataResponse
from wire.messages.offsets import ListOffsetsRequest, ListOffsetsResponse
from wire.messages.produce import ProduceRequest, ProduceResponse
from wire.messages.producer_ids import InitProducerIdRequest, InitProducerIdResponse
from wire.messages.topics import DeleteTopicsRequest, DeleteTopicsResponse

TOPIC_RESOURCE = 2
SET = 0


async def produce(client: BrokerClient, topic: str, records: bytearray, acks: int = -1) -> tuple[int, int]:
    data = ProduceRequest.TopicProduceData(
        name=topic,
        partition_data=[ProduceRequest.TopicProduceData.PartitionProduceData(index=0, records=records)],
    )
    request = ProduceRequest(acks=acks, timeout_ms=5000, topic_data=[data])
    response = await client.request(request, ProduceResponse, version=12)
    answer = response.responses[0].partition_responses[0]
    return answer.error_code, answer.base_offset


async def end_offset(client: BrokerClient, topic: str, timestamp: int = -1) -> int:
    asked = ListOffsetsRequest.ListOffsetsTopic(
        name=topic,
        partitions=[
            ListOffsetsRequest.ListOffsetsTopic.ListOffsetsPartition(partition_index=0, timestamp=timestamp)
        ],
    )
    response = await client.request(ListOffsetsRequest(replica_id=-1, topics=[asked]), ListOffsetsResponse)
    answer = response.topics[0].partitions[0]
    return answer.offset if answer.error_code == 0 else -100 - answer.error_code


async def metadata(client: BrokerClient) -> MetadataResponse:
    return await client.request(MetadataRequest(topics=None), MetadataResponse)


async def test_what_was_written_is_there_after_a_restart(tmp_path: Path) -> None:
    async with running_broker(tmp_path) as broker, await broker.client() as client:
        created = await create_topic(client, "t", 3)
        assert await produce(client, "t", batch(b"a", b"b")) == (0, 0)
        before = await metadata(client)
    async with running_broker(tmp_path) as broker, await broker.client() as client:
        after = await metadata(client)
        assert after.cluster_id == before.cluster_id
        assert [(topic.name, topic.topic_id, len(topic.partitions)) for topic in after.topics] == [
            ("t", created.topic_id, 3)
        ]
        assert await end_offset(client, "t") == 2
        assert await produce(client, "t", batch(b"c")) == (0, 2)


async def test_a_retry_after_a_restart_is_recognised(tmp_path: Path) -> None:
    async with running_broker(tmp_path) as broker, await broker.client() as client:
        await create_topic(client, "t")
        given = await client.request(InitProducerIdRequest(transactional_id=None), InitProducerIdResponse)
        sent = {"producer_id": given.producer_id, "producer_epoch": 0, "base_sequence": 0}
        # A producer is forgotten a day (producer.id.expiration.ms) after the timestamp of its last record.
        sent["timestamp_ms"] = OsWorld().wall_clock_ms()
        assert await produce(client, "t", batch(b"a", **sent)) == (0, 0)
    async with running_broker(tmp_path) as broker, await broker.client() as client:
        assert await produce(client, "t", batch(b"a", **sent)) == (0, 0)
        assert await end_offset(client, "t") == 1
        fresh = await client.request(InitProducerIdRequest(transactional_id=None), InitProducerIdResponse)
        assert fresh.producer_id != given.producer_id


async def test_a_deleted_topic_stays_deleted(tmp_path: Path) -> None:
    async with running_broker(tmp_path) as broker, await broker.client() as client:
        await create_topic(client, "t")
        await produce(client, "t", batch(b"a"))
        request = DeleteTopicsRequest(
            topics=[DeleteTopicsRequest.DeleteTopicState(name="t")], timeout_ms=5000
        )
        response = await client.request(request, DeleteTopicsResponse)
        assert response.responses[0].error_code == 0
        assert await produce(client, "t", batch(b"a")) == (ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, -1)
        assert await end_offset(client, "t") == -100 - ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
    async with running_broker(tmp_path) as broker, await broker.client() as client:
        assert (await metadata(client)).topics == []
        await create_topic(client, "t")
        assert await end_offset(client, "t") == 0


async def test_a_second_broker_on_the_same_directory_is_refused(tmp_path: Path) -> None:
    async with running_broker(tmp_path):
        with pytest.RaisesGroup(pytest.RaisesExc(StartError, match=str(tmp_path)), flatten_subgroups=True):
            async with running_broker(tmp_path):
                pytest.fail("two brokers on one directory")
    async with running_broker(tmp_path):
        pass


async def test_a_port_in_use_is_refused_by_name(tmp_path: Path) -> None:
    async with running_broker(tmp_path / "a") as broker:
        taken = f"PLAINTEXT://127.0.0.1:{broker.port}"
        with pytest.RaisesGroup(pytest.RaisesExc(StartError, match=str(broker.port)), flatten_subgroups=True):
            async with running_broker(tmp_path / "b", listeners=taken):
                pytest.fail("two brokers on one port")


async def test_another_node_id_is_refused(tmp_path: Path) -> None:
    async with running_broker(tmp_path, node__id="1"):
        pass
    with pytest.RaisesGroup(pytest.RaisesExc(StartError, match="node"), flatten_subgroups=True):
        async with running_broker(tmp_path, node__id="2"):
            pytest.fail("another broker's data was taken over")


async def test_several_listeners_are_told_apart(tmp_path: Path) -> None:
    settings = {
        "listeners": "PLAINTEXT://127.0.0.1:0,OTHER://127.0.0.1:0",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,OTHER:PLAINTEXT",
        "advertised.listeners": "PLAINTEXT://plain.example:1111,OTHER://other.example:2222",
        "log.dirs": str(tmp_path),
    }
    broker = Broker(config=BrokerConfig(settings), world=OsWorld())
    told = {}
    async with trio.open_nursery() as nursery:
        ready = await nursery.start(broker.run)
        for name, address in ready.listeners.items():
            async with await BrokerClient.connect(OsWorld().network, "127.0.0.1", address.port) as client:
                node = (await metadata(client)).brokers[0]
                told[name] = (node.host, node.port)
        broker.stop()
    assert told == {"PLAINTEXT": ("plain.example", 1111), "OTHER": ("other.example", 2222)}


async def test_without_advertised_listeners_a_client_is_told_the_address_it_used(tmp_path: Path) -> None:
    async with running_broker(tmp_path, listeners="PLAINTEXT://0.0.0.0:0") as broker:
        for host in ("127.0.0.1", "127.0.0.2"):
            async with await BrokerClient.connect(OsWorld().network, host, broker.port) as client:
                node = (await metadata(client)).brokers[0]
                assert (node.host, node.port) == (host, broker.port)


async def test_a_topics_config_takes_effect_at_once(tmp_path: Path) -> None:
    async with running_broker(tmp_path) as broker, await broker.client() as client:
        await create_topic(client, "t")
        large = batch(b"x" * 5000)
        assert (await produce(client, "t", bytearray(large)))[0] == 0
        resource = IncrementalAlterConfigsRequest.AlterConfigsResource(
            resource_type=TOPIC_RESOURCE,
            resource_name="t",
            configs=[
                IncrementalAlterConfigsRequest.AlterConfigsResource.AlterableConfig(
                    name="max.message.bytes", config_operation=SET, value="1000"
                )
            ],
        )
        altered = await client.request(
            IncrementalAlterConfigsRequest(resources=[resource]), IncrementalAlterConfigsResponse
        )
        assert altered.responses[0].error_code == 0
        assert (await produce(client, "t", bytearray(large)))[0] == ErrorCode.MESSAGE_TOO_LARGE


async def test_stopping_answers_long_polls_at_once(tmp_path: Path) -> None:
    async with running_broker(tmp_path) as broker, await broker.client() as client:
        await create_topic(client, "t")
        topic = FetchRequest.FetchTopic(
            topic="t",
            partitions=[FetchRequest.FetchTopic.FetchPartition(partition=0, partition_max_bytes=1000)],
        )
        request = FetchRequest(max_wait_ms=60_000, min_bytes=1, topics=[topic])
        answered = trio.Event()

        async def poll() -> None:
            response = await client.request(request, FetchResponse, version=12)
            assert response.error_code == 0
            answered.set()

        with trio.fail_after(5):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(poll)
                await trio.sleep(0.05)
                broker.broker.stop()
                await broker.broker.wait_stopped()
        assert answered.is_set()


async def test_retention_removes_old_segments_while_the_broker_runs(tmp_path: Path) -> None:
    fast = {"log__retention__check__interval__ms": "50", "log__segment__delete__delay__ms": "0"}
    async with running_broker(tmp_path, **fast) as broker, await broker.client() as client:
        await create_topic(client, "t", configs={"segment.bytes": "1048576", "retention.bytes": "1048576"})
        for _ in range(4):
            assert (await produce(client, "t", batch(b"x" * 700_000)))[0] == 0
        with trio.fail_after(10):
            while await end_offset(client, "t", timestamp=-2) == 0:
                await trio.sleep(0.02)
        assert await end_offset(client, "t") == 4


async def test_a_stray_log_does_not_stand_in_the_way(tmp_path: Path) -> None:
    async with running_broker(tmp_path) as broker, await broker.client() as client:
        await create_topic(client, "t")
    stray = tmp_path / "u-0"
    stray.mkdir()
    topic_id = uuid.uuid4()
    (stray / "partition.metadata").write_text(f"version: 0\ntopic_id: {_text(topic_id)}")
    async with running_broker(tmp_path) as broker, await broker.client() as client:
        await create_topic(client, "u")
        assert await produce(client, "u", batch(b"a")) == (0, 0)


async def test_the_log_of_a_former_topic_makes_way_for_the_one_that_took_its_name(tmp_path: Path) -> None:
    async with running_broker(tmp_path) as broker, await broker.client() as client:
        await create_topic(client, "t")
        assert await produce(client, "t", batch(b"a")) == (0, 0)
    (tmp_path / "t-0" / "partition.metadata").write_text(f"version: 0\ntopic_id: {_text(uuid.uuid4())}")
    async with running_broker(tmp_path) as broker, await broker.client() as client:
        assert await produce(client, "t", batch(b"b")) == (0, 0)
    assert list(tmp_path.glob("t-0.*-stray"))  # nobody knows it, so nothing of it is lost


def _text(topic_id: uuid.UUID) -> str:
    return urlsafe_b64encode(topic_id.bytes).rstrip(b"=").decode()


async def test_a_broker_whose_only_log_directory_failed_ends(tmp_path: Path) -> None:
    world = OsWorld()
    broker = Broker(
        config=BrokerConfig({"listeners": "PLAINTEXT://127.0.0.1:0", "log.dirs": str(tmp_path)}), world=world
    )
    logs: list[LogManager] = []
    with pytest.RaisesGroup(NoLogDirectoryLeft, flatten_subgroups=True), trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            with pytest.MonkeyPatch.context() as patch:
                locked = LogManager.lock
                patch.setattr(
                    LogManager,
                    "lock",
                    lambda self, cluster_id: (logs.append(self), locked(self, cluster_id))[1],
                )
                ready = await nursery.start(broker.run)
            port = next(iter(ready.listeners.values())).port
            async with await BrokerClient.connect(world.network, "127.0.0.1", port) as client:
                await create_topic(client, "t")
                (log,) = [log for name, log in logs[0].logs.items() if name.topic == "t"]

                def broken(*_: object, **__: object) -> None:
                    raise StorageError(log.log_directory, "cannot append", OSError(5, "I/O error"))

                log.append_as_leader = broken  # type: ignore[assignment, method-assign]
                assert (await produce(client, "t", batch(b"a")))[0] == ErrorCode.KAFKA_STORAGE_ERROR


async def test_a_whole_replica_that_is_said_to_be_given_up_is_reclaimed(tmp_path: Path) -> None:
    """The last words of the life before, which come when this one has been started."""
    async with running_broker(tmp_path) as running, await running.client() as client:
        await create_topic(client, "t")
        assert (await produce(client, "t", batch(b"x")))[0] == 0
        parts = running.broker._parts
        assert parts is not None
        topic = parts.image().topics["t"]
        given_up = topic.partitions[0]._replace(
            replicas=(1, 2),
            in_sync_replicas=(),
            leader=NO_LEADER,
            leader_epoch=1,
            partition_epoch=1,
            last_known_eligible_leader_replicas=(1,),
        )
        key = keys.partition_key(topic.topic_id, 0)
        assert (await parts.store.transact([], [Put(key, keys.encode_partition(given_up))])).succeeded
        with trio.fail_after(10):
            while (await end_offset(client, "t")) != 1:
                await trio.sleep(0.02)
        assert parts.image().topics["t"].partitions[0].in_sync_replicas == (1,)
