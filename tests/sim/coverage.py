"""How often each operation and each fault occurred, so that nobody fools himself."""

from __future__ import annotations

from collections import Counter


class Coverage:
    """Counts by (kind, what); adding two up gives the counts of both."""

    def __init__(self) -> None:
        self.counts: Counter[tuple[str, str]] = Counter()

    def count(self, kind: str, what: str, times: int = 1) -> None:
        self.counts[kind, what] += times

    def add(self, other: Coverage) -> None:
        self.counts.update(other.counts)

    def total(self, kind: str) -> int:
        return sum(times for (name, _), times in self.counts.items() if name == kind)

    def of(self, kind: str, what: str) -> int:
        return self.counts[kind, what]

    def table(self) -> str:
        """One line for every kind, with what occurred how often."""
        kinds: dict[str, list[str]] = {}
        for (kind, what), times in sorted(self.counts.items()):
            kinds.setdefault(kind, []).append(f"{what} {times}")
        width = max((len(kind) for kind in kinds), default=0)
        return "\n".join(f"  {kind:<{width}}  {', '.join(items)}" for kind, items in kinds.items())
