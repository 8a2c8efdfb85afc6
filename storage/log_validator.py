"""Checking what a leader is asked to append, and giving it offsets (Kafka: LogValidator, UnifiedLog).

Work is done per batch: structure, size, CRC and header fields. Records are decoded only when a rule is about
records: keys on compacted topics, a limit on how old timestamps may be, another codec than the topic's. The
client's own buffer is edited in place and becomes what is written.
"""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple

from storage.log_config import INT64_MAX, PRODUCER_COMPRESSION, LogConfig
from storage.producer_append import AppendOrigin
from storage.segment import BatchSpan
from wire.errors import ApiError, ErrorCode, ProtocolError
from wire.records import (
    LOG_APPEND_TIME,
    NO_TIMESTAMP,
    BatchHeader,
    Compression,
    DecompressionLimitError,
    InvalidBatchError,
    LegacyBatchError,
    Record,
    build_batch,
    crc_matches,
    has_dependent_blocks,
    iterate_batches,
    read_batch_header,
    read_records,
    set_base_offset,
    set_crc,
    set_log_append_time,
    set_partition_leader_epoch,
)

RECORD_ERRORS_MAX = 3
DECOMPRESSED_BYTES_MAX = 100 << 20
_RECORD_BYTES_MIN = 7
_ATTRIBUTES_AT = 21
_ATTRIBUTES = Struct(">h")
_CODEC_BITS = 0x07
_LOG_APPEND_TIME_FLAG = 0x08
_BATCH_HEADER_BYTES = 61


class RecordError(NamedTuple):
    """Which record of a refused batch was at fault, counted from 0, and why (ProduceResponse v8)."""

    batch_index: int
    message: str


class RecordsRejectedError(ApiError):
    """INVALID_RECORD or INVALID_TIMESTAMP because of certain records (Kafka: RecordValidationException)."""

    def __init__(self, code: ErrorCode, message: str, record_errors: list[RecordError]) -> None:
        super().__init__(code, message)
        self.record_errors = record_errors


class UnfitRequestError(ApiError):
    """INVALID_RECORD or CORRUPT_MESSAGE for what no produce request may carry, whatever the log is like
    (Kafka: ProduceRequest.validateRecords)."""


class AssignedBatch(NamedTuple):
    """A batch with its place in the log. `header` is as the batch came, before offsets were assigned."""

    position: int
    header: BatchHeader
    span: BatchSpan


class ValidatedRecords(NamedTuple):
    """What to write. `log_append_time_ms` is -1 on topics with create time; `end` cuts off trailing bytes."""

    records: bytearray | memoryview
    batches: list[AssignedBatch]
    log_append_time_ms: int


def parse_batches(records: bytearray | memoryview, origin: AppendOrigin) -> list[tuple[int, BatchHeader]]:
    """The complete batches; a client may send just one (KIP-98).

    UnfitRequestError: INVALID_RECORD for none, too many or an old format; CORRUPT_MESSAGE for no batches at all.
    """
    try:
        batches = list(iterate_batches(records))
    except LegacyBatchError as error:
        raise UnfitRequestError(ErrorCode.INVALID_RECORD, str(error)) from None
    except InvalidBatchError as error:
        raise UnfitRequestError(ErrorCode.CORRUPT_MESSAGE, str(error)) from None
    if not batches:
        raise UnfitRequestError(ErrorCode.INVALID_RECORD, "the records hold no complete batch")
    if len(batches) > 1 and origin is AppendOrigin.CLIENT:
        message = f"a produce request holds one record batch per partition, not {len(batches)}"
        raise UnfitRequestError(ErrorCode.INVALID_RECORD, message)
    return batches


