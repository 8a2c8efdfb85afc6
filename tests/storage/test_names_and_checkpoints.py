from __future__ import annotations

import uuid
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.checkpoint import (
    decode_epochs,
    decode_offsets,
    encode_epochs,
    encode_offsets,
    write_atomically,
)
from storage.epoch_cache import EpochEntry, decode_epoch_entries
from storage.errors import CorruptCheckpointError, IncompatibleDirectoryError
from storage.file_names import offset_file_name, offset_of_file_name
from storage.filesystem import OsFilesystem
from storage.meta_properties import MetaProperties, read_meta_properties, write_meta_properties
from storage.partition_metadata import decode_partition_metadata, write_partition_metadata
from storage.topic_partition import TopicPartition, parse_directory_name
from storage.uuid_text import uuid_from_text, uuid_to_text
from tests.storage.support import FailingFilesystem, disk_full

UNIQUE = uuid.UUID("11112222-3333-4444-5555-666677778888")
HEX = "11112222333344445555666677778888"


def test_segment_file_names() -> None:
    assert offset_file_name(42, ".log") == "00000000000000000042.log"
    assert offset_of_file_name("00000000000000000042.txnindex") == 42
    assert offset_of_file_name("00000000000000000042.log.deleted") == 42


@pytest.mark.parametrize(
    "name", ["", "leader-epoch-checkpoint", "42.log", "0000000000000000004x.log", "0" * 20]
)
def test_other_file_names_have_no_offset(name: str) -> None:
    assert offset_of_file_name(name) is None


@pytest.mark.parametrize(
    ("name", "topic", "partition", "mark"),
    [
        ("orders-0", "orders", 0, ""),
        ("my-topic-12", "my-topic", 12, ""),
        ("a.b_c-7", "a.b_c", 7, ""),
        (f"orders-0.{HEX}-delete", "orders", 0, "-delete"),
        (f"x-y-3.{HEX}-future", "x-y", 3, "-future"),
        (f"orders-0.{HEX}-stray", "orders", 0, "-stray"),
    ],
)
def test_directory_names(name: str, topic: str, partition: int, mark: str) -> None:
    assert parse_directory_name(name) == (TopicPartition(topic, partition), mark)


@pytest.mark.parametrize(
    "name",
    ["", "orders", "orders-", "-0", "orders-x", "lost+found", "orders-99999999999", "orders-2147483648"],
)
def test_strange_directory_names(name: str) -> None:
    assert parse_directory_name(name) is None


def test_marked_directory_names_fit_the_filesystem() -> None:
    long = TopicPartition("t" * 249, 123)
    assert TopicPartition("orders", 0).delete_directory_name(UNIQUE) == f"orders-0.{HEX}-delete"
    name = long.delete_directory_name(UNIQUE)
    assert len(name) == 255
    parsed = parse_directory_name(name)
    assert parsed is not None
    assert parsed.topic_partition.partition == 123
    assert long.future_directory_name(UNIQUE).endswith(f"-123.{HEX}-future")


def test_uuid_text_is_kafkas() -> None:
    text = uuid_to_text(UNIQUE)
    assert len(text) == 22
    assert uuid_from_text(text) == UNIQUE
    assert uuid_from_text("AAAAAAAAAAAAAAAAAAAAAQ") == uuid.UUID(int=1)


@given(st.uuids())
def test_uuid_text_round_trip(value: uuid.UUID) -> None:
    assert uuid_from_text(uuid_to_text(value)) == value


@pytest.mark.parametrize("text", ["", "x", "A" * 21, "A" * 23, "*" * 22, "AAAAAAAAAAAAAAAAAAAAA/", "é" * 22])
def test_bad_uuid_text(text: str) -> None:
    with pytest.raises(ValueError):
        uuid_from_text(text)


def test_offset_checkpoint_text() -> None:
    offsets = {TopicPartition("a", 0): 5, TopicPartition("b-c", 12): 0}
    assert encode_offsets(offsets) == b"0\n2\na 0 5\nb-c 12 0\n"
    assert decode_offsets(encode_offsets(offsets)) == offsets
    assert decode_offsets(b"") == decode_offsets(b"0\n") == decode_offsets(b"0\n0\n") == {}


@pytest.mark.parametrize(
    "data",
    [
        b"1\n0\n",
        b"x\n",
        b"0\n1\n",
        b"0\n0\na 0 5\n",
        b"0\n1\na 0\n",
        b"0\n1\na 0 -5\n",
        b"0\n1\na x 5\n",
        b"0\n1\na 0 99999999999999999999\n",
        b"0\n-1\n",
        b"\xff\xfe",
    ],
)
def test_damaged_offset_checkpoints(data: bytes) -> None:
    with pytest.raises(CorruptCheckpointError):
        decode_offsets(data)


