"""confluent-kafka, which is librdkafka, behind the line protocol of ``compat.clients.driver``."""

from __future__ import annotations

import time
from collections.abc import Mapping
from concurrent.futures import Future
from typing import Any

import confluent_kafka
from confluent_kafka import TopicPartition
from confluent_kafka import admin as admin_module

from compat.clients.features import FEATURES
from compat.clients.python.lines import Json, Refusal, hello, method_of, serve, to_bytes, to_text

# Its type hints do not export most of its names.
confluent_admin: Any = admin_module

_DEADLINE_S = 60.0
_PASSING = frozenset(
    {
        confluent_kafka.KafkaError._ALL_BROKERS_DOWN,
        confluent_kafka.KafkaError._TRANSPORT,
        confluent_kafka.KafkaError._MAX_POLL_EXCEEDED,
    }
)
"""What a consumer is told of and gets over by itself."""
_ASSIGNORS = {"eager": "range,roundrobin", "cooperative": "cooperative-sticky"}


class ConfluentDriver:
    """Methods are named as the operations are."""

    def __init__(self) -> None:
        self._admins: dict[str, Any] = {}
        self._producers: dict[str, Any] = {}
        self._consumers: dict[str, _Consumer] = {}

    def hello(self) -> Json:
        library, _ = confluent_kafka.libversion()
        version = f"{confluent_kafka.__version__} (librdkafka {library})"
        return hello(
            client="confluent-kafka", version=version, language="Python", features=FEATURES, unsupported={}
        )

    # Administration

    def create_topic(
        self, bootstrap: str, topic: str, partitions: int, replication_factor: int, config: Mapping[str, str]
    ) -> Json:
        new = confluent_admin.NewTopic(topic, partitions, replication_factor, config=dict(config))
        _only(self._admin(bootstrap).create_topics([new]))
        return {}

    def create_partitions(self, bootstrap: str, topic: str, partitions: int) -> Json:
        _only(self._admin(bootstrap).create_partitions([confluent_admin.NewPartitions(topic, partitions)]))
        return {}

    def list_topics(self, bootstrap: str) -> list[str]:
        return sorted(self._admin(bootstrap).list_topics(timeout=_DEADLINE_S).topics)

    def describe_topic(self, bootstrap: str, topic: str) -> list[Json]:
        described = _only(self._admin(bootstrap).describe_topics(confluent_kafka.TopicCollection([topic])))
        return [
            {
                "partition": partition.id,
                "leader": partition.leader.id,
                "replicas": [node.id for node in partition.replicas],
                "in_sync": [node.id for node in partition.isr],
            }
            for partition in described.partitions
        ]

    def describe_config(self, bootstrap: str, topic: str) -> dict[str, str | None]:
        resource = confluent_admin.ConfigResource(confluent_admin.ResourceType.TOPIC, topic)
        described = _only(self._admin(bootstrap).describe_configs([resource]))
        return {name: entry.value for name, entry in described.items()}

    def alter_config(self, bootstrap: str, topic: str, config: Mapping[str, str]) -> Json:
        entries = [
            confluent_admin.ConfigEntry(
                name, value, incremental_operation=confluent_admin.AlterConfigOpType.SET
            )
            for name, value in config.items()
        ]
        resource = confluent_admin.ConfigResource(
            confluent_admin.ResourceType.TOPIC, topic, incremental_configs=entries
        )
        _only(self._admin(bootstrap).incremental_alter_configs([resource]))
        return {}

    def delete_topic(self, bootstrap: str, topic: str) -> Json:
        _only(self._admin(bootstrap).delete_topics([topic]))
        return {}

    def list_groups(self, bootstrap: str) -> list[str]:
        listed = self._admin(bootstrap).list_consumer_groups().result(_DEADLINE_S)
        if listed.errors:
            raise listed.errors[0]
        return [group.group_id for group in listed.valid]

    def delete_group(self, bootstrap: str, group: str) -> Json:
        _only(self._admin(bootstrap).delete_consumer_groups([group]))
        return {}

    def _admin(self, bootstrap: str) -> Any:
        if bootstrap not in self._admins:
            self._admins[bootstrap] = confluent_admin.AdminClient(_configuration(bootstrap))
        return self._admins[bootstrap]

    # Producers

    def producer(
        self,
        name: str,
        bootstrap: str,
        acks: str,
        compression: str,
        idempotent: bool,
        transactional_id: str | None,
        request_bytes_max: int | None,
    ) -> Json:
        settings = {
            **_configuration(bootstrap),
            "acks": acks,
            "compression.type": compression,
            "enable.idempotence": idempotent,
        }
        if transactional_id is not None:
            settings["transactional.id"] = transactional_id
            settings["enable.idempotence"] = True
        if request_bytes_max is not None:
            settings["message.max.bytes"] = request_bytes_max
        producer = confluent_kafka.Producer(settings)
        if transactional_id is not None:
            producer.init_transactions(_DEADLINE_S)
        self._producers[name] = producer
        return {}

    def send(self, producer: str, records: list[Json]) -> list[Json]:
        sending = self._producers[producer]
        answers: list[Json | None] = [None] * len(records)
        failed: list[confluent_kafka.KafkaError] = []
        for number, record in enumerate(records):

            def delivered(error: Any, message: Any, number: int = number) -> None:
                if error is not None:
                    failed.append(error)
                else:
                    answers[number] = {"partition": message.partition(), "offset": message.offset()}

            _produce(sending, record, delivered)
        while len(failed) + sum(answer is not None for answer in answers) < len(records):
            sending.poll(0.1)
        if failed:
            raise confluent_kafka.KafkaException(failed[0])
        return [answer for answer in answers if answer is not None]

    def begin(self, producer: str) -> Json:
        self._producers[producer].begin_transaction()
        return {}

    def commit_transaction(self, producer: str) -> Json:
        self._producers[producer].commit_transaction(_DEADLINE_S)
        return {}

    def abort(self, producer: str) -> Json:
        self._producers[producer].abort_transaction(_DEADLINE_S)
        return {}

    def send_offsets(self, producer: str, consumer: str, offsets: list[Json]) -> Json:
        positions = [TopicPartition(one["topic"], one["partition"], one["offset"]) for one in offsets]
        self._producers[producer].send_offsets_to_transaction(
            positions, self._consumers[consumer].consumer.consumer_group_metadata(), _DEADLINE_S
        )
        return {}

    def close_producer(self, producer: str) -> Json:
        self._producers.pop(producer).flush(_DEADLINE_S)
        return {}

    # Consumers

    def consumer(self, name: str, bootstrap: str, **wanted: Any) -> Json:
        self._consumers[name] = _Consumer(bootstrap, **wanted)
        return {}

    def poll(self, consumer: str, count: int, timeout_ms: int) -> Json:
        return self._consumers[consumer].poll(count, timeout_ms)

    def seek_to_time(self, consumer: str, topic: str, partition: int, timestamp_ms: int) -> Json:
        return {"offset": self._consumers[consumer].seek_to_time(topic, partition, timestamp_ms)}

    def commit(self, consumer: str) -> Json:
        try:
            self._consumers[consumer].consumer.commit(asynchronous=False)
        except confluent_kafka.KafkaException as error:
            if error.args[0].code() != confluent_kafka.KafkaError._NO_OFFSET:
                raise
        return {}

    def rebalances(self, consumer: str) -> Json:
        told = self._consumers[consumer]
        return {"assigned": told.assigned, "revoked": told.revoked}

    def close_consumer(self, consumer: str) -> Json:
        self._consumers.pop(consumer).consumer.close()
        return {}


