"""Apache Kafka's kafka-dump-log reads what kbroker has written, and finds there what Apache Kafka writes itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from compat.disk.differences import Written, checkpoint_lines, file_names, normalised
from compat.disk.dump import Dumper

Both = tuple[Written, Written]
CHECKPOINTS = (
    "cleaner-offset-checkpoint",
    "log-start-offset-checkpoint",
    "recovery-point-offset-checkpoint",
    "replication-offset-checkpoint",
)
INDEXES = (".index", ".timeindex")


@pytest.fixture(scope="module")
def dumps(both_written: Both, dumper: Dumper) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """What the tool says of both, normalised, by file."""
    reference, ours = both_written
    return (
        normalised(reference, dumper.contents(reference.data_dir)),
        normalised(ours, dumper.contents(ours.data_dir)),
    )


def test_the_same_files(both_written: Both) -> None:
    reference, ours = both_written
    assert file_names(ours) == file_names(reference)


@pytest.mark.parametrize(
    "topic",
    [
        "codecs",
        "segments",
        "sparse",
        "appended",
        "recompressed",
        "shortened",
        "compacted",
        "idempotent",
        "transactional",
        "__consumer_offsets",
        "__transaction_state",
    ],
)
def test_the_same_content(dumps: tuple[dict[str, list[str]], dict[str, list[str]]], topic: str) -> None:
    """Segments, indexes, transaction indexes and producer snapshots of a topic, line by line."""
    reference, ours = (
        [
            f"{name}: {line}"
            for name, lines in sorted(dump.items())
            if name.rpartition("-")[0] == topic
            for line in lines
        ]
        for dump in dumps
    )
    assert any("baseOffset: " in line for line in reference)
    assert ours == reference


def test_the_workload_leaves_every_kind_of_thing(
    dumps: tuple[dict[str, list[str]], dict[str, list[str]]],
) -> None:
    """That the cases above compare something: the reference's dump shows all that they are to be about."""
    text = "\n".join(f"{name} {line}" for name, lines in dumps[0].items() for line in lines)
    for sign in (
        "compresscodec: gzip",
        "compresscodec: snappy",
        "compresscodec: lz4",
        "compresscodec: zstd",
        "LogAppendTime",
        "keySize: -1",
        "valueSize: -1",
        "headerKeys: [name,name]",
        "endTxnMarker: COMMIT",
        "endTxnMarker: ABORT",
        ".txnindex version: 0 producerId:",
        "currentTxnFirstOffset: OptionalLong[",
        "deleteHorizonMs: OptionalLong[<horizon>]",
        "<DELETE>",
        '"groupInstanceId":"instance"',
        '"transactionStatus"',
        "position: ",
        "timestamp: ",
    ):
        assert sign in text, sign


@pytest.mark.parametrize(
    ("flags", "suffixes"),
    [
        (["--deep-iteration"], None),
        (["--index-sanity-check"], INDEXES),
        (["--verify-index-only"], INDEXES),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_no_complaints(
    both_written: Both, dumper: Dumper, flags: list[str], suffixes: tuple[str, ...] | None
) -> None:
    """None that it does not have of Apache Kafka's own files: it misses what is before a segment's first offset."""
    reference, ours = (
        {
            line.replace(str(written.data_dir), "")
            for line in (
                dumper.complaints(written.data_dir, *flags)
                if suffixes is None
                else dumper.complaints(written.data_dir, *flags, suffixes=suffixes)
            )
        }
        for written in both_written
    )
    assert ours == reference
    assert all(line.startswith("Non-consecutive offsets in") for line in ours)


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_the_same_checkpoints(both_written: Both, name: str) -> None:
    reference, ours = (checkpoint_lines(written.data_dir / name) for written in both_written)
    assert ours == reference


def test_the_same_leader_epochs(both_written: Both) -> None:
    """Of every partition; and partition.metadata in the same form, with another topic id."""
    reference, ours = (
        {
            path.parent.name: (path.read_text(encoding="ascii"), _form_of_metadata(path.parent))
            for path in written.data_dir.glob("*/leader-epoch-checkpoint")
            if not path.parent.name.startswith("__cluster_metadata")
        }
        for written in both_written
    )
    assert ours == reference


def _form_of_metadata(partition: Path) -> list[str]:
    text = (partition / "partition.metadata").read_text(encoding="ascii")
    return [line.partition(":")[0] for line in text.split("\n")]


def test_meta_properties(both_written: Both) -> None:
    """The same keys, version and node; each cluster and directory has an id of 22 characters."""
    reference, ours = (
        dict(
            line.split("=", 1)
            for line in (written.data_dir / "meta.properties").read_text(encoding="ascii").splitlines()
            if not line.startswith("#")
        )
        for written in both_written
    )
    assert ours.keys() == reference.keys()
    assert (ours["version"], ours["node.id"]) == (reference["version"], reference["node.id"])
    assert [len(ours[key]) for key in ("cluster.id", "directory.id")] == [22, 22]
