"""What people are told when it does not work, and with which exit code."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

import pytest

from kbroker.prompt.arguments import COMMANDS
from kbroker.prompt.session import Session
from tests.broker_process import free_port
from tests.kbroker.prompt.prompt_runs import AtTerminal, Ended, Prompt, interrupt
from wire.errors import ApiError, ErrorCode

WORDS = {
    "topics": ["topics"],
    "produce": ["produce", "t", "--value", "x"],
    "consume": ["consume", "t"],
    "tail": ["tail", "t"],
    "groups": ["groups"],
}


@pytest.fixture
def silent() -> Iterator[str]:
    """A port where somebody takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def chatty() -> Iterator[str]:
    """A port where somebody speaks another protocol."""

    def answer() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            with connection, contextlib.suppress(OSError):  # who only looks whether anybody is there hangs up
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                connection.recv(1000)

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=answer)
        thread.start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


@pytest.mark.parametrize("command", COMMANDS)
def test_no_broker_is_told_at_once_with_what_to_do(command: str) -> None:
    address = f"127.0.0.1:{free_port()}"
    assert Prompt(address)(*WORDS[command]) == Ended(
        1,
        "",
        f"kbroker {command}: no broker at {address} (connection refused); "
        "start one with `kbroker serve`, or say where with --bootstrap-server\n",
    )


def test_another_broker_will_do(prompt: Prompt) -> None:
    assert Prompt(f"127.0.0.1:{free_port()},{prompt.server}")("topics").code == 0


def test_addresses_that_are_none() -> None:
    ended = Prompt("nowhere")("topics")
    assert (ended.code, ended.out, ended.err.count("\n")) == (1, "", 1)
    assert ended.err.startswith("kbroker topics: ")
    ended = Prompt("no.such.host.invalid:9092")("topics")
    assert ended.err.startswith("kbroker topics: no broker at no.such.host.invalid:9092 (")


def test_who_does_not_answer_is_given_up(silent: str) -> None:
    assert Prompt(silent)("topics", "--timeout", "0.3") == Ended(
        1, "", f"kbroker topics: no answer from {silent} within 0.3 s\n"
    )


def test_who_speaks_something_else(chatty: str) -> None:
    ended = Prompt(chatty)("topics")
    assert (ended.code, ended.out, ended.err.count("\n")) == (1, "", 1)
    assert ended.err.startswith(f"kbroker topics: what answers at {chatty} does not speak Kafka's protocol: ")


@pytest.mark.parametrize("command", COMMANDS)
def test_an_interrupt_is_quiet(command: str, silent: str) -> None:
    with Prompt(silent).start(*WORDS[command]) as process:
        while not _has_connected(silent):
            assert process.poll() is None
        # What reads on until somebody interrupts it has then done what it should.
        code = 0 if command in ("consume", "tail") else 130
        assert interrupt(process) == Ended(code, "", "")


def _has_connected(address: str) -> bool:
    """Whether a connection to this port of ours is established."""
    port = f"{int(address.rpartition(':')[2]):04X}"
    with open("/proc/net/tcp", encoding="ascii") as table:
        return any(
            columns[2].endswith(f":{port}") and columns[3] == "01"
            for columns in (line.split() for line in table)
        )


def test_a_reader_that_has_enough_of_a_list(prompt: Prompt) -> None:
    assert prompt("topics", "create", "listed").code == 0
    with prompt.start("topics") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(60) == 0


def test_errors_are_red_on_a_terminal(prompt: Prompt) -> None:
    with AtTerminal(prompt, "topics", "xyzzy") as terminal:
        assert terminal.wait() == 1
    assert terminal.shown.startswith("\x1b[31mkbroker topics: no topic 'xyzzy'")
    assert terminal.shown.endswith("\x1b[0m\n")


def test_bugs_are_not_explained_away() -> None:
    for error in (AssertionError("broken"), TypeError("x"), KeyError("x")):
        assert Session.explain(None, error) is None  # type: ignore[arg-type]


def test_what_a_broker_refuses_is_told_in_its_words_and_kafkas_name() -> None:
    explain = Session.explain
    assert explain(None, ApiError(ErrorCode.INVALID_CONFIG, "No such thing.")) == (  # type: ignore[arg-type]
        "No such thing (INVALID_CONFIG)"
    )
    text = explain(None, ApiError(ErrorCode.NOT_ENOUGH_REPLICAS))  # type: ignore[arg-type]
    assert text is not None
    assert "min.insync.replicas" in text
