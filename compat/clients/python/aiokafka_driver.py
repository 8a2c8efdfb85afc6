"""aiokafka behind the line protocol of ``compat.clients.driver``: its loop in this thread, the lines in another."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping
from typing import Any

import aiokafka
from aiokafka import errors as kafka_errors
from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor

from compat.clients.features import FEATURES
from compat.clients.python.lines import Json, hello, method_of, serve, to_bytes, to_text

_ACKS: Mapping[str, str | int] = {"all": "all", "1": 1, "0": 0}
_UNSUPPORTED = {
    "cooperative": "its assignors are range, roundrobin and sticky, all of them eager",
    "delete_group": "its admin client has no DeleteGroups",
}


class AiokafkaDriver:
    """Methods are named as the operations are."""

    def __init__(self) -> None:
        self._admins: dict[str, AIOKafkaAdminClient] = {}
        self._producers: dict[str, Any] = {}
        self._consumers: dict[str, _Consumer] = {}

    async def hello(self) -> Json:
        return hello(
            client="aiokafka",
            version=aiokafka.__version__,
            language="Python",
            features=FEATURES,
            unsupported=_UNSUPPORTED,
        )

    # Administration

    async def create_topic(
        self, bootstrap: str, topic: str, partitions: int, replication_factor: int, config: Mapping[str, str]
    ) -> Json:
        new = NewTopic(topic, partitions, replication_factor, topic_configs=dict(config))
        answer = await (await self._admin(bootstrap)).create_topics([new])
        _check(one[1:] for one in answer.topic_errors)
        return {}

    async def create_partitions(self, bootstrap: str, topic: str, partitions: int) -> Json:
        new = {topic: NewPartitions(total_count=partitions)}
        answer = await (await self._admin(bootstrap)).create_partitions(new)
        _check(one[1:] for one in answer.topic_errors)
        return {}

    async def list_topics(self, bootstrap: str) -> list[str]:
        return list(await (await self._admin(bootstrap)).list_topics())

    async def describe_topic(self, bootstrap: str, topic: str) -> list[Json]:
        (described,) = await (await self._admin(bootstrap)).describe_topics([topic])
        _check([(described["error_code"],)])
        return [
            {
                "partition": partition["partition"],
                "leader": partition["leader"],
                "replicas": partition["replicas"],
                "in_sync": partition["isr"],
            }
            for partition in described["partitions"]
        ]

    async def describe_config(self, bootstrap: str, topic: str) -> dict[str, str | None]:
        resource = ConfigResource(ConfigResourceType.TOPIC, topic)
        (answer,) = await (await self._admin(bootstrap)).describe_configs([resource])
        ((code, message, _type, _name, entries),) = answer.resources
        _check([(code, message)])
        return {entry[0]: entry[1] for entry in entries}

    async def alter_config(self, bootstrap: str, topic: str, config: Mapping[str, str]) -> Json:
        resource = ConfigResource(ConfigResourceType.TOPIC, topic, configs=dict(config))
        (answer,) = await (await self._admin(bootstrap)).alter_configs([resource])
        _check(answer.resources)
        return {}

    async def delete_topic(self, bootstrap: str, topic: str) -> Json:
        answer = await (await self._admin(bootstrap)).delete_topics([topic])
        _check(one[1:] for one in answer.topic_error_codes)
        return {}

    async def list_groups(self, bootstrap: str) -> list[str]:
        return [group[0] for group in await (await self._admin(bootstrap)).list_consumer_groups()]

    async def _admin(self, bootstrap: str) -> AIOKafkaAdminClient:
        if bootstrap not in self._admins:
            admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
            await admin.start()
            self._admins[bootstrap] = admin
        return self._admins[bootstrap]

    # Producers

    async def producer(
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
            "bootstrap_servers": bootstrap,
            "acks": _ACKS[acks],
            "compression_type": None if compression == "none" else compression,
            "enable_idempotence": idempotent,
            "transactional_id": transactional_id,
        }
        if request_bytes_max is not None:
            settings["max_request_size"] = request_bytes_max
        producer = aiokafka.AIOKafkaProducer(**settings)
        await producer.start()
        self._producers[name] = producer
        return {}

    async def send(self, producer: str, records: list[Json]) -> list[Json]:
        sending = self._producers[producer]
        futures = [
            await sending.send(
                record["topic"],
                to_bytes(record.get("value")),
                to_bytes(record.get("key")),
                partition=record.get("partition"),
                timestamp_ms=record.get("timestamp_ms"),
                headers=[(name, to_bytes(value)) for name, value in record.get("headers") or ()],
            )
            for record in records
        ]
        placed = await asyncio.gather(*futures)
        return [{"partition": one.partition, "offset": one.offset} for one in placed]

    async def begin(self, producer: str) -> Json:
        await self._producers[producer].begin_transaction()
        return {}

    async def commit_transaction(self, producer: str) -> Json:
        await self._producers[producer].commit_transaction()
        return {}

    async def abort(self, producer: str) -> Json:
        await self._producers[producer].abort_transaction()
        return {}

    async def send_offsets(self, producer: str, consumer: str, offsets: list[Json]) -> Json:
        positions = {
            aiokafka.TopicPartition(one["topic"], one["partition"]): one["offset"] for one in offsets
        }
        await self._producers[producer].send_offsets_to_transaction(
            positions, self._consumers[consumer].group
        )
        return {}

    async def close_producer(self, producer: str) -> Json:
        await self._producers.pop(producer).stop()
        return {}

    # Consumers

    async def consumer(self, name: str, bootstrap: str, **wanted: Any) -> Json:
        consumer = _Consumer(bootstrap, **wanted)
        await consumer.start()
        self._consumers[name] = consumer
        return {}

    async def poll(self, consumer: str, count: int, timeout_ms: int) -> Json:
        return await self._consumers[consumer].poll(count, timeout_ms)

    async def seek_to_time(self, consumer: str, topic: str, partition: int, timestamp_ms: int) -> Json:
        seeking = self._consumers[consumer].consumer
        wanted = aiokafka.TopicPartition(topic, partition)
        found = (await seeking.offsets_for_times({wanted: timestamp_ms}))[wanted]
        if found is None:
            await seeking.seek_to_end(wanted)
            return {"offset": -1}
        seeking.seek(wanted, found.offset)
        return {"offset": found.offset}

    async def commit(self, consumer: str) -> Json:
        await self._consumers[consumer].consumer.commit()
        return {}

    async def rebalances(self, consumer: str) -> Json:
        told = self._consumers[consumer].listener
        return {"assigned": told.assigned, "revoked": told.revoked}

    async def close_consumer(self, consumer: str) -> Json:
        await self._consumers.pop(consumer).consumer.stop()
        return {}


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]
    def __init__(self) -> None:
        self.assigned: list[list[list[Any]]] = []
        self.revoked: list[list[list[Any]]] = []

    async def on_partitions_assigned(self, assigned: Iterable[Any]) -> None:
        self.assigned.append(_partitions(assigned))

    async def on_partitions_revoked(self, revoked: Iterable[Any]) -> None:
        self.revoked.append(_partitions(revoked))


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
        assert assignor == "eager"
        self.group = group
        self.listener = _Listener()
        self._assign = assign
        settings = {
            "bootstrap_servers": bootstrap,
            "group_id": group,
            "group_instance_id": instance_id,
            "auto_offset_reset": "earliest",
            "enable_auto_commit": False,
            "partition_assignment_strategy": (RangePartitionAssignor, RoundRobinPartitionAssignor),
            "isolation_level": isolation,
            "session_timeout_ms": session_timeout_ms,
            "heartbeat_interval_ms": heartbeat_interval_ms,
            "fetch_max_bytes": fetch_bytes_max,
            "max_partition_fetch_bytes": fetch_bytes_max,
        }
        given = {name: value for name, value in settings.items() if value is not None}
        self.consumer = aiokafka.AIOKafkaConsumer(**given)
        if assign is None:
            self.consumer.subscribe(topics, listener=self.listener)

    async def start(self) -> None:
        if self._assign is None:
            await self.consumer.start()
            return
        wanted = {
            aiokafka.TopicPartition(one["topic"], one["partition"]): one["offset"] for one in self._assign
        }
        self.consumer.assign(list(wanted))
        await self.consumer.start()
        for partition, offset in wanted.items():
            if offset == -2:
                await self.consumer.seek_to_beginning(partition)
            elif offset == -1:
                await self.consumer.seek_to_end(partition)
            else:
                self.consumer.seek(partition, offset)

    async def poll(self, count: int, timeout_ms: int) -> Json:
        records: list[Any] = []
        deadline = time.monotonic() + timeout_ms / 1000
        while len(records) < count and (left := deadline - time.monotonic()) > 0:
            found = await self.consumer.getmany(
                timeout_ms=int(left * 1000) + 1, max_records=count - len(records)
            )
            records += [record for its in found.values() for record in its]
        return {
            "records": [_received(record) for record in records],
            "assignment": _partitions(self.consumer.assignment()),
        }


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


def _check(answers: Iterable[tuple[Any, ...]]) -> None:
    """Raise for the first of (error code, message, ...) that is no success."""
    for code, *rest in answers:
        error = kafka_errors.for_code(code)
        if error is not kafka_errors.NoError:
            raise error(rest[0] if rest else "")


async def _main() -> None:
    driver = AiokafkaDriver()
    loop = asyncio.get_running_loop()

    def answer(do: str, request: Json) -> Any:
        return asyncio.run_coroutine_threadsafe(method_of(driver, do)(**request), loop).result()

    await asyncio.to_thread(serve, answer, lambda error: type(error).__name__)


if __name__ == "__main__":
    asyncio.run(_main())
