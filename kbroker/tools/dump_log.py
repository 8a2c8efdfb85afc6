"""``kafka-dump-log``: what the files of a partition hold. Works on files alone, kbroker's and Kafka's."""

from __future__ import annotations

import argparse
import mmap
import struct
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final, NoReturn

from kbroker.tools.arguments import Arguments, integer_flag
from kbroker.tools.failures import CommandError, os_error_text
from wire.errors import ProtocolError
from wire.records import (
    BATCH_HEADER_SIZE,
    LOG_APPEND_TIME,
    LOG_OVERHEAD,
    NO_SEQUENCE,
    NO_TIMESTAMP,
    BatchHeader,
    ControlType,
    LegacyBatchError,
    Record,
    crc_matches,
    increment_sequence,
    read_batch_header,
    read_control_type,
    read_end_transaction_marker,
    read_records,
)

DESCRIPTION: Final = (
    "This tool helps to parse a log file and dump its contents to the console, useful for debugging a seemingly "
    "corrupt log segment."
)
Buffer = bytes | mmap.mmap
_INDENT: Final = "|"
_BYTES_MAX: Final = 2**31 - 1
_INDEX_ENTRY: Final = struct.Struct(">ii")
_TIME_INDEX_ENTRY: Final = struct.Struct(">qi")
_LENGTH: Final = struct.Struct(">i")
_DECODERS: Final = "org.apache.kafka.tools.api."


def arguments() -> Arguments:
    """The flags."""
    parser = Arguments("kafka-dump-log", DESCRIPTION)
    parser.add_argument("--files", metavar="FILE,...", help="REQUIRED: The data and index files to dump.")
    for name, text in (
        ("print-data-log", "Print records, too. Any decoder implies it."),
        ("verify-index-only", "Check indexes without printing them."),
        ("index-sanity-check", "Check indexes as a broker does at its start."),
        ("deep-iteration", "Look at records, not only at batches. --print-data-log implies it."),
        ("offsets-decoder", "Read records as those of __consumer_offsets."),
        ("transaction-log-decoder", "Read records as those of __transaction_state."),
        ("share-group-state-decoder", "Read records as those of __share_group_state."),
        ("cluster-metadata-decoder", "Read records as those of __cluster_metadata (not supported)."),
        ("remote-log-metadata-decoder", "Read records as those of __remote_log_metadata (not supported)."),
        ("skip-record-metadata", "Print records without their metadata, and no control records."),
    ):
        parser.add_argument(f"--{name}", action="store_true", help=text)
    parser.add_argument(
        "--max-message-size",
        default="5242880",
        metavar="BYTES",
        help="The largest batch. Default: 5242880.",
    )
    parser.add_argument(
        "--max-bytes", default=str(_BYTES_MAX), metavar="BYTES", help="Read only so much of log files."
    )
    for name, what in (("value-decoder-class", "values"), ("key-decoder-class", "keys")):
        parser.add_argument(
            f"--{name}",
            nargs="?",
            const=_DECODERS + "StringDecoder",
            metavar="CLASS",
            help=f"How {what} are read.",
        )
    return parser


# What a record says


@dataclass(frozen=True)
class Parsed:
    """What is printed of a record; None: nothing."""

    key: str | None
    value: str | None


Parser = Callable[[Record], Parsed]


def _parse_with_decoders(
    key_decoder: Callable[[bytes], str], value_decoder: Callable[[bytes], str], record: Record
) -> Parsed:
    return Parsed(
        None if record.key is None else key_decoder(record.key),
        None if record.value is None else value_decoder(record.value),
    )


def _parse_coordinator_record(records: Any, expand_groups: bool, record: Record) -> Parsed:
    from kbroker.tools.coordinator_json import UnknownRecordType, compact, expand_members

    if record.key is None:
        raise CommandError(
            f"Failed to decode message at offset {record.offset} using the specified decoder "
            "(message had a missing key)"
        )
    try:
        record_type, key = records.key(record.key)
        shown_key = compact({"type": str(record_type), "data": key})
        if record.value is None:
            return Parsed(shown_key, "<DELETE>")
        version, fields = records.value(record_type, record.value)
        if expand_groups and record_type == _GROUP_METADATA:
            expand_members(fields)
        return Parsed(shown_key, compact({"version": str(version), "data": fields}))
    except UnknownRecordType as unknown:
        text = f"Unknown record type {unknown.record_type} at offset {record.offset}, skipping."
    except ProtocolError as error:
        text = f"Error at offset {record.offset}, skipping. {error}"
    return Parsed(text, None)


