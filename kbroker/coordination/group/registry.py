"""The groups of one shard, by group id."""

from __future__ import annotations

from collections.abc import Iterator

from kbroker.coordination.group.group import Group


class GroupRegistry:
    """Groups come with their first join or their first committed offset, and go with a tombstone."""

    def __init__(self) -> None:
        self._groups: dict[str, Group] = {}

    def __len__(self) -> int:
        return len(self._groups)

    def __iter__(self) -> Iterator[Group]:
        return iter(list(self._groups.values()))

    def get(self, group_id: str) -> Group | None:
        return self._groups.get(group_id)

    def add(self, group: Group) -> None:
        self._groups[group.group_id] = group

    def discard(self, group_id: str) -> Group | None:
        return self._groups.pop(group_id, None)
