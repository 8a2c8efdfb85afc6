"""``kafka-storage.sh``: ids for clusters, and log directories made ready for a node (Kafka's StorageTool).

``format`` writes what kbroker itself would write at its first start, ``meta.properties`` with the cluster's id, and so
settles which cluster the node belongs to. Accepted, and without effect: ``--standalone``, ``--initial-controllers`` and
``--no-initial-controllers``, since no quorum tells its controllers apart by directories, and ``--release-version`` and
``--feature``, since a new cluster has the features of kbroker's version.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn
from uuid import UUID

from kbroker.cli.scripts.argparse4j import Program, fail
from kbroker.config.sources import parse_properties
from kbroker.metadata.feature_decisions import METADATA_VERSION, NEW_CLUSTER_FEATURES
from kbroker.os_world import OsWorld
from kbroker.world import World
from storage.errors import IncompatibleDirectoryError
from storage.meta_properties import MetaProperties, read_meta_properties, write_meta_properties
from storage.uuid_text import uuid_to_text

_DEFAULT_DIRECTORY = "/tmp/kafka-logs"
_LIKE_AN_OPTION = "-"


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    options = _parser().parse_args(arguments)
    world = OsWorld()
    try:
        if options.command == "random-uuid":
            print(uuid_to_text(random_id(world)))
            sys.exit(0)
        node_id, directories = _node(Path(options.config).read_bytes())
        if options.command == "info":
            sys.exit(info(world, directories))
        if options.add_scram:
            fail("kbroker has no SCRAM users: --add-scram cannot be done.")
        format_directories(
            world, directories, options.cluster_id, node_id, ignore_formatted=options.ignore_formatted
        )
    except (OSError, ValueError, IncompatibleDirectoryError) as error:
        fail(str(error))
    sys.exit(0)


def random_id(world: World) -> UUID:
    """Kafka's ``Uuid.randomUuid``: none that looks like an option on a command line."""
    found = world.uuid4()
    while uuid_to_text(found).startswith(_LIKE_AN_OPTION):
        found = world.uuid4()
    return found


def format_directories(
    world: World, directories: Sequence[str], cluster_id: str, node_id: int, *, ignore_formatted: bool
) -> None:
    """Write ``meta.properties`` where there is none. ValueError, with Kafka's message, if nothing may be written."""
    filesystem = world.filesystem
    found = {directory: read_meta_properties(filesystem, directory) for directory in directories}
    for directory, properties in found.items():
        for name, wanted, read in _compared(properties, cluster_id, node_id):
            if wanted != read:
                raise ValueError(
                    f"Invalid {name} in: {directory}/meta.properties. Expected {wanted}, but read {read}"
                )
    formatted = [directory for directory, properties in found.items() if properties is not None]
    if formatted and not ignore_formatted:
        raise ValueError(
            f"Log directory {formatted[0]} is already formatted. "
            "Use --ignore-formatted to ignore this directory and format the others."
        )
    if len(formatted) == len(directories):
        print("All of the log directories are already formatted.")
    for directory in directories:
        if directory in formatted:
            continue
        level = NEW_CLUSTER_FEATURES[METADATA_VERSION]
        print(f"Formatting data directory {directory} with {METADATA_VERSION} {level}.")
        filesystem.make_directories(directory)
        write_meta_properties(filesystem, directory, MetaProperties(cluster_id, node_id, random_id(world)))


def _compared(
    properties: MetaProperties | None, cluster_id: str, node_id: int
) -> list[tuple[str, object, object]]:
    if properties is None:
        return []
    return [
        ("cluster.id", cluster_id, properties.cluster_id),
        ("node.id", node_id, properties.node_id),
    ]


def info(world: World, directories: Sequence[str]) -> int:
    """Print what there is; 1 if anything is wrong with it."""
    problems: list[str] = []
    metadata: MetaProperties | None = None
    usable: list[str] = []
    for directory in sorted(directories):
        if not world.filesystem.exists(directory):
            problems.append(f"{directory} does not exist")
            continue
        usable.append(directory)
        found = read_meta_properties(world.filesystem, directory)
        if found is None:
            problems.append(f"{directory} is not formatted.")
        elif metadata is None:
            metadata = found
        elif (found.cluster_id, found.node_id) != (metadata.cluster_id, metadata.node_id):
            problems.append(
                f"Metadata for {directory} was {_text(found)}, but other directories featured {_text(metadata)}"
            )
    _section("log director", "y", "ies", usable)
    if metadata is not None:
        print(f"Found metadata: {_text(metadata)}\n")
    _section("problem", "", "s", problems)
    return 1 if problems else 0


def _section(noun: str, one: str, several: str, lines: Sequence[str]) -> None:
    if lines:
        print(f"Found {noun}{one if len(lines) == 1 else several}:")
        print("".join(f"  {line}\n" for line in lines))


def _text(properties: MetaProperties) -> str:
    directory = (
        "" if properties.directory_id is None else f"directory.id={uuid_to_text(properties.directory_id)}, "
    )
    return f"{{cluster.id={properties.cluster_id}, {directory}node.id={properties.node_id}, version=1}}"


def _node(data: bytes) -> tuple[int, list[str]]:
    """Node id and log directories that a properties file names, the metadata's own among them."""
    properties = parse_properties(data)
    text = properties.get("node.id", properties.get("broker.id"))
    if text is None or not text.strip().isdecimal():
        raise ValueError("node.id must be set, to a number from 0")
    named = properties.get("log.dirs") or properties.get("log.dir") or _DEFAULT_DIRECTORY
    directories = [*named.split(","), properties.get("metadata.log.dir", "")]
    return int(text), list(dict.fromkeys(filter(None, (name.strip() for name in directories))))


def _parser() -> argparse.ArgumentParser:
    parser = Program("kafka-storage", "The Kafka storage tool.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="{info,format,random-uuid}")
    info_parser = commands.add_parser("info", help="Get information about the log directories of this node.")
    format_parser = commands.add_parser("format", help="Format the log directories of this node.")
    commands.add_parser("random-uuid", help="Print a random UUID.")
    for one in (info_parser, format_parser):
        one.add_argument("--config", "-c", required=True, help="The node's properties file.")
    format_parser.add_argument("--cluster-id", "-t", required=True, help="The cluster's id.")
    format_parser.add_argument(
        "--ignore-formatted",
        "-g",
        action="store_true",
        help="Leave alone what is formatted, rather than fail.",
    )
    format_parser.add_argument("--add-scram", "-S", action="append", help="Not supported.")
    for flags in (("--release-version", "-r"), ("--feature", "-f"), ("--initial-controllers", "-I")):
        format_parser.add_argument(*flags, action="append", help="Accepted; changes nothing.")
    for flags in (("--standalone", "-s"), ("--no-initial-controllers", "-N")):
        format_parser.add_argument(*flags, action="store_true", help="Accepted; changes nothing.")
    return parser
