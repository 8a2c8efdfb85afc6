"""Requests that bring a time limit along."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import trio

from wire.errors import ApiError, ErrorCode

_Answer = TypeVar("_Answer")


async def within(timeout_ms: int, action: Callable[[], Awaitable[_Answer]]) -> _Answer:
    """The action's answer; ApiError REQUEST_TIMED_OUT when the client's time is up before there is one."""
    if timeout_ms > 0:
        with trio.move_on_after(timeout_ms / 1000):
            return await action()
    raise ApiError(ErrorCode.REQUEST_TIMED_OUT)
