"""What both brokers are made to write: every kind of record and file that a log directory can hold.

Timestamps are given, so that segments roll where they say, and both brokers get the same bytes. They are of the hour
before, so that no broker writes them by itself, and none takes a producer for one that has gone.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import trio

from compat.disk.operations import Operations, record
from wire.records import Compression

BEGINNING_MS = time.time_ns() // 1_000_000 - 3_600_000
SEGMENT_MS = 10_000
KEEP = {"retention.ms": "-1"}
ROLLING = {**KEEP, "segment.ms": str(SEGMENT_MS)}
COMPACTED = {
    "cleanup.policy": "compact",
    "segment.ms": str(SEGMENT_MS),
    "min.cleanable.dirty.ratio": "0.0",
    "delete.retention.ms": "86400000",
}
SUBSCRIPTION = bytes.fromhex("0003000000010008") + b"segments" + bytes.fromhex("ffffffff00000000ffffffffffff")
"""Version 3 of a consumer's subscription, of one topic; also a fine assignment, as far as a broker can tell."""

TOPIC, BROKER, GROUP = 2, 4, 32
"""Kinds of resources that have configs."""

SETTINGS = {
    "log.cleaner.backoff.ms": 200,
    "log.cleaner.dedupe.buffer.size": 16 * 1024 * 1024,
    # Segments before a log's start go when somebody looks, which Apache Kafka first does after half a minute.
    "log.initial.task.delay.ms": 100,
    "log.retention.check.interval.ms": 500,
}
_PATIENCE_S = 60.0


def segment(number: int) -> int:
    """A time that belongs into the segment of this number."""
    return BEGINNING_MS + number * 6 * SEGMENT_MS


async def write_records(broker: Operations, data_dir: Path) -> None:
    """Codecs, headers, nulls, many segments, log-append time, recompression, records deleted from the front."""
    await broker.create_topic("codecs", 2, KEEP)
    for number, codec in enumerate(Compression):
        await broker.produce(
            "codecs",
            [
                record(BEGINNING_MS + number, b"key", b"value " * 40),
                record(BEGINNING_MS + number + 1, None, b"no key", (("name", b"value"), ("name", None))),
                record(BEGINNING_MS + number, b"no value", None, (("\u00e9", b""),)),
                record(BEGINNING_MS + number, b"", b""),
            ],
            compression=codec,
        )
    await broker.produce("codecs", [record(BEGINNING_MS, None, None)], partition=1)
    await broker.create_topic("segments", 1, {**ROLLING, "index.interval.bytes": "0"})
    for number in range(4):
        for step in range(5):
            # Not in the order of time, and so not every batch gets an entry in the time index.
            at = segment(number) + (step * 7 % 5) * 100
            await broker.produce("segments", [record(at, b"%d" % number, b"%d" % step)] * (step + 1))
    await broker.create_topic("sparse", 1, {**KEEP, "index.interval.bytes": "200"})
    for number in range(10):
        await broker.produce("sparse", [record(BEGINNING_MS + number, None, b"x" * 90)])
    await broker.create_topic("appended", 1, {**KEEP, "message.timestamp.type": "LogAppendTime"})
    await broker.produce("appended", [record(BEGINNING_MS, b"key", b"value")])
    await broker.create_topic("recompressed", 1, {**KEEP, "compression.type": "gzip"})
    for codec in (Compression.NONE, Compression.ZSTD, Compression.GZIP):
        await broker.produce(
            "recompressed", [record(BEGINNING_MS, b"key", b"value" * 50)] * 3, compression=codec
        )
    await broker.create_topic("shortened", 1, ROLLING)
    for number in range(4):
        await broker.produce("shortened", [record(segment(number), b"%d" % number, b"value")] * 3)
    await broker.delete_records("shortened", 7)
    await until(lambda: not [*(data_dir / "shortened-0").glob(f"{3:020d}.log")])


async def write_compacted(broker: Operations, data_dir: Path) -> None:
    """A compacted topic, and wait until the cleaner has been through it: once, when all is written."""
    not_yet = {"min.compaction.lag.ms": str(2**62)}
    await broker.create_topic("compacted", 1, {**COMPACTED, **not_yet})
    producer = await broker.producer()
    for number in range(5):
        at = segment(number)
        await broker.produce(
            "compacted",
            [record(at, b"key-%d" % (number % 3), b"%d" % number), record(at, b"once-%d" % number, b"value")],
            producer=producer,
        )
        await broker.produce(
            "compacted",
            [record(at, b"came back", None if number == 2 else b"value"), record(at, b"gone", None)],
            compression=Compression.LZ4,
        )
    await broker.alter_config(TOPIC, "compacted", {"min.compaction.lag.ms": "0"})
    # The log is cleaned up to its active segment, which is the fifth.
    await until(lambda: cleaned_up_to(data_dir, "compacted") == 16)


