"""Waiting as one of trio's tasks: the others go on meanwhile."""

from __future__ import annotations

import trio

from kbroker.os_world import OsNetwork
from kbroker.world import ClientNetwork


class AmongTasks:
    """See `kbroker.tools.waiting.Waiting`."""

    def __init__(self) -> None:
        self.network: ClientNetwork = OsNetwork()

    def move_on_after(self, seconds: float) -> trio.CancelScope:
        return trio.move_on_after(seconds)

    async def sleep(self, seconds: float) -> None:
        await trio.sleep(seconds)

    async def has_address(self, host: str) -> bool:
        try:
            await trio.socket.getaddrinfo(host, None)
        except (OSError, UnicodeError):
            return False
        return True
