"""InitProducerId (key 22), versions 0-6: a producer id and epoch, for idempotent and transactional producers.

v2 flexible; v3 a producer that asks to go on with its id after an error (KIP-360); v4 PRODUCER_FENCED (KIP-588);
v5 TRANSACTION_ABORTABLE (KIP-890); v6 two-phase commit (KIP-939), which is refused where
``transaction.two.phase.commit.enable`` is off.
"""

from __future__ import annotations

from typing import Protocol

from kbroker.handlers.table import RequestContext, handles
from wire.messages.producer_ids import InitProducerIdRequest, InitProducerIdResponse


class Producers(Protocol):
    """The transaction coordinator, as producers meet it first; errors are in the responses."""

    async def init_producer_id(
        self, request: InitProducerIdRequest, origin: RequestContext
    ) -> InitProducerIdResponse: ...


class ProducerIdHandlers:
    """Passes producers on to the transaction coordinator."""

    def __init__(self, *, producers: Producers) -> None:
        self._producers = producers

    @handles(InitProducerIdRequest)
    async def init_producer_id(
        self, request: InitProducerIdRequest, context: RequestContext
    ) -> InitProducerIdResponse:
        return await self._producers.init_producer_id(request, context)