def validate_and_assign(
    records: bytearray | memoryview,
    batches: list[tuple[int, BatchHeader]],
    *,
    config: LogConfig,
    origin: AppendOrigin,
    next_offset: int,
    leader_epoch: int,
    now_ms: int,
    decompressed_bytes_max: int = DECOMPRESSED_BYTES_MAX,
) -> ValidatedRecords:
    """Check all batches, then edit them: offsets from `next_offset` on, leader epoch, log-append time.

    ApiError as Kafka answers: INVALID_RECORD, MESSAGE_TOO_LARGE, CORRUPT_MESSAGE, INVALID_TIMESTAMP.
    """
    is_client = origin is AppendOrigin.CLIENT
    for position, header in batches:
        if is_client and header.base_offset != 0:
            raise ApiError(ErrorCode.INVALID_RECORD, f"base offset is {header.base_offset} instead of 0")
        _check_size(header.size_bytes, config)
        if not crc_matches(records, position, header):
            raise ApiError(ErrorCode.CORRUPT_MESSAGE, f"CRC {header.crc:#x} does not match the batch")
    decoded: dict[int, list[Record]] = {}
    for position, header in batches:
        if is_client:
            _check_client_batch(header)
            if header.attributes & _CODEC_BITS == Compression.LZ4:
                _check_lz4(records, position, header)
            if _needs_records(header, config, now_ms):
                batch_records = _decode(records, position, decompressed_bytes_max)
                _check_records(header, batch_records, config, now_ms)
                if _target_compression(config, header) is not header.compression:
                    decoded[position] = batch_records
    if decoded:
        return _rewrite(records, batches, decoded, config, next_offset, leader_epoch, now_ms)
    assigned = []
    log_append_time_ms = now_ms if config.log_append_time else NO_TIMESTAMP
    for position, header in batches:
        max_timestamp = _assign(records, position, header, config, next_offset, leader_epoch, now_ms)
        last_offset = next_offset + header.last_offset_delta
        span = BatchSpan(next_offset, last_offset, max_timestamp, header.size_bytes)
        assigned.append(AssignedBatch(position, header, span))
        next_offset = last_offset + 1
    end = batches[-1][0] + batches[-1][1].size_bytes
    if end < len(records):
        records = memoryview(records)[:end]
    return ValidatedRecords(records, assigned, log_append_time_ms)


def _check_size(size_bytes: int, config: LogConfig) -> None:
    if size_bytes > config.max_message_bytes:
        message = f"the batch of {size_bytes} bytes exceeds max.message.bytes, {config.max_message_bytes}"
        raise ApiError(ErrorCode.MESSAGE_TOO_LARGE, message)


def _check_client_batch(header: BatchHeader) -> None:
    """What a produce request's batch header must not say."""
    count = header.record_count
    if header.last_offset_delta < 0:
        problem = f"invalid offset range 0 to {header.last_offset_delta}"
    elif count <= 0:
        problem = f"invalid record count {count}"
    elif count != header.last_offset_delta + 1:
        problem = f"{count} records do not match the offset range 0 to {header.last_offset_delta}"
    elif header.is_control:
        problem = "clients may not write control records"
    elif header.producer_id >= 0 and header.base_sequence < 0:
        problem = f"invalid sequence number {header.base_sequence} of producer {header.producer_id}"
    elif (
        not header.attributes & _CODEC_BITS
        and count * _RECORD_BYTES_MIN > header.size_bytes - _BATCH_HEADER_BYTES
    ):
        problem = f"{count} records do not fit into {header.size_bytes} bytes"
    else:
        return
    raise ApiError(ErrorCode.INVALID_RECORD, problem)


def _check_lz4(records: bytearray | memoryview, position: int, header: BatchHeader) -> None:
    """Kafka's own readers, consumers in Java above all, could not read it; so Kafka refuses it, too."""
    frame = memoryview(records)[position + _BATCH_HEADER_BYTES : position + header.size_bytes]
    if has_dependent_blocks(frame):
        raise ApiError(ErrorCode.INVALID_RECORD, "the blocks of the lz4 frame depend on one another")


def _needs_records(header: BatchHeader, config: LogConfig, now_ms: int) -> bool:
    has_codec = header.attributes & _CODEC_BITS or config.compression_type != PRODUCER_COMPRESSION
    if has_codec and _target_compression(config, header) is not header.compression:
        return True
    if config.compact:
        return True
    if config.log_append_time:
        return header.timestamp_type == LOG_APPEND_TIME
    if config.message_timestamp_before_max_ms < INT64_MAX:
        return True
    if header.timestamp_type == LOG_APPEND_TIME and header.max_timestamp == NO_TIMESTAMP:
        return True
    return header.max_timestamp - now_ms > config.message_timestamp_after_max_ms


def _target_compression(config: LogConfig, header: BatchHeader) -> Compression:
    try:
        source = header.compression
    except InvalidBatchError as error:
        raise ApiError(ErrorCode.INVALID_RECORD, str(error)) from None
    name = config.compression_type
    if name == PRODUCER_COMPRESSION:
        return source
    return Compression.NONE if name == "uncompressed" else Compression[name.upper()]


