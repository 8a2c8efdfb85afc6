"""An entry of a `.txnindex` file: a transaction of the segment that was aborted, behind its version, 0."""

from __future__ import annotations

from wire.schema import InternalRecord, int64


class AbortedTxn(InternalRecord, versions="0"):
    producer_id: int = int64()
    first_offset: int = int64()
    last_offset: int = int64()
    last_stable_offset: int = int64()
