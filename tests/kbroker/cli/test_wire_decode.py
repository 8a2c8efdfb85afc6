"""``kbroker wire decode``: what people type, what they read."""

from __future__ import annotations

from pathlib import Path

import pytest

from kbroker.cli.command import main
from wire.headers import encode_request, encode_response
from wire.messages.metadata import MetadataRequest, MetadataResponse

REQUEST = MetadataRequest(topics=[MetadataRequest.MetadataRequestTopic(name="greetings")])


def decode(*arguments: str) -> int | str | None:
    with pytest.raises(SystemExit) as ended:
        main(["wire", "decode", *arguments])
    return ended.value.code


def test_a_body_in_hexadecimal_digits(capsys: pytest.CaptureFixture[str]) -> None:
    text = REQUEST.encode(9).hex(":")
    assert decode("--api", "metadata", "--version", "9", "--request", text) == 0
    assert "greetings" in capsys.readouterr().out


def test_a_body_in_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "body").write_bytes(REQUEST.encode(12))
    assert decode("--api", "Metadata", "--version", "12", "--request", str(tmp_path / "body")) == 0
    assert "greetings" in capsys.readouterr().out


def test_whole_frames(capsys: pytest.CaptureFixture[str]) -> None:
    sent = b"".join(bytes(part) for part in encode_request(REQUEST, 9, 77, "me"))  # type: ignore[arg-type]
    assert decode("--api", "Metadata", "--version", "9", "--with-header", "--request", sent[4:].hex()) == 0
    printed = capsys.readouterr().out
    assert "77" in printed
    assert "greetings" in printed
    response = MetadataResponse(cluster_id="the-cluster")
    answered = b"".join(bytes(part) for part in encode_response(response, 9, 78))  # type: ignore[arg-type]
    assert (
        decode("--api", "Metadata", "--version", "9", "--with-header", "--response", answered[4:].hex()) == 0
    )
    printed = capsys.readouterr().out
    assert "correlation_id: 78" in printed
    assert "the-cluster" in printed


@pytest.mark.parametrize(
    "arguments",
    [
        ("--api", "Metadata", "--version", "12", "--request", "0100000000"),
        ("--api", "Metadata", "--version", "99", "--request", "01"),
        ("--api", "Nonsense", "--version", "1", "--request", "01"),
        ("--api", "Metadata", "--version", "1", "--request", "no such file"),
    ],
    ids=["trailing byte", "version", "api", "input"],
)
def test_what_cannot_be_read_is_said_in_one_line(
    arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert decode(*arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("kbroker wire decode: ")
    assert captured.err.count("\n") == 1
