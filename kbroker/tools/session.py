"""The life of a command: flags, connect, work, exit code.

What goes wrong ends a command with exit code 1 and one line, never with a stack trace. Kafka's commands print many
errors on standard output ("Error while executing topic command : ..."), which is kept, as scripts look there.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Awaitable, Callable, Mapping
from types import TracebackType
from typing import NoReturn

import trio

from kbroker.tools.cluster import Cluster
from kbroker.tools.failures import CommandError as CommandError
from kbroker.world import ConnectionLost, OsNetwork
from wire.errors import ApiError, ProtocolError


def run(
    main: Callable[[], Awaitable[None]],
    *,
    failed: Callable[[str], str] = lambda reason: reason,
    to_stderr: bool = False,
) -> NoReturn:
    """Run a command to its end and leave the process: 0, or 1 after printing ``failed(reason)``.

    An interrupt leaves with 130, a reader that went away (``| head``) without a word.
    """
    code = 0
    try:
        trio.run(main)
    except BaseException as error:
        code = _exit_code(error, failed, to_stderr)
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        # What is left in the buffer would be tried again at the interpreter's end, and complained about.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)


def _exit_code(error: BaseException, failed: Callable[[str], str], to_stderr: bool) -> int:
    if isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        return _exit_code(error.exceptions[0], failed, to_stderr)
    if isinstance(error, KeyboardInterrupt):
        return 130
    if isinstance(error, BrokenPipeError):
        return 0
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else 1
    if isinstance(error, (CommandError, ApiError, ConnectionLost, ProtocolError, OSError, ValueError)):
        print(failed(_reason(error)), file=sys.stderr if to_stderr else sys.stdout)
        return 1
    raise error


def _reason(error: BaseException) -> str:
    if isinstance(error, ApiError):
        from kbroker.tools.java_errors import java_message  # only where something went wrong

        return java_message(error)
    return str(error)


class Connected:
    """``async with Connected(bootstrap, properties) as cluster``: a cluster for the length of a block."""

    def __init__(self, bootstrap_servers: str, properties: Mapping[str, str]) -> None:
        self._cluster = Cluster(OsNetwork(), bootstrap_servers, properties)

    async def __aenter__(self) -> Cluster:
        await self._cluster.connect()
        return self._cluster

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._cluster.close()
