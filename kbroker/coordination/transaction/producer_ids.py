"""Producer ids, each given out once (KIP-730).

They come in blocks from the cluster's metadata, which hands out every block once and never again: so no id is
used twice, whatever crashes. What is left of a block when the broker stops is lost.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio


class ProducerIds:
    """Hands out producer ids one at a time from blocks of them."""

    def __init__(self, allocate_block: Callable[[], Awaitable[range]]) -> None:
        self._allocate_block = allocate_block
        self._block = iter(range(0))
        self._allocating = trio.Lock()

    async def next(self) -> int:
        """An id that nobody ever had; ApiError if none can be had now."""
        producer_id = next(self._block, None)
        while producer_id is None:
            async with self._allocating:
                producer_id = next(self._block, None)  # another task may have brought a block meanwhile
                if producer_id is None:
                    self._block = iter(await self._allocate_block())
                    producer_id = next(self._block, None)
        return producer_id
