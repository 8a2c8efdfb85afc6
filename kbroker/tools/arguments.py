"""The flags of Kafka's commands, as joptsimple parses them: ``--topic x``, ``--topic=x``, ``-topic x``; no prefixes.

A mistake is told on standard error, most with the command's help (Kafka: CommandLineUtils), and ends with exit code 1.
So does ``--help``, as it does there.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, NoReturn

from kbroker.tools.failures import CommandError, UnreadableFileError

KAFKA_VERSION: Final = "4.4.0"
"""The release of Apache Kafka whose commands these are like."""


class Arguments(argparse.ArgumentParser):
    """One command's flags.

    ``mistake`` is how a flag that joptsimple itself refuses is told; ``without_flags`` what is told where there are
    none, if that is not the description. ``help_with_mistakes``: the help follows what joptsimple refuses.
    """

    def __init__(
        self,
        command: str,
        description: str,
        *,
        mistake: str = "{}",
        without_flags: str | None = None,
        help_with_mistakes: bool = False,
    ) -> None:
        super().__init__(prog=command, description=description, add_help=False, allow_abbrev=False)
        self.mistake = mistake
        self._without_flags = without_flags or description
        self._help_with_mistakes = help_with_mistakes
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
            self.error(self._without_flags)
        return self.parse_args(list(self._flags(given)))

    def _flags(self, given: Sequence[str]) -> Iterator[str]:
        """Every flag with its value as one word ``--name=value``. A value may begin with a dash, where one must be."""
        words = list(given)
        while words and (word := words.pop(0)) != "--":
            if len(word) < 2 or word[0] != "-":
                continue
            name, equals, value = word.lstrip("-").partition("=")
            action = self._option_string_actions.get(f"--{name}")
            if action is None or not word.startswith(("--", f"-{name}")):
                self._refuse_flag(f"{name if word.startswith('--') else name[:1]} is not a recognized option")
            if action.nargs == 0:
                yield f"--{name}"
            elif equals:
                yield f"--{name}={value}"
            elif action.nargs == "?":
                yield f"--{name}={words.pop(0)}" if words and words[0][:1] != "-" else f"--{name}"
            elif words:
                yield f"--{name}={words.pop(0)}"
            else:
                self._refuse_flag(f"Option {name} requires an argument")

    def error(self, message: str) -> NoReturn:
        """Tell what is wrong, and how the command is to be used, and exit with 1."""
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

    def _refuse_flag(self, message: str) -> NoReturn:
        """Refuse what joptsimple refuses before it looks at values."""
        if self._help_with_mistakes:
            self.error(self.mistake.format(message))
        self.refuse(message)

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
        print(version_text())
        sys.exit(0)


def integer_flag(options: argparse.Namespace, name: str) -> int | None:
    """The value of a flag that takes a number, and is looked at only now; CommandError if it is none."""
    text = getattr(options, name.replace("-", "_"))
    if text is None:
        return None
    try:
        return int(text)
    except ValueError:
        raise CommandError(f"Cannot parse argument '{text}' of option {name}") from None


def _is_given(options: argparse.Namespace, name: str) -> bool:
    value: Any = getattr(options, name.replace("-", "_").replace(".", "_"))
    return value is not None and value is not False and value != []


def read_properties(path: str | None) -> dict[str, str]:
    """A Java properties file. UnreadableFileError if it cannot be read, ValueError if it is none."""
    if path is None:
        return {}
    from pathlib import Path

    from kbroker.config.sources import parse_properties

    try:
        return parse_properties(Path(path).read_bytes())
    except OSError as error:
        raise UnreadableFileError(error) from None


def version_text() -> str:
    """What ``--version`` prints, the release of Kafka first, which is what scripts look for."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return f"{KAFKA_VERSION} (kbroker {version('kbroker')})"
    except PackageNotFoundError:
        return f"{KAFKA_VERSION} (kbroker)"
