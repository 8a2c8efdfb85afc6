"""What people type, and what it means."""

from __future__ import annotations

import pytest

from kbroker.cli.command import main
from kbroker.prompt.arguments import COMMANDS, DEFAULT_SERVER, SERVER_VARIABLE, parse


@pytest.mark.parametrize(
    ("words", "verb", "topics"),
    [
        ("topics", "show", []),
        ("topics a b", "show", ["a", "b"]),
        ("topics list", "show", []),
        ("topics describe create", "show", ["create"]),
        ("topics create a", "create", ["a"]),
        ("topics -b host:1 --timeout 3 create a", "create", ["a"]),
        ("topics --json delete a --yes", "delete", ["a"]),
        ("topics set a -c k=v", "alter", ["a"]),
        ("topics a create", "show", ["a", "create"]),
    ],
)
def test_verbs_stand_before_names_and_common_flags_anywhere(words: str, verb: str, topics: list[str]) -> None:
    options = parse(words.split())
    assert (options.verb, options.topics) == (verb, topics)


@pytest.mark.parametrize(
    ("flag", "value"), [("--from", "-10m"), ("--from", "-100"), ("--until", "-1h30m"), ("--from", "earliest")]
)
def test_positions_may_begin_with_a_dash(flag: str, value: str) -> None:
    for words in ([flag, value], [f"{flag}={value}"]):
        options = parse(["consume", "t", *words])
        assert (options.start if flag == "--from" else options.until) == value


def test_a_flag_is_no_position(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(["consume", "t", "--from", "--json"])
    assert ended.value.code == 2
    assert "--from: expected one argument" in capsys.readouterr().err


def test_the_server_comes_from_the_flag_then_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(SERVER_VARIABLE, raising=False)
    assert parse(["topics"]).bootstrap_server == DEFAULT_SERVER
    monkeypatch.setenv(SERVER_VARIABLE, "there:1")
    assert parse(["topics"]).bootstrap_server == "there:1"
    assert parse(["topics", "-b", "elsewhere:2"]).bootstrap_server == "elsewhere:2"


def test_settings_and_numbers_are_read() -> None:
    options = parse(["topics", "create", "t", "-p", "3", "-c", "a=b=c", "-c", "d="])
    assert (options.partitions, options.config) == (3, [("a", "b=c"), ("d", "")])
    assert parse(["consume", "t", "-p", "0,4-6"]).partition == {0, 4, 5, 6}


@pytest.mark.parametrize(
    "words",
    [
        "topics create",
        "topics create t --partitions 0",
        "topics create t --config nonsense",
        "topics alter t",
        "topics --timeout 0",
        "topics --timeo 3",
        "produce",
        "produce t --value a --file b",
        "produce t --value a --tombstone",
        "produce t --json --key k",
        "produce t --repartition",
        "produce t --key k --key-separator :",
        "produce t --json --repartition --partition 1",
        "produce t --compression brotli",
        "consume",
        "consume t --count 0",
        "consume t --partition 3-1",
        "consume t --group g --partition 1",
        "consume t --group g --until latest",
        "consume t --group g --from 5",
        "consume t --json --format value",
        "tail t --isolation perhaps",
        "tail t --follow --no-follow",
        "groups reset g --to latest",
        "groups reset g --topic t",
        "groups reset g --topic t --to latest --shift-by 1",
        "groups delete",
    ],
)
def test_what_makes_no_sense_is_refused_with_the_usage(
    words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(words.split())
    assert ended.value.code == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("usage: kbroker ")
    assert "error: " in captured.err


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    printed = capsys.readouterr().out
    assert printed.startswith(f"usage: kbroker {command} ")
    assert "--bootstrap-server" in printed


def test_the_verbs_are_in_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["topics", "--help"])
    printed = capsys.readouterr().out
    assert [line.split()[0] for line in printed.partition("VERB is\n")[2].splitlines()] == [
        "create",
        "alter",
        "delete",
    ]


def test_the_commands_are_in_kbrokers_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    printed = capsys.readouterr().out
    for command, text in COMMANDS.items():
        assert f"    {command}" in printed
        assert text.split()[0] in printed


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith("kbroker ")
