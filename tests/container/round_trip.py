"""A real client as a process of its own, so that it can be put into a network namespace.

Produces three records to a new topic, consumes them, and prints what it saw as one line of JSON:
``{"brokers": ["host:port"], "consumed": ["0", "1", "2"]}``. With ``--publish PORT=HOST:PORT`` it first does what an
engine does for a published port: forward connections to a port of localhost into the container.
"""

from __future__ import annotations

import argparse
import json
import socket
import sys
import threading
import uuid

from confluent_kafka import Consumer, KafkaException, Producer
from confluent_kafka.admin import AdminClient

RECORDS = ("0", "1", "2")
_DEADLINE_S = 20.0


def round_trip(bootstrap_server: str, topic: str) -> dict[str, list[str]]:
    """The brokers that the client was told of, and the values that it consumed."""
    return {"brokers": brokers(bootstrap_server), "consumed": produce_and_consume(bootstrap_server, topic)}


def brokers(bootstrap_server: str) -> list[str]:
    listed = (
        AdminClient({"bootstrap.servers": bootstrap_server, "log_level": 0})
        .list_topics(timeout=_DEADLINE_S)
        .brokers
    )
    return [f"{broker.host}:{broker.port}" for broker in listed.values()]


def produce_and_consume(bootstrap_server: str, topic: str) -> list[str]:
    produce(bootstrap_server, topic)
    return consume(bootstrap_server, topic)


def produce(bootstrap_server: str, topic: str) -> None:
    """Have all RECORDS acknowledged."""
    failures: list[str] = []
    producer = Producer({"bootstrap.servers": bootstrap_server, "acks": "all", "log_level": 0})
    for value in RECORDS:
        producer.produce(
            topic,
            value,
            partition=0,
            on_delivery=lambda error, _: failures.append(str(error)) if error else None,
        )
    left = producer.flush(_DEADLINE_S)
    assert not left and not failures, f"{left} records not acknowledged; {failures}"


def consume(bootstrap_server: str, topic: str) -> list[str]:
    """As many values from the topic's beginning as there are RECORDS, through a new group."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap_server,
            "group.id": f"group-{uuid.uuid4().hex[:10]}",
            "auto.offset.reset": "earliest",
            "log_level": 0,
        }
    )
    try:
        consumer.subscribe([topic])
        values: list[str] = []
        for message in consumer.consume(len(RECORDS), timeout=_DEADLINE_S):
            if message.error():
                raise KafkaException(message.error())
            values.append((message.value() or b"").decode())
        return values
    finally:
        consumer.close()


def publish(port: int, host: str, container_port: int) -> None:
    """Forward connections to localhost's ``port`` for as long as this process lives."""
    listening = socket.create_server(("127.0.0.1", port))
    threading.Thread(target=_accept, args=(listening, host, container_port), daemon=True).start()


def _accept(listening: socket.socket, host: str, port: int) -> None:
    while True:
        outside, _ = listening.accept()
        try:
            inside = socket.create_connection((host, port))
        except OSError:
            outside.close()  # the container does not run
            continue
        for source, target in ((outside, inside), (inside, outside)):
            threading.Thread(target=_copy, args=(source, target), daemon=True).start()


def _copy(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(65_536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        target.close()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--bootstrap-server", required=True)
    parser.add_argument("--topic", required=True)
    parser.add_argument("--publish", metavar="PORT=HOST:PORT")
    options = parser.parse_args()
    if options.publish:
        port, _, inside = options.publish.partition("=")
        host, _, container_port = inside.rpartition(":")
        publish(int(port), host, int(container_port))
    json.dump(round_trip(options.bootstrap_server, options.topic), sys.stdout)


if __name__ == "__main__":
    main()
