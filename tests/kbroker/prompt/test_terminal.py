"""Tables, colours and questions."""

from __future__ import annotations

import io
import sys
from collections.abc import Mapping

import pytest

from kbroker.prompt.terminal import Cell, Column, Painted, Terminal, printable, wants_colour
from kbroker.tools.failures import CommandError


class Screen(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("environment", "colour"),
    [
        ({}, True),
        ({"TERM": "xterm"}, True),
        ({"NO_COLOR": ""}, True),  # no-color.org: only if it is not empty
        ({"NO_COLOR": "0"}, False),
        ({"TERM": "dumb"}, False),
    ],
)
def test_colours_are_for_terminals_whose_reader_wants_them(
    environment: Mapping[str, str], colour: bool
) -> None:
    assert wants_colour(Screen(), environment) is colour
    assert not wants_colour(io.StringIO(), environment)


def test_columns_are_as_wide_as_what_is_in_them(capsys: pytest.CaptureFixture[str]) -> None:
    rows: list[list[Cell]] = [["a", 1_234, Painted("x", "red")], ["longer name", None, ""], ["日本", 7, "y"]]
    Terminal().table([Column("NAME"), Column("N", right=True), Column("REST")], rows)
    assert capsys.readouterr().out.splitlines() == [
        "NAME             N  REST",
        "a            1,234  x",
        "longer name      -",
        "日本             7  y",
    ]


def test_colours_take_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen()
    monkeypatch.setattr(sys, "stdout", screen)
    Terminal(environment={}).table([Column("A"), Column("B")], [[Painted("x", "red"), "y"], ["xx", "z"]])
    assert screen.getvalue().splitlines() == [
        "\x1b[1mA\x1b[0m   \x1b[1mB\x1b[0m",
        "\x1b[31mx\x1b[0m   y",
        "xx  z",
    ]


def test_what_would_act_on_a_terminal_is_shown_instead() -> None:
    assert printable("plain é 日本") == "plain é 日本"
    assert printable("\x1b]0;title\x07\n\u202e") == "\\x1b]0;title\\x07\\n\\u202e"


@pytest.mark.parametrize(("answer", "agreed"), [("y\n", True), ("Yes\n", True), ("n\n", False), ("", False)])
def test_questions(answer: str, agreed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    given, shown = Screen(answer), Screen()
    monkeypatch.setattr(sys, "stdin", given)
    monkeypatch.setattr(sys, "stderr", shown)
    if agreed:
        Terminal().confirm("delete it", yes=False)
    else:
        with pytest.raises(CommandError, match="nothing was changed"):
            Terminal().confirm("delete it", yes=False)
    assert shown.getvalue() == "Delete it? [y/N] "


def test_where_nobody_can_be_asked_the_answer_must_have_been_given(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    with pytest.raises(CommandError, match="add --yes to delete it"):
        Terminal().confirm("delete it", yes=False)
    Terminal().confirm("delete it", yes=True)
    assert capsys.readouterr() == ("", "")
