"""``python -m compat.table RESULTS.json...``: writes ``docs/COMPATIBILITY.md`` from what ``pytest compat`` has found.

The same results give the same text. ``--output FILE`` writes elsewhere, as for a run against a broker of one's own.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from compat.clients.features import FEATURES
from compat.clients.registry import CLIENTS
from compat.contestants import APACHE_KAFKA, EXTERNAL, KBROKER
from compat.reference.maven import REFERENCE_POM
from compat.results import FAILED, KNOWN, PASSED, SKIPPED

DOCUMENT: Final = Path(__file__).parent.parent / "docs" / "COMPATIBILITY.md"
TITLES: Final = {
    KBROKER: "kbroker",
    APACHE_KAFKA: "Apache Kafka",
    EXTERNAL: "the broker at `--bootstrap-server`",
}
COMPARED: Final = "both, compared"
SUITES: Final = {
    "clients": "clients, feature by feature",
    "java_tools": "Apache Kafka's own commands, Streams and Connect",
    "commands": "the commands without a JVM beside Apache Kafka's",
    "wire": "answers, field by field",
    "disk": "log directories, read by the other broker",
    "container": "compose files of the apache/kafka image",
}
"""Folders of ``compat``; others come behind these, by name."""
NOT_TRIED: Final = "\N{EN DASH}"
_OUTCOMES: Final = (PASSED, FAILED, KNOWN, SKIPPED)
_WORST_FIRST: Final = (FAILED, KNOWN, SKIPPED, PASSED)
_MARKS: Final = {PASSED: "✓", FAILED: "✗", KNOWN: "✗", SKIPPED: NOT_TRIED}
_SUPERSCRIPTS: Final = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")
_PREFIXES: Final = ("not in this client: ",)


@dataclass(frozen=True)
class Case:
    """One case's entry in the results."""

    node_id: str
    outcome: str
    reason: str
    target: str
    client: str
    client_version: str
    feature: str
    without: Mapping[str, str]
    command: str = ""
    command_lines: int = 0
    command_lines_differing: int = 0

    @classmethod
    def of(cls, node_id: str, entry: Mapping[str, Any]) -> Case:
        return cls(
            node_id,
            entry["outcome"],
            entry["reason"],
            entry.get("target", COMPARED),
            entry.get("client", ""),
            entry.get("client_version", ""),
            entry.get("feature", ""),
            entry.get("without", {}),
            entry.get("command", ""),
            entry.get("command_lines", 0),
            entry.get("command_lines_differing", 0),
        )

    @property
    def suite(self) -> str:
        """The folder of ``compat`` that it lies in."""
        parts = Path(self.node_id.partition("::")[0]).parts
        return parts[parts.index("compat") + 1]


@dataclass
class Notes:
    """Reasons, numbered as they come up; the same reason of the same client has one number."""

    lines: list[str] = field(default_factory=list)

    def number(self, client: str, reason: str) -> str:
        line = f"{client}: {reason}"
        if line not in self.lines:
            self.lines.append(line)
        return str(self.lines.index(line) + 1).translate(_SUPERSCRIPTS)


def document(results: Mapping[str, Mapping[str, Any]]) -> str:
    """The whole text."""
    cases = [Case.of(node_id, results[node_id]) for node_id in sorted(results)]
    targets = [target for target in TITLES if any(case.target == target for case in cases)]
    notes = Notes()
    tables = [line for target in targets for line in _client_table(target, cases, notes)]
    return "\n".join(
        [
            *_introduction(targets),
            *tables,
            *_notes(notes),
            *_suite_table(cases, targets),
            *_command_table(cases),
            *_listed("Known differences", _known(cases)),
            *_listed("Failed in this run", _failed(cases)),
        ]
    )


def _introduction(targets: Iterable[str]) -> list[str]:
    judged = " and ".join(f"{TITLES[target]}{_version_of(target)}" for target in targets)
    return [
        "# Compatibility",
        "",
        "    make compat           # pytest compat, then python -m compat.table; writes this page",
        "    pytest compat --bootstrap-server HOST:PORT --results FILE    # judges any other broker",
        "",
        f"Cases that real clients and tools run against {judged}, unmodified. What a client is said to do is",
        "looked up in the broker's log and groups without it (`compat/clients/witness.py`). `compat/README.md` tells",
        "what a run needs.",
        "",
    ]


def _version_of(target: str) -> str:
    if target == KBROKER:
        return f" {version('kbroker')}"
    if target == APACHE_KAFKA:
        pom = REFERENCE_POM.read_text(encoding="utf-8")
        return " " + pom.partition("<kafka.version>")[2].partition("<")[0]
    return ""


