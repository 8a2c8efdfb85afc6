"""The flags of the commands. Parsing needs nothing but argparse, so that ``--help`` and mistakes are told at once."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Callable, Collection, Sequence
from typing import Final

COMMANDS: Final = {
    "topics": "list, describe, create, change and delete topics",
    "produce": "write records to a topic",
    "consume": "read records from topics",
    "tail": "show the last records of topics, and new ones as they come",
    "groups": "list and describe consumer groups, set their offsets, delete them",
}
"""What ``kbroker --help`` says about each."""

DEFAULT_SERVER: Final = "localhost:9092"
SERVER_VARIABLE: Final = "KBROKER_BOOTSTRAP_SERVER"
_TIMEOUT_S: Final = {"produce": 30.0, "consume": 30.0, "tail": 30.0}
_TIMEOUT_DEFAULT_S: Final = 10.0
_PARTITIONS_MAX: Final = 1_000_000
_SHOW: Final = "show"
_POSITION: Final = (
    "earliest, latest, an offset (1041), records before the end (-100), time ago (-10m), or a time "
    "(2026-11-28T10:30)"
)

AddFlags = Callable[[argparse.ArgumentParser], None]


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The flags of ``kbroker ARGUMENTS``, whose first word is one of COMMANDS; ends the process if they are wrong.

    Commands with verbs leave ``verb`` in the result, ``show`` where none was given. Common flags may come before it.
    """
    command, *given = arguments
    given = _with_dashed_values(given)
    verbs = _VERBS[command]
    common = argparse.ArgumentParser(prog=f"kbroker {command}", add_help=False, allow_abbrev=False)
    _add_common(common, command)
    verb, given = _take_verb(common, verbs, given)
    description, add_flags = verbs[verb]
    parser = argparse.ArgumentParser(
        prog=f"kbroker {command}" if verb == _SHOW else f"kbroker {command} {verb}",
        description=description,
        epilog=_epilog(command) if verb == _SHOW and len(verbs) > 1 else None,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        parents=[common],
        allow_abbrev=False,
    )
    add_flags(parser)
    options = parser.parse_args(given)
    options.command, options.verb = command, verb
    _check(parser, options)
    return options


def _take_verb(
    common: argparse.ArgumentParser, verbs: Collection[str], given: list[str]
) -> tuple[str, list[str]]:
    """The verb, if the first word that is no common flag is one, and the other words."""
    if len(verbs) > 1:
        _, words = common.parse_known_args(given)
        word = words[0] if words else ""
        verb = _ALIASES.get(word, word)
        if verb in verbs:
            at = given.index(word)
            return verb, given[:at] + given[at + 1 :]
    return _SHOW, given


def _add_common(parser: argparse.ArgumentParser, command: str) -> None:
    group = parser.add_argument_group("the cluster and the output")
    group.add_argument(
        "-b",
        "--bootstrap-server",
        metavar="HOST:PORT,...",
        default=os.environ.get(SERVER_VARIABLE) or DEFAULT_SERVER,
        help=f"one or more brokers of the cluster (default: ${SERVER_VARIABLE}, or {DEFAULT_SERVER})",
    )
    timeout_s = _TIMEOUT_S.get(command, _TIMEOUT_DEFAULT_S)
    group.add_argument(
        "--timeout",
        type=_seconds,
        default=timeout_s,
        metavar="SECONDS",
        help=f"how long the cluster may take to answer (default {timeout_s:g})",
    )
    group.add_argument("--json", action="store_true", help="JSON in place of text")
    group.add_argument("--no-color", action="store_true", help="no colours; so does NO_COLOR=1")


def _with_dashed_values(given: Sequence[str]) -> list[str]:
    """``--from -10m`` as ``--from=-10m``: argparse would take the value for a flag."""
    joined: list[str] = []
    words = iter(given)
    for word in words:
        if word in ("--from", "--until", "--to", "--shift-by"):
            value = next(words, None)
            if value is not None and re.match("-[0-9]", value):
                joined.append(f"{word}={value}")
                continue
            joined += [word] if value is None else [word, value]
            continue
        joined.append(word)
    return joined


def _epilog(command: str) -> str:
    lines = [f"also: kbroker {command} VERB --help, where VERB is"]
    lines += [
        f"  {verb:<10}{description[0].lower()}{description[1:].partition('.')[0]}"
        for verb, (description, _) in _VERBS[command].items()
        if verb != _SHOW
    ]
    return "\n".join(lines)


