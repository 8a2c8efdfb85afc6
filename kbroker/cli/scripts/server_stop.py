"""``kafka-server-stop.sh``: ask the broker of this container to stop (SIGTERM)."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NoReturn

_COMMANDS = (b"container", b"serve")


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    stopped = [process_id for process_id in broker_processes(Path("/proc"), os.getpid()) if _ask(process_id)]
    if not stopped:
        print("No kafka server to stop")
    sys.exit(0 if stopped else 1)


def _ask(process_id: int) -> bool:
    """Whether it could be asked. Somebody else's is not this container's, if it shares a machine's processes."""
    try:
        os.kill(process_id, signal.SIGTERM)
    except (PermissionError, ProcessLookupError):
        return False
    return True


def broker_processes(proc: Path, me: int) -> Iterator[int]:
    """The processes that are ``kbroker container`` or ``kbroker serve``, however they were started."""
    for entry in sorted(proc.glob("[0-9]*/cmdline")):
        try:
            words = entry.read_bytes().split(b"\0")
        except OSError:
            continue  # it ended meanwhile, or is none of ours
        names = [word.rpartition(b"/")[2] for word in words]
        started = b"kafka-server-start.sh" in names or any(
            name == b"kbroker" and following in _COMMANDS for name, following in pairwise(names)
        )
        if started and int(entry.parent.name) != me and words[0].rpartition(b"/")[2].startswith(b"python"):
            yield int(entry.parent.name)
