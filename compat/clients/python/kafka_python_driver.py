"""kafka-python behind the line protocol of ``compat.clients.driver``."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from typing import Any

import kafka
from kafka import errors as kafka_errors
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.consumer.subscription_state import ConsumerRebalanceListener
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.coordinator.assignors.range import RangePartitionAssignor
from kafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor

from compat.clients.features import FEATURES
from compat.clients.python.lines import Json, hello, method_of, serve, to_bytes, to_text

_DEADLINE_S = 60.0
_POLL_MS = 200
_FIRST_POLL_MS = 2_000
_ACKS: Mapping[str, str | int] = {"all": "all", "1": 1, "0": 0}
_ASSIGNORS = {
    "eager": [RangePartitionAssignor, RoundRobinPartitionAssignor],
    "cooperative": [CooperativeStickyAssignor],
}


class KafkaPythonDriver:
    """Methods are named as the operations are."""

    def __init__(self) -> None:
        self._admins: dict[str, Any] = {}
        self._producers: dict[str, Any] = {}
        self._consumers: dict[str, _Consumer] = {}

    def hello(self) -> Json:
        return hello(
            client="kafka-python",
            version=kafka.__version__,
            language="Python",
            features=FEATURES,
            unsupported={},
        )

    # Administration

    def create_topic(
        self, bootstrap: str, topic: str, partitions: int, replication_factor: int, config: Mapping[str, str]
    ) -> Json:
        new = {
            "num_partitions": partitions,
            "replication_factor": replication_factor,
            "configs": dict(config),
        }
        self._admin(bootstrap).create_topics({topic: new})
        return {}

    def create_partitions(self, bootstrap: str, topic: str, partitions: int) -> Json:
        self._admin(bootstrap).create_partitions({topic: partitions})
        return {}

    def list_topics(self, bootstrap: str) -> list[str]:
        return sorted(self._admin(bootstrap).list_topics())

    def describe_topic(self, bootstrap: str, topic: str) -> list[Json]:
        (described,) = self._admin(bootstrap).describe_topics([topic])
        _check(described["error_code"])
        return [
            {
                "partition": partition["partition_index"],
                "leader": partition["leader_id"],
                "replicas": partition["replica_nodes"],
                "in_sync": partition["isr_nodes"],
            }
            for partition in described["partitions"]
        ]

    def describe_config(self, bootstrap: str, topic: str) -> dict[str, str | None]:
        resource = ConfigResource(ConfigResourceType.TOPIC, topic)
        described = self._admin(bootstrap).describe_configs([resource], config_filter="all")
        return {name: entry["value"] for name, entry in described["topic"][topic].items()}

    def alter_config(self, bootstrap: str, topic: str, config: Mapping[str, str]) -> Json:
        resource = ConfigResource(ConfigResourceType.TOPIC, topic, dict(config))
        answer = self._admin(bootstrap).alter_configs([resource])["topic"][topic]
        if answer != "OK":
            raise kafka_errors.KafkaError(answer)
        return {}

    def delete_topic(self, bootstrap: str, topic: str) -> Json:
        self._admin(bootstrap).delete_topics([topic])
        return {}

    def list_groups(self, bootstrap: str) -> list[str]:
        return [group["group_id"] for group in self._admin(bootstrap).list_groups()]

    def delete_group(self, bootstrap: str, group: str) -> Json:
        answer = self._admin(bootstrap).delete_groups([group])[group]
        if answer != "OK":
            raise kafka_errors.KafkaError(answer)
        return {}

    def _admin(self, bootstrap: str) -> Any:
        if bootstrap not in self._admins:
            self._admins[bootstrap] = kafka.KafkaAdminClient(bootstrap_servers=bootstrap.split(","))
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
        settings: dict[str, Any] = {
            "bootstrap_servers": bootstrap.split(","),
            "acks": _ACKS[acks],
            "compression_type": None if compression == "none" else compression,
            "enable_idempotence": idempotent or transactional_id is not None,
            "transactional_id": transactional_id,
        }
        if request_bytes_max is not None:
            settings["max_request_size"] = request_bytes_max
        producer = kafka.KafkaProducer(**settings)
        if transactional_id is not None:
            producer.init_transactions()
        self._producers[name] = producer
        return {}

    def send(self, producer: str, records: list[Json]) -> list[Json]:
        sending = self._producers[producer]
        futures = [
            sending.send(
                record["topic"],
                to_bytes(record.get("value")),
                to_bytes(record.get("key")),
                headers=[(name, to_bytes(value)) for name, value in record.get("headers") or ()],
                partition=record.get("partition"),
                timestamp_ms=record.get("timestamp_ms"),
            )
            for record in records
        ]
        placed = [future.get(timeout=_DEADLINE_S) for future in futures]
        return [{"partition": one.partition, "offset": one.offset} for one in placed]

    def begin(self, producer: str) -> Json:
        self._producers[producer].begin_transaction()
        return {}

    def commit_transaction(self, producer: str) -> Json:
        self._producers[producer].commit_transaction()
        return {}

    def abort(self, producer: str) -> Json:
        self._producers[producer].abort_transaction()
        return {}

    def send_offsets(self, producer: str, consumer: str, offsets: list[Json]) -> Json:
        positions = {
            kafka.TopicPartition(one["topic"], one["partition"]): kafka.OffsetAndMetadata(
                one["offset"], "", -1
            )
            for one in offsets
        }
        group = self._consumers[consumer].group_metadata()
        self._producers[producer].send_offsets_to_transaction(positions, group)
        return {}

    def close_producer(self, producer: str) -> Json:
        self._producers.pop(producer).close(timeout=_DEADLINE_S)
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
        self._consumers[consumer].commit()
        return {}

    def rebalances(self, consumer: str) -> Json:
        told = self._consumers[consumer].listener
        return {"assigned": told.assigned, "revoked": told.revoked}

    def close_consumer(self, consumer: str) -> Json:
        self._consumers.pop(consumer).close()
        return {}


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]
    def __init__(self, revoked: Callable[[Iterable[Any]], None]) -> None:
        self.assigned: list[list[list[Any]]] = []
        self.revoked: list[list[list[Any]]] = []
        self._revoked = revoked

    def on_partitions_assigned(self, assigned: Iterable[Any]) -> None:
        self.assigned.append(_partitions(assigned))

    def on_partitions_revoked(self, revoked: Iterable[Any]) -> None:
        self.revoked.append(_partitions(revoked))
        self._revoked(revoked)


class _Consumer:
    """A consumer in a thread that polls all the time, as its users' threads do.

    The first polls are long ones. This library (3.0.12) joins before it knows the topic's partitions, then again; where
    a poll ends between that second assignment and the broker's answer, the member never takes it.
    """

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
        self.listener = _Listener(self._forget)
        settings = {
            "bootstrap_servers": bootstrap.split(","),
            "group_id": group,
            "group_instance_id": instance_id,
            "auto_offset_reset": "earliest",
            "enable_auto_commit": False,
            "partition_assignment_strategy": _ASSIGNORS[assignor],
            "isolation_level": isolation,
            "session_timeout_ms": session_timeout_ms,
            "heartbeat_interval_ms": heartbeat_interval_ms,
            "fetch_max_bytes": fetch_bytes_max,
            "max_partition_fetch_bytes": fetch_bytes_max,
        }
        given = {name: value for name, value in settings.items() if value is not None}
        self._consumer = kafka.KafkaConsumer(**given)
        if assign is None:
            self._consumer.subscribe(topics, listener=self.listener)
        else:
            _assign(self._consumer, assign)
        self._polled: deque[Any] = deque()
        self._returned: dict[Any, int] = {}
        self._change = threading.Condition()
        self._tasks: deque[tuple[Callable[[], Any], Future[Any]]] = deque()
        self._closing = False
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def poll(self, count: int, timeout_ms: int) -> Json:
        with self._change:
            self._change.wait_for(
                lambda: self._failure is not None or len(self._polled) >= count, timeout_ms / 1000
            )
            if self._failure is not None:
                raise self._failure
            records = [self._polled.popleft() for _ in range(min(count, len(self._polled)))]
            for record in records:
                self._returned[kafka.TopicPartition(record.topic, record.partition)] = record.offset + 1
        return {
            "records": [_received(record) for record in records],
            "assignment": _partitions(self._consumer.assignment()),
        }

    def seek_to_time(self, topic: str, partition: int, timestamp_ms: int) -> int:
        wanted = kafka.TopicPartition(topic, partition)

        def seek() -> int:
            found = self._consumer.offsets_for_times({wanted: timestamp_ms})[wanted]
            self._forget([wanted])
            if found is None:
                self._consumer.seek_to_end(wanted)
                return -1
            self._consumer.seek(wanted, found.offset)
            return int(found.offset)

        return int(self._do(seek))

    def commit(self) -> None:
        def commit() -> None:
            assigned = self._consumer.assignment()
            offsets = {
                partition: kafka.OffsetAndMetadata(offset, "", -1)
                for partition, offset in self._returned.items()
                if partition in assigned
            }
            self._consumer.commit(offsets)

        self._do(commit)

    def group_metadata(self) -> Any:
        return self._do(self._consumer.group_metadata)

    def close(self) -> None:
        self._closing = True
        self._thread.join()
        self._consumer.close(autocommit=False)

    def _do(self, task: Callable[[], Any]) -> Any:
        """In the consumer's own thread, which is the only one that may touch it."""
        done: Future[Any] = Future()
        self._tasks.append((task, done))
        return done.result(_DEADLINE_S)

    def _run(self) -> None:
        while not self._closing:
            while self._tasks:
                task, done = self._tasks.popleft()
                try:
                    done.set_result(task())
                except Exception as error:
                    done.set_exception(error)
            try:
                settled = self._consumer.assignment()
                found = self._consumer.poll(timeout_ms=_POLL_MS if settled else _FIRST_POLL_MS)
            except Exception as error:
                self._failure = error
                found = {}
            with self._change:
                self._polled.extend(record for its in found.values() for record in its)
                self._change.notify_all()

    def _forget(self, partitions: Iterable[Any]) -> None:
        """What was polled of them and not returned: whoever has them next begins at the last commit."""
        gone = set(partitions)
        with self._change:
            kept = [one for one in self._polled if kafka.TopicPartition(one.topic, one.partition) not in gone]
            self._polled = deque(kept)
            for partition in gone:
                self._returned.pop(partition, None)


def _assign(consumer: Any, assign: list[Json]) -> None:
    wanted = {kafka.TopicPartition(one["topic"], one["partition"]): one["offset"] for one in assign}
    consumer.assign(list(wanted))
    for partition, offset in wanted.items():
        if offset == -2:
            consumer.seek_to_beginning(partition)
        elif offset == -1:
            consumer.seek_to_end(partition)
        else:
            consumer.seek(partition, offset)


def _received(record: Any) -> Json:
    return {
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "key": to_text(record.key),
        "value": to_text(record.value),
        "headers": [[name, to_text(value)] for name, value in record.headers],
        "timestamp_ms": record.timestamp,
    }


def _partitions(found: Iterable[Any]) -> list[list[Any]]:
    return [[one.topic, one.partition] for one in found]


def _check(code: int) -> None:
    error = kafka_errors.for_code(code)
    if error is not kafka_errors.NoError:
        raise error()


def main() -> None:
    driver = KafkaPythonDriver()
    serve(lambda do, request: method_of(driver, do)(**request), lambda error: type(error).__name__)


if __name__ == "__main__":
    main()
