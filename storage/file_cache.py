"""A bound on open files and mappings, so that 10,000 partitions fit under 1,024 descriptors.

Segments and indexes hold handles, not files. A handle opens its file when it is used and the cache closes
the ones that were not used for longest (second-chance order: close to least recently used, and a use costs
one attribute store). A pinned handle stays open, even when its file is unlinked meanwhile: that is what a
slice on its way to a socket relies on. A mapping counts like a file, since Python's mmap keeps a descriptor.
"""

from __future__ import annotations

import errno
from types import TracebackType
from typing import Protocol

from storage.filesystem import File, Filesystem, Mapping

_OUT_OF_DESCRIPTORS = frozenset({errno.EMFILE, errno.ENFILE})


class Evictable(Protocol):
    """Something that occupies one descriptor."""

    recent: bool

    @property
    def pinned(self) -> bool: ...

    def evict(self) -> None:
        """Give the descriptor back."""


class FileCache:
    """Keeps at most `open_files_max` descriptors open, pinned ones aside.

    When so many are pinned that the bound cannot be held, `crowded` is true: callers that can do without
    a pin (a slice can read its bytes at once) do so.
    """

    def __init__(self, filesystem: Filesystem, *, open_files_max: int) -> None:
        if open_files_max < 4:
            raise ValueError(f"open_files_max must be at least 4, not {open_files_max}")
        self.filesystem = filesystem
        self.open_files_max = open_files_max
        self._open: dict[Evictable, None] = {}
        self._pinned_count = 0

    @property
    def open_count(self) -> int:
        return len(self._open)

    @property
    def pinned_count(self) -> int:
        """Files that somebody is reading or sending from right now."""
        return self._pinned_count

    @property
    def crowded(self) -> bool:
        return self._pinned_count * 2 > self.open_files_max

    def open_file(self, owner: Evictable, path: str, *, create: bool) -> File:
        """Open `path` on behalf of `owner`, closing others first when there is no room."""
        self.make_room()
        try:
            file = self.filesystem.open(path, create=create)
        except OSError as error:
            if error.errno not in _OUT_OF_DESCRIPTORS:
                raise
            # Somebody else (connections, say) took the descriptors that the bound left them: shrink, retry.
            self.make_room(keep=len(self._open) // 2)
            file = self.filesystem.open(path, create=create)
        self._open[owner] = None
        return file

    def enlist(self, owner: Evictable) -> None:
        """Count `owner`, which just opened a descriptor by itself."""
        self._open[owner] = None

    def forget(self, owner: Evictable) -> None:
        self._open.pop(owner, None)

    def count_pinned(self, change: int) -> None:
        self._pinned_count += change

    def make_room(self, keep: int | None = None) -> None:
        """Evict until fewer than the bound (or at most `keep`) remain, or all others are pinned."""
        allowed = self.open_files_max - 1 if keep is None else keep
        opened = self._open
        looks_left = 2 * len(opened)
        while len(opened) > allowed and looks_left > 0:
            looks_left -= 1
            candidate = next(iter(opened))
            del opened[candidate]
            if candidate.pinned or candidate.recent:
                candidate.recent = False
                opened[candidate] = None
            else:
                candidate.evict()


class FileHandle:
    """A file that is opened when used. Not safe for concurrent use from several threads."""

    __slots__ = ("_cache", "_discarded", "_file", "_pins", "path", "recent")

    def __init__(self, cache: FileCache, path: str) -> None:
        self._cache = cache
        self._file: File | None = None
        self._pins = 0
        self._discarded = False
        self.path = path
        self.recent = False

    @property
    def pinned(self) -> bool:
        return self._pins > 0

    @property
    def is_open(self) -> bool:
        return self._file is not None

    def file(self, *, create: bool = False) -> File:
        """The open file, good until the next use of the cache unless pinned."""
        file = self._file
        if file is None:
            # Used once is not yet used often: a sweep over all partitions must not push the busy ones out.
            self.recent = False
            file = self._file = self._cache.open_file(self, self.path, create=create)
        else:
            self.recent = True
        return file

    def pin(self) -> File:
        """The open file, kept open until `unpin`."""
        file = self.file()
        self._pins += 1
        if self._pins == 1:
            self._cache.count_pinned(1)
        return file

    def unpin(self) -> None:
        assert self._pins > 0, "unpin without pin"
        self._pins -= 1
        if self._pins:
            return
        self._cache.count_pinned(-1)
        if self._discarded:
            self._discarded = False
            self.evict()
            self._cache.forget(self)

    def evict(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()

    def close(self) -> None:
        """Close now, or when the last pin goes; the next use opens again."""
        if self._pins:
            self._discarded = True
            return
        self.evict()
        self._cache.forget(self)

    def renamed(self, path: str) -> None:
        """The file has a new name; an open descriptor stays good."""
        self.path = path

    def __enter__(self) -> File:
        return self.pin()

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.unpin()


class MappingHandle:
    """A read-only mapping of the first bytes of a file, made when used and dropped when idle."""

    __slots__ = ("_cache", "_mapping", "_source", "recent", "size")

    def __init__(self, cache: FileCache, source: FileHandle) -> None:
        self._cache = cache
        self._source = source
        self._mapping: Mapping | None = None
        self.recent = False
        self.size = 0

    @property
    def pinned(self) -> bool:
        return False

    def view(self, size: int) -> memoryview:
        """At least `size` bytes (which the file must have), good until the next use of the cache."""
        self.recent = True
        if self._mapping is None or self.size < size:
            self.close()
            # The file's own descriptor is pinned meanwhile: making room must not close it under us.
            with self._source as file:
                self._cache.make_room()
                self._mapping = file.map(size)
            self.size = size
            self._cache.enlist(self)
        return self._mapping.view

    def evict(self) -> None:
        mapping, self._mapping = self._mapping, None
        self.size = 0
        if mapping is not None:
            mapping.close()

    def close(self) -> None:
        self.evict()
        self._cache.forget(self)
