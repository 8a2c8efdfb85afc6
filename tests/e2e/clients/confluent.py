"""confluent-kafka (librdkafka) behind the cases' interface."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from typing import Any, TypeVar

import confluent_kafka
from confluent_kafka import admin as admin_module

from tests.e2e.clients.interface import (
    EARLIEST_TIMESTAMP,
    LATEST_TIMESTAMP,
    MAX_TIMESTAMP,
    Closing,
    Cluster,
    Consumed,
    GroupDescription,
    Headers,
    KafkaFailure,
    Message,
    PartitionDescription,
    Placed,
    Setting,
    TopicPartition,
)

# Its type hints do not export most of its names.
confluent_admin: Any = admin_module

_LIBRARY_NAMES = {"fetch.max.wait.ms": "fetch.wait.max.ms"}
_DEADLINE_S = 30.0
_COORDINATOR_CODES = {
    confluent_kafka.KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    confluent_kafka.KafkaError.COORDINATOR_NOT_AVAILABLE,
    confluent_kafka.KafkaError.NOT_COORDINATOR,
}
ResultT = TypeVar("ResultT")
_STATE_NAMES = {
    "PREPARING_REBALANCING": "PreparingRebalance",
    "COMPLETING_REBALANCING": "CompletingRebalance",
    "STABLE": "Stable",
    "DEAD": "Dead",
    "EMPTY": "Empty",
}


class ConfluentClient:
    name = "confluent-kafka"

    def admin(self, bootstrap_server: str) -> ConfluentAdmin:
        return ConfluentAdmin(bootstrap_server)

    def producer(
        self, bootstrap_server: str, settings: Mapping[str, Setting] | None = None
    ) -> ConfluentProducer:
        return ConfluentProducer(_configuration(bootstrap_server, settings))

    def transactional_producer(
        self, bootstrap_server: str, transactional_id: str, settings: Mapping[str, Setting] | None = None
    ) -> ConfluentTransactionalProducer:
        configuration = _configuration(bootstrap_server, settings)
        return ConfluentTransactionalProducer({**configuration, "transactional.id": transactional_id})

    def consumer(
        self, bootstrap_server: str, group: str | None = None, settings: Mapping[str, Setting] | None = None
    ) -> ConfluentConsumer:
        configuration = _configuration(bootstrap_server, settings)
        # librdkafka wants a group even of a consumer that never joins one.
        configuration["group.id"] = group if group is not None else "never-joined"
        first_offset = None
        if group is None:
            # Without a start offset librdkafka would ask the coordinator for the group's committed one.
            earliest = configuration.get("auto.offset.reset") in ("earliest", "smallest", "beginning")
            first_offset = confluent_kafka.OFFSET_BEGINNING if earliest else confluent_kafka.OFFSET_END
            configuration.setdefault("enable.auto.commit", False)
        return ConfluentConsumer(configuration, first_offset)


def _configuration(bootstrap_server: str, settings: Mapping[str, Setting] | None) -> dict[str, Any]:
    renamed = {_LIBRARY_NAMES.get(name, name): value for name, value in (settings or {}).items()}
    # It logs a line for every attempt to reconnect; 2 leaves what is fatal.
    return {"bootstrap.servers": bootstrap_server, "log_level": 2, **renamed}


def _failure(error: Any) -> KafkaFailure:
    # librdkafka's own errors are negative; -1 is Kafka's UNKNOWN_SERVER_ERROR.
    code = error.code()
    return KafkaFailure(code if code >= -1 else -1000, f"{error.name()}: {error.str()}")


def _result(future: Future[Any]) -> Any:
    try:
        return future.result(_DEADLINE_S)
    except confluent_kafka.KafkaException as error:
        raise _failure(error.args[0]) from error


def _only(futures: Mapping[Any, Future[Any]]) -> Any:
    (future,) = futures.values()
    return _result(future)


def _with_coordinator(call: Callable[[], ResultT]) -> ResultT:
    """Repeat a call while the group's coordinator comes up; librdkafka leaves these errors to its caller."""
    deadline = time.monotonic() + _DEADLINE_S
    while True:
        try:
            return call()
        except confluent_kafka.KafkaException as error:
            if error.args[0].code() not in _COORDINATOR_CODES or time.monotonic() > deadline:
                raise _failure(error.args[0]) from error
        time.sleep(0.05)


