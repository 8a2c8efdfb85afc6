"""The life of a command: flags, connect, work, exit code.

What goes wrong ends a command with exit code 1 and one line, never with a stack trace. Kafka's commands print many
errors on standard output ("Error while executing topic command : ..."), which is kept, as scripts look there.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Awaitable, Callable, Mapping
from types import TracebackType
from typing import Final, NoReturn

from kbroker.tools import alone
from kbroker.tools.cluster import NO_ADDRESS, Cluster, parse_address
from kbroker.tools.failures import CommandError as CommandError
from kbroker.tools.failures import NotStartedError, os_error_text
from kbroker.tools.waiting import here
from kbroker.world import ConnectionLost
from wire.errors import ApiError, ProtocolError

ADMIN: Final = "Failed to create new KafkaAdminClient"
PRODUCER: Final = "Failed to construct kafka producer"
CONSUMER: Final = "Failed to construct kafka consumer"
Main = Callable[[], Awaitable[None]]
_TOLD: Final = (CommandError, ApiError, ConnectionLost, ProtocolError, OSError, ValueError)


def run(
    main: Main,
    *,
    failed: Callable[[str], str] = lambda reason: reason,
    to_stderr: bool = False,
    runner: Callable[[Main], object] = alone.run,
) -> NoReturn:
    """Run a command to its end and leave the process: 0, or 1 after printing ``failed(reason)``.

    An interrupt leaves with 130, a reader that went away (``| head``) without a word. ``runner`` is ``trio.run`` for
    commands that do several things at once (see `kbroker.tools.waiting`).
    """
    code = 0
    try:
        runner(main)
    except BaseException as error:
        code = _exit_code(error, failed, to_stderr)
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        # What is left in the buffer would be tried again at the interpreter's end, and complained about.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)


def _exit_code(error: BaseException, failed: Callable[[str], str], to_stderr: bool) -> int:
    leaves = _leaves(error)
    if any(isinstance(leaf, KeyboardInterrupt) for leaf in leaves):
        return 130
    first = leaves[0]
    if isinstance(first, BrokenPipeError):
        return 0
    if isinstance(first, SystemExit):
        return first.code if isinstance(first.code, int) else 1
    if isinstance(first, NotStartedError):
        print(failed(str(first)) if to_stderr else first, file=sys.stderr)
        return 1
    if all(isinstance(leaf, _TOLD) for leaf in leaves):
        print(failed(_reason(first)), file=sys.stderr if to_stderr else sys.stdout)
        return 1
    raise error


def _leaves(error: BaseException) -> list[BaseException]:
    """The errors that exception groups are about."""
    if not isinstance(error, BaseExceptionGroup):
        return [error]
    return [leaf for inner in error.exceptions for leaf in _leaves(inner)]


def _reason(error: BaseException) -> str:
    if isinstance(error, ApiError):
        from kbroker.tools.java_errors import java_message  # only where something went wrong

        return java_message(error)
    return os_error_text(error) if isinstance(error, OSError) else str(error)


class Connected:
    """``async with Connected(bootstrap, properties) as cluster``: a cluster for the length of a block. NotStartedError.

    Nothing is asked yet: what is wrong with what a command is told is told before. ``call``: see Cluster.
    ``patient``: as Kafka's consumers are, which wait for a broker that is not there, as long as it may take.
    ``client``: what is told first where the properties make no sense, or no broker's name is known.
    """

    def __init__(
        self,
        bootstrap_servers: str,
        properties: Mapping[str, str],
        *,
        call: str | None = None,
        patient: bool = False,
        client: str = ADMIN,
    ) -> None:
        self._client = client
        self._bootstrap_servers = bootstrap_servers
        try:
            self._cluster = Cluster(here(), bootstrap_servers, properties)
        except ValueError as error:
            raise self._not_started(str(error)) from None
        self._cluster.call = call
        if patient:
            self._cluster.timeout_s = math.inf

    def _not_started(self, reason: str) -> NotStartedError:
        text = f"{self._client}\nCaused by: org.apache.kafka.common.config.ConfigException: {reason}"
        return NotStartedError(text)

    async def __aenter__(self) -> Cluster:
        if not await self._is_known():
            raise self._not_started(NO_ADDRESS)
        return self._cluster

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._cluster.close()

    async def _is_known(self) -> bool:
        """Whether one of the names at least has an address. A wrong name is worth no minute of trying."""
        for text in filter(str.strip, self._bootstrap_servers.split(",")):
            if await self._cluster.waiting.has_address(parse_address(text).host):
                return True
        return False