_GROUP_METADATA: Final = 2


def _decoder(name: str | None) -> Callable[[bytes], str]:
    short = (name or "StringDecoder").removeprefix(_DECODERS)
    if short == "StringDecoder":
        return lambda data: data.decode("utf-8", "replace")
    if short in ("IntegerDecoder", "LongDecoder"):
        return lambda data: str(int.from_bytes(data, "big", signed=True))
    raise CommandError(f"Failed to load decoder class\nCaused by: java.lang.ClassNotFoundException: {name}")


def parser_of(options: argparse.Namespace) -> Parser:
    """How the flags say that records are to be read; CommandError."""
    from kbroker.tools import coordinator_json

    if options.offsets_decoder:
        return partial(_parse_coordinator_record, coordinator_json.group_records(), True)
    if options.transaction_log_decoder:
        return partial(_parse_coordinator_record, coordinator_json.TransactionRecords(), False)
    if options.share_group_state_decoder:
        return partial(_parse_coordinator_record, coordinator_json.share_records(), False)
    if options.cluster_metadata_decoder or options.remote_log_metadata_decoder:
        raise CommandError(
            "Records of __cluster_metadata and __remote_log_metadata cannot be decoded by this command"
        )
    return partial(
        _parse_with_decoders, _decoder(options.key_decoder_class), _decoder(options.value_decoder_class)
    )


# Files


@dataclass
class Findings:
    """What is wrong with the files, told at the end on standard error. All keys: absolute paths."""

    index_mismatches: dict[str, dict[int, int]] = field(default_factory=dict)
    time_mismatches: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    out_of_order: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    not_found: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    gaps: dict[str, dict[int, int]] = field(default_factory=dict)

    def lines(self) -> Iterator[str]:
        for path, mismatches in self.index_mismatches.items():
            yield f"Mismatches in :{path}"
            for index_offset, log_offset in sorted(mismatches.items(), reverse=True):
                yield f"  Index offset: {index_offset}, log offset: {log_offset}"
        for title, wrong, line in (
            (
                "Found timestamp mismatch in :",
                self.time_mismatches,
                "  Index timestamp: {}, log timestamp: {}",
            ),
            (
                "Found out of order timestamp in :",
                self.out_of_order,
                "  Index timestamp: {}, Previously indexed timestamp: {}",
            ),
            (
                "The following indexed offsets are not found in :",
                self.not_found,
                "Indexed offset: {}, found log offset: {}",
            ),
        ):
            for path, pairs in wrong.items():
                yield title + path
                for pair in pairs:
                    yield line.format(*pair)
        for path, gaps in self.gaps.items():
            yield f"Non-consecutive offsets in {path}"
            for before, after in sorted(gaps.items()):
                yield f"  {before} is followed by {after}"


