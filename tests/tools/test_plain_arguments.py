"""Flags as argparse4j has them: which mistake is told, and in which words."""

from __future__ import annotations

import pytest

from kbroker.tools.plain_arguments import DOUBLE, LONG, PlainArguments


@pytest.fixture
def parser() -> PlainArguments:
    parser = PlainArguments("kafka-some-tool")
    parser.add_argument("--server", required=True)
    parser.add_argument("--limit", type=DOUBLE)
    parser.add_argument("--kind", choices=["none", "range"])
    parser.add_argument("--props", nargs="+")
    actions = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    actions.add_parser("list").add_argument("--since", type=LONG, required=True)
    return parser


@pytest.mark.parametrize(
    ("words", "mistake"),
    [
        ([], "too few arguments"),
        (["--server", "s"], "too few arguments"),
        (["list", "--since", "1"], "argument --server is required"),
        (["--bogus"], "unrecognized arguments: '--bogus'"),
        (["--server", "s", "list", "--bogus"], "unrecognized arguments: '--bogus'"),
        (["--server", "s", "list"], "argument --since is required"),
        (["--server", "s", "lists"], "invalid choice: 'lists' (choose from 'list')"),
        (
            ["--server", "s", "list", "--since", "soon"],
            "argument --since: could not convert 'soon' to Long (For input string: \"soon\")",
        ),
        (
            ["--limit", "high"],
            "argument --limit: could not convert 'high' to Double (For input string: \"high\")",
        ),
        (
            ["--kind", "even"],
            "argument --kind: invalid choice: 'even' (choose from {none,range})",
        ),
    ],
)
def test_mistakes(
    parser: PlainArguments, words: list[str], mistake: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        parser.parse_args(words)
    assert ended.value.code == 1
    assert capsys.readouterr().err.splitlines()[-1] == f"kafka-some-tool: error: {mistake}"


def test_values_are_no_flags(parser: PlainArguments) -> None:
    found = parser.parse_args(
        ["--server", "s", "--limit", "-1", "--props", "a=1", "b=2", "--kind", "none", "list", "--since", "-1"]
    )
    assert (found.server, found.limit, found.props, found.since) == ("s", -1.0, ["a=1", "b=2"], -1)
