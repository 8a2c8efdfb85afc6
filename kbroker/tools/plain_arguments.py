"""Flags parsed as argparse4j does, which some of Kafka's commands use: a mistake ends with usage, message and 1."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, NoReturn, TypeVar

NumberT = TypeVar("NumberT")


class PlainArguments(argparse.ArgumentParser):
    """An ArgumentParser whose mistakes end with exit code 1, and so does its help, as it does there."""

    def __init__(self, prog: str, **options: Any) -> None:
        super().__init__(prog, add_help=False, **options)
        self.add_argument(
            "-h", "--help", action=_Help, nargs=0, default=argparse.SUPPRESS, help="show this help and exit"
        )

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """A flag that there is not is told before any that is missing."""
        words = list(sys.argv[1:] if args is None else args)
        for word in _flags(self, words):
            if word.partition("=")[0] not in self._option_string_actions:
                self.error(f"unrecognized arguments: '{word}'")
        return super().parse_known_args(words, namespace)

    def error(self, message: str) -> NoReturn:
        """Tell how the command is to be used and what is wrong, and exit with 1."""
        if found := re.fullmatch(r"the following arguments are required: (.*)", message):
            missing = found[1].split(", ")
            is_flag = all(name.startswith("-") for name in missing)
            message = f"argument {missing[0]} is required" if is_flag else "too few arguments"
        elif found := re.fullmatch(r"(argument -.*invalid choice: .* \(choose from )(.*)\)", message):
            choices = ",".join(re.findall("'(.*?)'", found[2]))
            message = f"{found[1]}{{{choices}}})"
        elif found := re.fullmatch(r"argument \w+: (invalid choice: .*)", message):
            message = found[1]
        self.print_usage(sys.stderr)
        print(f"{self.prog.partition(' ')[0]}: error: {message}", file=sys.stderr)
        sys.exit(1)


def _flags(parser: PlainArguments, words: Sequence[str]) -> list[str]:
    """Those words that are this parser's flags, or no flags at all: none of a command's behind it, and no values."""
    found: list[str] = []
    position = 0
    while position < len(words):
        word = words[position]
        position += 1
        if not word.startswith("-") or re.fullmatch(r"-\d+", word):
            return found
        found.append(word)
        action = parser._option_string_actions.get(word)
        if action is None or action.nargs == 0:
            continue
        position += 1
        while action.nargs == "+" and position < len(words) and not words[position].startswith("-"):
            position += 1
    return found


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


def _number(convert: Callable[[str], NumberT], java_type: str, text: str) -> NumberT:
    try:
        return convert(text)
    except ValueError:
        reason = f"could not convert '{text}' to {java_type} (For input string: \"{text}\")"
        raise argparse.ArgumentTypeError(reason) from None


INTEGER: Final = partial(_number, int, "Integer")
LONG: Final = partial(_number, int, "Long")
DOUBLE: Final = partial(_number, float, "Double")
"""Types of flags, by what Java calls them."""