class Dump:
    """One run over some files. CommandError, OSError, ProtocolError for what cannot be read."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._parse: Callable[[Record], Parsed] | None = None
        self._prints_records = bool(
            options.print_data_log
            or options.offsets_decoder
            or options.transaction_log_decoder
            or options.share_group_state_decoder
            or options.value_decoder_class
            or options.key_decoder_class
        )
        self._is_deep = options.deep_iteration or self._prints_records
        self.findings = Findings()

    def dump(self, path: Path) -> None:
        """One file, of the kind that its name says."""
        print(f"Dumping {path}")
        kinds: dict[str, Callable[[Path], None]] = {
            ".log": self._log,
            ".checkpoint": self._log,
            ".index": self._index,
            ".timeindex": self._time_index,
            ".snapshot": self._snapshot,
            ".txnindex": self._transaction_index,
        }
        kind = kinds.get(path.suffix)
        if kind is None:
            sys.stdout.flush()
            print(f"Ignoring unknown file {path}", file=sys.stderr)
            return
        kind(path)

    def _log(self, path: Path) -> None:
        max_bytes = integer_flag(self._options, "max-bytes")
        assert max_bytes is not None
        if self._parse is None:
            self._parse = parser_of(self._options)
        if path.suffix == ".log":
            print(f"Log starting offset: {_base_offset(path)}")
        elif path.name == "bootstrap.checkpoint":
            print("KRaft bootstrap snapshot")
        else:
            offset, _, epoch = path.stem.partition("-")
            print(f"Snapshot end offset: {int(offset)}, epoch: {int(epoch)}")
        data = _read(path)
        end = min(len(data), max_bytes)
        valid_bytes = 0
        previous = -1
        for position, header in batches(data, 0, end):
            print(batch_line(data, position, header))
            if self._is_deep:
                previous = self._records(path, data, position, header, previous)
            valid_bytes = position + header.size_bytes
        if valid_bytes < end and max_bytes == _BYTES_MAX:
            print(f"Found {end - valid_bytes} invalid bytes at the end of {path.name}")

    def _records(self, path: Path, data: Buffer, position: int, header: BatchHeader, previous: int) -> int:
        for record in read_records(data, position, decompressed_bytes_max=_BYTES_MAX):  # type: ignore[arg-type]
            if record.offset != previous + 1:
                self.findings.gaps.setdefault(str(path.absolute()), {})[previous] = record.offset
            previous = record.offset
            # Before the parsing, which may fail: what there was to tell of the record is told.
            print("" if self._options.skip_record_metadata else record_line(header, record), end="")
            line = ""
            if self._prints_records and not header.is_control:
                assert self._parse is not None
                parsed = self._parse(record)
                prefix = f"{_INDENT} " if self._options.skip_record_metadata else " "
                if parsed.key is not None:
                    line += f"{prefix}key: {parsed.key}"
                    prefix = " "
                if parsed.value is not None:
                    line += f"{prefix}payload: {parsed.value}"
            print(line)
        return previous

    def _index(self, path: Path) -> None:
        base_offset = _base_offset(path)
        log = _read(path.with_suffix(".log"))
        entries = _index_entries(path, base_offset)
        if not entries:
            print(f"{path} is empty.")
            return
        if self._options.index_sanity_check:
            _check_sanity(path, _INDEX_ENTRY.size, base_offset, entries[-1][0])
            print(f"{path} passed sanity check.")
            return
        message_size_max = integer_flag(self._options, "max-message-size")
        assert message_size_max is not None
        for number, (offset, position) in enumerate(entries):
            if offset == base_offset and number > 0:  # the rest of a preallocated file
                return
            end = min(len(log), position + message_size_max)
            found = next((header.last_offset for _, header in batches(log, position, end)), -1)
            if found != offset:
                self.findings.index_mismatches.setdefault(str(path.absolute()), {})[offset] = found
            if not self._options.verify_index_only:
                print(f"offset: {offset} position: {position}")

    def _time_index(self, path: Path) -> None:
        base_offset = _base_offset(path)
        log = _read(path.with_suffix(".log"))
        index_path = path.with_suffix(".index")
        index = _index_entries(index_path, base_offset) if index_path.exists() else []
        data = path.read_bytes()
        whole = len(data) - len(data) % _TIME_INDEX_ENTRY.size
        entries = [
            (stamp, base_offset + delta) for stamp, delta in _TIME_INDEX_ENTRY.iter_unpack(data[:whole])
        ]
        if self._options.index_sanity_check:
            _check_sanity(
                path, _TIME_INDEX_ENTRY.size, base_offset - 1, entries[-1][1] if entries else base_offset
            )
            print(f"{path} passed sanity check.")
            return
        previous = NO_TIMESTAMP
        for number, (timestamp, offset) in enumerate(entries):
            if offset == base_offset and number > 0:
                return
            self._check_time(path, log, index, timestamp, offset, previous)
            if not self._options.verify_index_only:
                print(f"timestamp: {timestamp} offset: {offset}")
            previous = timestamp

    def _check_time(
        self,
        path: Path,
        log: Buffer,
        index: list[tuple[int, int]],
        timestamp: int,
        offset: int,
        previous: int,
    ) -> None:
        name = str(path.absolute())
        start = max((position for at, position in index if at <= offset), default=0)
        found = next(
            ((at, header) for at, header in batches(log, start, len(log)) if header.last_offset >= offset),
            None,
        )
        if found is None:
            self.findings.not_found.setdefault(name, []).append((offset, -1))
            return
        position, header = found
        if header.last_offset != offset:
            self.findings.not_found.setdefault(name, []).append((offset, header.last_offset))
            return
        records = read_records(log, position, decompressed_bytes_max=_BYTES_MAX)  # type: ignore[arg-type]
        latest = max([NO_TIMESTAMP, *(record.timestamp for record in records)])
        if latest != timestamp:
            self.findings.time_mismatches.setdefault(name, []).append((timestamp, latest))
        if previous >= timestamp:
            self.findings.out_of_order.setdefault(name, []).append((timestamp, previous))

    def _snapshot(self, path: Path) -> None:
        from crc32c import crc32c

        from wire.internal.producer_snapshot import ProducerSnapshot

        data = path.read_bytes()
        version = int.from_bytes(data[:2], "big", signed=True)
        if version != ProducerSnapshot.max_version:
            print(f"Snapshot contained an unknown file version {version}", file=sys.stderr)
            return
        _, snapshot = ProducerSnapshot.decode_versioned(data)
        computed = crc32c(data[6:])
        if computed != snapshot.crc:
            print(
                f"Snapshot is corrupt (CRC is no longer valid). Stored crc: {snapshot.crc}. Computed crc: {computed}",
                file=sys.stderr,
            )
            return
        for entry in snapshot.producer_entries:
            line = (
                f"producerId: {entry.producer_id} producerEpoch: {entry.epoch} "
                f"coordinatorEpoch: {entry.coordinator_epoch} "
                f"currentTxnFirstOffset: {_optional(entry.current_txn_first_offset)} lastTimestamp: {entry.timestamp}"
            )
            if entry.last_offset >= 0:
                first_sequence = increment_sequence(entry.last_sequence, -entry.offset_delta)
                line += (
                    f" firstSequence: {first_sequence} lastSequence: {entry.last_sequence} "
                    f"lastOffset: {entry.last_offset} offsetDelta: {entry.offset_delta} timestamp: {entry.timestamp}"
                )
            print(line)

    def _transaction_index(self, path: Path) -> None:
        from wire.internal.aborted_transactions import AbortedTxn

        data = path.read_bytes()
        size = len(AbortedTxn().encode_versioned(0))
        for start in range(0, len(data) - size + 1, size):
            _, aborted = AbortedTxn.decode_versioned(data[start : start + size])
            print(
                f"version: 0 producerId: {aborted.producer_id} firstOffset: {aborted.first_offset} "
                f"lastOffset: {aborted.last_offset} lastStableOffset: {aborted.last_stable_offset}"
            )


def _read(path: Path) -> Buffer:
    with path.open("rb") as file:
        if not path.stat().st_size:
            return b""
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def _base_offset(path: Path) -> int:
    text = path.name.partition(".")[0]
    if not text.isdecimal():
        raise CommandError(f'For input string: "{text}"')
    return int(text)


def _index_entries(path: Path, base_offset: int) -> list[tuple[int, int]]:
    data = path.read_bytes()
    whole = len(data) - len(data) % _INDEX_ENTRY.size
    return [(base_offset + delta, position) for delta, position in _INDEX_ENTRY.iter_unpack(data[:whole])]


def _check_sanity(path: Path, entry_size: int, base_offset: int, last_offset: int) -> None:
    size = path.stat().st_size
    if last_offset <= base_offset:
        raise CommandError(
            f"Corrupt index found, index file ({path.absolute()}) has non-zero size but the last offset is "
            f"{last_offset} which is not greater than the base offset {base_offset}."
        )
    if size % entry_size:
        raise CommandError(
            f"Index file {path.absolute()} is corrupt, found {size} bytes which is neither positive nor a multiple of "
            f"{entry_size}."
        )


def batches(data: Buffer, position: int, end: int) -> Iterator[tuple[int, BatchHeader]]:
    """The batches that lie whole within [position, end). ProtocolError where there is no batch."""
    while end - position >= BATCH_HEADER_SIZE:
        (length,) = _LENGTH.unpack_from(data, position + 8)
        if length + LOG_OVERHEAD > end - position:
            return
        header = read_batch_header(data, position)  # type: ignore[arg-type]
        yield position, header
        position += header.size_bytes


def batch_line(data: Buffer, position: int, header: BatchHeader) -> str:
    """What is printed of a batch."""
    last_sequence = header.last_sequence if header.base_sequence != NO_SEQUENCE else NO_SEQUENCE
    is_valid = crc_matches(data, position, header)  # type: ignore[arg-type]
    return (
        f"baseOffset: {header.base_offset} lastOffset: {header.last_offset} count: {header.record_count} "
        f"baseSequence: {header.base_sequence} lastSequence: {last_sequence} producerId: {header.producer_id} "
        f"producerEpoch: {header.producer_epoch} partitionLeaderEpoch: {header.partition_leader_epoch} "
        f"isTransactional: {_java(header.is_transactional)} isControl: {_java(header.is_control)} "
        f"deleteHorizonMs: {_optional(header.delete_horizon_ms)} position: {position} "
        f"{_timestamp_type(header)}: {header.max_timestamp} size: {header.size_bytes} magic: {header.magic} "
        f"compresscodec: {header.compression.name.lower()} crc: {header.crc} isvalid: {_java(is_valid)}"
    )


def record_line(header: BatchHeader, record: Record) -> str:
    """What is printed of a record's metadata."""
    sequence = NO_SEQUENCE
    if header.base_sequence != NO_SEQUENCE:
        sequence = increment_sequence(header.base_sequence, record.offset - header.base_offset)
    keys = ",".join(name for name, _ in record.headers)
    line = (
        f"{_INDENT} offset: {record.offset} {_timestamp_type(header)}: {record.timestamp} keySize: {_size(record.key)} "
        f"valueSize: {_size(record.value)} sequence: {sequence} headerKeys: [{keys}]"
    )
    return line + _control(record) if header.is_control else line


