"""``python -m compat.bench.commands``: what a command takes from its start to its end, beside Apache Kafka's.

Both ask the same three brokers (kbroker's), turn by turn, so that a busy moment of a shared machine meets both. Apache
Kafka's are started as its scripts start them: with their flags for the JVM and with log4j2. What the shell scripts
themselves take is not counted. Medians. Writes its part of ``docs/BENCHMARKS.md``.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from compat.bench.report import write_section
from compat.reference.maven import NoReferenceError, class_path
from compat.reference.tools import CLASSES
from tests.broker_process import REPOSITORY
from tests.cluster_processes import LocalClusterProcess

MARKS: Final = (
    "<!-- written by python -m compat.bench.commands: begin -->",
    "<!-- written by python -m compat.bench.commands: end -->",
)
GOAL: Final = 0.1
_SCRIPTS: Final = Path(__file__).with_name("scripts")
_JVM: Final = (
    "java -Xmx256M -server -XX:+UseG1GC -XX:MaxGCPauseMillis=20 -XX:InitiatingHeapOccupancyPercent=35 "
    "-XX:+ExplicitGCInvokesConcurrent -Djava.awt.headless=true -Dcom.sun.management.jmxremote "
    "-Dcom.sun.management.jmxremote.authenticate=false -Dcom.sun.management.jmxremote.ssl=false "
    f"-Dlog4j2.configurationFile={_SCRIPTS / 'log4j2.yaml'}"
).split()
_DEADLINE_S: Final = 60
LINES: Final = (
    "kafka-topics --create --topic {new} --partitions 6 --replication-factor 2",
    "kafka-topics --list",
    "kafka-topics --describe --topic here",
    "kafka-configs --describe --entity-type topics --entity-name here",
    "kafka-consumer-groups --list",
    "kafka-log-dirs --describe",
    "kafka-broker-api-versions",
    "kafka-get-offsets --topic here",
)
"""What is run."""


def measure(bootstrap_server: str, rounds: int) -> dict[str, tuple[float, float]]:
    """By line: the seconds (medians) that kbroker's command and Apache Kafka's take."""
    theirs = [*_JVM, "-cp", class_path(_SCRIPTS / "pom.xml")]
    at = ["--bootstrap-server", bootstrap_server]
    ours = Path(sys.executable).parent
    _seconds([str(ours / "kafka-topics"), *at, "--create", "--if-not-exists", "--topic", "here"])
    found = {}
    for line in LINES:
        tool, *words = line.split()
        times: tuple[list[float], list[float]] = ([], [])
        for number in range(rounds + 1):
            for taken, command in zip(times, ([str(ours / tool)], [*theirs, CLASSES[tool]]), strict=True):
                name = f"new-{time.time_ns()}"
                seconds = _seconds([*command, *at, *(word.format(new=name) for word in words)])
                if number:  # the first finds nothing in the caches, and Python has bytecode to write
                    taken.append(seconds)
        found[line] = (statistics.median(times[0]), statistics.median(times[1]))
        print(f"{line}: {found[line][0]:.3f} s, Apache Kafka's {found[line][1]:.3f} s", flush=True)
    return found


def _seconds(command: Sequence[str]) -> float:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    began = time.perf_counter()
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=_DEADLINE_S)
    taken = time.perf_counter() - began
    assert ended.returncode == 0, f"{' '.join(command)}: {ended.stdout}{ended.stderr}"
    return taken


def written(found: Mapping[str, tuple[float, float]], *, rounds: int) -> str:
    """The section of the document, between its two marks."""
    shown: Callable[[float], str] = "{:.0f} ms".format
    lines = [
        MARKS[0],
        "",
        f"Median of {rounds} runs, by turns. Apache Kafka's tools run in a JVM with the flags and the logging of its "
        "scripts, without the shell around it.",
        "",
        "| | kbroker | Apache Kafka | ratio | goal | met |",
        "|---|---|---|---|---|---|",
    ]
    for line, (ours, theirs) in found.items():
        ratio = ours / theirs
        cells = [
            f"`{line.replace('{new}', 'NAME')}`",
            shown(ours * 1000),
            shown(theirs * 1000),
            f"{ratio:.3f}",
        ]
        lines.append("| " + " | ".join([*cells, f"≤ {GOAL:g}", "yes" if ratio <= GOAL else "no"]) + " |")
    return "\n".join([*lines, "", MARKS[1]])


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m compat.bench.commands", description=__doc__)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--no-docs", action="store_true", help="leave docs/BENCHMARKS.md alone")
    options = parser.parse_args()
    try:
        with (
            tempfile.TemporaryDirectory(prefix="kbroker-bench-") as directory,
            LocalClusterProcess(Path(directory)) as cluster,
        ):
            cluster.start()
            found = measure(cluster.bootstrap_server, options.rounds)
            cluster.terminate()
    except NoReferenceError as error:
        sys.exit(f"nothing to compare with: {error}")
    section = written(found, rounds=options.rounds)
    if not options.no_docs:
        write_section(REPOSITORY / "docs" / "BENCHMARKS.md", section, MARKS)


if __name__ == "__main__":
    main()
