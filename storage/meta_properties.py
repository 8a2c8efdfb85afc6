"""`meta.properties`: whose log directory this is (Kafka: MetaProperties version 1, KIP-858).

A Java properties file with version, cluster.id, node.id and directory.id.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from uuid import UUID

from storage.checkpoint import write_atomically
from storage.errors import IncompatibleDirectoryError
from storage.filesystem import Filesystem
from storage.uuid_text import uuid_from_text, uuid_to_text

META_PROPERTIES = "meta.properties"

_VERSION = 1
_LINE = re.compile(r"^\s*([^\s=:#!]+)\s*[=:]\s*(.*?)\s*$")
_ESCAPE = re.compile(r"\\(.)")


@dataclass(frozen=True, slots=True)
class MetaProperties:
    """`directory_id` is None in directories that an older Kafka formatted."""

    cluster_id: str
    node_id: int
    directory_id: UUID | None


def read_meta_properties(filesystem: Filesystem, directory: str) -> MetaProperties | None:
    """None when there is no such file; IncompatibleDirectoryError when it cannot be understood."""
    path = f"{directory}/{META_PROPERTIES}"
    try:
        data = filesystem.read_file(path)
    except FileNotFoundError:
        return None
    fields = {}
    for line in data.decode("latin-1").splitlines():
        match = _LINE.match(line)
        if match is not None:
            fields[match[1]] = _ESCAPE.sub(r"\1", match[2])
    try:
        if int(fields["version"]) != _VERSION:
            raise IncompatibleDirectoryError(f"{path} has version {fields['version']}, not {_VERSION}")
        text = fields.get("directory.id")
        directory_id = uuid_from_text(text) if text is not None else None
        return MetaProperties(fields["cluster.id"], int(fields["node.id"]), directory_id)
    except KeyError as error:
        raise IncompatibleDirectoryError(f"{path} lacks {error}") from None
    except ValueError as error:
        raise IncompatibleDirectoryError(f"{path}: {error}") from None


def write_meta_properties(filesystem: Filesystem, directory: str, properties: MetaProperties) -> None:
    lines = [
        "#",
        f"version={_VERSION}",
        f"cluster.id={properties.cluster_id}",
        f"node.id={properties.node_id}",
    ]
    if properties.directory_id is not None:
        lines.append(f"directory.id={uuid_to_text(properties.directory_id)}")
    data = "\n".join([*lines, ""]).encode("latin-1")
    write_atomically(filesystem, f"{directory}/{META_PROPERTIES}", data)
