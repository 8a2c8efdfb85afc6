"""Record batches: one door to the modules that know them.

batch_header    the 61 bytes in front: read, iterate, checksum, edit in place
record_reader   batch -> records
record_writer   records -> batch
control_records transaction markers
compression     codecs (`wire.compression`; only its exceptions and the enum are named here)
"""

from wire.batch_header import (
    BATCH_HEADER,
    BATCH_HEADER_SIZE,
    CREATE_TIME,
    CURRENT_MAGIC,
    HEADER_SIZE_UP_TO_MAGIC,
    LOG_APPEND_TIME,
    LOG_OVERHEAD,
    NO_PARTITION_LEADER_EPOCH,
    NO_PRODUCER_EPOCH,
    NO_PRODUCER_ID,
    NO_SEQUENCE,
    NO_TIMESTAMP,
    SEQUENCE_MAX,
    BatchHeader,
    InvalidBatchError,
    LegacyBatchError,
    UnknownCodecError,
    crc_matches,
    increment_sequence,
    iterate_batches,
    magic_of,
    read_batch_header,
    set_base_offset,
    set_crc,
    set_log_append_time,
    set_max_timestamp,
    set_partition_leader_epoch,
)
from wire.compression import (
    Compression,
    CorruptRecordError,
    DecompressionLimitError,
    has_dependent_blocks,
)
from wire.control_records import (
    ControlType,
    EndTransactionMarker,
    build_end_transaction_marker,
    read_control_type,
    read_end_transaction_marker,
)
from wire.record import Header, Record
from wire.record_reader import read_records
from wire.record_writer import build_batch, build_empty_batch

__all__ = [
    "BATCH_HEADER",
    "BATCH_HEADER_SIZE",
    "CREATE_TIME",
    "CURRENT_MAGIC",
    "HEADER_SIZE_UP_TO_MAGIC",
    "LOG_APPEND_TIME",
    "LOG_OVERHEAD",
    "NO_PARTITION_LEADER_EPOCH",
    "NO_PRODUCER_EPOCH",
    "NO_PRODUCER_ID",
    "NO_SEQUENCE",
    "NO_TIMESTAMP",
    "SEQUENCE_MAX",
    "BatchHeader",
    "Compression",
    "ControlType",
    "CorruptRecordError",
    "DecompressionLimitError",
    "EndTransactionMarker",
    "Header",
    "InvalidBatchError",
    "LegacyBatchError",
    "Record",
    "UnknownCodecError",
    "build_batch",
    "build_empty_batch",
    "build_end_transaction_marker",
    "crc_matches",
    "has_dependent_blocks",
    "increment_sequence",
    "iterate_batches",
    "magic_of",
    "read_batch_header",
    "read_control_type",
    "read_end_transaction_marker",
    "read_records",
    "set_base_offset",
    "set_crc",
    "set_log_append_time",
    "set_max_timestamp",
    "set_partition_leader_epoch",
]
