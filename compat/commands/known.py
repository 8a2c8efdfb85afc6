"""What differs and is known to: on purpose (docs/GAPS.md), or bugs until they are mended.

Every entry is an expected failure. One that does not fail any more fails the run, so that it is taken out; and so does
a difference that no entry of the case names.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from compat.commands.case import Case
from compat.commands.comparison import Difference


@dataclass(frozen=True)
class Known:
    """What differs in one case: patterns that each line of the difference fits one of, with its ``-`` or ``+``."""

    case: str
    reason: str
    lines: tuple[str, ...]
    target: str | None = None
    """With one broker only."""

    def covers(self, line: str) -> bool:
        return any(re.fullmatch(pattern, line) for pattern in self.lines)


_WORDS = "GAPS: what is wrong with JSON and CSV is told in our own words"
_NO_ANSWER = "GAPS: ours tells why the broker refused, where Java tells of its own time-out"
_CALL_TIMED_OUT = r".* (?:Call\(callName=.*\) timed out at|Timed out waiting for a node assignment\.) .*"

KNOWN: tuple[Known, ...] = (
    Known(
        "kafka-console-producer: an unknown codec or class",
        "GAPS: custom Java classes are not there",
        (r"-no.such.Reader", r"\+no.such.Reader: only .* can read lines here"),
    ),
    Known(
        "kafka-consumer-perf-test: a time-out that is none",
        "GAPS: every number is looked at, where Java passes over those that it does not need",
        ("-0", r"\+1", r"-DATE, .*", r"\+Cannot parse argument 'soon' of option timeout"),
    ),
    Known(
        "kafka-producer-perf-test: with metrics",
        "GAPS: there are no metrics to print",
        (r"-(?:Metric Name +Value|[\w-]+:[\w.-]+:\{.*\} +: \S+)?",),
    ),
    Known(
        "kafka-delete-records: refused",
        _NO_ANSWER,
        (f"-{_CALL_TIMED_OUT}", r"\+partition: .* does not host .*"),
    ),
    Known(
        "kafka-transactions: a partition's producers",
        _NO_ANSWER,
        (f"-{_CALL_TIMED_OUT}", r"\+Failed to describe producers .* does not host this topic-partition.*"),
    ),
    Known(
        "kafka-reassign-partitions: plans that make no sense",
        _WORDS,
        (
            r"-Error: (?:Unrecognized token .*|The input string shouldn't be empty)",
            r"\+Error: .* not a valid JSON",
        ),
    ),
    Known(
        "kafka-consumer-groups: reset: files that make no sense",
        _WORDS + "; a line that is too short is refused, where Java takes 0 for the offset",
        (
            r"-Error: .* com\.fasterxml\.jackson\..*",
            r"\+Error: .* is not a plan: .*",
            r"-GROUP .*",
            r"-\S+ +\S+ +0 +0",
            r"\+Error: No reset plan for group .*",
            r"\+GROUP .*",
            r"\+",
        ),
    ),
    Known(
        "kafka-dump-log: decoders of keys and values",
        "GAPS: custom Java classes are not there, nor DefaultDecoder, which prints where an object lies",
        ("-0", r"\+1", r"-(?:baseOffset|\||Log starting offset).*", r"\+Failed to load decoder class"),
    ),
)


def known_of(case: Case, target: str) -> list[Known]:
    """The entries of a case, run with one broker ("" if it is offline)."""
    return [entry for entry in KNOWN if entry.case == case.identifier and entry.target in (None, target)]


def unexpected(found: Sequence[Difference], entries: Sequence[Known]) -> list[str]:
    """The lines that no entry covers."""
    changed = [line for each in found for line in each.changed]
    return [line for line in changed if not any(entry.covers(line) for entry in entries)]
