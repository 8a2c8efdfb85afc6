"""The life of a command: connect, work, and what went wrong in one line that says what to do.

Exit codes: 0; 1 for what failed; 2 for flags that make no sense; 130 for an interrupt. A reader that goes away
(``| head``) ends a command without a word.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final, NoReturn

import trio

from kbroker.os_world import OsNetwork
from kbroker.prompt.terminal import Terminal
from kbroker.tools.among_tasks import AmongTasks
from kbroker.tools.cluster import Cluster, NotReachable, parse_address
from kbroker.tools.failures import CommandError
from kbroker.tools.session import run
from kbroker.world import ConnectionLost
from wire.errors import ApiError, ErrorCode, ProtocolError

_CLIENT_ID: Final = "kbroker-prompt"
_ADVICE: Final = {
    ErrorCode.UNSUPPORTED_VERSION: "the brokers are too old for this, or too new",
    ErrorCode.NOT_ENOUGH_REPLICAS: "fewer replicas are in sync than min.insync.replicas asks for",
}


class Session:
    """One run of one command: its flags, and where it prints."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.terminal = Terminal(colour=not options.no_color)
        self.server: str = options.bootstrap_server
        self.timeout_s: float = options.timeout

    @asynccontextmanager
    async def connected(self, cluster_class: type[Cluster] = Cluster) -> AsyncIterator[Cluster]:
        """The cluster, for the length of a block. CommandError if nobody is there; ValueError for a bad address."""
        timeout_ms = str(round(self.timeout_s * 1000))
        properties = {
            "client.id": _CLIENT_ID,
            "default.api.timeout.ms": timeout_ms,
            "request.timeout.ms": timeout_ms,
        }
        cluster = cluster_class(AmongTasks(), self.server, properties)
        try:
            await self._find_anybody()
            await cluster.connect()
            yield cluster
        finally:
            cluster.close()

    async def _find_anybody(self) -> None:
        """At once: a cluster that is asked goes on trying for as long as ``--timeout`` says."""
        refusals = []
        with trio.move_on_after(self.timeout_s):
            for text in filter(str.strip, self.server.split(",")):
                address = parse_address(text)
                try:
                    connection = await OsNetwork().connect(address.host, address.port)
                except ConnectionLost as refusal:
                    refusals.append(refusal)
                    continue
                connection.close()
                return
        reason = _reason(refusals[0]) if refusals else f"no answer within {self.timeout_s:g} s"
        raise CommandError(
            f"no broker at {self.server} ({reason}); start one with `kbroker serve`, or say where with "
            "--bootstrap-server"
        )

    def print_json(self, value: Any) -> None:
        """A whole result as one JSON document."""
        print(json.dumps(value, indent=2, ensure_ascii=False))

    def run(self, work: Callable[[], Awaitable[None]]) -> NoReturn:
        """Do the work and leave the process."""

        async def explained() -> None:
            try:
                await work()
            except BaseException as error:
                cause = _cause(error)
                if (text := self.explain(cause)) is not None:
                    raise CommandError(text) from error
                raise cause from None

        def failed(reason: str) -> str:
            text = f"kbroker {self.options.command}: {reason}"
            return f"\x1b[31m{text}\x1b[0m" if self.terminal.colour_err else text

        run(explained, failed=failed, to_stderr=True, runner=trio.run)

    def explain(self, error: BaseException) -> str | None:
        """One line about what went wrong; None for what is no failure of the command's own, or a bug."""
        if isinstance(error, NotReachable):
            detail = (error.message or "").partition("assignment.")[2].strip()
            text = f"no answer from {self.server} within {self.timeout_s:g} s"
            return f"{text} ({detail})" if detail else text
        if isinstance(error, ApiError):
            return api_error_text(error)
        if isinstance(error, ConnectionLost):
            return f"the connection to {self.server} broke: {error}"
        if isinstance(error, ProtocolError):
            return f"what answers at {self.server} does not speak Kafka's protocol: {error}"
        if isinstance(error, BrokenPipeError):
            return None
        if isinstance(error, OSError) and error.filename and error.strerror:
            return f"{error.filename}: {error.strerror.lower()}"
        if isinstance(error, (OSError, ValueError)):
            return str(error)
        return None


def api_error_text(error: ApiError) -> str:
    """What a broker refused: its words, and Kafka's name for the error."""
    text = error.message or _ADVICE.get(error.code) or error.code.description
    return f"{text.strip().rstrip('.')} ({error.code.name})"


def _reason(refusal: ConnectionLost) -> str:
    """Why nobody could be reached, in the system's words."""
    error: BaseException = refusal
    while True:
        if isinstance(error, BaseExceptionGroup):  # an attempt for each address of the name
            error = error.exceptions[0]
        elif error.__cause__ is not None:
            error = error.__cause__
        else:
            break
    if not isinstance(error, OSError) or error.errno is None:
        return str(refusal)
    # Numbers below zero are those of the resolver.
    text = os.strerror(error.errno) if error.errno > 0 else error.strerror
    return (text or str(error)).lower()


def _cause(error: BaseException) -> BaseException:
    """The one error that an exception group is about: an interrupt before anything else, then the first one."""
    if not isinstance(error, BaseExceptionGroup):
        return error
    leaves = [_cause(leaf) for leaf in error.exceptions]
    for kind in (KeyboardInterrupt, SystemExit, BrokenPipeError):
        for leaf in leaves:
            if isinstance(leaf, kind):
                return leaf
    known = (CommandError, ApiError, ConnectionLost, ProtocolError, OSError, ValueError)
    if all(isinstance(leaf, known) for leaf in leaves):
        return leaves[0]
    return error


__all__ = ["CommandError", "Session", "api_error_text"]
