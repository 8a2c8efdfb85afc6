"""A clock that tests set, and the settings that quotas read."""

from __future__ import annotations

from dataclasses import dataclass

from kbroker.quotas.client_quotas import ClientQuotaManager
from kbroker.quotas.entities import CLIENT_ID, ClientQuotaEntity, entity_of

CLIENT: ClientQuotaEntity = entity_of({CLIENT_ID: "c"})


@dataclass
class QuotaSettings:
    quota_window_num: int = 11
    quota_window_size_seconds: int = 1
    controller_quota_window_num: int = 11
    controller_quota_window_size_seconds: int = 1
    max_connection_creation_rate: int = 2**31 - 1
    inter_broker_listener_name: str = "BROKERS"


@dataclass
class QuotaClock:
    now: float = 1000.0

    def monotonic(self) -> float:
        return self.now


def quotas_of_the_client(clock: QuotaClock, **values: float) -> ClientQuotaManager:
    """A manager where ``CLIENT`` has these."""
    manager = ClientQuotaManager(settings=QuotaSettings(), monotonic=clock.monotonic)
    manager.update({CLIENT: values})
    return manager
