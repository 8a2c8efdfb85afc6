"""The bound on bytes of requests that were received and are not dealt with yet (``queued.max.request.bytes``)."""

from __future__ import annotations

from collections import OrderedDict

import trio


class RequestMemory:
    """Counts the bytes of requests in hand; who would exceed the bound waits, first come first served.

    A request larger than the whole bound is let through once it is alone, so that it is slow, not stuck
    (Kafka's SimpleMemoryPool likewise lets the last buffer overdraw). A bound of -1 means none.
    """

    def __init__(self, bytes_max: int) -> None:
        self.bytes_max = bytes_max
        self.bytes_in_use = 0
        self._waiting: OrderedDict[object, tuple[trio.Event, int]] = OrderedDict()

    @property
    def is_contended(self) -> bool:
        """Whether somebody waits for room."""
        return bool(self._waiting)

    def _fits(self, size: int) -> bool:
        return self.bytes_max < 0 or self.bytes_in_use == 0 or self.bytes_in_use + size <= self.bytes_max

    async def acquire(self, size: int) -> None:
        """Count ``size`` bytes in, waiting until there is room."""
        if not self._waiting and self._fits(size):
            self.bytes_in_use += size
            return
        ticket, granted = object(), trio.Event()
        self._waiting[ticket] = (granted, size)
        try:
            await granted.wait()
        except BaseException:
            if self._waiting.pop(ticket, None) is None:  # granted just before the cancellation
                self.release(size)
            else:
                self._grant()
            raise

    def release(self, size: int) -> None:
        """Count ``size`` bytes out and let the next in line go on."""
        self.bytes_in_use -= size
        self._grant()

    def _grant(self) -> None:
        while self._waiting:
            ticket, (granted, size) = next(iter(self._waiting.items()))
            if not self._fits(size):
                return
            del self._waiting[ticket]
            self.bytes_in_use += size
            granted.set()
