"""The broker that coordinates a group or a transactional id: found, asked, and found anew when it moves or dies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

from kbroker.tools.cluster import GROUP, Cluster
from kbroker.world import ConnectionLost
from wire.errors import ApiError, ErrorCode
from wire.schema import Message, Request

ResponseT = TypeVar("ResponseT", bound=Message)
ErrorOf = Callable[[ResponseT], ApiError | None]
"""What a response says went wrong, whichever of its fields says so; None: nothing."""

_UNKNOWN: Final = -1
_MOVED: Final = frozenset(
    {
        ErrorCode.NOT_COORDINATOR,
        ErrorCode.COORDINATOR_NOT_AVAILABLE,
        ErrorCode.COORDINATOR_LOAD_IN_PROGRESS,
        ErrorCode.BROKER_NOT_AVAILABLE,
    }
)


class Coordinator:
    """Of one key of one type (``GROUP`` or ``TRANSACTION``)."""

    def __init__(self, cluster: Cluster, key: str, key_type: int = GROUP) -> None:
        self._cluster = cluster
        self._key = key
        self._key_type = key_type
        self.node_id = _UNKNOWN

    async def ask(
        self,
        request: Request,
        response_class: type[ResponseT],
        error_of: ErrorOf[ResponseT],
        *,
        timeout_s: float | None = None,
        version_max: int | None = None,
        patience_s: float | None = None,
    ) -> ResponseT:
        """The response without an error. ApiError: what did not pass in ``patience_s`` (default: the cluster's)."""

        async def attempt() -> ResponseT:
            if self.node_id == _UNKNOWN:
                self.node_id = await self._cluster.coordinator(self._key, self._key_type)
            try:
                response = await self._cluster.once(
                    self.node_id, request, response_class, timeout_s=timeout_s, version_max=version_max
                )
                if (error := error_of(response)) is not None:
                    raise error
            except ConnectionLost:
                self.node_id = _UNKNOWN
                raise
            except ApiError as error:
                if error.code in _MOVED:
                    self.node_id = _UNKNOWN
                if error.code is ErrorCode.BROKER_NOT_AVAILABLE:  # it has left the cluster
                    raise ApiError(ErrorCode.COORDINATOR_NOT_AVAILABLE, error.message) from None
                raise
            return response

        return await self._cluster.retrying(attempt, timeout_s=patience_s)


def first_error(codes: Callable[[ResponseT], list[int]]) -> ErrorOf[ResponseT]:
    """For responses that have several error codes: the first that is one."""

    def error_of(response: ResponseT) -> ApiError | None:
        return next((ApiError(ErrorCode(code)) for code in codes(response) if code), None)

    return error_of