def test_epoch_checkpoint_text() -> None:
    assert encode_epochs([(0, 0), (3, 17)]) == b"0\n2\n0 0\n3 17\n"
    assert decode_epochs(b"0\n2\n0 0\n3 17\n") == [(0, 0), (3, 17)]
    assert encode_epochs([]) == b"0\n0\n"
    assert decode_epoch_entries(b"0\n2\n0 0\n3 17\n") == [EpochEntry(0, 0), EpochEntry(3, 17)]


@pytest.mark.parametrize("data", [b"0\n2\n3 0\n2 17\n", b"0\n2\n2 17\n3 17\n", b"0\n2\n2 17\n2 18\n"])
def test_epochs_must_ascend(data: bytes) -> None:
    with pytest.raises(CorruptCheckpointError):
        decode_epoch_entries(data)


@given(st.binary(max_size=60))
def test_decoding_any_bytes_gives_entries_or_the_error(data: bytes) -> None:
    for decode in (decode_offsets, decode_epochs, decode_partition_metadata):
        try:
            decode(data)
        except CorruptCheckpointError:
            pass


def test_an_atomic_write_leaves_the_old_content_when_it_fails(tmp_path: Path) -> None:
    filesystem = FailingFilesystem()
    path = str(tmp_path / "checkpoint")
    write_atomically(filesystem, path, b"old")
    assert filesystem.synced == [path + ".tmp", str(tmp_path)]
    filesystem.fail_write, filesystem.partial = disk_full, True
    with pytest.raises(OSError):
        write_atomically(filesystem, path, b"much newer")
    assert Path(path).read_bytes() == b"old"


def test_partition_metadata_text(tmp_path: Path) -> None:
    write_partition_metadata(OsFilesystem(), str(tmp_path), uuid.UUID(int=1))
    data = (tmp_path / "partition.metadata").read_bytes()
    assert data == b"version: 0\ntopic_id: AAAAAAAAAAAAAAAAAAAAAQ"
    assert decode_partition_metadata(data) == uuid.UUID(int=1)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"version: 0\n",
        b"topic_id: AAAAAAAAAAAAAAAAAAAAAQ",
        b"version: 0\ntopic_id: AAAAAAAAAAAAAAAAAAAAAA",
        b"version: 0\ntopic_id: zz",
        b"version: x\ntopic_id: AAAAAAAAAAAAAAAAAAAAAQ",
    ],
)
def test_damaged_partition_metadata(data: bytes) -> None:
    with pytest.raises(CorruptCheckpointError):
        decode_partition_metadata(data)


def test_meta_properties_round_trip(tmp_path: Path) -> None:
    filesystem = OsFilesystem()
    assert read_meta_properties(filesystem, str(tmp_path)) is None
    properties = MetaProperties("4L6g3nShT-eMCtK--X86sw", 1, UNIQUE)
    write_meta_properties(filesystem, str(tmp_path), properties)
    assert read_meta_properties(filesystem, str(tmp_path)) == properties


def test_meta_properties_as_kafka_writes_them(tmp_path: Path) -> None:
    (tmp_path / "meta.properties").write_text(
        "#\n#Mon Nov 23 14:00:29 UTC 2026\nnode.id=1\ndirectory.id=Z6AXlLddyf8Sm3tA9Hr5Gg\n"
        "version=1\ncluster.id=4L6g3nShT-eMCtK--X86sw\\=\n"
    )
    found = read_meta_properties(OsFilesystem(), str(tmp_path))
    assert found is not None
    assert (found.cluster_id, found.node_id) == ("4L6g3nShT-eMCtK--X86sw=", 1)
    assert found.directory_id == uuid_from_text("Z6AXlLddyf8Sm3tA9Hr5Gg")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "version=0\ncluster.id=a\nbroker.id=1\n",
        "version=1\nnode.id=1\n",
        "version=1\ncluster.id=a\nnode.id=x\n",
        "version=1\ncluster.id=a\nnode.id=1\ndirectory.id=short\n",
    ],
)
def test_incompatible_meta_properties(tmp_path: Path, text: str) -> None:
    (tmp_path / "meta.properties").write_text(text)
    with pytest.raises(IncompatibleDirectoryError):
        read_meta_properties(OsFilesystem(), str(tmp_path))
