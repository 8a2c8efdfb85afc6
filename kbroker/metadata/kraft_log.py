"""Reads a directory ``__cluster_metadata-0``, in which a stopped Apache Kafka has left its metadata (KIP-630).

There are snapshots, ``<end offset>-<epoch>.checkpoint``, and segments like those of any log. The newest snapshot says
everything up to its end offset, the log what came after. A snapshot is whole once it has its name. The last segment
may end within a batch, after a loss of power: Kafka cuts that off, and so does this; damage anywhere else is refused.

What the log holds is taken for committed. That is so where there was one controller; of several, one may have written
what no other has, so their directories may differ: the longest log of the highest epoch is the one to read.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from kbroker.metadata.kraft_image import KraftImage, KraftMetadataError
from storage.batch_scan import find_valid_batch, scan_batches
from storage.errors import LogCorruptError
from storage.file_cache import FileCache, FileHandle
from storage.file_names import LOG_SUFFIX, offset_file_name, offset_of_file_name
from storage.filesystem import Filesystem
from wire.internal.cluster_metadata import decode_metadata_record
from wire.internal.control import LeaderChangeMessage, VotersRecord
from wire.records import BatchHeader, ControlType, Record, read_control_type, read_records
from wire.schema import read_version_prefix

logger = logging.getLogger(__name__)

_SNAPSHOT_NAME: Final = re.compile(r"(\d{20})-(\d{10})\.checkpoint")
_QUORUM_STATE: Final = "quorum-state"
_OPEN_FILES_MAX: Final = 4
_DECOMPRESSED_BYTES_MAX: Final = 1 << 30


class KraftMetadata(NamedTuple):
    """What a directory says, up to ``end_offset`` in ``epoch``; ``voters`` are the node ids of the controllers."""

    image: KraftImage
    epoch: int
    end_offset: int
    voters: frozenset[int]


def log_extent(filesystem: Filesystem, directory: str) -> dict[str, int]:
    """The segments' names and sizes in bytes: they change whenever Apache Kafka runs on the directory."""
    return {
        offset_file_name(base, LOG_SUFFIX): filesystem.file_size(
            f"{directory}/{offset_file_name(base, LOG_SUFFIX)}"
        )
        for base in _segments(filesystem, directory)
    }


def read_kraft_metadata(filesystem: Filesystem, directory: str) -> KraftMetadata:
    """All that the directory says. KraftMetadataError and other ProtocolErrors, OSError."""
    return _Reader(filesystem, directory).read()


def _segments(filesystem: Filesystem, directory: str) -> list[int]:
    return sorted(
        offset
        for entry in filesystem.scan(directory)
        if entry.name.endswith(LOG_SUFFIX) and (offset := offset_of_file_name(entry.name)) is not None
    )


class _Reader:
    def __init__(self, filesystem: Filesystem, directory: str) -> None:
        self._cache = FileCache(filesystem, open_files_max=_OPEN_FILES_MAX)
        self._directory = directory
        self._image = KraftImage()
        self._epoch = 0
        self._voters: frozenset[int] = frozenset()

    def read(self) -> KraftMetadata:
        self._voters = self._configured_voters()
        end_offset = self._read_snapshot()
        segments = _segments(self._cache.filesystem, self._directory)
        # The snapshot may end in the middle of a segment.
        first = max((base for base in segments if base <= end_offset), default=None)
        if first is None and segments:
            raise KraftMetadataError(
                f"{self._directory}: the log begins at offset {segments[0]}; "
                f"what is between {end_offset} and that is missing"
            )
        for base in segments:
            if first is not None and base >= first:
                end_offset = self._read_segment(base, end_offset, is_last=base == segments[-1])
        return KraftMetadata(self._image, self._epoch, end_offset, self._voters)

    def _configured_voters(self) -> frozenset[int]:
        """Those of a quorum whose voters are configured: no snapshot names them. Other quorums have them in records."""
        try:
            state = json.loads(self._cache.filesystem.read_file(f"{self._directory}/{_QUORUM_STATE}"))
            return frozenset(int(voter["voterId"]) for voter in state["currentVoters"] or ())
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return frozenset()

    def _read_snapshot(self) -> int:
        """Take in the newest snapshot; its end offset, 0 if there is none."""
        found = [
            (int(match[1]), int(match[2]), entry.name)
            for entry in self._cache.filesystem.scan(self._directory)
            if (match := _SNAPSHOT_NAME.fullmatch(entry.name))
        ]
        if not found:
            return 0
        end_offset, self._epoch, name = max(found)
        has_ended = False
        # Offsets in a snapshot only count its records.
        for header, data in self._batches(name, offset_min=0, is_last=False):
            for record in _records(data):
                if not header.is_control:
                    self._replay(record)
                elif self._control(record) is ControlType.SNAPSHOT_FOOTER:
                    has_ended = True
        if not has_ended:
            raise KraftMetadataError(f"{self._directory}/{name} has no end")
        return end_offset

    def _read_segment(self, base_offset: int, next_offset: int, *, is_last: bool) -> int:
        """Take in what a segment has from ``next_offset`` on; the offset behind it."""
        name = offset_file_name(base_offset, LOG_SUFFIX)
        for header, data in self._batches(name, offset_min=base_offset, is_last=is_last):
            if header.last_offset < next_offset:
                continue
            if header.base_offset > next_offset:
                raise KraftMetadataError(
                    f"{self._directory}/{name}: offsets {next_offset} to {header.base_offset - 1} are missing"
                )
            self._epoch = max(self._epoch, header.partition_leader_epoch)
            for record in _records(data):
                if header.is_control:
                    self._control(record)
                elif record.offset >= next_offset:
                    self._replay(record)
            next_offset = header.next_offset
        return next_offset

    def _batches(
        self, name: str, *, offset_min: int, is_last: bool
    ) -> Iterator[tuple[BatchHeader, memoryview]]:
        """The valid batches of a file; a torn end is left out where it ``is_last``, KraftMetadataError else."""
        handle = FileHandle(self._cache, f"{self._directory}/{name}")
        size = handle.file().size()
        end = 0
        try:
            for position, header, data in scan_batches(handle, 0, size, offset_min=offset_min):
                yield header, data
                end, offset_min = position + header.size_bytes, header.next_offset
        except LogCorruptError as error:
            if not is_last or find_valid_batch(handle, end, size, offset_min=offset_min) is not None:
                raise KraftMetadataError(f"damaged metadata: {error}") from error
            logger.warning("%s/%s: the last %d bytes are no batch", self._directory, name, size - end)
        finally:
            handle.close()

    def _replay(self, record: Record) -> None:
        decoded = decode_metadata_record(record.value or b"")
        if decoded is not None:
            self._image.replay(decoded)

    def _control(self, record: Record) -> ControlType:
        control_type = read_control_type(record)
        value = record.value or b""
        if control_type is ControlType.LEADER_CHANGE:
            change = LeaderChangeMessage.decode(value, read_version_prefix(value))
            self._voters = frozenset(voter.voter_id for voter in change.voters)
        elif control_type is ControlType.KRAFT_VOTERS:
            voters = VotersRecord.decode(value, read_version_prefix(value))
            self._voters = frozenset(voter.voter_id for voter in voters.voters)
        return control_type


def _records(batch: memoryview) -> list[Record]:
    return read_records(batch, decompressed_bytes_max=_DECOMPRESSED_BYTES_MAX)