class _Consumer:
    def __init__(
        self,
        bootstrap: str,
        *,
        topics: list[str],
        group: str | None = None,
        assignor: str = "eager",
        instance_id: str | None = None,
        assign: list[Json] | None = None,
        isolation: str | None = None,
        fetch_bytes_max: int | None = None,
        session_timeout_ms: int | None = None,
        heartbeat_interval_ms: int | None = None,
    ) -> None:
        self.assigned: list[list[list[Any]]] = []
        self.revoked: list[list[list[Any]]] = []
        settings: dict[str, Any] = {
            **_configuration(bootstrap),
            # It wants a group even of a consumer that never joins one.
            "group.id": group if group is not None else "never-joined",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "partition.assignment.strategy": _ASSIGNORS[assignor],
            "group.instance.id": instance_id,
            "isolation.level": isolation,
            "session.timeout.ms": session_timeout_ms,
            "heartbeat.interval.ms": heartbeat_interval_ms,
        }
        if fetch_bytes_max is not None:
            settings["fetch.max.bytes"] = settings["max.partition.fetch.bytes"] = fetch_bytes_max
            settings["message.max.bytes"] = fetch_bytes_max
            settings["receive.message.max.bytes"] = fetch_bytes_max + 1_048_576
        given = {name: value for name, value in settings.items() if value is not None}
        self.consumer = confluent_kafka.Consumer(given)
        self._assigns = assign is not None
        if assign is not None:
            self.consumer.assign(
                [TopicPartition(one["topic"], one["partition"], one["offset"]) for one in assign]
            )
        else:
            self.consumer.subscribe(topics, on_assign=self._on_assign, on_revoke=self._on_revoke)

    def poll(self, count: int, timeout_ms: int) -> Json:
        messages: list[Any] = []
        deadline = time.monotonic() + timeout_ms / 1000
        while len(messages) < count and (left := deadline - time.monotonic()) > 0:
            for message in self.consumer.consume(count - len(messages), timeout=left):
                error = message.error()
                if error is None:
                    messages.append(message)
                elif error.code() not in _PASSING and not error.retriable():
                    raise confluent_kafka.KafkaException(error)
        return {
            "records": [_received(message) for message in messages],
            "assignment": _partitions(self.consumer.assignment()),
        }

    def seek_to_time(self, topic: str, partition: int, timestamp_ms: int) -> int:
        (found,) = self.consumer.offsets_for_times(
            [TopicPartition(topic, partition, timestamp_ms)], timeout=_DEADLINE_S
        )
        if found.error is not None:
            raise confluent_kafka.KafkaException(found.error)
        if self._assigns:
            self.consumer.assign([found])
        else:
            self.consumer.seek(found)
        return int(found.offset) if found.offset >= 0 else -1

    def _on_assign(self, _consumer: Any, partitions: list[TopicPartition]) -> None:
        self.assigned.append(_partitions(partitions))

    def _on_revoke(self, _consumer: Any, partitions: list[TopicPartition]) -> None:
        self.revoked.append(_partitions(partitions))