async def write_transactions(broker: Operations) -> None:
    """Idempotent and transactional producers: committed, aborted, over several segments, with offsets, and one open."""
    await broker.create_topic("idempotent", 1, ROLLING)
    producer = await broker.producer()
    for number in range(3):
        await broker.produce("idempotent", [record(segment(number), b"k", b"v")] * 3, producer=producer)
    await broker.create_topic("transactional", 2, ROLLING)
    both = await broker.producer("commits-and-aborts")
    for number, commit in enumerate((True, False, True, False)):
        for partition in (0, 1):
            await broker.produce(
                "transactional",
                [record(segment(number), b"%d" % number, b"committed" if commit else b"aborted")],
                partition=partition,
                producer=both,
            )
        await broker.end_transaction(both, commit=commit)
    with_offsets = await broker.producer("sends-offsets")
    await broker.send_offsets(with_offsets, "of-transactions", {("segments", 0): 17})
    await broker.end_transaction(with_offsets, commit=True)
    await broker.send_offsets(with_offsets, "of-transactions", {("segments", 0): 18})
    await broker.end_transaction(with_offsets, commit=False)
    await broker.producer("never-used")
    open_ended = await broker.producer("open")
    await broker.produce(
        "transactional", [record(segment(4), b"open", b"open")], partition=1, producer=open_ended
    )


async def write_groups(broker: Operations) -> None:
    """Offsets without members and with them, a static member, a member that left, what was deleted again."""
    await broker.commit("simple", {("segments", 0): 3, ("codecs", 1): 1}, metadata="note", leader_epoch=0)
    await broker.commit("simple", {("segments", 0): 9})
    await broker.commit("emptied", {("segments", 0): 1, ("codecs", 0): 2})
    await broker.delete_offsets("emptied", "segments", 0)
    await broker.commit("deleted", {("segments", 0): 1})
    await broker.delete_group("deleted")
    member = await broker.join("joined", SUBSCRIPTION)
    await broker.commit("joined", {("segments", 0): 5}, member=member)
    await broker.join("static", SUBSCRIPTION, instance_id="instance")
    left = await broker.join("left", SUBSCRIPTION)
    await broker.commit("left", {("segments", 0): 7}, member=left)
    await broker.leave("left", left[0])


async def write_all(bootstrap_server: str, data_dir: Path) -> None:
    async with await Operations.to(bootstrap_server) as broker:
        await write_records(broker, data_dir)
        await write_compacted(broker, data_dir)
        await write_transactions(broker)
        await write_groups(broker)


async def write_cluster(broker: Operations) -> None:
    """What only the cluster's metadata holds: topics that went, came back and grew, configs, quotas, credentials."""
    await broker.create_topic("gone", 2)
    await broker.delete_topic("gone")
    await broker.create_topic("again", 1, {"retention.ms": "1000000000000"})
    await broker.delete_topic("again")
    await broker.create_topic("again", 3, {"max.message.bytes": "2000000"})
    await broker.create_topic("grown", 1)
    await broker.create_partitions("grown", 4)
    await broker.create_topic("with.dots_and-dashes", 1)
    await broker.alter_config(TOPIC, "again", {"cleanup.policy": "compact,delete", "segment.ms": "3600000"})
    await broker.alter_config(TOPIC, "again", {"max.message.bytes": None})
    await broker.alter_config(BROKER, "", {"log.cleaner.threads": "2"})
    await broker.alter_config(BROKER, "1", {"message.max.bytes": "3000000"})
    await broker.alter_config(GROUP, "simple", {"consumer.session.timeout.ms": "50000"})
    await broker.set_quota("user", "somebody", "producer_byte_rate", 1e6)
    await broker.set_scram_credential("somebody")
    for partition in range(4):
        await broker.produce("grown", [record(BEGINNING_MS, b"key", b"value")], partition=partition)


async def leave_unfinished(broker: Operations) -> None:
    """Producers and transactions that a broker is killed under."""
    producer = await broker.producer()
    for _ in range(3):
        await broker.produce("grown", [record(BEGINNING_MS, b"k", b"v")] * 2, partition=1, producer=producer)
    killed = await broker.producer("killed")
    await broker.produce("grown", [record(BEGINNING_MS, b"done", b"done")], partition=2, producer=killed)
    await broker.end_transaction(killed, commit=True)
    await broker.produce("grown", [record(BEGINNING_MS, b"open", b"open")], partition=2, producer=killed)
    await broker.produce("grown", [record(BEGINNING_MS, b"after", b"after")], partition=2)


async def until(condition: Callable[[], bool]) -> None:
    """Poll for something that only the disk shows; trio.TooSlowError."""
    with trio.fail_after(_PATIENCE_S):
        while not condition():  # noqa: ASYNC110
            await trio.sleep(0.05)


def cleaned_up_to(data_dir: Path, topic: str) -> int:
    """The first offset that the cleaner has not been over, as the directory's checkpoint says."""
    try:
        lines = (data_dir / "cleaner-offset-checkpoint").read_text(encoding="ascii").splitlines()[2:]
    except FileNotFoundError:
        return 0
    return next((int(line.split()[2]) for line in lines if line.split()[:2] == [topic, "0"]), 0)
