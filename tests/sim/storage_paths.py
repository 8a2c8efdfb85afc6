"""Looking at a simulated disk past the process that uses it: no steps, no faults."""

from __future__ import annotations

from tests.sim.disk import DirectoryNode, Disk, FileNode


def directory_at(disk: Disk, path: str) -> DirectoryNode:
    node = disk.root
    for name in path.split("/")[1:]:
        child = node.entries[name]
        assert isinstance(child, DirectoryNode), path
        node = child
    return node


def file_at(disk: Disk, path: str) -> FileNode | None:
    parent, _, name = path.rpartition("/")
    try:
        node = directory_at(disk, parent).entries.get(name)
    except KeyError:
        return None
    return node if isinstance(node, FileNode) else None
