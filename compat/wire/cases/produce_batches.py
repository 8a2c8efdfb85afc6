"""Produce: what a batch may be, and what a topic's settings make of it."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping

from compat.wire.arrange import place
from compat.wire.case import Cases
from compat.wire.logs import (
    ALL,
    BASE_TIME_MS,
    LEADER,
    Records,
    ask_for_all,
    batch,
    patched,
    produce_to,
    records,
)
from compat.wire.scene import Scene
from wire.messages.produce import ProduceRequest
from wire.records import BATCH_HEADER_SIZE, Compression, build_batch, build_end_transaction_marker, set_crc

BATCHES = Cases(ProduceRequest)

SOME = "3,7,8,13"
"""The oldest, the first with zstd, the first that says what is wrong, the newest."""
BATCH_LENGTH, MAGIC, ATTRIBUTES, LAST_OFFSET_DELTA = 8, 16, 21, 23
MAX_TIMESTAMP, RECORD_COUNT = 35, 57
DAY_MS = 86_400_000
APPEND_TIME = {"message.timestamp.type": "LogAppendTime"}
COMPACTED = {"cleanup.policy": "compact"}
SMALL = {"max.message.bytes": "1000"}
TWO_IN_SYNC = {"min.insync.replicas": "2"}


def is_sent(
    name: str, data: Callable[[], Records], configs: Mapping[str, str] | None = None, acks: int = ALL
) -> None:
    """A case: send it to an empty partition of a topic with ``configs``, then look at what is in the log."""

    def body(at: Scene) -> None:
        to = place(at, configs=configs)
        at.ask(produce_to(at, to, data(), acks=acks))
        ask_for_all(at, to.topic, partition=to.partition)

    BATCHES.add(name, body, SOME)


def three() -> bytearray:
    return batch(b"one", b"two", b"three")


def resealed(data: Records, at: int, replacement: bytes) -> bytearray:
    """Patched, with a checksum that is right again."""
    changed = patched(data, at, replacement)
    set_crc(changed, 0, len(changed))
    return changed


def int32(value: int) -> bytes:
    return struct.pack(">i", value)


def int64(value: int) -> bytes:
    return struct.pack(">q", value)


# Codecs.

for codec in Compression:
    is_sent(f"codec {codec.name}", lambda codec=codec: batch(b"a" * 100, b"b" * 100, compression=codec))
for number in (5, 6, 7):
    is_sent(f"codec {number}", lambda number=number: resealed(three(), ATTRIBUTES, struct.pack(">h", number)))
for name in ("gzip", "snappy", "lz4", "zstd", "uncompressed"):
    is_sent(
        f"compressed anew with {name}",
        lambda: batch(b"a" * 100, b"b" * 100, compression=Compression.LZ4),
        {"compression.type": name},
    )
    is_sent(f"compressed with {name}", lambda: batch(b"a" * 100, b"b" * 100), {"compression.type": name})

# Frames.

for magic in (0, 1, 3, -1, 127):
    is_sent(f"magic {magic}", lambda magic=magic: patched(three(), MAGIC, struct.pack(">b", magic)))
for length in (0, -1, 13, 48, 49, 10_000, 2**31 - 1):
    is_sent(
        f"a batch length of {length}",
        lambda length=length: patched(three(), BATCH_LENGTH, int32(length)),
    )
is_sent("half a batch", lambda: three()[:-10])
is_sent("half a header", lambda: three()[:40])
is_sent("a byte", lambda: b"\0")
is_sent("zeros", lambda: bytes(100))
is_sent("a batch and zeros", lambda: three() + bytes(20))
is_sent("a batch and half of one", lambda: three() + three()[:-10])
is_sent("two batches", lambda: three() + three())

# Headers.

is_sent("a base offset", lambda: patched(three(), 0, int64(17)))
is_sent("a base offset below zero", lambda: patched(three(), 0, int64(-17)))
is_sent("a leader epoch", lambda: patched(three(), 12, int32(5)))
for count in (0, 2, 4, -1, 1_000_000):
    is_sent(
        f"a count of {count} for three records",
        lambda count=count: resealed(three(), RECORD_COUNT, int32(count)),
    )
for delta in (0, 1, 3, -1, 1_000_000):
    is_sent(
        f"a last offset delta of {delta} for three records",
        lambda delta=delta: resealed(three(), LAST_OFFSET_DELTA, int32(delta)),
    )
is_sent(
    "a count and a last offset delta that agree and are wrong",
    lambda: resealed(resealed(three(), LAST_OFFSET_DELTA, int32(3)), RECORD_COUNT, int32(4)),
)
for attributes, what in (
    (0x08, "the append time"),
    (0x10, "a transaction"),
    (0x20, "control"),
    (0x40, "a delete horizon"),
    (0x80, "nothing known"),
):
    is_sent(
        f"attributes that claim {what}",
        lambda attributes=attributes: resealed(three(), ATTRIBUTES, struct.pack(">h", attributes)),
    )
is_sent("a wrong latest time", lambda: resealed(three(), MAX_TIMESTAMP, int64(BASE_TIME_MS + 5_000)))

# Records.

is_sent("no records in a batch", lambda: _empty())
is_sent("records that are none", lambda: resealed(three(), BATCH_HEADER_SIZE, b"\xff" * 10))
is_sent(
    "compressed records that are none",
    lambda: resealed(batch(b"a" * 100, compression=Compression.GZIP), BATCH_HEADER_SIZE, b"\xff" * 10),
)
is_sent(
    "a transaction's marker",
    lambda: build_end_transaction_marker(
        base_offset=0,
        timestamp_ms=BASE_TIME_MS,
        producer_id=5,
        producer_epoch=0,
        is_commit=True,
        coordinator_epoch=0,
    ),
)
is_sent(
    "keys, nulls and headers",
    lambda: build_batch(
        records(b"v", None, keys=[b"k", None], headers=(("h", b"x"), ("h", None))), base_offset=0
    ),
)

# Times.

is_sent("no time", lambda: batch(b"x", time_ms=-1))
is_sent("a time below zero", lambda: batch(b"x", time_ms=-5))
is_sent("a day ahead", lambda: batch(b"x", time_ms=BASE_TIME_MS + DAY_MS))
is_sent(
    "a day ahead, which is allowed",
    lambda: batch(b"x", time_ms=BASE_TIME_MS + DAY_MS),
    {"message.timestamp.after.max.ms": str(2 * DAY_MS)},
)
is_sent("a day old", lambda: batch(b"x", time_ms=BASE_TIME_MS - DAY_MS))
is_sent(
    "a day old, which is too old",
    lambda: batch(b"x", b"y", time_ms=BASE_TIME_MS - DAY_MS),
    {"message.timestamp.before.max.ms": "3600000"},
)
is_sent("the append time", three, APPEND_TIME)
is_sent("the append time, compressed", lambda: batch(b"x" * 50, compression=Compression.GZIP), APPEND_TIME)
is_sent(
    "the append time instead of a day ahead", lambda: batch(b"x", time_ms=BASE_TIME_MS + DAY_MS), APPEND_TIME
)

# Settings of topics.

is_sent(
    "keys for a compacted topic",
    lambda: build_batch(records(b"v", b"w", keys=[b"k", b"k"]), base_offset=0),
    COMPACTED,
)
is_sent(
    "no keys for a compacted topic",
    lambda: build_batch(records(b"v", b"w", b"x", keys=[None, b"k", None]), base_offset=0),
    COMPACTED,
)
is_sent("larger than a topic takes", lambda: batch(b"x" * 2_000), SMALL)
is_sent(
    "larger than a topic takes, but compressed",
    lambda: batch(b"x" * 2_000, compression=Compression.GZIP),
    SMALL,
)
is_sent(
    "larger than a segment",
    lambda: batch(*[b"x" * 250_000] * 5),
    {"segment.bytes": "1048576", "max.message.bytes": "2000000"},
)
is_sent("as large as can be", lambda: batch(b"x" * 1_000_000))
is_sent("fewer in sync than must be", three, TWO_IN_SYNC)
is_sent("fewer in sync than must be, for the leader's word", three, TWO_IN_SYNC, LEADER)


def _empty() -> bytearray:
    """A header that says of itself that nothing follows."""
    header = patched(three()[:BATCH_HEADER_SIZE], BATCH_LENGTH, int32(BATCH_HEADER_SIZE - 12))
    return resealed(header, RECORD_COUNT, int32(0))
