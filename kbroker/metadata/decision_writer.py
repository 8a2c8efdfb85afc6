"""Writes decisions to the store, in as few transactions as it takes, and tells which lost a race."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, NamedTuple, TypeVar

import trio

from kbroker.metadata.follower import ClusterMetadata
from kbroker.metadata.store import (
    TRANSACTION_OPERATIONS_MAX,
    Compare,
    MetadataStore,
    Operation,
    StoreUnavailableError,
    TransactionResult,
)
from wire.errors import ApiError, ErrorCode

logger = logging.getLogger(__name__)

ATTEMPTS_MAX: Final = 10
# As long as Kafka's brokers wait for their controller (request.timeout.ms by default).
CATCH_UP_MAX_S: Final = 30.0
_PARTS_OF_LOST_BATCH: Final = 8


class Write(NamedTuple):
    """What one decision wants written; ``subject`` is what the decision was about.

    ``note`` goes to the log once it is written.
    """

    subject: object
    compares: tuple[Compare, ...]
    operations: tuple[Operation, ...]
    note: str = ""


class Written(NamedTuple):
    """What became of writes: ``revisions`` of those that were done, and the others."""

    revisions: dict[object, int]
    lost: list[Write]
    unknown: list[Write]


_Subject = TypeVar("_Subject")
_Answer = TypeVar("_Answer")


class DecisionWriter:
    """See the module's docstring."""

    def __init__(self, store: MetadataStore, metadata: ClusterMetadata) -> None:
        self._store = store
        self._metadata = metadata
        # Decisions of one broker take turns, so that they lose races to other brokers only.
        self._turn = trio.Lock()

    async def carry_out(
        self,
        subjects: Sequence[_Subject],
        decide: Callable[[Sequence[_Subject]], list[Write]],
        *,
        validate_only: bool = False,
        has_caught_up: bool = False,
    ) -> None:
        """Decide and write until every write went through; ``decide`` notes the outcome by itself.

        What is written is guarded by its comparisons. What is not, a refusal or nothing to do, would be the answer of
        an image that may be behind another broker's: before such an answer stands the image catches up, unless it
        ``has_caught_up`` since the question came.

        Returns when the image holds what was written. ApiError REQUEST_TIMED_OUT if that cannot be done in time, which
        includes waiting for other decisions' turns: whether it was written is unknown then.
        """
        with trio.move_on_after(CATCH_UP_MAX_S):
            await self._carry_out(subjects, decide, validate_only=validate_only, has_caught_up=has_caught_up)
            return
        raise outcome_unknown()

    async def _carry_out(
        self,
        subjects: Sequence[_Subject],
        decide: Callable[[Sequence[_Subject]], list[Write]],
        *,
        validate_only: bool,
        has_caught_up: bool,
    ) -> None:
        if not has_caught_up:
            if not validate_only:
                async with self._turn:
                    writes = decide(subjects)
                    if len(writes) == len(subjects):
                        await self._write_all(subjects, writes, decide)
                        return
            # Others have their turn while this one waits.
            await self.catch_up()
        async with self._turn:
            writes = decide(subjects)
            if not validate_only:
                await self._write_all(subjects, writes, decide)

    async def _write_all(
        self,
        pending: Sequence[_Subject],
        writes: Sequence[Write],
        decide: Callable[[Sequence[_Subject]], list[Write]],
    ) -> None:
        for _ in range(ATTEMPTS_MAX):
            lost = await self._write(writes)
            if not lost:
                return
            await self.catch_up()
            pending = [subject for subject in pending if subject in lost]
            writes = decide(pending)
        raise lost_every_race()

    async def catch_up(self) -> None:
        """See ``ClusterMetadata.catch_up``. ApiError REQUEST_TIMED_OUT, also if the image stands still."""
        with trio.move_on_after(CATCH_UP_MAX_S):
            await reachable(self._metadata.catch_up())
            return
        raise store_unreachable()

    async def _write(self, writes: Sequence[Write]) -> list[object]:
        """The subjects of the writes that did not happen because something had changed."""
        lost: list[object] = []
        written_revision = 0
        for batch in batches_of(writes):
            result = await reachable(self.transact(batch))
            if result.succeeded:
                written_revision = result.revision
            else:
                lost.extend(write.subject for write in batch)
        await self._metadata.wait_for(written_revision)
        return lost

    async def wait_for(self, revision: int) -> None:
        """Until the image holds a change that was made. ApiError REQUEST_TIMED_OUT if it stands still."""
        with trio.move_on_after(CATCH_UP_MAX_S):
            await self._metadata.wait_for(revision)
            return
        raise outcome_unknown()

    async def write_now(self, writes: Sequence[Write]) -> Written:
        """Write, and return when the store has answered, whether or not the image has it.

        Where a few of many have changed meanwhile, most of the others are written all the same.
        """
        written = Written({}, [], [])
        pending = [(batch, True) for batch in batches_of(writes)]
        pending.reverse()
        while pending:
            batch, is_whole = pending.pop()
            try:
                result = await self.transact(batch)
            except StoreUnavailableError as error:
                logger.error("the metadata store does not answer: %s", error)
                for unwritten, _ in [(batch, is_whole), *pending]:
                    written.unknown.extend(unwritten)
                break
            if result.succeeded:
                written.revisions.update((write.subject, result.revision) for write in batch)
            elif is_whole and len(batch) > 1:
                # Only once: what has changed may be something that all of them rest on.
                size = -(-len(batch) // _PARTS_OF_LOST_BATCH)
                pending += [(batch[at : at + size], False) for at in range(0, len(batch), size)]
            else:
                written.lost.extend(batch)
        return written

    async def transact(self, batch: Sequence[Write]) -> TransactionResult:
        """One transaction. StoreUnavailableError."""
        result = await self._store.transact(
            list(dict.fromkeys(compare for write in batch for compare in write.compares)),
            [operation for write in batch for operation in write.operations],
        )
        if result.succeeded:
            for write in batch:
                if write.note:
                    logger.info("%s", write.note)
        return result


def batches_of(writes: Sequence[Write]) -> list[list[Write]]:
    """The writes in as few transactions as a store takes; a comparison that several need is made once."""
    batches: list[list[Write]] = []
    compares: set[Compare] = set()
    operations = TRANSACTION_OPERATIONS_MAX
    for write in writes:
        compares.update(write.compares)
        operations += len(write.operations)
        if not batches or max(len(compares), operations) > TRANSACTION_OPERATIONS_MAX:
            batches.append([])
            compares, operations = set(write.compares), len(write.operations)
        batches[-1].append(write)
    return batches


async def reachable(answer: Awaitable[_Answer]) -> _Answer:
    """The answer; ApiError REQUEST_TIMED_OUT for a store that cannot be reached."""
    try:
        return await answer
    except StoreUnavailableError as error:
        logger.error("the metadata store does not answer: %s", error)
        raise store_unreachable() from error


def store_unreachable() -> ApiError:
    return ApiError(ErrorCode.REQUEST_TIMED_OUT, "The cluster's metadata could not be reached.")


def outcome_unknown() -> ApiError:
    message = "The cluster's metadata did not follow in time; what was asked for may have been done."
    return ApiError(ErrorCode.REQUEST_TIMED_OUT, message)


def lost_every_race() -> ApiError:
    return ApiError(ErrorCode.REQUEST_TIMED_OUT, "The cluster's metadata kept changing; nothing was decided.")
