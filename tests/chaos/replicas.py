"""Compares the replicas on the disks of stopped brokers: in sync, they are the same bytes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path


def replicas_of(data_dirs: Iterable[Path], partition: str) -> dict[Path, bytes]:
    """The records of each replica of a partition (``topic-0``), all segments joined."""
    found = [path for directory in data_dirs for path in sorted(directory.rglob(partition)) if path.is_dir()]
    return {path: b"".join(log.read_bytes() for log in sorted(path.glob("*.log"))) for path in found}


def differences(data_dirs: Iterable[Path], topics: dict[str, int], replication_factor: int) -> Iterator[str]:
    """One line for every partition whose replicas differ, or are not as many as they should be.

    Nothing may have been deleted from the logs' beginnings, and nobody may write while brokers stop one by one.
    """
    directories = list(data_dirs)
    for topic, count in topics.items():
        for number in range(count):
            replicas = replicas_of(directories, f"{topic}-{number}")
            if len(replicas) != replication_factor:
                yield f"{topic}-{number} has {len(replicas)} replicas on disk: {sorted(map(str, replicas))}"
            (first, expected), *others = replicas.items() or [(Path(), b"")]
            for path, content in others:
                if content != expected:
                    same = next(
                        (
                            at
                            for at, pair in enumerate(zip(expected, content, strict=False))
                            if pair[0] != pair[1]
                        ),
                        min(len(expected), len(content)),
                    )
                    yield (
                        f"{path} ({len(content)} bytes) differs from {first} ({len(expected)} bytes) "
                        f"from byte {same} on"
                    )
