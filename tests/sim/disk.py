"""A disk in memory, with what a power loss can make of it.

Each file and each directory has two images: what running processes see (the page cache), and what the disk
holds for certain. What lies between the two is a list of changes in order. A sync carries a file's changes, or
those of the names in one directory, over to the disk; a power loss carries some of them over and forgets the rest:

* of a file: none, all, a prefix with a torn last write, or a mixture by sectors in which each sector and the size
  are as they were after some change, whichever; what the size covers and no write reached is zeros;
* of names: a prefix of all changes, as a journal keeps them, or any subset in which a change only happens after the
  earlier ones of the same names. A rename is one change of two names, so it happens or it does not.

What else a power loss may do to a real disk (changing what was synced) is not simulated here, save for `flip_bit`.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from tests.sim.coverage import Coverage

SECTOR_SIZES = (512, 4096)
_SIZE_ONLY = -1


@dataclass(frozen=True, slots=True)
class Change:
    """A write of `data` at `position`, or a truncation to `position` when `data` is None."""

    position: int
    data: bytes | None

    def apply(self, content: bytearray) -> None:
        """Do it to a file's content; gaps become zeros."""
        position, data = self.position, self.data
        size = len(content)
        if data is None:
            if position < size:
                del content[position:]
            else:
                content += bytes(position - size)
            return
        if position > size:
            content += bytes(position - size)
        content[position : position + len(data)] = data


class FileNode:
    """A file: `content` as processes see it, `durable` as the disk has it, and the changes in between."""

    __slots__ = ("changes", "content", "durable", "mappings", "modified_ms")

    def __init__(self) -> None:
        self.content = bytearray()
        self.durable = b""
        self.changes: list[Change] = []
        self.mappings: list[bytearray] = []
        self.modified_ms = 0

    def change(self, change: Change) -> None:
        """Change what processes see, mappings included."""
        change.apply(self.content)
        self.changes.append(change)
        for mapped in self.mappings:
            size = len(mapped)
            if len(self.content) < size:
                raise AssertionError("a file shrank under a mapping: touching it is a SIGBUS")
            mapped[:] = self.content[:size]

    def sync(self) -> None:
        if self.changes:
            self.durable = bytes(self.content)
            self.changes.clear()

    def settle(self, content: bytes) -> None:
        """Both images are `content` now."""
        self.durable = content
        self.content = bytearray(content)
        self.changes.clear()


class DirectoryNode:
    """A directory: names as processes see them and as the disk has them."""

    __slots__ = ("durable", "entries")

    def __init__(self) -> None:
        self.entries: dict[str, Node] = {}
        self.durable: dict[str, Node] = {}


Node = FileNode | DirectoryNode
Place = tuple[DirectoryNode, str]


@dataclass(frozen=True, slots=True)
class NameChange:
    """`node` appears at `added` (replacing what is there) and goes from `removed`; a rename has both."""

    node: Node
    added: Place | None
    removed: Place | None

    @property
    def places(self) -> list[Place]:
        return [place for place in (self.added, self.removed) if place is not None]

    def apply(self) -> bool:
        """Do it to the durable names; false if the disk could not have done it by itself."""
        if self.removed is not None:
            directory, name = self.removed
            gone = directory.durable.get(name)
            if gone is not self.node:
                return False
            if self.added is None and isinstance(gone, DirectoryNode) and gone.durable:
                return False  # its content is not removed yet
            del directory.durable[name]
        if self.added is not None:
            directory, name = self.added
            directory.durable[name] = self.node
        return True


class Loss(Enum):
    """How a power loss treats everything that was not synced."""

    NOTHING_SURVIVES = "nothing survives"
    EVERYTHING_SURVIVES = "everything survives"
    JOURNALED = "names as a journal keeps them, file contents by chance"
    BY_CHANCE = "names and contents by chance"


_LOSSES = (Loss.NOTHING_SURVIVES, Loss.EVERYTHING_SURVIVES, Loss.JOURNALED, Loss.BY_CHANCE)
_LOSS_WEIGHTS = (3, 1, 6, 4)


