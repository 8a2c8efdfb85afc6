"""``kafka-server-start.sh``: a node with the settings of a file, and none of those of the environment.

The variables are for the image's own command, which makes the file of them; who names a file has made it himself.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from typing import NoReturn

from kbroker.cli.scripts.argparse4j import fail
from kbroker.config.sources import from_environment

_USAGE = "USAGE: kafka-server-start.sh server.properties [--override property=value]*"


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    from kbroker.cli.command import main as kbroker

    line = command_line(sys.argv[1:] if arguments is None else arguments)
    for name in settings_in(os.environ):
        del os.environ[name]
    kbroker(line)
    sys.exit(0)


def command_line(arguments: Sequence[str]) -> list[str]:
    """The ``kbroker`` command that does it."""
    words = list(arguments)
    if words[:1] == ["-daemon"]:
        fail("-daemon is not supported: a container lives as long as the process that it runs.")
    if not words or words[0].startswith("-"):
        fail(_USAGE)
    line = ["container", "--config", words.pop(0)]
    while words:
        if words[0] != "--override" or len(words) < 2:
            fail(f"Found non argument parameters: {words[0]}\n{_USAGE}")
        line += words[:2]
        del words[:2]
    return line


def settings_in(environment: Mapping[str, str]) -> list[str]:
    return [name for name, value in environment.items() if from_environment({name: value or " "})]
