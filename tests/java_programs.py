"""Our Java programs in ``tests/java``: compiled, with the Java client of Apache Kafka that Maven gets for them.

Where there is no ``java``, ``javac`` or ``mvn``, or Maven cannot get the client, callers are told why, and skip.
"""

from __future__ import annotations

import functools
import shutil
import subprocess
import tempfile
from pathlib import Path

SOURCES = Path(__file__).parent / "java"
_GOAL = "org.apache.maven.plugins:maven-dependency-plugin:build-classpath"
# Maven without a way to its repository tries for long.
_DEADLINE_S = 60


class NoJavaError(Exception):
    """Java programs cannot run here; the message says why."""


def class_path(directory: Path) -> str:
    """Compile the programs into ``directory``; the class path to run them with. NoJavaError says why it is not."""
    answer = _jars()
    if isinstance(answer, str):
        raise NoJavaError(answer)
    path = ":".join((str(directory), *answer))
    sources = [str(source) for source in SOURCES.glob("src/*.java")]
    subprocess.run(
        ["javac", "-XDignore.symbol.file", "-cp", path, "-d", str(directory), *sources],
        check=True,
        timeout=_DEADLINE_S,
    )
    return path


def command(path: str, program: str) -> list[str]:
    """How to start one of the programs; its arguments are appended."""
    return ["java", "-Xmx128m", "-XX:TieredStopAtLevel=1", "-cp", path, program]


@functools.cache
def _jars() -> tuple[str, ...] | str:
    """The client's jars, or why there are none. Without the network first: most runs have them already."""
    for program in ("java", "javac", "mvn"):
        if shutil.which(program) is None:
            return f"{program} is not installed"
    with tempfile.TemporaryDirectory() as directory:
        answer = Path(directory) / "class-path"
        for offline in (["--offline"], []):
            options = [*offline, "--quiet", "--batch-mode", "-f", str(SOURCES / "pom.xml")]
            line = ["mvn", *options, _GOAL, f"-Dmdep.outputFile={answer}"]
            try:
                done = subprocess.run(line, capture_output=True, text=True, timeout=_DEADLINE_S)
            except subprocess.TimeoutExpired:
                return "Maven did not get the Java client in time"
            if done.returncode == 0:
                return tuple(answer.read_text(encoding="utf-8").strip().split(":"))
    return f"Maven cannot get the Java client: {done.stdout.strip()[-300:]}"
