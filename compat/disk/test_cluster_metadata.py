"""Records of ``__cluster_metadata`` as declared in ``wire``, and as Apache Kafka's controllers read and write them."""

from __future__ import annotations

import base64
import random
import subprocess
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from compat.disk.conftest import KilledKafka
from compat.disk.dump import Dumper
from compat.reference.java_programs import program
from compat.reference.tools import JAVA
from kbroker.metadata.kraft_log import read_kraft_metadata
from storage.filesystem import OsFilesystem
from storage.uuid_text import uuid_to_text
from tests.wire.messages_under_test import Generator
from wire.internal.cluster_metadata import (
    PASSED_OVER,
    RECORD_CLASSES,
    MetadataRecord,
    decode_metadata_record,
)
from wire.records import iterate_batches, read_records
from wire.schema import Structure

_SOURCE = Path(__file__).with_name("MetadataRoundTrip.java")
_SEED = 20
_EACH = 40


def test_controllers_read_and_write_the_same(java_class_path: str) -> None:
    """Random records of every declared type and version: read by Kafka's own code, and written again by it."""
    values, names = [], []
    for record_class in RECORD_CLASSES.values():
        for version in range(record_class.min_version, record_class.max_version + 1):
            for number in range(_EACH):
                generator = Generator(_SEED + number, 1 + number % 3)
                record: MetadataRecord = generator.structure(record_class, version)
                values.append(record.encode_framed(version))
                names.append(record_class.__name__)
                assert decode_metadata_record(values[-1]) == record
    random.Random(_SEED).shuffle(values)
    answer = subprocess.run(
        [*JAVA, "-cp", program("metadata-round-trip", [_SOURCE]), "MetadataRoundTrip"],
        input="".join(f"{value.hex()}\n" for value in values),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert answer.returncode == 0, answer.stderr
    found = [line.split(" ") for line in answer.stdout.splitlines()]
    assert [written for _, written in found] == [value.hex() for value in values]
    assert sorted(name for name, _ in found) == sorted(names)


@pytest.fixture(scope="module")
def metadata_directory(killed_kafka: KilledKafka) -> Path:
    return killed_kafka.left.data_dir / "__cluster_metadata-0"


def test_every_record_says_what_the_dump_says(metadata_directory: Path, dumper: Dumper) -> None:
    """Of the log and the snapshots of an Apache Kafka: our reading, and that of kafka-dump-log, field by field."""
    files = sorted([*metadata_directory.glob("*.log"), *metadata_directory.glob("*.checkpoint")])
    assert len(files) > 2
    seen: set[str] = set()
    for path in files:
        ours = [_as_dumped(value) for value in _values(path)]
        reference = dumper.metadata_records(path)
        assert len(ours) == len(reference)
        for mine, theirs in zip(ours, reference, strict=True):
            name = "".join(part.capitalize() for part in theirs["type"].split("_"))
            seen.add(name)
            if mine is None:
                assert name in PASSED_OVER.values()
            else:
                assert mine == (name, theirs["version"], theirs["data"])
    assert {"PartitionChangeRecord", "RemoveTopicRecord", "ClientQuotaRecord", "ProducerIdsRecord"} <= seen


def test_a_snapshot_and_the_log_behind_it_are_read(metadata_directory: Path) -> None:
    """The directory that the takeover is tried on has both, and each has something that the other has not."""
    newest = max(path.name for path in metadata_directory.glob("*.checkpoint"))
    metadata = read_kraft_metadata(OsFilesystem(), str(metadata_directory))
    assert 0 < int(newest.partition("-")[0]) < metadata.end_offset
    assert metadata.voters == {1}
    assert {topic.name for topic in metadata.image.topics.values()} >= {"codecs", "grown", "again"}


def _values(path: Path) -> list[bytes]:
    data = path.read_bytes()
    return [
        record.value or b""
        for position, header in iterate_batches(data)
        if not header.is_control
        for record in read_records(data, position, decompressed_bytes_max=1 << 24)
    ]


def _as_dumped(value: bytes) -> tuple[str, int, dict[str, Any]] | None:
    """(Name, version, fields) as the tool's JSON has them; fields at their default are left out if tagged."""
    record = decode_metadata_record(value)
    if record is None:
        return None
    version = value[2]
    return type(record).__name__, version, _fields(record, version)


def _fields(structure: Structure, version: int) -> dict[str, Any]:
    return {
        _camel_case(field.name): _json(getattr(structure, field.name), version)
        for field in type(structure).__fields__
        if field.in_version(version)
        and not (field.tag is not None and getattr(structure, field.name) == field.default)
    }


def _json(value: object, version: int) -> Any:
    if isinstance(value, UUID):
        return uuid_to_text(value)
    if isinstance(value, Structure):
        return _fields(value, version)
    if isinstance(value, list):
        return [_json(element, version) for element in value]
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    return value


def _camel_case(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)
