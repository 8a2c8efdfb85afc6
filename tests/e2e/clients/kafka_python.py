"""kafka-python behind the cases' interface."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

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

with warnings.catch_warnings():
    # Its import reads its schemas with a function that Python 3.11 deprecates (and 3.13 has again).
    warnings.simplefilter("ignore", DeprecationWarning)
    import kafka
    from kafka import errors as kafka_errors
    from kafka.admin import AbortTransactionSpec, ConfigResource, ConfigResourceType
    from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
    from kafka.coordinator.assignors.range import RangePartitionAssignor
    from kafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
    from kafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor

_ASSIGNORS = {
    "range": RangePartitionAssignor,
    "roundrobin": RoundRobinPartitionAssignor,
    "sticky": StickyPartitionAssignor,
    "cooperative-sticky": CooperativeStickyAssignor,
}
_DEADLINE_MS = 30_000
ResultT = TypeVar("ResultT")


class KafkaPythonClient:
    name = "kafka-python"

    def admin(self, bootstrap_server: str) -> KafkaPythonAdmin:
        return KafkaPythonAdmin(bootstrap_server)

    def transaction_admin(self, bootstrap_server: str) -> KafkaPythonTransactionAdmin:
        return KafkaPythonTransactionAdmin(bootstrap_server)

    def producer(
        self, bootstrap_server: str, settings: Mapping[str, Setting] | None = None
    ) -> KafkaPythonProducer:
        return KafkaPythonProducer(_configuration(bootstrap_server, settings))

    def transactional_producer(
        self, bootstrap_server: str, transactional_id: str, settings: Mapping[str, Setting] | None = None
    ) -> KafkaPythonTransactionalProducer:
        configuration = _configuration(bootstrap_server, settings)
        return KafkaPythonTransactionalProducer({**configuration, "transactional_id": transactional_id})

    def consumer(
        self, bootstrap_server: str, group: str | None = None, settings: Mapping[str, Setting] | None = None
    ) -> KafkaPythonConsumer:
        return KafkaPythonConsumer({**_configuration(bootstrap_server, settings), "group_id": group})


def _configuration(bootstrap_server: str, settings: Mapping[str, Setting] | None) -> dict[str, Any]:
    configuration: dict[str, Any] = {"bootstrap_servers": bootstrap_server}
    for name, value in (settings or {}).items():
        key = name.replace(".", "_")
        if key == "partition_assignment_strategy":
            configuration[key] = [_ASSIGNORS[str(value)]]
        elif name == "compression.type":
            configuration[key] = None if value == "none" else value
        else:
            configuration[key] = value
    return configuration


def _failure(error: Exception) -> KafkaFailure:
    # A producer's future wraps what the broker said; the class of an error from the broker carries its code.
    code = getattr(error, "errno", None)
    return KafkaFailure(code if isinstance(code, int) else -1000, repr(error))


def _translated(call: Callable[[], ResultT]) -> ResultT:
    try:
        return call()
    except kafka_errors.KafkaError as error:
        raise _failure(error) from error


def _check(error: Any) -> None:
    """Raise for an answer's error class, name or code that is not NoError."""
    if isinstance(error, str):
        if error == "OK":
            return
        error = getattr(kafka_errors, error)
    if isinstance(error, int):
        error = kafka_errors.for_code(error)
    if error is not kafka_errors.NoError:
        raise KafkaFailure(error.errno, error.__name__)


