"""Which toolchains the clients' programs need."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from compat import toolchains


def installed(directory: Path, program: str, printed: str) -> None:
    path = directory / program
    path.write_text(f"#!/bin/sh\necho '{printed}'\n", encoding="utf-8")
    path.chmod(0o755)


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}/nowhere")
    return tmp_path


def test_what_is_not_there_is_missing(programs: Path) -> None:
    assert toolchains.missing_extras() == ["compat-go", "compat-node"]


@pytest.mark.parametrize(
    ("go", "node", "missing"),
    [
        ("go1.26.0", "v20.19.0", []),
        ("go1.27", "v24.1.0", []),
        ("go1.19.8", "v18.20.4", ["compat-go", "compat-node"]),
        ("go2.0", "v20.18.9", ["compat-node"]),
        ("", "v22.0.0", ["compat-go"]),
    ],
)
def test_what_is_too_old_is_missing(programs: Path, go: str, node: str, missing: list[str]) -> None:
    installed(programs, "go", go)
    installed(programs, "node", node)
    assert toolchains.missing_extras() == missing
