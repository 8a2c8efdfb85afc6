"""Requests of clients that may have quotas: measured while they are handled, and answered with how long to wait.

The answer goes at once, whatever it says; then the connection is not read from for that long (KIP-219).
"""

from __future__ import annotations

from dataclasses import dataclass

from kbroker.handlers.fetch_session import replica_of
from kbroker.handlers.table import Handler, LaterResponse, RequestContext
from kbroker.quotas.client_quotas import RequestQuotas
from wire.messages.fetch import FetchRequest
from wire.messages.offsets import ListOffsetsRequest
from wire.messages.reassignments import AlterPartitionRequest
from wire.messages.transactions import AddPartitionsToTxnRequest, WriteTxnMarkersRequest
from wire.schema import Request, Response

_ADDED_BY_BROKERS_SINCE = 4


def is_from_a_broker(request: Request, api_version: int) -> bool:
    """Whether it is one that only brokers send; those have no quotas."""
    if isinstance(request, FetchRequest):
        return replica_of(request)[0] >= 0
    if isinstance(request, ListOffsetsRequest):
        return request.replica_id >= 0
    if isinstance(request, AddPartitionsToTxnRequest):
        return api_version >= _ADDED_BY_BROKERS_SINCE
    return isinstance(request, (WriteTxnMarkersRequest, AlterPartitionRequest))


async def answer_within_quotas(
    handler: Handler, request: Request, context: RequestContext, quotas: RequestQuotas
) -> Response | LaterResponse | None:
    """What the handler answers, and in it ``quotas.throttle_time_ms``."""
    context.quotas = quotas
    response = await quotas.timed(handler(request, context))
    quotas.settle()
    if isinstance(response, LaterResponse):
        return _MeasuredLater(response, quotas)
    if response is not None:
        tell_throttle_time(response, quotas.throttle_time_ms)
    return response


def tell_throttle_time(response: Response, throttle_time_ms: int) -> None:
    """Kafka's ``maybeSetThrottleTimeMs``: a few responses cannot say it."""
    if throttle_time_ms and hasattr(response, "throttle_time_ms"):
        response.throttle_time_ms = throttle_time_ms


@dataclass(slots=True)
class _MeasuredLater(LaterResponse):
    later: LaterResponse
    quotas: RequestQuotas

    async def wait(self) -> Response:
        response = await self.quotas.timed(self.later.wait())
        self.quotas.settle()
        tell_throttle_time(response, self.quotas.throttle_time_left_ms())
        return response