class ConfluentAdmin(Closing):
    def __init__(self, bootstrap_server: str) -> None:
        self._admin = confluent_admin.AdminClient(_configuration(bootstrap_server, None))

    def close(self) -> None:
        self._admin.poll(0)

    def create_topic(
        self,
        topic: str,
        partitions: int = 1,
        *,
        replication_factor: int = 1,
        configs: Mapping[str, str] | None = None,
        validate_only: bool = False,
    ) -> None:
        new = confluent_admin.NewTopic(topic, partitions, replication_factor, config=dict(configs or {}))
        _only(self._admin.create_topics([new], validate_only=validate_only))

    def delete_topic(self, topic: str) -> None:
        _only(self._admin.delete_topics([topic]))

    def list_topics(self) -> set[str]:
        return set(self._admin.list_topics(timeout=_DEADLINE_S).topics)

    def describe_topic(self, topic: str) -> list[PartitionDescription]:
        description = _only(self._admin.describe_topics(confluent_kafka.TopicCollection([topic])))
        return [
            PartitionDescription(
                partition.id,
                partition.leader.id,
                tuple(node.id for node in partition.replicas),
                tuple(node.id for node in partition.isr),
            )
            for partition in description.partitions
        ]

    def describe_cluster(self) -> Cluster:
        description = _result(self._admin.describe_cluster())
        brokers = {node.id: (node.host, node.port) for node in description.nodes}
        return Cluster(description.cluster_id, description.controller.id, brokers)

    def create_partitions(self, topic: str, total: int) -> None:
        _only(self._admin.create_partitions([confluent_admin.NewPartitions(topic, total)]))

    def describe_topic_configs(self, topic: str) -> dict[str, str | None]:
        resource = confluent_admin.ConfigResource(confluent_admin.ResourceType.TOPIC, topic)
        entries = _only(self._admin.describe_configs([resource]))
        return {name: entry.value for name, entry in entries.items()}

    def alter_topic_config(self, topic: str, name: str, value: str) -> None:
        entry = confluent_admin.ConfigEntry(
            name, value, incremental_operation=confluent_admin.AlterConfigOpType.SET
        )
        resource = confluent_admin.ConfigResource(
            confluent_admin.ResourceType.TOPIC, topic, incremental_configs=[entry]
        )
        _only(self._admin.incremental_alter_configs([resource]))

    def alter_broker_config(self, name: str, value: str | None) -> None:
        """A dynamic config of every broker; None takes it away again."""
        operations = confluent_admin.AlterConfigOpType
        operation = operations.DELETE if value is None else operations.SET
        entry = confluent_admin.ConfigEntry(name, value, incremental_operation=operation)
        for node in self.describe_cluster().brokers:
            resource = confluent_admin.ConfigResource(
                confluent_admin.ResourceType.BROKER, str(node), incremental_configs=[entry]
            )
            _only(self._admin.incremental_alter_configs([resource]))

    def delete_records(self, partition: TopicPartition, before_offset: int) -> int:
        asked = confluent_kafka.TopicPartition(partition.topic, partition.partition, before_offset)
        return int(_only(self._admin.delete_records([asked])).low_watermark)

    def list_offset(
        self, partition: TopicPartition, timestamp: int, *, isolation_level: str = "read_uncommitted"
    ) -> int:
        special = {
            EARLIEST_TIMESTAMP: confluent_admin.OffsetSpec.earliest,
            LATEST_TIMESTAMP: confluent_admin.OffsetSpec.latest,
            MAX_TIMESTAMP: confluent_admin.OffsetSpec.max_timestamp,
        }
        spec = special[timestamp]() if timestamp < 0 else confluent_admin.OffsetSpec.for_timestamp(timestamp)
        asked = {confluent_kafka.TopicPartition(*partition): spec}
        level = confluent_kafka.IsolationLevel[isolation_level.upper()]
        return int(_only(self._admin.list_offsets(asked, isolation_level=level)).offset)

    def list_groups(self) -> set[str]:
        listing = _result(self._admin.list_consumer_groups())
        assert not listing.errors, listing.errors
        return {group.group_id for group in listing.valid}

    def describe_group(self, group: str) -> GroupDescription:
        description = _only(self._admin.describe_consumer_groups([group]))
        return GroupDescription(
            state=_STATE_NAMES[description.state.name],
            protocol=description.partition_assignor,
            assignments={
                member.member_id: frozenset(
                    TopicPartition(item.topic, item.partition) for item in member.assignment.topic_partitions
                )
                for member in description.members
            },
            instance_ids=frozenset(
                member.group_instance_id for member in description.members if member.group_instance_id
            ),
            client_ids=frozenset(member.client_id for member in description.members),
        )

    def group_offsets(self, group: str) -> dict[TopicPartition, int]:
        asked = confluent_kafka.ConsumerGroupTopicPartitions(group)
        answer = _only(self._admin.list_consumer_group_offsets([asked]))
        return {TopicPartition(item.topic, item.partition): item.offset for item in answer.topic_partitions}

    def delete_group(self, group: str) -> None:
        _only(self._admin.delete_consumer_groups([group]))