class KafkaPythonAdmin(Closing):
    def __init__(self, bootstrap_server: str) -> None:
        self._admin = kafka.KafkaAdminClient(bootstrap_servers=bootstrap_server)

    def close(self) -> None:
        self._admin.close()

    def create_topic(
        self,
        topic: str,
        partitions: int = 1,
        *,
        replication_factor: int = 1,
        configs: Mapping[str, str] | None = None,
        validate_only: bool = False,
    ) -> None:
        new = {
            "num_partitions": partitions,
            "replication_factor": replication_factor,
            "configs": dict(configs or {}),
        }
        _translated(lambda: self._admin.create_topics({topic: new}, validate_only=validate_only))

    def delete_topic(self, topic: str) -> None:
        _translated(lambda: self._admin.delete_topics([topic]))

    def list_topics(self) -> set[str]:
        return set(self._admin.list_topics())

    def describe_topic(self, topic: str) -> list[PartitionDescription]:
        (description,) = self._admin.describe_topics([topic])
        _check(description["error_code"])
        return sorted(
            (
                PartitionDescription(
                    partition["partition_index"],
                    partition["leader_id"],
                    tuple(partition["replica_nodes"]),
                    tuple(partition["isr_nodes"]),
                )
                for partition in description["partitions"]
            ),
            key=lambda partition: partition.partition,
        )

    def describe_cluster(self) -> Cluster:
        description = self._admin.describe_cluster()
        brokers = {broker["broker_id"]: (broker["host"], broker["port"]) for broker in description["brokers"]}
        return Cluster(description["cluster_id"], description["controller_id"], brokers)

    def create_partitions(self, topic: str, total: int) -> None:
        _translated(lambda: self._admin.create_partitions({topic: total}))

    def describe_topic_configs(self, topic: str) -> dict[str, str | None]:
        resource = ConfigResource(ConfigResourceType.TOPIC, topic)
        described = self._admin.describe_configs([resource], config_filter="all")
        return {name: entry["value"] for name, entry in described["topic"][topic].items()}

    def alter_topic_config(self, topic: str, name: str, value: str) -> None:
        resource = ConfigResource(ConfigResourceType.TOPIC, topic, {name: value})
        answer = self._admin.alter_configs([resource], raise_on_unknown=False)["topic"][topic]
        if answer != "OK":
            code = int(answer.partition("[Error ")[2].partition("]")[0] or -1)
            raise KafkaFailure(code, answer)

    def delete_records(self, partition: TopicPartition, before_offset: int) -> int:
        asked = kafka.TopicPartition(*partition)
        answer = _translated(lambda: self._admin.delete_records({asked: before_offset}))
        return int(answer[asked]["low_watermark"])

    def list_offset(self, partition: TopicPartition, timestamp: int) -> int:
        asked = kafka.TopicPartition(*partition)
        answer = _translated(lambda: self._admin.list_partition_offsets({asked: timestamp}))
        return int(answer[asked].offset)

    def list_groups(self) -> set[str]:
        return {group["group_id"] for group in self._admin.list_groups()}

    def describe_group(self, group: str) -> GroupDescription:
        description = _translated(lambda: self._admin.describe_groups([group]))[group]
        members = description["members"]
        return GroupDescription(
            state=description["group_state"],
            protocol=description["protocol_data"],
            assignments={member["member_id"]: _assigned(member["member_assignment"]) for member in members},
            instance_ids=frozenset(
                member["group_instance_id"] for member in members if member["group_instance_id"]
            ),
            client_ids=frozenset(member["client_id"] for member in members),
        )

    def group_offsets(self, group: str) -> dict[TopicPartition, int]:
        answer = _translated(lambda: self._admin.list_group_offsets(group))[group]
        return {TopicPartition(*partition): offset.offset for partition, offset in answer.items()}

    def delete_group(self, group: str) -> None:
        _check(_translated(lambda: self._admin.delete_groups([group]))[group])

    def delete_group_offsets(self, group: str, partition: TopicPartition) -> None:
        asked = kafka.TopicPartition(*partition)
        _check(_translated(lambda: self._admin.delete_group_offsets(group, [asked]))[asked])


class KafkaPythonTransactionAdmin(Closing):
    """KIP-664, which neither of the other libraries has."""

    def __init__(self, bootstrap_server: str) -> None:
        self._admin = kafka.KafkaAdminClient(bootstrap_servers=bootstrap_server)

    def close(self) -> None:
        self._admin.close()

    def describe(self, transactional_id: str) -> Any:
        return _translated(lambda: self._admin.describe_transactions([transactional_id]))[transactional_id]

    def list_transactions(self, **filters: Any) -> list[Any]:
        """Those of all brokers; filters as kafka-python calls them."""
        by_broker = _translated(lambda: self._admin.list_transactions(**filters))
        return [listing for listings in by_broker.values() for listing in listings]

    def producers(self, partition: TopicPartition) -> list[Any]:
        asked = kafka.TopicPartition(*partition)
        answer = _translated(lambda: self._admin.describe_producers([asked]))
        return list(answer[asked].active_producers)

    def abort(self, partition: TopicPartition, producer_id: int, producer_epoch: int) -> None:
        asked = kafka.TopicPartition(*partition)
        spec = AbortTransactionSpec(asked, producer_id, producer_epoch)
        _translated(lambda: self._admin.abort_transaction(spec))


def _assigned(assignment: Any) -> frozenset[TopicPartition]:
    if not assignment:
        return frozenset()
    return frozenset(
        TopicPartition(item["topic"], partition)
        for item in assignment["assigned_partitions"]
        for partition in item["partitions"]
    )


