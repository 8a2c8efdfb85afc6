"""Sends requests to handlers as a client would: through the codec of the version, both ways."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from kbroker.handlers.measured import answer_within_quotas
from kbroker.handlers.table import LaterResponse, RequestContext
from kbroker.quotas.client_quotas import RequestQuotas
from wire.schema import Message

RequestT = TypeVar("RequestT", bound=Message)


def context_of(
    api_key: int, version: int, *, listener_name: str = "PLAINTEXT", local_host: str = "127.0.0.1"
) -> RequestContext:
    return RequestContext(
        api_key=api_key,
        api_version=version,
        correlation_id=1,
        client_id="test",
        listener_name=listener_name,
        connection_id="1",
        client_host="127.0.0.1",
        local_host=local_host,
    )


async def send(
    handler: Callable[[RequestT, RequestContext], Awaitable[Any]],
    request: RequestT,
    version: int,
    quotas: RequestQuotas | None = None,
    **context: str,
) -> Any:
    """The response as the client decodes it: fields that the version lacks have their defaults."""
    decoded = type(request).decode(bytearray(request.encode(version)), version)  # writable, as frames are
    request_context = context_of(request.api_key, version, **context)
    if quotas is None:
        response = await handler(decoded, request_context)
    else:
        response = await answer_within_quotas(handler, decoded, request_context, quotas)
    if isinstance(response, LaterResponse):
        response = await response.wait()
    return type(response).decode(response.encode(version), version)
