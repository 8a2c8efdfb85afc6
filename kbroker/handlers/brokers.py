"""UnregisterBroker (key 64), version 0: a broker that will not come back is forgotten.

A broker that is down has no registration in kbroker, where Kafka keeps a fenced one; so there is little to forget,
and the answer is no error as long as partitions still name it. One that is alive registers anew.
"""

from __future__ import annotations

from typing import Protocol

from kbroker.handlers.table import RequestContext, handles
from wire.errors import ApiError
from wire.messages.broker_lifecycle import UnregisterBrokerRequest, UnregisterBrokerResponse


class Registrations(Protocol):
    """The controller, as the keeper of registrations."""

    async def unregister_broker(self, node_id: int) -> None:
        """ApiError, BROKER_ID_NOT_REGISTERED above all."""
        ...


class BrokerHandlers:
    """Passes unregistrations on to the controller."""

    def __init__(self, *, controller: Registrations) -> None:
        self._controller = controller

    @handles(UnregisterBrokerRequest)
    async def unregister_broker(
        self, request: UnregisterBrokerRequest, context: RequestContext
    ) -> UnregisterBrokerResponse:
        try:
            await self._controller.unregister_broker(request.broker_id)
        except ApiError as error:
            return UnregisterBrokerResponse(
                error_code=error.code, error_message=error.message or error.code.description
            )
        return UnregisterBrokerResponse(error_message=None)
