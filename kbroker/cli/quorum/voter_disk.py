"""What a voter keeps in its directory: whose it is, whom it has heard to be blank, and etcd's data.

voter.json    node id, cluster id, voters, peer port, and ``heard`` (``formation.py``)
etcd/         the member's data, which begins to exist when etcd first runs
"""

from __future__ import annotations

import json
from collections.abc import Iterable

from kbroker.cli.quorum.voters import VoterSettings
from storage.checkpoint import write_atomically
from storage.filesystem import Filesystem

_FILE = "voter.json"
_VERSION = 1


class ForeignDirectory(Exception):
    """The directory holds another voter's data, or that of another quorum."""


class VoterDisk:
    """Blocks: to be used in a thread."""

    def __init__(self, settings: VoterSettings, filesystem: Filesystem) -> None:
        self._settings = settings
        self._filesystem = filesystem
        self._path = f"{settings.directory}/{_FILE}"

    @property
    def etcd_directory(self) -> str:
        return f"{self._settings.directory}/etcd"

    def open(self) -> frozenset[int]:
        """Make the directory if need be: who was heard to be blank. ForeignDirectory, OSError."""
        self._filesystem.make_directories(self._settings.directory)
        try:
            return self._understand(self._filesystem.read_file(self._path))
        except FileNotFoundError:
            reason = f"{self._path} is missing"
        except ForeignDirectory as foreign:
            reason = str(foreign)
        if self.is_members():
            raise ForeignDirectory(f"{reason}; what etcd keeps there belongs to another voter")
        # A blank disk belongs to nobody: it may begin anew, knowing nothing.
        self.keep(())
        return frozenset()

    def keep(self, heard: Iterable[int]) -> None:
        """Have it on the disk whom this voter has heard."""
        content = {"version": _VERSION, **self._identity(), "heard": sorted(heard)}
        write_atomically(self._filesystem, self._path, json.dumps(content, indent=2).encode())

    def is_members(self) -> bool:
        """Whether etcd has begun to keep a log here: this disk may be the only one that has what is in it."""
        directory = f"{self.etcd_directory}/member/wal"
        if not self._filesystem.exists(directory):
            return False
        return any(entry.name.endswith(".wal") for entry in self._filesystem.scan(directory))

    def _identity(self) -> dict[str, object]:
        settings = self._settings
        return {
            "node.id": settings.node_id,
            "cluster.id": settings.cluster_id,
            "voters": settings.voters_text,
            "peer.port": settings.peer_port,
        }

    def _understand(self, data: bytes) -> frozenset[int]:
        try:
            content = json.loads(data)
            version, heard = content["version"], frozenset(map(int, content["heard"]))
        except (ValueError, KeyError, TypeError) as error:
            raise ForeignDirectory(f"{self._path} cannot be understood: {error!r}") from None
        if version != _VERSION:
            raise ForeignDirectory(f"{self._path} has version {version}, not {_VERSION}")
        for name, mine in self._identity().items():
            if content.get(name) != mine:
                raise ForeignDirectory(
                    f"{self._path} has {name}={content.get(name)}, this voter {name}={mine}"
                )
        return heard