def _configuration(bootstrap: str) -> dict[str, Any]:
    # It logs a line for every attempt to reconnect; 2 leaves what is fatal.
    return {"bootstrap.servers": bootstrap, "log_level": 2}


def _only(futures: Mapping[Any, Future[Any]]) -> Any:
    (future,) = futures.values()
    return future.result(_DEADLINE_S)


def _produce(producer: Any, record: Json, delivered: Any) -> None:
    arguments: dict[str, Any] = {
        "key": to_bytes(record.get("key")),
        "headers": [(name, to_bytes(value)) for name, value in record.get("headers") or ()],
        "on_delivery": delivered,
    }
    if record.get("partition") is not None:
        arguments["partition"] = record["partition"]
    if record.get("timestamp_ms") is not None:
        arguments["timestamp"] = record["timestamp_ms"]
    while True:
        try:
            producer.produce(record["topic"], to_bytes(record.get("value")), **arguments)
            return
        except BufferError:
            producer.poll(0.1)


def _received(message: Any) -> Json:
    return {
        "topic": message.topic(),
        "partition": message.partition(),
        "offset": message.offset(),
        "key": to_text(message.key()),
        "value": to_text(message.value()),
        "headers": [[name, to_text(value)] for name, value in message.headers() or ()],
        "timestamp_ms": message.timestamp()[1],
    }


def _partitions(found: list[TopicPartition]) -> list[list[Any]]:
    return [[one.topic, one.partition] for one in found]


def _name(error: Exception) -> str:
    if isinstance(error, Refusal):
        return error.name
    if isinstance(error, confluent_kafka.KafkaException):
        return str(error.args[0].name())
    return type(error).__name__


def main() -> None:
    driver = ConfluentDriver()
    serve(lambda do, request: method_of(driver, do)(**request), _name)


if __name__ == "__main__":
    main()
