"""Java programs of this suite, compiled under ``build/compat``, anew only when they or their ``pom.xml`` change."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from compat.reference.maven import KEPT, REFERENCE_POM, class_path, compiled


def program(name: str, sources: Sequence[Path], pom: Path = REFERENCE_POM) -> str:
    """The class path that runs ``sources``: their classes, then the jars of ``pom``. NoReferenceError.

    Compiled beside the place and moved there whole, so that two runs of the suite may do so at once.
    """
    digest = hashlib.sha256(pom.read_bytes())
    for source in sources:
        digest.update(source.name.encode() + b"\0" + source.read_bytes())
    directory = KEPT / f"{name}-{digest.hexdigest()[:16]}"
    path = f"{directory}:{class_path(pom)}"
    if directory.exists():
        return path
    KEPT.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f"{name}-", dir=KEPT) as beside:
        compiled(list(sources), Path(beside) / "classes", pom)
        try:
            os.rename(Path(beside) / "classes", directory)
        except OSError:  # somebody else was first
            assert directory.exists()
    return path
