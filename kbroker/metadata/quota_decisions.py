"""What the controller decides about client quotas: plain functions (Kafka: ``ClientQuotaControlManager``).

An entity changes wholly or not at all, and by itself: one that is refused keeps nobody else's change from happening.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from kbroker.quotas.connection_rates import address_of
from kbroker.quotas.entities import (
    CLIENT_ID,
    IP,
    IP_QUOTAS,
    USER,
    USER_AND_CLIENT_QUOTAS,
    ClientQuotaEntity,
    QuotaChange,
    QuotaValueType,
    entity_text,
)
from wire.errors import ApiError, ErrorCode

_FRACTION_MAX = 1e-6


def settled_changes(
    changes: Sequence[QuotaChange],
) -> tuple[dict[ClientQuotaEntity, dict[str, float | None]], dict[ClientQuotaEntity, ApiError]]:
    """The changes to decide about, and what is answered though nothing else is found wrong.

    Of an entity that is named more than once the first change happens, and the answer is that it was named twice.
    """
    wanted: dict[ClientQuotaEntity, dict[str, float | None]] = {}
    refused: dict[ClientQuotaEntity, ApiError] = {}
    for entity, values in changes:
        if entity in wanted or entity in refused or len(dict(values)) < len(values):
            refused[entity] = _invalid(f"Ignoring duplicate entity {entity_text(entity)}")
        else:
            wanted[entity] = dict(values)
    return wanted, refused


def decide_quotas(
    entity: ClientQuotaEntity, current: Mapping[str, float], changes: Mapping[str, float | None]
) -> dict[str, float]:
    """All quotas of the entity after the changes. ApiError INVALID_REQUEST."""
    known = _quotas_for(entity)
    quotas = dict(current)
    for key, value in changes.items():
        if value is None:
            quotas.pop(key, None)
        else:
            _check_value(known, key, value)
            quotas[key] = value
    return quotas


def _quotas_for(entity: ClientQuotaEntity) -> Mapping[str, QuotaValueType]:
    """The quotas that such an entity may have."""
    names = dict(entity)
    if not names:
        raise _invalid("Invalid empty client quota entity")
    for entity_type, name in entity:
        if entity_type not in (USER, CLIENT_ID, IP):
            raise _invalid(f"Unhandled client quota entity type: {entity_type}")
        if name == "":
            raise _invalid(f"Empty {entity_type} not supported")
    if IP not in names:
        return USER_AND_CLIENT_QUOTAS
    if len(names) > 1:
        raise _invalid(
            "Invalid quota entity combination, IP entity shouldnot be combined with User or ClientId"
        )
    address = names[IP]
    if address is not None and address_of(address) is None:
        raise _invalid(f"{address} is not a valid IP or resolvable host.")
    return IP_QUOTAS


def _check_value(known: Mapping[str, QuotaValueType], key: str, value: float) -> None:
    value_type = known.get(key)
    if value_type is None:
        raise _invalid(f"Invalid configuration key {key}")
    if not math.isfinite(value):
        raise _invalid(f"Quota {key} must be a finite number")
    if value <= 0:
        raise _invalid(f"Quota {key} must be greater than 0")
    if value_type is QuotaValueType.DOUBLE:
        return
    if value > value_type.largest:
        article = "an" if value_type is QuotaValueType.INT else "a"
        raise _invalid(f"Proposed value for {key} is too large for {article} {value_type.value}.")
    if value % 1 > _FRACTION_MAX:
        raise _invalid(f"{key} cannot be a fractional value.")


def _invalid(message: str) -> ApiError:
    return ApiError(ErrorCode.INVALID_REQUEST, message)
