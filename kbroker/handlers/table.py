"""Which handler answers which API key, and at which versions.

The one table drives both the dispatch of requests and the ApiVersions response, so that no API is
advertised that nothing answers.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from kbroker.quotas.client_quotas import RequestQuotas
from wire.messages import API_KEYS
from wire.schema import Request, Response


class ListenerEndpoint(Protocol):
    """Where a broker listens for one listener name; an empty host means "wherever you reached me"."""

    @property
    def host(self) -> str: ...

    @property
    def port(self) -> int: ...


class BrokerWithEndpoints(Protocol):
    """The part of a broker's registration that tells clients where to find it."""

    @property
    def endpoints(self) -> Mapping[str, ListenerEndpoint]: ...


@dataclass(slots=True)
class RequestContext:
    """What a handler may know about a request besides its body; nobody changes it.

    (Not frozen: that would make it three times as slow to build, for every request.)

    ``local_host`` is the address that the client used to reach this connection, as the broker's side
    of the socket sees it; it stands in for the host of listeners without ``advertised.listeners``.
    """

    api_key: int
    api_version: int
    correlation_id: int
    client_id: str | None
    listener_name: str
    connection_id: str
    client_host: str
    local_host: str
    principal: str = "User:ANONYMOUS"
    quotas: RequestQuotas | None = None
    """What the request counts for; None while no user or client id has a quota."""

    def partition_charge(self, *, strict_since: int) -> Callable[[int], None] | None:
        """What counts partitions before they are created or deleted (KIP-599); None: nobody does.

        It refuses (ApiError THROTTLING_QUOTA_EXCEEDED) clients that know the error, from a version on.
        """
        if self.quotas is None:
            return None
        return self.quotas.mutations(is_strict=self.api_version >= strict_since).record

    def advertised_endpoint(self, broker: BrokerWithEndpoints) -> tuple[str, int] | None:
        """Host and port at which this client reaches ``broker``; None if the broker lacks the listener."""
        endpoint = broker.endpoints.get(self.listener_name)
        if endpoint is None:
            return None
        return endpoint.host or self.local_host, endpoint.port


class LaterResponse(ABC):
    """A response that has yet to be waited for, where the next request may be served meanwhile.

    Whatever the request does in an order that counts has been done: the next one of the same API key on the same
    connection is handed to its handler before this one is answered. (Others are held back, and answers stay in order.)
    """

    __slots__ = ()

    @abstractmethod
    async def wait(self) -> Response:
        """Called once, as soon as the request has been handled: nothing that happens to it may be missed."""


Handler = Callable[[Any, RequestContext], Awaitable[Response | LaterResponse | None]]
HandlerMethod = TypeVar("HandlerMethod", bound=Callable[..., Awaitable[Response | LaterResponse | None]])

_REQUEST_CLASS = "__kbroker_request_class__"


def handles(request_class: type[Request]) -> Callable[[HandlerMethod], HandlerMethod]:
    """Mark ``async def method(self, request, context) -> response`` as the answer to ``request_class``.

    A handler returns None where the protocol sends no response (Produce with acks=0).
    """

    def mark(method: HandlerMethod) -> HandlerMethod:
        setattr(method, _REQUEST_CLASS, request_class)
        return method

    return mark


@dataclass(frozen=True, slots=True)
class ServedApi:
    """One row of the table: versions are those answered; ``advertised_min`` may lie below (Produce)."""

    api_key: int
    min_version: int
    max_version: int
    advertised_min: int
    handler: Handler


class HandlerTable:
    """API key -> handler, filled by ``broker.py`` from objects whose methods are marked by ``handles``."""

    def __init__(self) -> None:
        self._rows: dict[int, ServedApi] = {}

    def register(self, *families: object) -> None:
        for family in families:
            for name in dir(type(family)):
                request_class = getattr(getattr(type(family), name), _REQUEST_CLASS, None)
                if request_class is not None:
                    self._add(request_class, getattr(family, name))

    def _add(self, request_class: Any, handler: Handler) -> None:
        api_key: int = request_class.api_key
        assert api_key not in self._rows, f"two handlers for {API_KEYS[api_key].name}"
        self._rows[api_key] = ServedApi(
            api_key=api_key,
            min_version=request_class.min_version,
            max_version=request_class.max_version,
            # librdkafka takes a broker without Produce v0 for one that is too old (KIP-896).
            advertised_min=0 if api_key == 0 else request_class.min_version,
            handler=handler,
        )

    def get(self, api_key: int) -> ServedApi | None:
        return self._rows.get(api_key)

    def rows(self) -> Iterable[ServedApi]:
        return sorted(self._rows.values(), key=lambda row: row.api_key)
