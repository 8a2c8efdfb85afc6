"""Quotas of users, clients and addresses (KIP-546): DescribeClientQuotas (key 48), AlterClientQuotas (key 49).

Versions 0-1, flexible from 1.
"""

from __future__ import annotations

from wire.schema import (
    Request,
    Response,
    Structure,
    array,
    boolean,
    float64,
    int8,
    int16,
    int32,
    nullable_array,
    nullable_string,
    string,
)


class DescribeClientQuotasRequest(Request, api_key=48, versions="0-1", flexible="1+"):
    class ComponentData(Structure):
        entity_type: str = string()
        match_type: int = int8()
        match: str | None = nullable_string()

    components: list[ComponentData] = array(ComponentData)
    strict: bool = boolean()


class DescribeClientQuotasResponse(Response, api_key=48, versions="0-1", flexible="1+"):
    class EntryData(Structure):
        class EntityData(Structure):
            entity_type: str = string()
            entity_name: str | None = nullable_string()

        class ValueData(Structure):
            key: str = string()
            value: float = float64()

        entity: list[EntityData] = array(EntityData)
        values: list[ValueData] = array(ValueData)

    throttle_time_ms: int = int32()
    error_code: int = int16()
    error_message: str | None = nullable_string()
    entries: list[EntryData] | None = nullable_array(EntryData)


class AlterClientQuotasRequest(Request, api_key=49, versions="0-1", flexible="1+"):
    class EntryData(Structure):
        class EntityData(Structure):
            entity_type: str = string()
            entity_name: str | None = nullable_string()

        class OpData(Structure):
            key: str = string()
            value: float = float64()
            remove: bool = boolean()

        entity: list[EntityData] = array(EntityData)
        ops: list[OpData] = array(OpData)

    entries: list[EntryData] = array(EntryData)
    validate_only: bool = boolean()


class AlterClientQuotasResponse(Response, api_key=49, versions="0-1", flexible="1+"):
    class EntryData(Structure):
        class EntityData(Structure):
            entity_type: str = string()
            entity_name: str | None = nullable_string()

        error_code: int = int16()
        error_message: str | None = nullable_string()
        entity: list[EntityData] = array(EntityData)

    throttle_time_ms: int = int32()
    entries: list[EntryData] = array(EntryData)