def _client_table(target: str, cases: Iterable[Case], notes: Notes) -> Iterator[str]:
    ours = [case for case in cases if case.target == target and case.client]
    found = {case.client for case in ours}
    clients = [name for name in CLIENTS if name in found] + sorted(found - set(CLIENTS))
    if not clients:
        return
    yield f"## Clients with {TITLES[target]}{_version_of(target)}"
    yield ""
    yield f"✓ passed, ✗ failed, {NOT_TRIED} not tried, for the reason in the note."
    yield ""
    yield _row("", (_heading(name, ours) for name in clients))
    yield _row("---", ("---" for _ in clients))
    for feature, description in FEATURES.items():
        cells = (
            _cell(name, [case for case in ours if (case.client, case.feature) == (name, feature)], notes)
            for name in clients
        )
        yield _row(description, cells)
    yield ""


def _heading(client: str, cases: Iterable[Case]) -> str:
    found = next((case.client_version for case in cases if case.client == client and case.client_version), "")
    named = client.rpartition(" ")[0] if client.endswith(f" {found}") else client
    return f"{named} {found}".strip()


def _cell(client: str, cases: list[Case], notes: Notes) -> str:
    if not cases:
        return ""
    worst = min(cases, key=lambda case: _WORST_FIRST.index(case.outcome))
    reasons = [] if worst.outcome == PASSED else [_plain(worst.reason)]
    for reason in dict.fromkeys(reason for case in cases for reason in case.without.values()):
        steps = sorted({step for case in cases for step, its in case.without.items() if its == reason})
        reasons.append(f"without {', '.join(steps)}: {reason}")
    return _MARKS[worst.outcome] + " ".join(notes.number(client, reason) for reason in reasons if reason)


def _plain(reason: str) -> str:
    for prefix in _PREFIXES:
        reason = reason.removeprefix(prefix)
    return reason


def _notes(notes: Notes) -> Iterator[str]:
    for number, line in enumerate(notes.lines, 1):
        yield f"{number}. {line}"
    if notes.lines:
        yield ""


def _suite_table(cases: Iterable[Case], targets: Iterable[str]) -> Iterator[str]:
    counts: dict[tuple[str, str], Counter[str]] = {}
    for case in cases:
        counts.setdefault((case.suite, case.target), Counter())[case.outcome] += 1
    suites = [*SUITES, *sorted({suite for suite, _ in counts} - set(SUITES))]
    yield "## All suites"
    yield ""
    yield _row("suite", ("broker", "passed", "failed", "known differences", "skipped"))
    yield _row("---", ("---" for _ in range(5)))
    for suite in suites:
        for target in (*targets, COMPARED):
            found = counts.get((suite, target))
            if found is not None:
                name = f"`compat/{suite}`: {SUITES[suite]}" if suite in SUITES else f"`compat/{suite}`"
                yield _row(
                    name,
                    (TITLES.get(target, target), *(f"{found[outcome]:,}" for outcome in _OUTCOMES)),
                )
    yield ""


def _command_table(cases: Iterable[Case]) -> Iterator[str]:
    """For each command how many command lines were compared, on all brokers together."""
    ran, differing = Counter[str](), Counter[str]()
    for case in cases:
        if case.command and case.outcome != SKIPPED:
            ran[case.command] += case.command_lines
            differing[case.command] += case.command_lines_differing
    if not ran:
        return
    yield "## Commands beside Apache Kafka's"
    yield ""
    yield _row("command", ("command lines run", "equal", "different"))
    yield _row("---", ("---" for _ in range(3)))
    for command in sorted(ran):
        counts = ran[command], ran[command] - differing[command], differing[command]
        yield _row(f"`{command}`", (f"{count:,}" for count in counts))
    yield ""


def _known(cases: Iterable[Case]) -> Iterator[str]:
    """Each reason once, with the suite and how many cases it is behind."""
    counts = Counter((case.suite, case.reason) for case in cases if case.outcome == KNOWN)
    for (suite, reason), count in sorted(counts.items()):
        yield f"{suite}: {reason}" + (f" ({count:,} cases)" if count > 1 else "")


def _failed(cases: Iterable[Case]) -> Iterator[str]:
    for case in cases:
        if case.outcome == FAILED:
            yield f"`{case.node_id}`: {case.reason}"


def _listed(title: str, lines: Iterable[str]) -> list[str]:
    found = [f"- {line}" for line in lines]
    return [f"## {title}", "", *found, ""] if found else []


def _row(first: str, cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in (first, *cells)) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m compat.table", description=__doc__)
    parser.add_argument(
        "results",
        type=Path,
        nargs="+",
        help="what pytest compat --results has written, of a whole run or of its parts; the last word counts",
    )
    parser.add_argument("--output", type=Path, default=DOCUMENT)
    given = parser.parse_args()
    results: dict[str, Any] = {}
    for path in given.results:
        results |= json.loads(path.read_text(encoding="utf-8"))
    text = document(results)
    given.output.write_text(text.rstrip("\n") + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
