"""Whom a quota is for, and what it bounds (Kafka: ``ClientQuotaEntity``, ``QuotaConfig``)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Final, TypeAlias

USER: Final = "user"
CLIENT_ID: Final = "client-id"
IP: Final = "ip"

ClientQuotaEntity: TypeAlias = tuple[tuple[str, str | None], ...]
"""(entity type, name) in the order of ``entity_of``; the name None is for whoever has no quota of their own."""

ClientQuotas: TypeAlias = Mapping[ClientQuotaEntity, Mapping[str, float]]
"""Quota key -> value, by entity."""

QuotaChange: TypeAlias = tuple[ClientQuotaEntity, Sequence[tuple[str, float | None]]]
"""What is asked for one entity: quota keys and their new values; None takes a quota away."""

PRODUCER_BYTE_RATE: Final = "producer_byte_rate"
CONSUMER_BYTE_RATE: Final = "consumer_byte_rate"
REQUEST_PERCENTAGE: Final = "request_percentage"
CONTROLLER_MUTATION_RATE: Final = "controller_mutation_rate"
CONNECTION_CREATION_RATE: Final = "connection_creation_rate"


class QuotaValueType(Enum):
    """As which a quota's value, a double on the wire, must make sense."""

    DOUBLE = "DOUBLE"
    INT = "INT"
    LONG = "LONG"

    @property
    def largest(self) -> float:
        """What a double can hold of the largest value."""
        return {"DOUBLE": float("inf"), "INT": 2.0**31 - 1, "LONG": 2.0**63}[self.value]


USER_AND_CLIENT_QUOTAS: Final[Mapping[str, QuotaValueType]] = {
    PRODUCER_BYTE_RATE: QuotaValueType.LONG,
    CONSUMER_BYTE_RATE: QuotaValueType.LONG,
    REQUEST_PERCENTAGE: QuotaValueType.DOUBLE,
    CONTROLLER_MUTATION_RATE: QuotaValueType.DOUBLE,
}
IP_QUOTAS: Final[Mapping[str, QuotaValueType]] = {CONNECTION_CREATION_RATE: QuotaValueType.INT}

# The order of Kafka's hash maps of this size.
_ORDER: Final = (CLIENT_ID, USER, IP)


def entity_of(names: Mapping[str, str | None]) -> ClientQuotaEntity:
    """The entity with these names by entity type, of which there may be others than those above."""
    return tuple(sorted(names.items(), key=_place))


def _place(part: tuple[str, str | None]) -> tuple[int, str]:
    entity_type = part[0]
    return (_ORDER.index(entity_type) if entity_type in _ORDER else len(_ORDER)), entity_type


def entity_text(entity: ClientQuotaEntity) -> str:
    """As Kafka writes it in messages."""
    parts = ", ".join(f"{entity_type}={'null' if name is None else name}" for entity_type, name in entity)
    return f"ClientQuotaEntity(entries={{{parts}}})"
