"""The features that every client is tried with; the rows' names in ``docs/COMPATIBILITY.md``."""

from __future__ import annotations

from typing import Final

FEATURES: Final = {
    "admin": "topics created, grown, described, listed, configured, deleted; groups listed, deleted",
    "none": "produce and consume, not compressed",
    "gzip": "gzip",
    "snappy": "snappy",
    "lz4": "lz4",
    "zstd": "zstd",
    "idempotent": "an idempotent producer",
    "transactions": "committed and aborted transactions, read_committed",
    "exactly_once": "consume, transform, produce, with the offsets in the transaction",
    "eager": "a group that rebalances eagerly",
    "cooperative": "a group that rebalances cooperatively",
    "static": "a group with static members",
    "seek_by_time": "seek by time",
    "headers": "headers, null keys and null values",
    "large_messages": "messages of 5 MB",
    "many_partitions": "100 partitions at once",
    "restart": "the same producer and consumer over a restart of the broker",
    "failover": "the same producer and consumer over the loss of a leader",
}
"""Name -> what is done, in a line."""
