"""aiokafka behind the cases' interface: every client lives in an ``asyncio.run`` of a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, TypeVar

import aiokafka
from aiokafka import errors as aiokafka_errors
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic, RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment

from tests.e2e.clients.interface import (
    Closing,
    Cluster,
    Consumed,
    GroupDescription,
    KafkaFailure,
    Message,
    PartitionDescription,
    Placed,
    Setting,
    TopicPartition,
)

_ASSIGNORS = {
    "range": RangePartitionAssignor,
    "roundrobin": RoundRobinPartitionAssignor,
    "sticky": StickyPartitionAssignor,
}
_DEADLINE_S = 40.0
ResultT = TypeVar("ResultT")


class AiokafkaClient:
    name = "aiokafka"

    def admin(self, bootstrap_server: str) -> AiokafkaAdmin:
        return AiokafkaAdmin(bootstrap_server)

    def producer(
        self, bootstrap_server: str, settings: Mapping[str, Setting] | None = None
    ) -> AiokafkaProducer:
        return AiokafkaProducer(_configuration(bootstrap_server, settings))

    def transactional_producer(
        self, bootstrap_server: str, transactional_id: str, settings: Mapping[str, Setting] | None = None
    ) -> AiokafkaTransactionalProducer:
        configuration = _configuration(bootstrap_server, settings)
        return AiokafkaTransactionalProducer({**configuration, "transactional_id": transactional_id})

    def consumer(
        self, bootstrap_server: str, group: str | None = None, settings: Mapping[str, Setting] | None = None
    ) -> AiokafkaConsumer:
        return AiokafkaConsumer({**_configuration(bootstrap_server, settings), "group_id": group})


def _configuration(bootstrap_server: str, settings: Mapping[str, Setting] | None) -> dict[str, Any]:
    configuration: dict[str, Any] = {"bootstrap_servers": bootstrap_server}
    for name, value in (settings or {}).items():
        key = name.replace(".", "_")
        if key == "partition_assignment_strategy":
            configuration[key] = (_ASSIGNORS[str(value)],)
        elif name == "compression.type":
            configuration[key] = None if value == "none" else value
        else:
            configuration[key] = value
    return configuration


class _EventLoop:
    """An event loop that runs on in its own thread, so that heartbeats go on between two calls of a case."""

    def __init__(self) -> None:
        self._started = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._thread = threading.Thread(target=self._run, name="aiokafka", daemon=True)
        self._thread.start()
        self._started.wait()

    def _run(self) -> None:
        asyncio.run(self._main())

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        self._started.set()
        await self._stop.wait()

    def call(self, function: Callable[[], Awaitable[ResultT]], *, deadline_s: float = _DEADLINE_S) -> ResultT:
        async def run() -> ResultT:
            return await asyncio.wait_for(_awaited(function), deadline_s)

        assert self._loop is not None
        try:
            return asyncio.run_coroutine_threadsafe(run(), self._loop).result(deadline_s + 5.0)
        except aiokafka_errors.KafkaError as error:
            code = getattr(error, "errno", None)
            raise KafkaFailure(code if isinstance(code, int) else -1000, repr(error)) from error

    def close(self) -> None:
        assert self._loop is not None and self._stop is not None
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(_DEADLINE_S)


async def _awaited(function: Callable[[], Awaitable[ResultT]]) -> ResultT:
    return await function()


def _check(code: int, message: str = "") -> None:
    if code != 0:
        raise KafkaFailure(code, message)


class AiokafkaAdmin(Closing):
    def __init__(self, bootstrap_server: str) -> None:
        self._loop = _EventLoop()
        self._admin = self._loop.call(lambda: self._start(bootstrap_server))

    @staticmethod
    async def _start(bootstrap_server: str) -> AIOKafkaAdminClient:
        admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_server)
        await admin.start()
        return admin

    def close(self) -> None:
        self._loop.call(self._admin.close)
        self._loop.close()

    def create_topic(
        self,
        topic: str,
        partitions: int = 1,
        *,
        replication_factor: int = 1,
        configs: Mapping[str, str] | None = None,
        validate_only: bool = False,
    ) -> None:
        new = NewTopic(topic, partitions, replication_factor, topic_configs=dict(configs or {}))
        answer = self._loop.call(lambda: self._admin.create_topics([new], validate_only=validate_only))
        for _name, code, *rest in answer.topic_errors:
            _check(code, str(rest))

    def delete_topic(self, topic: str) -> None:
        answer = self._loop.call(lambda: self._admin.delete_topics([topic]))
        for _name, code in answer.topic_error_codes:
            _check(code)

    def list_topics(self) -> set[str]:
        return set(self._loop.call(self._admin.list_topics))

    def describe_topic(self, topic: str) -> list[PartitionDescription]:
        (description,) = self._loop.call(lambda: self._admin.describe_topics([topic]))
        _check(description["error_code"])
        return sorted(
            (
                PartitionDescription(
                    partition["partition"],
                    partition["leader"],
                    tuple(partition["replicas"]),
                    tuple(partition["isr"]),
                )
                for partition in description["partitions"]
            ),
            key=lambda partition: partition.partition,
        )

    def describe_cluster(self) -> Cluster:
        description = self._loop.call(self._admin.describe_cluster)
        brokers = {broker["node_id"]: (broker["host"], broker["port"]) for broker in description["brokers"]}
        return Cluster(description["cluster_id"], description["controller_id"], brokers)

    def create_partitions(self, topic: str, total: int) -> None:
        self._loop.call(lambda: self._admin.create_partitions({topic: NewPartitions(total)}))

    def describe_topic_configs(self, topic: str) -> dict[str, str | None]:
        resource = ConfigResource(ConfigResourceType.TOPIC, topic)
        (answer,) = self._loop.call(lambda: self._admin.describe_configs([resource]))
        ((code, message, _type, _name, entries),) = answer.resources
        _check(code, message)
        return {entry[0]: entry[1] for entry in entries}

    def alter_topic_config(self, topic: str, name: str, value: str) -> None:
        # aiokafka has AlterConfigs only, which replaces all of a topic's configs.
        resource = ConfigResource(ConfigResourceType.TOPIC, topic, {name: value})
        (answer,) = self._loop.call(lambda: self._admin.alter_configs([resource]))
        for code, message, *_ in answer.resources:
            _check(code, message)

    def delete_records(self, partition: TopicPartition, before_offset: int) -> int:
        asked = aiokafka.TopicPartition(*partition)
        answer = self._loop.call(lambda: self._admin.delete_records({asked: RecordsToDelete(before_offset)}))
        return int(answer[asked])

    def list_groups(self) -> set[str]:
        return {group[0] for group in self._loop.call(self._admin.list_consumer_groups)}

    def describe_group(self, group: str) -> GroupDescription:
        (answer,) = self._loop.call(lambda: self._admin.describe_consumer_groups([group]))
        (description,) = (item for item in answer.to_object()["groups"])
        members = description["members"]
        return GroupDescription(
            state=description["state"],
            protocol=description["protocol"],
            assignments={member["member_id"]: _assigned(member["member_assignment"]) for member in members},
            instance_ids=frozenset(
                member["group_instance_id"] for member in members if member.get("group_instance_id")
            ),
            client_ids=frozenset(member["client_id"] for member in members),
        )

    def group_offsets(self, group: str) -> dict[TopicPartition, int]:
        answer = self._loop.call(lambda: self._admin.list_consumer_group_offsets(group))
        return {TopicPartition(*partition): offset.offset for partition, offset in answer.items()}


def _assigned(assignment: bytes) -> frozenset[TopicPartition]:
    if not assignment:
        return frozenset()
    decoded = ConsumerProtocolMemberAssignment.decode(assignment)
    return frozenset(
        TopicPartition(topic, partition)
        for topic, partitions in decoded.assignment
        for partition in partitions
    )


class AiokafkaProducer(Closing):
    def __init__(self, configuration: dict[str, Any]) -> None:
        self._loop = _EventLoop()
        self._producer = self._loop.call(lambda: self._start(configuration))

    @staticmethod
    async def _start(configuration: dict[str, Any]) -> aiokafka.AIOKafkaProducer:
        producer = aiokafka.AIOKafkaProducer(**configuration)
        await producer.start()
        return producer

    def close(self) -> None:
        self._loop.call(self._producer.stop)
        self._loop.close()

    def send(self, topic: str, messages: Iterable[Message], *, deadline_s: float = 60.0) -> list[Placed]:
        async def send_all() -> list[Placed]:
            futures = [
                await self._producer.send(
                    topic,
                    message.value,
                    message.key,
                    partition=message.partition,
                    timestamp_ms=message.timestamp_ms,
                    headers=list(message.headers),
                )
                for message in messages
            ]
            answers = await asyncio.gather(*futures)
            # Without acknowledgements there is no answer either.
            return [
                Placed(-1, -1) if answer is None else Placed(answer.partition, answer.offset)
                for answer in answers
            ]

        return self._loop.call(send_all, deadline_s=deadline_s)


class AiokafkaTransactionalProducer(AiokafkaProducer):
    """Its ``start`` has initialised the transactional id. It knows a group by its id alone (no KIP-447)."""

    def begin(self) -> None:
        self._loop.call(self._producer.begin_transaction)

    def send_offsets(self, offsets: Mapping[TopicPartition, int], group: object) -> None:
        positions = {aiokafka.TopicPartition(*partition): offset for partition, offset in offsets.items()}
        self._loop.call(lambda: self._producer.send_offsets_to_transaction(positions, group))

    def commit(self) -> None:
        self._loop.call(self._producer.commit_transaction)

    def abort(self) -> None:
        self._loop.call(self._producer.abort_transaction)


class AiokafkaConsumer(Closing):
    def __init__(self, configuration: dict[str, Any]) -> None:
        self._group = configuration["group_id"]
        self._loop = _EventLoop()
        self._consumer = self._loop.call(lambda: self._start(configuration))
        self._closed = False

    @staticmethod
    async def _start(configuration: dict[str, Any]) -> aiokafka.AIOKafkaConsumer:
        consumer = aiokafka.AIOKafkaConsumer(**configuration)
        await consumer.start()
        return consumer

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._loop.call(self._consumer.stop)
            self._loop.close()

    def _inside(self, function: Callable[[], ResultT]) -> ResultT:
        """Call a plain function of the client on its own loop."""

        async def run() -> ResultT:
            return function()

        return self._loop.call(run)

    def subscribe(self, *topics: str) -> None:
        self._inside(lambda: self._consumer.subscribe(topics=list(topics)))

    def assign(self, *partitions: TopicPartition) -> None:
        asked = [aiokafka.TopicPartition(*partition) for partition in partitions]
        self._inside(lambda: self._consumer.assign(asked))

    def assignment(self) -> set[TopicPartition]:
        return {TopicPartition(*partition) for partition in self._inside(self._consumer.assignment)}

    def poll(self, timeout_s: float = 0.1) -> list[Consumed]:
        fetched = self._loop.call(lambda: self._consumer.getmany(timeout_ms=int(timeout_s * 1000)))
        return [_consumed(record) for records in fetched.values() for record in records]

    def seek(self, partition: TopicPartition, offset: int) -> None:
        self._inside(lambda: self._consumer.seek(aiokafka.TopicPartition(*partition), offset))

    def seek_to_beginning(self, partition: TopicPartition) -> None:
        self._loop.call(lambda: self._consumer.seek_to_beginning(aiokafka.TopicPartition(*partition)))

    def seek_to_end(self, partition: TopicPartition) -> None:
        self._loop.call(lambda: self._consumer.seek_to_end(aiokafka.TopicPartition(*partition)))

    def position(self, partition: TopicPartition) -> int:
        return int(self._loop.call(lambda: self._consumer.position(aiokafka.TopicPartition(*partition))))

    def offset_for_time(self, partition: TopicPartition, timestamp_ms: int) -> int | None:
        asked = aiokafka.TopicPartition(*partition)
        answer = self._loop.call(lambda: self._consumer.offsets_for_times({asked: timestamp_ms}))[asked]
        return None if answer is None else int(answer.offset)

    def beginning_offset(self, partition: TopicPartition) -> int:
        asked = aiokafka.TopicPartition(*partition)
        return int(self._loop.call(lambda: self._consumer.beginning_offsets([asked]))[asked])

    def end_offset(self, partition: TopicPartition) -> int:
        asked = aiokafka.TopicPartition(*partition)
        return int(self._loop.call(lambda: self._consumer.end_offsets([asked]))[asked])

    def commit(self) -> None:
        self._loop.call(self._consumer.commit)

    def committed(self, partition: TopicPartition) -> int | None:
        asked = aiokafka.TopicPartition(*partition)
        offset = self._loop.call(lambda: self._consumer.committed(asked))
        return None if offset is None else int(offset)

    def group_metadata(self) -> object:
        return self._group


def _consumed(record: Any) -> Consumed:
    return Consumed(
        record.topic,
        record.partition,
        record.offset,
        record.timestamp,
        record.key,
        record.value,
        tuple((name, value) for name, value in record.headers),
    )
