"""From the words of a command line to the command that they name."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NoReturn

from kbroker.prompt.arguments import parse
from kbroker.tools.scripts import imported, quiet_interrupts


def run(arguments: Sequence[str]) -> NoReturn:
    """Do what ``kbroker ARGUMENTS`` says, and leave the process with the command's exit code."""
    options = parse(arguments)
    with quiet_interrupts():
        # What connects is imported after what only looks at the flags.
        work = imported(f"kbroker.prompt.{options.command}", options.command)
        session = imported("kbroker.prompt.session", "Session")(options)
        session.run(partial(work, session))
    raise AssertionError("a session does not come back")
