"""Flags parsed as argparse4j does, which some of Kafka's commands use: a mistake ends with usage, message and 1."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from typing import Any, NoReturn


class PlainArguments(argparse.ArgumentParser):
    """An ArgumentParser whose mistakes end with exit code 1, and so does its help, as it does there."""

    def __init__(self, prog: str, **options: Any) -> None:
        super().__init__(prog, add_help=False, **options)
        self.add_argument(
            "-h", "--help", action=_Help, nargs=0, default=argparse.SUPPRESS, help="show this help and exit"
        )

    def error(self, message: str) -> NoReturn:
        """Tell how the command is to be used and what is wrong, and exit with 1."""
        if found := re.fullmatch(r"the following arguments are required: ([^ ,]+).*", message):
            message = f"argument {found[1]} is required" if found[1].startswith("-") else "too few arguments"
        self.print_usage(sys.stderr)
        print(f"{self.prog}: error: {message}", file=sys.stderr)
        sys.exit(1)


class _Help(argparse.Action):
    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> NoReturn:
        parser.print_help()
        sys.exit(1)