def _control(record: Record) -> str:
    from kbroker.tools.coordinator_json import as_json, compact
    from wire.internal import control

    kind = read_control_type(record)
    if kind in (ControlType.ABORT, ControlType.COMMIT):
        marker = read_end_transaction_marker(record)
        return f" endTxnMarker: {kind.name} coordinatorEpoch: {marker.coordinator_epoch}"
    value = record.value or b""
    for named, title, message_class in (
        (ControlType.LEADER_CHANGE, " LeaderChange: ", control.LeaderChangeMessage),
        (ControlType.SNAPSHOT_HEADER, " SnapshotHeader ", control.SnapshotHeaderRecord),
        (ControlType.SNAPSHOT_FOOTER, " SnapshotFooter ", control.SnapshotFooterRecord),
        (ControlType.KRAFT_VERSION, " KRaftVersion ", getattr(control, "KRaftVersionRecord", None)),
        (ControlType.KRAFT_VOTERS, " KRaftVoters ", getattr(control, "VotersRecord", None)),
    ):
        if kind is named and message_class is not None:
            version = min(int.from_bytes(value[:2], "big"), message_class.max_version)
            return title + compact(as_json(message_class.decode(value, version), version))
    number = int.from_bytes((record.key or b"")[2:4], "big", signed=True)
    return f" controlType: {kind.name}({number})"


