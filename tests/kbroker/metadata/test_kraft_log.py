"""Directories that Apache Kafka's controllers leave: snapshots and segments, whole, torn, damaged."""

from __future__ import annotations

from pathlib import Path

import pytest

from kbroker.metadata.kraft_image import KraftMetadataError
from kbroker.metadata.kraft_log import KraftMetadata, log_extent, read_kraft_metadata
from storage.filesystem import OsFilesystem
from tests.kbroker.metadata.kraft_files import (
    leader_change,
    metadata_batch,
    snapshot_footer,
    write_segment,
    write_snapshot,
)
from wire.internal.cluster_metadata import ConfigRecord, MetadataRecord, ProducerIdsRecord


def read(directory: Path) -> KraftMetadata:
    return read_kraft_metadata(OsFilesystem(), str(directory))


def ids(number: int) -> list[MetadataRecord]:
    return [ProducerIdsRecord(next_producer_id=number)]


def config(name: str) -> list[MetadataRecord]:
    return [ConfigRecord(resource_type=4, resource_name="", name=name, value="x")]


def names(metadata: KraftMetadata) -> set[str]:
    return set(metadata.image.configs.get((4, ""), {}))


def test_a_log_without_a_snapshot_is_read_from_its_start(tmp_path: Path) -> None:
    write_segment(tmp_path, 0, leader_change(0, [1, 2, 3]), metadata_batch(config("a"), 1))
    write_segment(tmp_path, 2, metadata_batch([*config("b"), *ids(7)], 2, epoch=5))
    found = read(tmp_path)
    assert names(found) == {"a", "b"}
    assert found.image.next_producer_id == 7
    assert (found.epoch, found.end_offset, found.voters) == (5, 4, frozenset({1, 2, 3}))


def test_the_newest_snapshot_takes_the_place_of_what_came_before(tmp_path: Path) -> None:
    """Segments that end before it are not even looked at; of one that it ends in only the rest counts."""
    write_snapshot(tmp_path, 3, 1, metadata_batch(config("old"), 0), snapshot_footer(1))
    write_snapshot(tmp_path, 5, 2, metadata_batch(config("kept"), 0), snapshot_footer(1))
    write_segment(tmp_path, 0, b"rubbish")
    write_segment(
        tmp_path,
        4,
        metadata_batch(config("gone"), 4),
        metadata_batch(config("new"), 5, epoch=2),
        metadata_batch(config("newest"), 6, epoch=2),
    )
    found = read(tmp_path)
    assert names(found) == {"kept", "new", "newest"}
    assert (found.epoch, found.end_offset) == (2, 7)


def test_a_batch_that_the_snapshot_ends_in_counts_from_there(tmp_path: Path) -> None:
    write_snapshot(tmp_path, 1, 1, snapshot_footer(0))
    write_segment(tmp_path, 0, metadata_batch([*config("a"), *config("b")], 0))
    assert names(read(tmp_path)) == {"b"}


def test_a_snapshot_alone_will_do(tmp_path: Path) -> None:
    write_snapshot(tmp_path, 50, 3, metadata_batch(ids(9), 0), snapshot_footer(1))
    found = read(tmp_path)
    assert (found.image.next_producer_id, found.epoch, found.end_offset) == (9, 3, 50)


@pytest.mark.parametrize(
    ("state", "voters"),
    [
        ('{"leaderEpoch":1,"currentVoters":[{"voterId":4},{"voterId":5}],"data_version":0}', {4, 5}),
        ('{"leaderEpoch":1,"currentVoters":null,"data_version":1}', set()),
        ('{"leaderEpoch":1,"data_version":1}', set()),
        ("rubbish", set()),
        ('[{"voterId":1}]', set()),
    ],
)
def test_configured_voters_stand_beside_the_log(tmp_path: Path, state: str, voters: set[int]) -> None:
    """Where a snapshot has taken the place of the record that names them."""
    (tmp_path / "quorum-state").write_text(state, encoding="ascii")
    write_snapshot(tmp_path, 50, 3, metadata_batch(ids(9), 0), snapshot_footer(1))
    assert read(tmp_path).voters == voters
    write_segment(tmp_path, 50, leader_change(50, [7, 8]))
    assert read(tmp_path).voters == {7, 8}


def test_an_empty_directory_says_nothing(tmp_path: Path) -> None:
    assert read(tmp_path).end_offset == 0
    write_segment(tmp_path, 0)
    assert read(tmp_path).end_offset == 0


def test_snapshots_that_are_being_written_or_deleted_are_none(tmp_path: Path) -> None:
    write_segment(tmp_path, 0, metadata_batch(config("a"), 0))
    for name in (
        "00000000000000000009-0000000001-1234.checkpoint.part",
        "00000000000000000009-0000000001.checkpoint.deleted",
    ):
        (tmp_path / name).write_bytes(b"rubbish")
    assert names(read(tmp_path)) == {"a"}


@pytest.mark.parametrize("cut", [1, 30, 70])
def test_a_torn_end_is_left_out(tmp_path: Path, cut: int) -> None:
    whole, last = metadata_batch(config("a"), 0), metadata_batch(config("b"), 1)
    write_segment(tmp_path, 0, whole + last[:-cut])
    found = read(tmp_path)
    assert names(found) == {"a"}
    assert found.end_offset == 1


def test_damage_before_the_end_is_refused(tmp_path: Path) -> None:
    batches = [metadata_batch(config(name), offset) for offset, name in enumerate("abc")]
    damaged = bytearray(b"".join(batches))
    damaged[len(batches[0]) + 70] ^= 1
    path = write_segment(tmp_path, 0, bytes(damaged))
    with pytest.raises(KraftMetadataError, match="damaged"):
        read(tmp_path)
    # The same as the end of a segment that is not the last: no crash leaves that.
    path.write_bytes(batches[0] + batches[1][:-1])
    write_segment(tmp_path, 2, batches[2])
    with pytest.raises(KraftMetadataError, match="damaged"):
        read(tmp_path)


def test_a_snapshot_that_was_cut_off_is_refused(tmp_path: Path) -> None:
    records, footer = metadata_batch(config("a"), 0), snapshot_footer(1)
    path = write_snapshot(tmp_path, 1, 1, records, footer[:-1])
    with pytest.raises(KraftMetadataError, match="damaged"):
        read(tmp_path)
    path.write_bytes(records)
    with pytest.raises(KraftMetadataError, match="has no end"):
        read(tmp_path)


def test_missing_segments_are_noticed(tmp_path: Path) -> None:
    write_segment(tmp_path, 5, metadata_batch(config("a"), 5))
    with pytest.raises(KraftMetadataError, match="between 0 and that"):
        read(tmp_path)
    write_segment(tmp_path, 0, metadata_batch(config("b"), 0))
    with pytest.raises(KraftMetadataError, match="offsets 1 to 4 are missing"):
        read(tmp_path)


def test_the_extent_changes_with_every_append_and_every_segment(tmp_path: Path) -> None:
    path = write_segment(tmp_path, 0, metadata_batch(config("a"), 0))
    first = log_extent(OsFilesystem(), str(tmp_path))
    assert first == {path.name: path.stat().st_size}
    path.write_bytes(path.read_bytes() + metadata_batch(config("b"), 1))
    second = log_extent(OsFilesystem(), str(tmp_path))
    write_segment(tmp_path, 2)
    assert first != second != log_extent(OsFilesystem(), str(tmp_path)) == {**second, f"{2:020d}.log": 0}
