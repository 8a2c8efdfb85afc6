"""Flags parsed as argparse4j does, which some of Kafka's commands use: a mistake ends with usage, message and 1."""

from __future__ import annotations

import argparse
import sys
from typing import NoReturn


class PlainArguments(argparse.ArgumentParser):
    """An ArgumentParser whose mistakes end with exit code 1."""

    def error(self, message: str) -> NoReturn:
        """Tell how the command is to be used and what is wrong, and exit with 1."""
        self.print_usage(sys.stderr)
        print(f"{self.prog}: error: {message}", file=sys.stderr)
        sys.exit(1)