def _timestamp_type(header: BatchHeader) -> str:
    return "LogAppendTime" if header.timestamp_type == LOG_APPEND_TIME else "CreateTime"


def _java(value: bool) -> str:
    return "true" if value else "false"


def _optional(number: int | None) -> str:
    return "OptionalLong.empty" if number is None or number < 0 else f"OptionalLong[{number}]"


def _size(data: bytes | None) -> int:
    return -1 if data is None else len(data)


def dump_files(options: argparse.Namespace) -> None:
    """The whole command. CommandError, OSError, ProtocolError."""
    dump = Dump(options)
    for name in options.files.split(","):
        dump.dump(Path(name.strip()))
    sys.stdout.flush()
    for line in dump.findings.lines():
        print(line, file=sys.stderr)


def main() -> NoReturn:
    """The console script."""
    parser = arguments()
    options = parser.parse()
    parser.require(options, "files")
    try:
        dump_files(options)
    except LegacyBatchError as error:
        print(f"{error}; this command reads format v2 only", file=sys.stderr)
        sys.exit(1)
    except BrokenPipeError:
        sys.exit(0)
    except (CommandError, OSError, ProtocolError, ValueError) as error:
        sys.stdout.flush()
        print(os_error_text(error) if isinstance(error, OSError) else error, file=sys.stderr)
        sys.exit(1)
    sys.exit(0)
