"""UnregisterBroker; the broker that is there stays, since cases share it."""

from __future__ import annotations

from compat.wire.case import Cases
from wire.messages.broker_lifecycle import UnregisterBrokerRequest

UNREGISTER_BROKER = Cases(UnregisterBrokerRequest)

for broker_id in (99, -1):
    UNREGISTER_BROKER.add(
        f"broker {broker_id}", lambda at, broker_id=broker_id: UnregisterBrokerRequest(broker_id=broker_id)
    )
