"""Command lines with subcommands, as argparse4j understands them for Kafka's own programs."""

from __future__ import annotations

import argparse
import sys
from typing import NoReturn


class Program(argparse.ArgumentParser):
    """argparse, but mistakes end with exit code 1, and flags are not guessed from their beginnings."""

    def __init__(self, prog: str, description: str = "") -> None:
        super().__init__(prog=prog, description=description, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        print(f"{self.prog.split()[0]}: error: {message}", file=sys.stderr)
        sys.exit(1)


def fail(message: str) -> NoReturn:
    """What went wrong, in one line, and exit code 1."""
    print(message, file=sys.stderr)
    sys.exit(1)
