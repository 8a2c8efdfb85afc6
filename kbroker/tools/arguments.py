"""The flags of Kafka's commands, parsed as Kafka parses them (joptsimple): ``--topic x``, ``--topic=x``, prefixes.

A mistake is told with the command's help on standard error, and exit code 1 (Kafka: CommandLineUtils).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NoReturn

from kbroker.config.sources import parse_properties


class UsageError(Exception):
    """The flags do not make sense together; the message is Kafka's."""


class Arguments(argparse.ArgumentParser):
    """One command's flags."""

    def __init__(self, command: str, description: str) -> None:
        super().__init__(prog=command, description=description, add_help=False)
        self.add_argument("--help", action="help", help="Print usage information.")
        self.add_argument("--version", action="version", version=_version(), help="Display Kafka version.")

    def add_connection(self, *, required: bool = True, client: str = "admin") -> None:
        """``--bootstrap-server`` and ``--command-config``, which all commands that connect have."""
        self.add_argument(
            "--bootstrap-server",
            required=required,
            metavar="HOST:PORT,...",
            help="REQUIRED: the server(s) to connect to.",
        )
        self.add_argument(
            "--command-config", metavar="FILE", help=f"Property file with configs for the {client} client."
        )

    def parse(self, arguments: list[str] | None = None) -> argparse.Namespace:
        """The flags, each a string, True or a list; exits with 1 and help if they are wrong, with 0 for --help."""
        given = sys.argv[1:] if arguments is None else arguments
        if not given:
            self.error(self.description or "")
        return self.parse_args(given)

    def error(self, message: str) -> NoReturn:
        """Tell what is wrong, and how the command is to be used, and exit with 1."""
        print(message, file=sys.stderr)
        self.print_help(sys.stderr)
        sys.exit(1)

    def refuse_together(self, options: argparse.Namespace, one: str, others: Iterable[str]) -> None:
        """Exit if flag ``one`` is given with one of ``others`` (names without dashes)."""
        if not _is_given(options, one):
            return
        for other in others:
            if _is_given(options, other):
                self.error(f'Option "[{one}]" can\'t be used with option "[{other}]"')


def _is_given(options: argparse.Namespace, name: str) -> bool:
    value: Any = getattr(options, name.replace("-", "_"))
    return value is not None and value is not False and value != []


def read_properties(path: str | None) -> dict[str, str]:
    """A Java properties file; OSError, ValueError."""
    if path is None:
        return {}
    return parse_properties(Path(path).read_bytes())


def _version() -> str:
    try:
        return f"kbroker {version('kbroker')}"
    except PackageNotFoundError:
        return "kbroker"
