"""InitProducerId (key 22), versions 0-6: a producer id for an idempotent producer.

v3 a producer that asks to go on with its id after an error (KIP-360); v4 PRODUCER_FENCED; v6 two-phase commit
(KIP-939). Ids come from blocks that the cluster metadata hands out once and never again, so that no id is
used twice, whatever crashes.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

from kbroker.handlers.table import RequestContext, handles
from wire.errors import ApiError, ErrorCode
from wire.messages.producer_ids import InitProducerIdRequest, InitProducerIdResponse

NO_PRODUCER_ID = -1
NO_PRODUCER_EPOCH = -1


class ProducerIds:
    """Hands out producer ids one at a time from blocks of them."""

    def __init__(self, allocate_block: Callable[[], Awaitable[range]]) -> None:
        self._allocate_block = allocate_block
        self._block = iter(range(0))
        self._allocating = trio.Lock()

    async def next(self) -> int:
        producer_id = next(self._block, None)
        while producer_id is None:
            async with self._allocating:
                producer_id = next(self._block, None)  # another task may have brought a block meanwhile
                if producer_id is None:
                    self._block = iter(await self._allocate_block())
                    producer_id = next(self._block, None)
        return producer_id


class ProducerIdHandlers:
    """Answers InitProducerId for producers without a transactional id."""

    def __init__(self, *, producer_ids: ProducerIds) -> None:
        self._producer_ids = producer_ids

    @handles(InitProducerIdRequest)
    async def init_producer_id(
        self, request: InitProducerIdRequest, context: RequestContext
    ) -> InitProducerIdResponse:
        try:
            _check(request)
            return InitProducerIdResponse(producer_id=await self._producer_ids.next(), producer_epoch=0)
        except ApiError as error:
            return InitProducerIdResponse(
                error_code=error.code, producer_id=NO_PRODUCER_ID, producer_epoch=NO_PRODUCER_EPOCH
            )


def _check(request: InitProducerIdRequest) -> None:
    known = request.producer_id != NO_PRODUCER_ID, request.producer_epoch != NO_PRODUCER_EPOCH
    if known[0] != known[1]:
        raise ApiError(ErrorCode.INVALID_REQUEST, "a producer id and its epoch come together")
    if request.transactional_id is not None:
        raise ApiError(ErrorCode.INVALID_REQUEST, "transactional ids are not served yet")