class KafkaPythonProducer(Closing):
    def __init__(self, configuration: dict[str, Any]) -> None:
        self._producer = kafka.KafkaProducer(**configuration)

    def close(self) -> None:
        self._producer.close(timeout=_DEADLINE_MS / 1000)

    def send(self, topic: str, messages: Iterable[Message], *, deadline_s: float = 60.0) -> list[Placed]:
        def send_all() -> list[Placed]:
            futures = [
                self._producer.send(
                    topic,
                    message.value,
                    message.key,
                    headers=list(message.headers),
                    partition=message.partition,
                    timestamp_ms=message.timestamp_ms,
                )
                for message in messages
            ]
            answers = [future.get(timeout=deadline_s) for future in futures]
            return [Placed(answer.partition, answer.offset) for answer in answers]

        return _translated(send_all)


class KafkaPythonTransactionalProducer(KafkaPythonProducer):
    def __init__(self, configuration: dict[str, Any]) -> None:
        super().__init__(configuration)
        _translated(self._producer.init_transactions)

    def begin(self) -> None:
        _translated(self._producer.begin_transaction)

    def send_offsets(self, offsets: Mapping[TopicPartition, int], group: object) -> None:
        positions = {
            kafka.TopicPartition(*partition): kafka.OffsetAndMetadata(offset, "", -1)
            for partition, offset in offsets.items()
        }
        _translated(lambda: self._producer.send_offsets_to_transaction(positions, group))

    def commit(self) -> None:
        _translated(self._producer.commit_transaction)

    def abort(self) -> None:
        _translated(self._producer.abort_transaction)


class KafkaPythonConsumer(Closing):
    def __init__(self, configuration: dict[str, Any]) -> None:
        self._consumer = kafka.KafkaConsumer(**configuration)

    def close(self) -> None:
        self._consumer.close()

    def subscribe(self, *topics: str) -> None:
        # Known metadata spares the member a second join for its first metadata update. kafka-python 3.0.12 never
        # finishes such a join where a poll() times out in the midst of it (against any broker).
        for topic in topics:
            self._consumer.partitions_for_topic(topic)
        self._consumer.subscribe(list(topics))

    def assign(self, *partitions: TopicPartition) -> None:
        self._consumer.assign([kafka.TopicPartition(*partition) for partition in partitions])

    def assignment(self) -> set[TopicPartition]:
        return {TopicPartition(*partition) for partition in self._consumer.assignment()}

    def poll(self, timeout_s: float = 0.1) -> list[Consumed]:
        fetched = _translated(
            lambda: self._consumer.poll(timeout_ms=int(timeout_s * 1000), max_records=5_000)
        )
        return [_consumed(record) for records in fetched.values() for record in records]

    def seek(self, partition: TopicPartition, offset: int) -> None:
        self._consumer.seek(kafka.TopicPartition(*partition), offset)

    def seek_to_beginning(self, partition: TopicPartition) -> None:
        self._consumer.seek_to_beginning(kafka.TopicPartition(*partition))

    def seek_to_end(self, partition: TopicPartition) -> None:
        self._consumer.seek_to_end(kafka.TopicPartition(*partition))

    def position(self, partition: TopicPartition) -> int:
        return int(self._consumer.position(kafka.TopicPartition(*partition), timeout_ms=_DEADLINE_MS))

    def offset_for_time(self, partition: TopicPartition, timestamp_ms: int) -> int | None:
        asked = kafka.TopicPartition(*partition)
        answer = self._consumer.offsets_for_times({asked: timestamp_ms})[asked]
        return None if answer is None else int(answer.offset)

    def beginning_offset(self, partition: TopicPartition) -> int:
        asked = kafka.TopicPartition(*partition)
        return int(self._consumer.beginning_offsets([asked])[asked])

    def end_offset(self, partition: TopicPartition) -> int:
        asked = kafka.TopicPartition(*partition)
        return int(self._consumer.end_offsets([asked])[asked])

    def commit(self) -> None:
        _translated(lambda: self._consumer.commit(timeout_ms=_DEADLINE_MS))

    def committed(self, partition: TopicPartition) -> int | None:
        offset = self._consumer.committed(kafka.TopicPartition(*partition), timeout_ms=_DEADLINE_MS)
        return None if offset is None or offset < 0 else int(offset)

    def group_metadata(self) -> object:
        return self._consumer.group_metadata()


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
