"""Keeps a broker's cluster image up to date with the store."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import trio

from kbroker.metadata.image import ClusterImage, ImageDelta
from kbroker.metadata.image_update import difference, next_image, read_image
from kbroker.metadata.store import MetadataStore, StoreUnavailableError, WatchBatch, WatchCompactedError

MetadataListener = Callable[[ImageDelta], Awaitable[None]]

# How long who lost a race waits for the winner's change to show in the image.
CATCH_UP_WAIT_S: Final = 0.1
_RETRY_DELAY_S: Final = 0.25


class ClusterMetadata:
    """The current image, the task that advances it, and those who want to know.

    For every change, the listeners are awaited one after the other, in the order in which they
    subscribed, and only then does the new image become ``image`` and do those who wait for its
    revision go on. So what a client is told about a partition is never ahead of the broker's being
    ready to serve it.

    A listener must not wait for the metadata to change (no controller calls): it would wait for
    itself. An exception from a listener ends ``run``, because a broker that missed a change must not
    carry on.
    """

    def __init__(
        self, store: MetadataStore, *, sleep: Callable[[float], Awaitable[None]] = trio.sleep
    ) -> None:
        self._store = store
        self._sleep = sleep
        self._image = self._newest = ClusterImage()
        self._listeners: list[MetadataListener] = []
        self._advanced = trio.Event()
        self._arrived = trio.Event()
        self._barrier_turn = trio.Lock()
        self._barriers_begun = 0
        self._barrier_reached = 0
        """The last that was reached, by number, and ``_barrier_revision``."""
        self._barrier_revision = 0

    @property
    def image(self) -> ClusterImage:
        return self._image

    @property
    def newest(self) -> ClusterImage:
        """The image that listeners are being told of, or ``image``: for those who decide, and must not wait."""
        return self._newest

    def subscribe(self, listener: MetadataListener) -> None:
        """Call ``listener`` with every delta from now on; take ``image`` for the state before."""
        self._listeners.append(listener)

    async def load(self) -> ClusterImage:
        """Read the whole store. Call it once, before ``run``; listeners are not called."""
        self._image = self._newest = read_image(await self._store.range(""))
        return self._image

    async def run(self) -> None:
        """Follow the store for ever. While the store is unreachable the image stays as it is."""
        while True:
            try:
                await self._follow()
            except WatchCompactedError:
                await self._resynchronise()
            except StoreUnavailableError:
                await self._sleep(_RETRY_DELAY_S)

    async def wait_for(self, revision: int) -> ClusterImage:
        """Wait until the image holds everything up to ``revision`` and the listeners know of it."""
        while self._image.revision < revision:
            await self._advanced.wait()
        return self._image

    async def catch_up(self) -> ClusterImage:
        """Wait until the image holds all that anybody had changed before this call. StoreUnavailableError."""
        asked = self._barriers_begun
        async with self._barrier_turn:
            # Whoever asks while a barrier is under way needs the next one, and one is enough for all who wait for it.
            if self._barrier_reached <= asked:
                self._barriers_begun += 1
                self._barrier_revision = await self._store.barrier()
                self._barrier_reached = self._barriers_begun
        return await self.wait_for(self._barrier_revision)

    async def wait_for_newer(self, image: ClusterImage) -> ClusterImage:
        """Wait until ``newest`` is another image than this one."""
        while self._newest is image:
            await self._arrived.wait()
        return self._newest

    async def wait_until(self, condition: Callable[[ClusterImage], bool]) -> ClusterImage:
        """Wait for an image of which the condition holds, and of which the listeners know."""
        while not condition(self._image):
            await self._advanced.wait()
        return self._image

    async def _follow(self) -> None:
        async with self._store.watch("", self._image.revision + 1) as watch:
            async for batch in watch:
                await self._advance(self._after(batch))

    def _after(self, batch: WatchBatch) -> ClusterImage:
        return next_image(self._image, batch.revision, batch.events)

    async def _resynchronise(self) -> None:
        try:
            everything = await self._store.range("")
        except StoreUnavailableError:
            await self._sleep(_RETRY_DELAY_S)
        else:
            await self._advance(read_image(everything))

    async def _advance(self, image: ClusterImage) -> None:
        delta = difference(self._image, image)
        self._newest = image
        self._arrived.set()
        self._arrived = trio.Event()
        if not delta.is_empty:
            for listener in self._listeners:
                await listener(delta)
        self._image = image
        self._advanced.set()
        self._advanced = trio.Event()
