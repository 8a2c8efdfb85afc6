"""Class paths from a ``pom.xml``: resolved by Maven once, then kept under ``build/compat`` until the pom changes."""

from __future__ import annotations

import functools
import hashlib
import shutil
import subprocess
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent.parent
KEPT = REPOSITORY / "build" / "compat"
REFERENCE_POM = Path(__file__).with_name("pom.xml")
_GOAL = "org.apache.maven.plugins:maven-dependency-plugin:build-classpath"
_DEADLINE_S = 600


class NoReferenceError(Exception):
    """Apache Kafka cannot run here; the message says why, and is the reason that skipped cases show."""


@functools.cache
def class_path(pom: Path = REFERENCE_POM) -> str:
    """Every jar that ``pom`` asks for, joined as ``java -cp`` takes them. NoReferenceError where there is no way."""
    for program in ("java", "mvn"):
        if shutil.which(program) is None:
            raise NoReferenceError(f"{program} is not installed")
    digest = hashlib.sha256(pom.read_bytes()).hexdigest()[:16]
    kept = KEPT / f"class-path-{digest}"
    if kept.exists():
        found = kept.read_text(encoding="utf-8")
        if all(Path(jar).exists() for jar in found.split(":")):
            return found
    found = _resolve(pom)
    KEPT.mkdir(parents=True, exist_ok=True)
    kept.write_text(found, encoding="utf-8")
    return found


def compiled(sources: list[Path], directory: Path, pom: Path = REFERENCE_POM) -> str:
    """Compile Java ``sources`` into ``directory``; the class path that runs them."""
    if shutil.which("javac") is None:
        raise NoReferenceError("javac is not installed")
    path = f"{directory}:{class_path(pom)}"
    subprocess.run(
        ["javac", "-XDignore.symbol.file", "-cp", path, "-d", str(directory), *map(str, sources)],
        check=True,
        timeout=_DEADLINE_S,
    )
    return path


def _resolve(pom: Path) -> str:
    KEPT.mkdir(parents=True, exist_ok=True)
    answer = KEPT / f"resolving-{pom.parent.name}"
    said = ""
    for offline in (["--offline"], []):  # without the network first: most runs have the jars already
        line = [
            "mvn",
            *offline,
            "--quiet",
            "--batch-mode",
            "-f",
            str(pom),
            _GOAL,
            f"-Dmdep.outputFile={answer}",
        ]
        try:
            done = subprocess.run(line, capture_output=True, text=True, timeout=_DEADLINE_S)
        except subprocess.TimeoutExpired:
            raise NoReferenceError(f"Maven did not get what {pom.name} asks for in {_DEADLINE_S} s") from None
        if done.returncode == 0:
            found = answer.read_text(encoding="utf-8").strip()
            answer.unlink()
            return found
        said = done.stdout.strip()
    raise NoReferenceError(f"Maven cannot get what {pom.name} asks for: {said[-300:]}")