# Topics


def _show_topics(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("topics", nargs="*", metavar="TOPIC", help="describe these; * and ? stand for others")
    parser.add_argument("-a", "--all", action="store_true", help="internal topics, too")
    parser.add_argument(
        "--all-settings", action="store_true", help="when describing: settings that are the default, too"
    )


def _create_topics(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("topics", nargs="+", metavar="TOPIC")
    parser.add_argument(
        "-p", "--partitions", type=_positive, metavar="N", help="default: the cluster's num.partitions"
    )
    parser.add_argument(
        "-r",
        "--replication-factor",
        type=_positive,
        metavar="N",
        help="default: the cluster's default.replication.factor",
    )
    _add_settings(parser)
    parser.add_argument("--if-not-exists", action="store_true", help="leave topics alone that exist")


def _alter_topics(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("topics", nargs="+", metavar="TOPIC", help="* and ? stand for others")
    parser.add_argument("-p", "--partitions", type=_positive, metavar="N", help="so many in all")
    _add_settings(parser)
    parser.add_argument(
        "--unset", action="append", default=[], metavar="KEY", help="back to the default; repeatable"
    )


def _delete_topics(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("topics", nargs="+", metavar="TOPIC", help="* and ? stand for others")
    _add_yes(parser)


def _add_settings(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-c",
        "--config",
        action="append",
        default=[],
        type=_setting,
        metavar="KEY=VALUE",
        help="one of Kafka's topic settings; repeatable",
    )


# Records


def _produce(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("topic", nargs="?", metavar="TOPIC", help="with --json each record may name its own")
    source = parser.add_mutually_exclusive_group()
    source.add_argument("-f", "--file", metavar="FILE", help="read it in place of standard input")
    source.add_argument("--value", metavar="TEXT", help="write this one record")
    source.add_argument("--tombstone", action="store_true", help="write one record without a value")
    parser.add_argument("-k", "--key", metavar="TEXT", help="the key of each record")
    parser.add_argument(
        "-K", "--key-separator", metavar="TEXT", help="what ends the key in a line: KEY:VALUE with ':'"
    )
    parser.add_argument(
        "-H",
        "--header",
        action="append",
        default=[],
        type=_setting,
        metavar="NAME=VALUE",
        help="of each record; repeatable",
    )
    parser.add_argument("-p", "--partition", type=_not_negative, metavar="N", help="default: by the key")
    parser.add_argument(
        "--repartition", action="store_true", help="with --json: choose partitions anew, by the keys"
    )
    parser.add_argument(
        "-z",
        "--compression",
        choices=["none", "gzip", "snappy", "lz4", "zstd"],
        default="none",
        help="of batches (default none)",
    )


def _add_reading(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-p", "--partition", type=parse_numbers, metavar="N,N-N", help="these partitions only, such as 0,4-7"
    )
    parser.add_argument(
        "-F",
        "--format",
        metavar="FORMAT",
        help="pretty, value, or a text with {topic} {partition} {offset} {time} {timestamp} {key} {value} {headers}",
    )
    parser.add_argument(
        "--isolation",
        choices=["committed", "uncommitted"],
        default="committed",
        help="whether to wait for open transactions and leave aborted ones out (default committed)",
    )


def _consume(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("topics", nargs="+", metavar="TOPIC", help="* and ? stand for others")
    parser.add_argument("--from", dest="start", default=None, metavar="POSITION", help=_POSITION)
    parser.add_argument(
        "--until", metavar="POSITION", help="where to end; latest: with what is there now (default: never)"
    )
    parser.add_argument("-n", "--count", type=_positive, metavar="N", help="end after so many records")
    parser.add_argument(
        "-g", "--group", metavar="GROUP", help="as a member of this group, from its offsets, which move on"
    )
    _add_reading(parser)


def _tail(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("topics", nargs="+", metavar="TOPIC", help="* and ? stand for others")
    parser.add_argument(
        "-n", "--count", type=_not_negative, default=10, metavar="N", help="so many old ones (default 10)"
    )
    parser.add_argument(
        "--each", action="store_true", help="so many old ones of each partition, not of all together"
    )
    following = parser.add_mutually_exclusive_group()
    following.add_argument("-f", "--follow", action="store_true", help="go on with new ones: the default")
    following.add_argument("--no-follow", action="store_true", help="end after the old ones")
    _add_reading(parser)


# Groups


def _show_groups(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("groups", nargs="*", metavar="GROUP", help="describe these")


def _reset_groups(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("group", metavar="GROUP")
    topics = parser.add_mutually_exclusive_group(required=True)
    topics.add_argument(
        "-t",
        "--topic",
        action="append",
        default=[],
        metavar="TOPIC[:N,N]",
        help="the topic, or some of its partitions; repeatable",
    )
    topics.add_argument(
        "--all-topics", action="store_true", help="all topics that the group has committed offsets of"
    )
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--to", metavar="POSITION", help=_POSITION)
    where.add_argument("--shift-by", type=int, metavar="N", help="so many offsets on, or back if negative")
    _add_yes(parser, "do it; without it is only shown what would change")


def _delete_groups(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("groups", nargs="+", metavar="GROUP")
    _add_yes(parser)


def _add_yes(parser: argparse.ArgumentParser, text: str = "do not ask") -> None:
    parser.add_argument("-y", "--yes", action="store_true", help=text)


_VERBS: Final[dict[str, dict[str, tuple[str, AddFlags]]]] = {
    "topics": {
        _SHOW: ("List all topics; or describe those that are named.", _show_topics),
        "create": ("Create topics.", _create_topics),
        "alter": ("Change settings of topics, or give them more partitions.", _alter_topics),
        "delete": ("Delete topics with all that is in them.", _delete_topics),
    },
    "produce": {
        _SHOW: (
            "Write records and wait until all in-sync replicas have them.\n"
            "Each line of standard input is a record; with --json each line is one in JSON, as\n"
            "`kbroker consume --json` prints it.",
            _produce,
        ),
    },
    "consume": {_SHOW: ("Read records, from the earliest on unless --from says otherwise.", _consume)},
    "tail": {_SHOW: ("Show the last records of topics in order of time, then new ones as they come.", _tail)},
    "groups": {
        _SHOW: ("List all consumer groups; or describe those that are named.", _show_groups),
        "reset": ("Set the offsets of a group that has no members.", _reset_groups),
        "delete": ("Delete groups that have no members, with their offsets.", _delete_groups),
    },
}
_ALIASES: Final = {"list": _SHOW, "describe": _SHOW, "set": "alter"}


# Values


def _check(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    if options.command == "consume" and options.group:
        for flag, value in (("--partition", options.partition), ("--until", options.until)):
            if value is not None:
                parser.error(f"{flag} and --group do not go together")
        if options.start not in (None, "earliest", "latest"):
            parser.error(
                "with --group, --from is earliest or latest: where a partition without an offset begins"
            )
    if options.command in ("consume", "tail") and options.json and options.format:
        parser.error("--format and --json do not go together")
    if options.command == "produce":
        _check_produce(parser, options)
    if (options.command, options.verb) == ("topics", "alter") and not (
        options.partitions or options.config or options.unset
    ):
        parser.error("nothing to change: say --partitions, --config or --unset")


def _check_produce(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    if options.topic is None and not options.json:
        parser.error("the following arguments are required: TOPIC")
    if options.json:
        for flag in ("value", "tombstone", "key", "key_separator", "header"):
            if getattr(options, flag):
                parser.error(f"--{flag.replace('_', '-')} and --json do not go together")
    elif options.repartition:
        parser.error("--repartition goes with --json")
    if options.repartition and options.partition is not None:
        parser.error("--repartition and --partition do not go together")
    if options.key_separator is not None:
        if not options.key_separator:
            parser.error("--key-separator must not be empty")
        if options.key is not None:
            parser.error("--key-separator and --key do not go together")


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds <= 86_400:
        raise argparse.ArgumentTypeError(f"{text} is not a number of seconds above 0")
    return seconds


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is not 1 or more")
    return number


def _not_negative(text: str) -> int:
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"{number} is not 0 or more")
    return number


def parse_numbers(text: str) -> set[int]:
    numbers: set[int] = set()
    for part in text.split(","):
        found = re.fullmatch(r"([0-9]+)(?:-([0-9]+))?", part.strip())
        first, last = (int(found[1]), int(found[2] or found[1])) if found else (0, -1)
        if not 0 <= last - first < _PARTITIONS_MAX:
            raise argparse.ArgumentTypeError(f"{text!r} is not a list of numbers such as 0,4-7")
        numbers.update(range(first, last + 1))
    return numbers


def _setting(text: str) -> tuple[str, str]:
    name, separator, value = text.partition("=")
    if not name.strip() or not separator:
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form name=value")
    return name.strip(), value
