"""What every case came to, by contestant: collected while pytest runs, read by ``compat.table``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

import pytest

PASSED: Final = "passed"
FAILED: Final = "failed"
SKIPPED: Final = "skipped"
KNOWN: Final = "known difference"
"""Failed as it was expected to (``xfail``)."""


class Results:
    """The outcomes of one run.

    Cases say what they are about with ``record_property``: ``client``, ``client_version``, ``feature``; a case
    without is kept by its name alone.
    """

    KEY: Final = pytest.StashKey["Results"]()

    def __init__(self, config: pytest.Config) -> None:
        path = config.getoption("--results")
        self._path = Path(path) if path else None
        self._outcomes: dict[str, dict[str, object]] = {}

    def note(self, item: pytest.Item, report: pytest.TestReport) -> None:
        """Take in one phase of one case; a later phase can only make it worse."""
        found = self._outcomes.setdefault(item.nodeid, {"outcome": PASSED, "reason": "", "duration_s": 0.0})
        found["duration_s"] = round(float(str(found["duration_s"])) + report.duration, 3)
        found.update(dict(item.user_properties))
        callspec = getattr(item, "callspec", None)
        if callspec is not None and "target" in callspec.params:
            found["target"] = callspec.params["target"]
        if report.skipped and found["outcome"] == PASSED:
            expected = getattr(report, "wasxfail", None)
            found["outcome"] = SKIPPED if expected is None else KNOWN
            found["reason"] = _skip_reason(report) if expected is None else expected
        if report.failed:
            found["outcome"] = FAILED
            found["reason"] = _failure(report)

    def write(self) -> None:
        """Write everything, if a file was asked for."""
        if self._path is not None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._path.write_text(json.dumps(self._outcomes, indent=1, sort_keys=True), encoding="utf-8")


def _failure(report: pytest.TestReport) -> str:
    """The error in a line."""
    crash = getattr(report.longrepr, "reprcrash", None)
    text = crash.message if crash is not None else report.longreprtext
    return next((line for line in text.splitlines() if line.strip()), "")[:300]


def _skip_reason(report: pytest.TestReport) -> str:
    if isinstance(report.longrepr, tuple):
        return report.longrepr[2].removeprefix("Skipped: ")
    return str(report.longrepr)
