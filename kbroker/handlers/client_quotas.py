"""DescribeClientQuotas (48) and AlterClientQuotas (49), versions 0-1 (KIP-546, KIP-612; v1 flexible).

A filter names entity types, each with a name, the default or whatever there is; an entity passes that has them all and,
if the filter is strict, no others. Follows Kafka's ``ClientQuotasImage`` and ``ControllerApis``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Protocol

from kbroker.config.limits import ALTERED_CONFIGS_PER_REQUEST_MAX
from kbroker.handlers.table import RequestContext, handles
from kbroker.quotas.entities import (
    CLIENT_ID,
    IP,
    USER,
    ClientQuotaEntity,
    ClientQuotas,
    QuotaChange,
    entity_of,
)
from wire.errors import ApiError, ErrorCode
from wire.messages.client_quotas import (
    AlterClientQuotasRequest,
    AlterClientQuotasResponse,
    DescribeClientQuotasRequest,
    DescribeClientQuotasResponse,
)

_EXACT: Final = 0
_DEFAULT: Final = 1
_ANY_SPECIFIED: Final = 2
_MATCH_NAMES: Final = {
    _EXACT: "MATCH_TYPE_EXACT",
    _DEFAULT: "MATCH_TYPE_DEFAULT",
    _ANY_SPECIFIED: "MATCH_TYPE_SPECIFIED",
}

_Component = DescribeClientQuotasRequest.ComponentData
_DescribedEntry = DescribeClientQuotasResponse.EntryData
_AlteredEntry = AlterClientQuotasResponse.EntryData


class QuotaController(Protocol):
    """Who decides; ``kbroker.metadata.controller`` has the details. May raise ApiError for all entities."""

    async def alter_client_quotas(
        self, changes: Sequence[QuotaChange], *, validate_only: bool = False
    ) -> dict[ClientQuotaEntity, ApiError | None]: ...


class QuotaImage(Protocol):
    @property
    def client_quotas(self) -> ClientQuotas: ...


class ClientQuotaHandlers:
    """Tells of quotas and changes them."""

    def __init__(self, *, controller: QuotaController, current_image: Callable[[], QuotaImage]) -> None:
        self._controller = controller
        self._current_image = current_image

    @handles(DescribeClientQuotasRequest)
    async def describe_client_quotas(
        self, request: DescribeClientQuotasRequest, context: RequestContext
    ) -> DescribeClientQuotasResponse:
        try:
            quota_filter = _Filter(request)
        except ApiError as error:
            return DescribeClientQuotasResponse(
                error_code=error.code, error_message=error.message, entries=None
            )
        return DescribeClientQuotasResponse(
            entries=[
                _DescribedEntry(
                    entity=[
                        _DescribedEntry.EntityData(entity_type=entity_type, entity_name=name)
                        for entity_type, name in entity
                    ],
                    values=[_DescribedEntry.ValueData(key=key, value=value) for key, value in values.items()],
                )
                for entity, values in self._current_image().client_quotas.items()
                if quota_filter.passes(entity)
            ],
        )

    @handles(AlterClientQuotasRequest)
    async def alter_client_quotas(
        self, request: AlterClientQuotasRequest, context: RequestContext
    ) -> AlterClientQuotasResponse:
        changes: list[QuotaChange] = [
            (
                # Of an entity type that is named twice the last word counts, as in Kafka's map.
                entity_of({part.entity_type: part.entity_name for part in entry.entity}),
                [(op.key, None if op.remove else op.value) for op in entry.ops],
            )
            for entry in request.entries
        ]
        try:
            if sum(len(values) for _, values in changes) > ALTERED_CONFIGS_PER_REQUEST_MAX:
                raise ApiError(
                    ErrorCode.POLICY_VIOLATION,
                    f"One request may alter {ALTERED_CONFIGS_PER_REQUEST_MAX} quotas.",
                )
            outcome = await self._controller.alter_client_quotas(changes, validate_only=request.validate_only)
        except ApiError as error:
            outcome = dict.fromkeys((entity for entity, _ in changes), error)
        return AlterClientQuotasResponse(
            entries=[_altered(entity, error) for entity, error in outcome.items()]
        )


class _Filter:
    """Which entities are asked for. ApiError INVALID_REQUEST, UNSUPPORTED_VERSION."""

    def __init__(self, request: DescribeClientQuotasRequest) -> None:
        self._names: dict[str, str | None] = {}
        self._types: set[str] = set()
        self._is_strict = request.strict
        for component in request.components:
            self._add(component)
        asked = {*self._names, *self._types}
        if IP in asked and len(asked) > 1:
            raise ApiError(
                ErrorCode.INVALID_REQUEST,
                "Invalid entity filter component combination. IP filter component should not be used with user or "
                "clientId filter component.",
            )

    def _add(self, component: _Component) -> None:
        entity_type = component.entity_type
        if not entity_type:
            raise ApiError(ErrorCode.INVALID_REQUEST, "Invalid empty entity type.")
        if entity_type in self._names or entity_type in self._types:
            raise ApiError(
                ErrorCode.INVALID_REQUEST,
                f"Entity type {entity_type} cannot appear more than once in the filter.",
            )
        if entity_type not in (USER, CLIENT_ID, IP):
            raise ApiError(ErrorCode.UNSUPPORTED_VERSION, f"Unsupported entity type {entity_type}")
        match_name = _MATCH_NAMES.get(component.match_type)
        if match_name is None:
            raise ApiError(ErrorCode.INVALID_REQUEST, f"Unknown match type {component.match_type}")
        if component.match_type == _EXACT and component.match is None:
            raise ApiError(
                ErrorCode.INVALID_REQUEST, f"Request specified {match_name}, but set match string to null."
            )
        if component.match_type != _EXACT and component.match is not None:
            raise ApiError(
                ErrorCode.INVALID_REQUEST,
                f"Request specified {match_name}, but also specified a match string.",
            )
        if component.match_type == _ANY_SPECIFIED:
            self._types.add(entity_type)
        else:
            self._names[entity_type] = component.match

    def passes(self, entity: ClientQuotaEntity) -> bool:
        names = dict(entity)
        if self._is_strict and len(names) != len(self._names) + len(self._types):
            return False
        return self._types <= names.keys() and self._names.items() <= names.items()


def _altered(entity: ClientQuotaEntity, error: ApiError | None) -> _AlteredEntry:
    return _AlteredEntry(
        error_code=ErrorCode.NONE if error is None else error.code,
        error_message=None if error is None else error.message,
        entity=[
            _AlteredEntry.EntityData(entity_type=entity_type, entity_name=name)
            for entity_type, name in entity
        ],
    )
