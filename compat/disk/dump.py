"""What Apache Kafka's ``kafka-dump-log`` says of a directory: every file of every partition, and its complaints."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

DUMPED_SUFFIXES = (".log", ".index", ".timeindex", ".txnindex", ".snapshot")
_DECODERS = {
    "__consumer_offsets": "--offsets-decoder",
    "__transaction_state": "--transaction-log-decoder",
}
_DUMPING = "Dumping "
_PAYLOAD = " payload: "
_COMPLAINTS = (
    "Found ",
    "Mismatches in",
    "Non-consecutive offsets in",
    "The following indexed offsets are not found",
    "isvalid: false",
    "Error at offset",
    "Unknown record type",
    "Exception",
)
"""How the tool's sentences about something wrong begin, or what they have in them."""

RunTool = Callable[[str, list[str]], CompletedProcess[str]]


def partition_directories(data_dir: Path) -> list[Path]:
    """The partitions' directories, those of the cluster's metadata left out."""
    return sorted(
        path
        for path in data_dir.iterdir()
        if path.is_dir() and not path.name.startswith("__cluster_metadata-")
    )


def topic_of(directory: Path) -> str:
    return directory.name.rpartition("-")[0]


def files_of(directory: Path) -> list[Path]:
    return sorted(path for path in directory.iterdir() if path.suffix in DUMPED_SUFFIXES)


class Dumper:
    """Runs the tool; ``run`` takes the tool's name and its arguments."""

    def __init__(self, run: RunTool) -> None:
        self._run = run

    def contents(self, data_dir: Path) -> dict[str, list[str]]:
        """The lines about each file, by ``<partition directory>/<file name>``; records are decoded."""
        found: dict[str, list[str]] = {}
        by_decoder: dict[str, list[Path]] = {}
        for directory in partition_directories(data_dir):
            decoder = _DECODERS.get(topic_of(directory), "--print-data-log")
            by_decoder.setdefault(decoder, []).extend(files_of(directory))
        for decoder, files in by_decoder.items():
            for line in self._dump([decoder, "--deep-iteration"], files).stdout.splitlines():
                if line.startswith(_DUMPING):
                    path = Path(line.removeprefix(_DUMPING))
                    lines = found.setdefault(f"{path.parent.name}/{path.name}", [])
                else:
                    lines.append(line)
        return found

    def complaints(self, data_dir: Path, *flags: str, suffixes: Iterable[str] = DUMPED_SUFFIXES) -> list[str]:
        """What the tool finds to be wrong with the files, dumped with these flags."""
        files = [
            path
            for directory in partition_directories(data_dir)
            for path in files_of(directory)
            if path.suffix in suffixes
        ]
        done = self._dump(list(flags), files)
        # What it holds against a file comes at the end, on standard error.
        lines = [*done.stdout.splitlines(), *done.stderr.splitlines()]
        return [line for line in lines if any(text in line for text in _COMPLAINTS)]

    def metadata_records(self, path: Path) -> list[dict[str, Any]]:
        """Type, version and data of every record in a file of ``__cluster_metadata``, control records left out."""
        lines = self._dump(["--cluster-metadata-decoder"], [path]).stdout.splitlines()
        return [json.loads(line.partition(_PAYLOAD)[2]) for line in lines if _PAYLOAD in line]

    def _dump(self, flags: list[str], files: list[Path]) -> CompletedProcess[str]:
        done = self._run("kafka-dump-log", [*flags, "--files", ",".join(map(str, files))])
        assert done.returncode == 0, f"kafka-dump-log {flags}: {done.stderr[-2000:]}"
        return done
