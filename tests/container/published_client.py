"""A real client on the engine's side of published ports, as a process of its own in the engine's network namespace.

``PublishedClient`` starts it and gives it orders, one line of JSON each; the process (``main``) forwards the published
ports into the containers, as an engine does, and answers each order with a line of JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from tests.broker_process import REPOSITORY
from tests.container.round_trip import publish

_DEADLINE_S = 90.0


class PublishedClient:
    """Orders to a client in ``namespace`` that reaches containers at ``localhost`` and the ports of ``published``.

    ``published`` has host:port in the containers' network by the port on the engine's host.
    """

    def __init__(self, namespace: str, published: Mapping[int, str]) -> None:
        command = ["ip", "netns", "exec", namespace, sys.executable, "-m", "tests.container.published_client"]
        command += [f"--publish={port}={inside}" for port, inside in published.items()]
        command += ["--bootstrap-server", ",".join(f"localhost:{port}" for port in published)]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=REPOSITORY,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(30.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    def create_topic(self, topic: str, *, partitions: int, replication_factor: int, **configs: str) -> None:
        self._order("create_topic", topic, partitions, replication_factor, configs)

    def create_topic_in_time(
        self, topic: str, *, partitions: int, replication_factor: int, deadline_s: float = 30.0
    ) -> None:
        """While the metadata quorum elects a leader a broker answers that it cannot reach it."""
        deadline = time.monotonic() + deadline_s
        while True:
            try:
                return self.create_topic(topic, partitions=partitions, replication_factor=replication_factor)
            except AssertionError as refusal:
                if "REQUEST_TIMED_OUT" not in str(refusal) or time.monotonic() > deadline:
                    raise

    def produce(self, topic: str, first: int, count: int) -> None:
        """Records whose values are the numbers from ``first`` on, all acknowledged by all replicas in sync."""
        self._order("produce", topic, first, count)

    def consume(self, topic: str, count: int) -> list[int]:
        """As many values from the beginning of all partitions; sorted."""
        values: list[int] = self._order("consume", topic, count)
        return sorted(values)

    def brokers(self) -> dict[str, str]:
        """host:port by node id, as this client is told."""
        found: dict[str, str] = self._order("brokers")
        return found

    def in_sync(self, topic: str) -> list[int]:
        """How many replicas of each partition are in sync."""
        found: list[int] = self._order("in_sync", topic)
        return found

    def _order(self, name: str, *arguments: Any) -> Any:
        process = self._process
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(json.dumps([name, *arguments]) + "\n")
        process.stdin.flush()
        answer = process.stdout.readline()
        assert answer, "the client ended"
        said = json.loads(answer)
        assert "error" not in said, said["error"]
        return said["result"]


class _Client:
    def __init__(self, bootstrap_servers: str) -> None:
        self._settings = {"bootstrap.servers": bootstrap_servers, "log_level": 0}
        self._admin = AdminClient(self._settings)

    def create_topic(
        self, topic: str, partitions: int, replication_factor: int, configs: dict[str, str]
    ) -> None:
        new = NewTopic(topic, partitions, replication_factor, config=configs)
        self._admin.create_topics([new], operation_timeout=_DEADLINE_S)[topic].result(_DEADLINE_S)

    def produce(self, topic: str, first: int, count: int) -> None:
        failures: list[str] = []
        producer = Producer({**self._settings, "acks": "all", "enable.idempotence": True})
        for value in range(first, first + count):
            producer.produce(
                topic,
                str(value),
                on_delivery=lambda error, _: failures.append(str(error)) if error else None,
            )
        left = producer.flush(_DEADLINE_S)
        assert not left and not failures, f"{left} records not acknowledged; {failures[:3]}"

    def consume(self, topic: str, count: int) -> list[int]:
        consumer = Consumer({**self._settings, "group.id": f"reader-of-{topic}", "enable.auto.commit": False})
        try:
            partitions = self._admin.list_topics(topic, timeout=_DEADLINE_S).topics[topic].partitions
            consumer.assign([TopicPartition(topic, number, 0) for number in partitions])
            values: list[int] = []
            for message in consumer.consume(count, timeout=_DEADLINE_S):
                if message.error():
                    raise KafkaException(message.error())
                values.append(int(message.value() or b""))
            return values
        finally:
            consumer.close()

    def brokers(self) -> dict[int, str]:
        brokers = self._admin.list_topics(timeout=_DEADLINE_S).brokers
        return {node_id: f"{broker.host}:{broker.port}" for node_id, broker in sorted(brokers.items())}

    def in_sync(self, topic: str) -> list[int]:
        partitions = self._admin.list_topics(topic, timeout=_DEADLINE_S).topics[topic].partitions
        return [len(partition.isrs) for partition in partitions.values()]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--bootstrap-server", required=True)
    parser.add_argument("--publish", metavar="PORT=HOST:PORT", action="append", default=[])
    options = parser.parse_args()
    for published in options.publish:
        port, _, inside = published.partition("=")
        host, _, container_port = inside.rpartition(":")
        publish(int(port), host, int(container_port))
    client = _Client(options.bootstrap_server)
    for line in sys.stdin:
        name, *arguments = json.loads(line)
        try:
            answer = {"result": getattr(client, name)(*arguments)}
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
