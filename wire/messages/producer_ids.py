"""Producer ids, which make producers idempotent and transactional.

InitProducerId (key 22, versions 0-6, flexible from 2): KIP-98.
- 3: with the current id and epoch, a producer can recover from a fenced epoch (KIP-360). 4: PRODUCER_FENCED
  (KIP-588). 5: TRANSACTION_ABORTABLE (KIP-890). 6: two-phase commit (KIP-939).

AllocateProducerIds (key 67, version 0, flexible): a broker reserves a block of ids with the controller (KIP-730).
"""

from __future__ import annotations

from wire.schema import Request, Response, boolean, int16, int32, int64, nullable_string


class InitProducerIdRequest(Request, api_key=22, versions="0-6", flexible="2+"):
    transactional_id: str | None = nullable_string()
    transaction_timeout_ms: int = int32()
    producer_id: int = int64("3+", default=-1)
    producer_epoch: int = int16("3+", default=-1)
    enable2_pc: bool = boolean("6+")
    keep_prepared_txn: bool = boolean("6+")


class InitProducerIdResponse(Response, api_key=22, versions="0-6", flexible="2+"):
    throttle_time_ms: int = int32()
    error_code: int = int16()
    producer_id: int = int64(default=-1)
    producer_epoch: int = int16()
    ongoing_txn_producer_id: int = int64("6+", default=-1)
    ongoing_txn_producer_epoch: int = int16("6+", default=-1)


class AllocateProducerIdsRequest(Request, api_key=67, versions="0", flexible="0+"):
    broker_id: int = int32()
    broker_epoch: int = int64(default=-1)


class AllocateProducerIdsResponse(Response, api_key=67, versions="0", flexible="0+"):
    throttle_time_ms: int = int32()
    error_code: int = int16()
    producer_id_start: int = int64()
    producer_id_len: int = int32()
