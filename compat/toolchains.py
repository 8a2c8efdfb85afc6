"""Go and Node.js, for the clients written for them: which of them has to be installed first.

    python -m compat.toolchains

prints the extras of this project that bring what is missing or too old, one a line. They are wheels, since a
distribution's packages may be older than the clients allow.
"""

from __future__ import annotations

import re
import subprocess
from typing import Final

TOOLCHAINS: Final = (
    ("compat-go", ("go", "env", "GOVERSION"), (1, 26)),
    ("compat-node", ("node", "--version"), (20, 19)),
)
"""The extra, what tells the version that is there, and the one that is needed."""


def missing_extras() -> list[str]:
    return [extra for extra, command, needed in TOOLCHAINS if _version(command) < needed]


def _version(command: tuple[str, ...]) -> tuple[int, int]:
    """(0, 0) if there is none."""
    try:
        printed = subprocess.run(command, capture_output=True, text=True, timeout=60).stdout
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return 0, 0
    found = re.search(r"(\d+)\.(\d+)", printed)
    return (int(found[1]), int(found[2])) if found else (0, 0)


if __name__ == "__main__":
    print("\n".join(missing_extras()))
