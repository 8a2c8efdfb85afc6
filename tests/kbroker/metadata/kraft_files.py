"""Directories ``__cluster_metadata-0`` for tests, with what Apache Kafka's controllers would write."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from wire.internal.cluster_metadata import MetadataRecord
from wire.internal.control import ControlRecordTypeSchema, LeaderChangeMessage, SnapshotFooterRecord
from wire.records import ControlType, Record, build_batch

NOW_MS = 1_700_000_000_000


def metadata_batch(
    records: Sequence[MetadataRecord], base_offset: int, *, epoch: int = 1, version: int | None = None
) -> bytes:
    """A batch of records, each in its newest version if not told otherwise."""
    return bytes(
        build_batch(
            [
                Record(
                    offset=base_offset + number,
                    timestamp=NOW_MS,
                    key=None,
                    value=record.encode_framed(record.max_version if version is None else version),
                )
                for number, record in enumerate(records)
            ],
            base_offset=base_offset,
            partition_leader_epoch=epoch,
        )
    )


def leader_change(base_offset: int, voters: Sequence[int], *, epoch: int = 1) -> bytes:
    """With which a controller begins its term."""
    message = LeaderChangeMessage(
        leader_id=voters[0], voters=[LeaderChangeMessage.Voter(voter_id=voter) for voter in voters]
    )
    return _control_batch(ControlType.LEADER_CHANGE, message.encode(0), base_offset, epoch)


def snapshot_footer(base_offset: int) -> bytes:
    return _control_batch(ControlType.SNAPSHOT_FOOTER, SnapshotFooterRecord().encode(0), base_offset, 0)


def _control_batch(control_type: ControlType, value: bytes, base_offset: int, epoch: int) -> bytes:
    key = ControlRecordTypeSchema(type=control_type).encode_versioned(0)
    return bytes(
        build_batch(
            [Record(offset=base_offset, timestamp=NOW_MS, key=key, value=value)],
            base_offset=base_offset,
            partition_leader_epoch=epoch,
            is_control=True,
        )
    )


def write_segment(directory: Path, base_offset: int, *batches: bytes) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{base_offset:020d}.log"
    path.write_bytes(b"".join(batches))
    return path


def write_snapshot(directory: Path, end_offset: int, epoch: int, *batches: bytes) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{end_offset:020d}-{epoch:010d}.checkpoint"
    path.write_bytes(b"".join(batches))
    return path
