"""The flags of Kafka's commands, parsed as Kafka parses them (joptsimple): ``--topic x``, ``--topic=x``, prefixes.

A mistake is told on standard error, most with the command's help (Kafka: CommandLineUtils), and ends with exit code 1.
So does ``--help``, as it does there.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn


class UsageError(Exception):
    """The flags do not make sense together; the message is Kafka's."""


class Arguments(argparse.ArgumentParser):
    """One command's flags. ``mistake`` is how a flag that joptsimple itself refuses is told."""

    def __init__(self, command: str, description: str, *, mistake: str = "{}") -> None:
        super().__init__(prog=command, description=description, add_help=False)
        self.mistake = mistake
        self.register("action", None, _Once)
        self.register("action", "store", _Once)
        self.add_argument("--help", action=_Help, nargs=0, help="Print usage information.")
        self.add_argument("--version", action=_Version, nargs=0, help="Display Kafka version.")

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

    def parse(self, arguments: Sequence[str] | None = None) -> argparse.Namespace:
        """The flags, each a string, True or a list; exits with 1 if they are wrong. Other words are ignored."""
        given = sys.argv[1:] if arguments is None else arguments
        if not given:
            self.error(self.description or "")
        options, _ = self.parse_known_args(self._with_values(given))
        return options

    def _with_values(self, given: Sequence[str]) -> list[str]:
        """``--name value`` as ``--name=value``: what follows a flag that takes a value is its value, dashes or not."""
        joined: list[str] = []
        words = iter(given)
        for word in words:
            if word.startswith("--") and word != "--":
                action = self._named(word.partition("=")[0])
                if action is None:
                    self.refuse(f"{word[2:].partition('=')[0]} is not a recognized option")
                if "=" not in word and action.nargs is None and (value := next(words, None)) is not None:
                    word = f"{word}={value}"
            joined.append(word)
        return joined

    def _named(self, word: str) -> argparse.Action | None:
        known = self._option_string_actions
        found = {id(known[name]): known[name] for name in known if name.startswith(word)}
        return known.get(word) or (next(iter(found.values())) if len(found) == 1 else None)

    def error(self, message: str) -> NoReturn:
        """Tell what is wrong, and how the command is to be used, and exit with 1."""
        if found := re.fullmatch(r"argument --([\w.-]+): expected (?:one|at least one) argument", message):
            self.refuse(f"Option {found[1]} requires an argument")
        if found := re.fullmatch(r"argument --([\w.-]+): invalid (?:\w+ value|choice): '(.*?)'.*", message):
            self.refuse(f"Cannot parse argument '{found[2]}' of option {found[1]}")
        if found := re.fullmatch(r"the following arguments are required: --([\w.-]+).*", message):
            message = f'Missing required argument "[{found[1]}]"'
        print(message, file=sys.stderr)
        self.print_help(sys.stderr)
        sys.exit(1)

    def refuse(self, message: str) -> NoReturn:
        """Tell what is wrong without the help, and exit with 1."""
        print(self.mistake.format(message), file=sys.stderr)
        sys.exit(1)

    def require(self, options: argparse.Namespace, *names: str) -> None:
        """Exit if one of these flags (names without dashes) is missing."""
        for name in names:
            if not _is_given(options, name):
                self.error(f'Missing required argument "[{name}]"')

    def refuse_together(self, options: argparse.Namespace, one: str, others: Iterable[str]) -> None:
        """Exit if flag ``one`` is given with one of ``others`` (names without dashes)."""
        if not _is_given(options, one):
            return
        for other in others:
            if _is_given(options, other):
                self.error(f'Option "[{one}]" can\'t be used with option "[{other}]"')


class _Once(argparse.Action):
    """A flag with one value, which must not be given twice."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        given = namespace.__dict__.setdefault("given", set())
        if self.dest in given:
            assert isinstance(parser, Arguments)
            name = self.option_strings[0].lstrip("-")
            parser.refuse(f"Found multiple arguments for option {name}, but you asked for only one")
        given.add(self.dest)
        setattr(namespace, self.dest, values)


class _Help(argparse.Action):
    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> NoReturn:
        parser.error(parser.description or "")


class _Version(argparse.Action):
    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> NoReturn:
        print(_version())
        sys.exit(0)


def _is_given(options: argparse.Namespace, name: str) -> bool:
    value: Any = getattr(options, name.replace("-", "_"))
    return value is not None and value is not False and value != []


def read_properties(path: str | None) -> dict[str, str]:
    """A Java properties file; OSError, ValueError."""
    if path is None:
        return {}
    from pathlib import Path

    from kbroker.config.sources import parse_properties

    return parse_properties(Path(path).read_bytes())


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return f"kbroker {version('kbroker')}"
    except PackageNotFoundError:
        return "kbroker"