class ConfluentProducer(Closing):
    def __init__(self, configuration: dict[str, Any]) -> None:
        self._producer = confluent_kafka.Producer(configuration)

    def close(self) -> None:
        self._producer.flush(_DEADLINE_S)

    def send(self, topic: str, messages: Iterable[Message], *, deadline_s: float = 60.0) -> list[Placed]:
        placed: dict[int, Placed] = {}
        failures: list[Any] = []
        count = 0
        for index, message in enumerate(messages):
            self._produce(topic, message, _report(index, placed, failures))
            count += 1
        left = self._producer.flush(deadline_s)
        if failures:
            raise _failure(failures[0])
        assert left == 0 and len(placed) == count, f"{left} of {count} records were not acknowledged in time"
        return [placed[index] for index in range(count)]

    def _produce(self, topic: str, message: Message, on_delivery: Any) -> None:
        optional: dict[str, Any] = {}
        if message.partition is not None:
            optional["partition"] = message.partition
        if message.timestamp_ms is not None:
            optional["timestamp"] = message.timestamp_ms
        if message.headers:
            optional["headers"] = list(message.headers)
        while True:
            try:
                self._producer.produce(topic, message.value, message.key, on_delivery=on_delivery, **optional)
            except BufferError:
                self._producer.poll(0.1)
            except confluent_kafka.KafkaException as error:
                raise _failure(error.args[0]) from error
            else:
                self._producer.poll(0)
                return


def _report(index: int, placed: dict[int, Placed], failures: list[Any]) -> Any:
    def report(error: Any, message: Any) -> None:
        if error is not None:
            failures.append(error)
        else:
            placed[index] = Placed(message.partition(), message.offset())

    return report


class ConfluentTransactionalProducer(ConfluentProducer):
    def __init__(self, configuration: dict[str, Any]) -> None:
        super().__init__(configuration)
        _persistently(lambda: self._producer.init_transactions(_DEADLINE_S))

    def close(self) -> None:
        """KafkaFailure where the producer is past use (fenced, timed out)."""
        try:
            super().close()
        except confluent_kafka.KafkaException as error:
            raise _failure(error.args[0]) from error

    def begin(self) -> None:
        _persistently(self._producer.begin_transaction)

    def send_offsets(self, offsets: Mapping[TopicPartition, int], group: object) -> None:
        positions = [
            confluent_kafka.TopicPartition(*partition, offset) for partition, offset in offsets.items()
        ]
        _persistently(lambda: self._producer.send_offsets_to_transaction(positions, group, _DEADLINE_S))

    def commit(self) -> None:
        _persistently(lambda: self._producer.commit_transaction(_DEADLINE_S))

    def abort(self) -> None:
        _persistently(lambda: self._producer.abort_transaction(_DEADLINE_S))