def _decode(records: bytearray | memoryview, position: int, decompressed_bytes_max: int) -> list[Record]:
    try:
        return read_records(records, position, decompressed_bytes_max=decompressed_bytes_max)
    except DecompressionLimitError as error:
        raise ApiError(ErrorCode.MESSAGE_TOO_LARGE, str(error)) from None
    except ProtocolError as error:
        raise ApiError(ErrorCode.INVALID_RECORD, str(error)) from None


def _check_records(header: BatchHeader, records: list[Record], config: LogConfig, now_ms: int) -> None:
    errors: list[RecordError] = []
    bad_timestamp = False
    earliest = now_ms - config.message_timestamp_before_max_ms
    latest = now_ms + config.message_timestamp_after_max_ms
    for index, record in enumerate(records):
        timestamp = header.max_timestamp if header.timestamp_type == LOG_APPEND_TIME else record.timestamp
        if config.compact and record.key is None:
            errors.append(RecordError(index, "a compacted topic takes no record without a key"))
        elif not config.log_append_time and timestamp != NO_TIMESTAMP:
            if not earliest <= timestamp <= latest:
                bad_timestamp = True
                message = f"timestamp {timestamp} is outside [{earliest}, {latest}]"
                errors.append(RecordError(index, message))
        elif header.timestamp_type == LOG_APPEND_TIME:
            bad_timestamp = True
            errors.append(RecordError(index, "a producer may not set the timestamp type to LogAppendTime"))
    if bad_timestamp:
        message = "one or more records were rejected for their timestamp"
        raise RecordsRejectedError(ErrorCode.INVALID_TIMESTAMP, message, errors)
    if errors:
        shown = ", ".join(f"record {index}: {message}" for index, message in errors[:RECORD_ERRORS_MAX])
        message = f"{len(errors)} records were rejected; the first ones: {shown}"
        raise RecordsRejectedError(ErrorCode.INVALID_RECORD, message, errors)


def _assign(
    records: bytearray | memoryview,
    position: int,
    header: BatchHeader,
    config: LogConfig,
    offset: int,
    leader_epoch: int,
    now_ms: int,
) -> int:
    """Edit one batch in place; returns its largest timestamp."""
    set_base_offset(records, position, offset)
    set_partition_leader_epoch(records, position, leader_epoch)
    if config.log_append_time:
        set_log_append_time(records, position, header, now_ms)
        return now_ms
    if header.timestamp_type == LOG_APPEND_TIME:
        # The topic's timestamp type wins over what the producer claimed, as in Kafka.
        attributes = header.attributes & ~_LOG_APPEND_TIME_FLAG
        _ATTRIBUTES.pack_into(records, position + _ATTRIBUTES_AT, attributes)
        set_crc(records, position, header.size_bytes)
    return header.max_timestamp


def _rewrite(
    records: bytearray | memoryview,
    batches: list[tuple[int, BatchHeader]],
    decoded: dict[int, list[Record]],
    config: LogConfig,
    next_offset: int,
    leader_epoch: int,
    now_ms: int,
) -> ValidatedRecords:
    """The batches in the topic's codec instead of the producer's."""
    output = bytearray()
    assigned = []
    for position, header in batches:
        at = len(output)
        target = _target_compression(config, header)
        shifted = [
            record._replace(offset=next_offset + index) for index, record in enumerate(decoded[position])
        ]
        output += build_batch(
            shifted,
            base_offset=next_offset,
            compression=target,
            compression_level=_compression_level(config, target),
            producer_id=header.producer_id,
            producer_epoch=header.producer_epoch,
            base_sequence=header.base_sequence,
            partition_leader_epoch=leader_epoch,
            is_transactional=header.is_transactional,
        )
        new_header = read_batch_header(output, at)
        max_timestamp = new_header.max_timestamp
        if config.log_append_time:
            set_log_append_time(output, at, new_header, now_ms)
            max_timestamp = now_ms
        _check_size(new_header.size_bytes, config)
        span = BatchSpan(next_offset, new_header.last_offset, max_timestamp, new_header.size_bytes)
        assigned.append(AssignedBatch(at, header, span))
        next_offset = new_header.next_offset
    return ValidatedRecords(output, assigned, now_ms if config.log_append_time else NO_TIMESTAMP)


def _compression_level(config: LogConfig, codec: Compression) -> int | None:
    if codec is Compression.GZIP:
        return config.compression_gzip_level
    if codec is Compression.LZ4:
        return config.compression_lz4_level
    if codec is Compression.ZSTD:
        return config.compression_zstd_level
    return None