class Disk:
    """Files and names that outlive processes. `generator` decides what a power loss keeps."""

    def __init__(self, generator: random.Random, clock_ms: Callable[[], int], coverage: Coverage) -> None:
        self.random = generator
        self.clock_ms = clock_ms
        self.coverage = coverage
        self.root = DirectoryNode()
        self.name_changes: list[NameChange] = []
        self.locks: dict[str, object] = {}

    # Names

    def changed_names(self, change: NameChange) -> None:
        """Note a change of names that processes see already."""
        self.name_changes.append(change)

    def sync_names(self, directory: DirectoryNode) -> None:
        """Carry over the changes of names in a directory, and the earlier ones that they rest on."""
        directories = {id(directory)}
        needed: set[tuple[int, str]] = set()
        kept: list[NameChange] = []
        chosen: list[NameChange] = []
        for change in reversed(self.name_changes):
            places = [(id(node), name) for node, name in change.places]
            if needed.isdisjoint(places) and directories.isdisjoint(place[0] for place in places):
                kept.append(change)
                continue
            needed.update(places)
            chosen.append(change)
            if change.added is None:
                directories.add(id(change.node))  # what was in a removed directory went before
        for change in reversed(chosen):
            if not change.apply():
                raise AssertionError("a synced directory could not be written as it stands")
        kept.reverse()
        self.name_changes = kept

    # Power

    def lose_power(self) -> Loss:
        """The machine goes down; the disk and what processes will see are what survived."""
        loss = self.random.choices(_LOSSES, _LOSS_WEIGHTS)[0]
        self.coverage.count("power loss", loss.value)
        self._lose_names(loss)
        self.name_changes.clear()
        self.locks.clear()
        self._settle(self.root, loss, set())
        return loss

    def _lose_names(self, loss: Loss) -> None:
        changes = self.name_changes
        if loss is Loss.NOTHING_SURVIVES or not changes:
            return
        if loss is Loss.EVERYTHING_SURVIVES:
            count = len(changes)
        elif loss is Loss.JOURNALED:
            count = self.random.randint(0, len(changes))
        else:
            self._lose_names_by_chance(changes)
            return
        for change in changes[:count]:
            change.apply()
        self.coverage.count("names lost", "some" if count < len(changes) else "none")

    def _lose_names_by_chance(self, changes: list[NameChange]) -> None:
        skipped: set[tuple[int, str]] = set()
        survival = self.random.choice((0.3, 0.5, 0.8))
        for change in changes:
            places = [(id(node), name) for node, name in change.places]
            if not skipped.isdisjoint(places) or self.random.random() > survival or not change.apply():
                skipped.update(places)
        self.coverage.count("names lost", "by chance" if skipped else "none")

    def _settle(self, directory: DirectoryNode, loss: Loss, seen: set[int]) -> None:
        directory.entries = dict(sorted(directory.durable.items()))
        for node in directory.entries.values():
            if isinstance(node, DirectoryNode):
                self._settle(node, loss, seen)
            elif id(node) not in seen:
                seen.add(id(node))
                node.settle(self.survivor(node, loss))

    def survivor(self, node: FileNode, loss: Loss) -> bytes:
        """What the disk holds of a file after the loss."""
        if not node.changes or loss is Loss.NOTHING_SURVIVES:
            return node.durable
        if loss is Loss.EVERYTHING_SURVIVES:
            return bytes(node.content)
        chance = self.random.random()
        if chance < 0.22:
            self.coverage.count("file lost", "all changes")
            return node.durable
        if chance < 0.40:
            self.coverage.count("file lost", "nothing")
            return bytes(node.content)
        if chance < 0.65:
            return self._torn(node)
        return self._mixed(node)

    def _torn(self, node: FileNode) -> bytes:
        """Changes up to a point, the last one in part."""
        content = bytearray(node.durable)
        whole = self.random.randrange(len(node.changes))
        for change in node.changes[:whole]:
            change.apply(content)
        last = node.changes[whole]
        if last.data is not None:
            cut = self.random.randrange(len(last.data) + 1)
            if self.random.random() < 0.3:
                sector = self.random.choice(SECTOR_SIZES)
                cut = max(0, (last.position + cut) // sector * sector - last.position)
            Change(last.position, last.data[:cut]).apply(content)
            end = last.position + len(last.data)
            if len(content) < end and self.random.random() < 0.3:
                content += bytes(end - len(content))
                self.coverage.count("file lost", "tail, with zeros in its place")
                return bytes(content)
        self.coverage.count("file lost", "tail")
        return bytes(content)

    def _mixed(self, node: FileNode) -> bytes:
        """Each sector, and the size, as after some change or other."""
        images = [bytearray(node.durable)]
        for change in node.changes:
            image = bytearray(images[-1])
            change.apply(image)
            images.append(image)
        size = len(self.random.choice((images[0], images[-1], self.random.choice(images))))
        sector = self.random.choice(SECTOR_SIZES)
        choices = (images[0], images[-1])
        result = bytearray()
        for start in range(0, size, sector):
            image = self.random.choice(choices)
            if self.random.random() < 0.2:
                image = self.random.choice(images)
            end = min(start + sector, size)
            piece = image[start:end]
            result += piece
            result += bytes(end - start - len(piece))
        self.coverage.count("file lost", "some sectors")
        return bytes(result)

    # Faults of the medium

    def fail_sync(self, node: FileNode) -> None:
        """A sync has failed: what it wrote by chance is on the disk, and the rest is out of the cache too.

        (Linux marks the pages clean; those that are dropped afterwards are read back as the disk has them.)
        """
        if node.changes:
            node.settle(self.survivor(node, Loss.BY_CHANCE))

    def flip_bit(self, node: FileNode, position: int, bit: int) -> None:
        """One bit of a file is another now, on the disk and for who reads it."""
        for content in (node.content,):
            content[position] ^= 1 << bit
        if position < len(node.durable):
            durable = bytearray(node.durable)
            durable[position] ^= 1 << bit
            node.durable = bytes(durable)