def _persistently(call: Callable[[], object]) -> None:
    """Repeat a transactional call while its error says that repeating helps, as its documentation wants."""
    deadline = time.monotonic() + _DEADLINE_S
    while True:
        try:
            call()
        except confluent_kafka.KafkaException as error:
            if not error.args[0].retriable() or time.monotonic() > deadline:
                raise _failure(error.args[0]) from error
            time.sleep(0.05)
        else:
            return


class ConfluentConsumer(Closing):
    def __init__(self, configuration: dict[str, Any], first_offset: int | None) -> None:
        self._consumer = confluent_kafka.Consumer(configuration)
        self._first_offset = confluent_kafka.OFFSET_STORED if first_offset is None else first_offset

    def close(self) -> None:
        self._consumer.close()

    def subscribe(self, *topics: str) -> None:
        self._consumer.subscribe(list(topics))

    def assign(self, *partitions: TopicPartition) -> None:
        offset = self._first_offset
        self._consumer.assign(
            [confluent_kafka.TopicPartition(*partition, offset) for partition in partitions]
        )

    def assignment(self) -> set[TopicPartition]:
        return {TopicPartition(item.topic, item.partition) for item in self._consumer.assignment()}

    def poll(self, timeout_s: float = 0.1) -> list[Consumed]:
        records = []
        # consume() waits for the full number, so wait for one and then take what is there.
        messages = self._consumer.consume(1, timeout_s)
        if messages:
            messages += self._consumer.consume(5_000, 0)
        for message in messages:
            if message.error():
                raise _failure(message.error())
            records.append(_consumed(message))
        return records

    def seek(self, partition: TopicPartition, offset: int) -> None:
        # Assigning anew, since librdkafka's seek() wants a fetcher that already runs.
        kept = [confluent_kafka.TopicPartition(*other) for other in self.assignment() - {partition}]
        self._consumer.assign([*kept, confluent_kafka.TopicPartition(*partition, offset)])

    def seek_to_beginning(self, partition: TopicPartition) -> None:
        self.seek(partition, confluent_kafka.OFFSET_BEGINNING)

    def seek_to_end(self, partition: TopicPartition) -> None:
        # Looked up here, since librdkafka would look up its OFFSET_END some time after this call.
        self.seek(partition, self.end_offset(partition))

    def position(self, partition: TopicPartition) -> int:
        (answer,) = self._consumer.position([confluent_kafka.TopicPartition(*partition)])
        return int(answer.offset)

    def offset_for_time(self, partition: TopicPartition, timestamp_ms: int) -> int | None:
        asked = confluent_kafka.TopicPartition(*partition, timestamp_ms)
        (answer,) = self._consumer.offsets_for_times([asked], timeout=_DEADLINE_S)
        return None if answer.offset == confluent_kafka.OFFSET_END else int(answer.offset)

    def beginning_offset(self, partition: TopicPartition) -> int:
        return int(self._watermarks(partition)[0])

    def end_offset(self, partition: TopicPartition) -> int:
        return int(self._watermarks(partition)[1])

    def _watermarks(self, partition: TopicPartition) -> tuple[int, int]:
        asked = confluent_kafka.TopicPartition(*partition)
        low, high = self._consumer.get_watermark_offsets(asked, timeout=_DEADLINE_S)
        return low, high

    def commit(self) -> None:
        _with_coordinator(lambda: self._consumer.commit(asynchronous=False))

    def committed(self, partition: TopicPartition) -> int | None:
        asked = confluent_kafka.TopicPartition(*partition)
        (answer,) = _with_coordinator(lambda: self._consumer.committed([asked], timeout=_DEADLINE_S))
        return None if answer.offset < 0 else int(answer.offset)

    def group_metadata(self) -> object:
        return self._consumer.consumer_group_metadata()


def _consumed(message: Any) -> Consumed:
    headers: Headers = tuple((name, value) for name, value in (message.headers() or ()))
    return Consumed(
        message.topic(),
        message.partition(),
        message.offset(),
        message.timestamp()[1],
        message.key(),
        message.value(),
        headers,
    )
