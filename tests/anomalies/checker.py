"""Looks for what must not happen, in a history of ``history`` operations."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from tests.anomalies import consumers, exactly_once, records
from tests.anomalies.evidence import Anomaly, Evidence, Kind
from tests.anomalies.history import Operation

__all__ = ["Anomaly", "Kind", "check", "report"]


def check(history: Iterable[Operation]) -> list[Anomaly]:
    """All findings; an empty list is a clean history. Takes O(n log n)."""
    evidence = Evidence(history)
    return [
        *records.anomalies(evidence),
        *consumers.anomalies(evidence),
        *exactly_once.anomalies(evidence),
    ]


def report(found: list[Anomaly], *, per_kind_max: int = 5) -> str:
    """The findings as text: how many of each kind, and some of each."""
    lines: list[str] = []
    for kind, count in Counter(anomaly.kind for anomaly in found).items():
        lines.append(f"{kind}: {count}")
        lines += [f"  {anomaly}" for anomaly in found if anomaly.kind is kind][:per_kind_max]
    return "\n".join(lines) or "no anomalies"
