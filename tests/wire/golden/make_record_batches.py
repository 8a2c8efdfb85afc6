"""Prints record_batches.txt: the batch that real clients and Apache Kafka make of the same three records.

    python tests/wire/golden/make_record_batches.py BOOTSTRAP LOG_DIRECTORY

needs a running Apache Kafka whose log directory can be read. For "java" it has a topic's
`compression.type` make the broker compress what librdkafka sent, with the Java client's own code.
"""

import sys
import uuid
from collections.abc import Callable
from pathlib import Path

import kafka
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
Send = Callable[[bytes | None, bytes, list[tuple[str, bytes]], int], object]


def send_records(send: Send) -> None:
    """What `test_records.GOLDEN_RECORDS` expects."""
    send(None, b"value-0 " * 8, [], 1700000000000)
    send(b"key-1", b"value-1 " * 8, [("trace", b"1"), ("empty", b"")], 1700000000001)
    send(b"key-2", b"value-2 " * 8, [], 1700000000002)


def send_with_librdkafka(bootstrap: str, topic: str, codec: str) -> None:
    producer = Producer({"bootstrap.servers": bootstrap, "compression.type": codec, "linger.ms": 500})
    producer.list_topics(topic)
    send_records(
        lambda key, value, headers, ms: producer.produce(topic, value, key, 0, headers=headers, timestamp=ms)
    )
    producer.flush()


def send_with_kafka_python(bootstrap: str, topic: str, codec: str) -> None:
    compression_type = None if codec == "none" else codec
    producer = kafka.KafkaProducer(
        bootstrap_servers=bootstrap, compression_type=compression_type, linger_ms=500
    )
    producer.partitions_for(topic)
    send_records(lambda key, value, headers, ms: producer.send(topic, value, key, headers, 0, ms))
    producer.close()


def main(bootstrap: str, log_directory: Path) -> None:
    admin = AdminClient({"bootstrap.servers": bootstrap})
    run = uuid.uuid4().hex[:8]
    for codec in CODECS:
        for writer in ("java", "librdkafka", "kafka-python"):
            topic = f"golden-{run}-{writer}-{codec}"
            broker_codec = {"none": "uncompressed"}.get(codec, codec) if writer == "java" else "producer"
            new_topic = NewTopic(topic, 1, 1, config={"compression.type": broker_codec})
            admin.create_topics([new_topic])[topic].result()
            if writer == "kafka-python":
                send_with_kafka_python(bootstrap, topic, codec)
            else:
                sent = codec if writer == "librdkafka" else ("gzip" if codec == "none" else "none")
                send_with_librdkafka(bootstrap, topic, sent)
            segment = log_directory / f"{topic}-0" / "00000000000000000000.log"
            print(writer, codec, segment.read_bytes().hex())
            admin.delete_topics([topic])[topic].result()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
