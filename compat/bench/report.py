"""What was measured, as a table with ratios to Apache Kafka and the goals beside them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from compat.bench.peers import APACHE_KAFKA, KBROKER, KFAKE, versions

BEGIN: Final = "<!-- written by make bench-peers: begin -->"
END: Final = "<!-- written by make bench-peers: end -->"
_MORE_IS_BETTER: Final = ("produce ", "consume ")


class Measure:
    """The best of several rounds."""

    def __init__(self, key: str) -> None:
        self._more_is_better = key.startswith(_MORE_IS_BETTER)
        self.best: float | None = None

    def take(self, value: float) -> None:
        if self.best is None or (value > self.best if self._more_is_better else value < self.best):
            self.best = value


@dataclass(frozen=True)
class Row:
    """One line: what it is called, its measure's key, how it is shown, and what the ratio is to be."""

    name: str
    key: str
    shown: Callable[[float], str]
    at_least: float | None = None
    at_most: float | None = None

    def goal(self) -> str:
        if self.at_least is not None:
            return f"≥ {self.at_least:g}"
        return f"≤ {self.at_most:g}" if self.at_most is not None else ""

    def met(self, ratio: float) -> str:
        if self.at_least is None and self.at_most is None:
            return ""
        enough = self.at_least is None or ratio >= self.at_least
        return "yes" if enough and (self.at_most is None or ratio <= self.at_most) else "no"


def _seconds(value: float) -> str:
    return f"{value:.2f} s"


def _mebibytes(value: float) -> str:
    return f"{value / 2**20:,.1f} MiB"


def _microseconds(value: float) -> str:
    return f"{value:,.0f} µs"


def _rate(value: float) -> str:
    return f"{value:,.0f} MB/s" if value >= 10 else f"{value:.1f} MB/s"


def _share(value: float) -> str:
    return f"{value * 100:.1f} %"


def rows() -> Iterator[Row]:
    """Every line of the table, in its order."""
    yield Row("start to the first acknowledged record", "start_s", _seconds, at_most=0.15)
    yield Row("resident memory, idle", "idle_bytes", _mebibytes, at_most=0.2)
    yield Row("resident memory, after the load below", "loaded_bytes", _mebibytes, at_most=0.2)
    yield Row("1,000 idle connections: memory", "connections_bytes", _mebibytes)
    yield Row("1,000 idle connections: opened in", "connections_open_s", _seconds)
    yield Row("1,000 idle connections: share of a core", "connections_cpu", _share)
    yield Row("CPU for a GB produced, 1 KiB", "cpu produce", _seconds, at_most=1.0)
    yield Row("CPU for a GB consumed, 1 KiB", "cpu consume", _seconds, at_most=1.0)
    for acks, how in (("1", ""), ("all", ""), ("all", " flushed")):
        for percentile, label in (("p50", "p50"), ("p99", "p99"), ("p999", "p99.9")):
            yield Row(
                f"one record at a time, acks={acks}{_said(acks, how)}, {label}",
                f"latency {percentile} acks={acks}{how}",
                _microseconds,
                at_most=1.0 if percentile != "p999" else None,
            )
    for label in ("100 B", "1 KiB", "10 KiB"):
        goal = 0.7 if label == "100 B" else 1.0
        for partitions in (1, 10, 100):
            where = f"{label}, {partitions} partition{'s' if partitions > 1 else ''}"
            for acks, how in (("1", ""), ("all", ""), ("all", " flushed")):
                yield Row(
                    f"produce {where}, acks={acks}{_said(acks, how)}",
                    f"produce {label} {partitions} acks={acks}{how}",
                    _rate,
                    at_least=goal,
                )
            yield Row(f"consume {where}", f"consume {label} {partitions}", _rate, at_least=goal)


def _said(acks: str, how: str) -> str:
    if acks != "all":
        return ""
    return ", flushed" if how else ", not flushed"


def written(found: Mapping[str, Mapping[str, Measure]], *, quick: bool, rounds: int) -> str:
    """The section of the document, between its two marks."""
    named = versions()
    lines = [
        BEGIN,
        "",
        f"{KBROKER} {named[KBROKER]}, {APACHE_KAFKA} {named[APACHE_KAFKA]} (single KRaft node, default heap), "
        f"{KFAKE} {named[KFAKE]} (in memory). Clients: librdkafka. Best of {rounds} round{'s' if rounds > 1 else ''}"
        f"{', short' if quick else ''}; the ratio is kbroker's figure to Apache Kafka's. "
        '"Flushed": acks=all waits for the disk on both sides (`log.flush.interval.messages=1` there, the default '
        "here); otherwise on neither (the default there, `kbroker.acks.all.sync=false` here).",
        "",
        f"| | {KBROKER} | {APACHE_KAFKA} | ratio | goal | met | {KFAKE} |",
        "|---|---|---|---|---|---|---|",
    ]
    goals = reached = 0
    for row in rows():
        ours, theirs, fake = (_best(found, name, row.key) for name in (KBROKER, APACHE_KAFKA, KFAKE))
        ratio = ours / theirs if ours is not None and theirs is not None and theirs > 0 else None
        met = row.met(ratio) if ratio is not None else ""
        goals += bool(met)
        reached += met == "yes"
        cells = [
            row.name,
            row.shown(ours) if ours is not None else "",
            row.shown(theirs) if theirs is not None else "",
            f"{ratio:.2f}" if ratio is not None else "",
            row.goal(),
            met,
            row.shown(fake) if fake is not None else "",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    lines += ["", f"{reached} of {goals} goals reached.", "", END]
    return "\n".join(lines)


def write_section(document: Path, section: str, marks: tuple[str, str] = (BEGIN, END)) -> None:
    """Put the section where the document has its marks."""
    text = document.read_text(encoding="utf-8")
    before, begin, rest = text.partition(marks[0])
    _, end, after = rest.partition(marks[1])
    if not (begin and end):
        raise ValueError(f"{document.name} has no place for it: {marks[0]} ... {marks[1]}")
    document.write_text(before + section + after, encoding="utf-8")


def _best(found: Mapping[str, Mapping[str, Measure]], name: str, key: str) -> float | None:
    measure = found.get(name, {}).get(key)
    return measure.best if measure is not None else None
