"""UpdateFeatures (key 57), versions 0-2 (KIP-584).

v0 ``allow_downgrade``; v1 upgrade types and dry runs (KIP-778); v2 one error for all features. All changes of a
request happen or none does, so in every version it is the response's own error that counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from kbroker.handlers.table import RequestContext, handles
from wire.errors import ApiError, ErrorCode
from wire.messages.features import UpdateFeaturesRequest, UpdateFeaturesResponse

_Result = UpdateFeaturesResponse.UpdatableFeatureResult

_UPGRADE_TYPES_SINCE = 1
_WITHOUT_RESULTS_SINCE = 2
_UPGRADE = 1
_SAFE_DOWNGRADE = 2
_NO_ERROR = "NONE"
"""What Apache Kafka puts into the message of a result without an error."""


class FeatureStore(Protocol):
    """The controller, as the keeper of feature levels."""

    async def update_features(self, changes: Sequence[tuple[str, int, int]], *, validate_only: bool) -> None:
        """``changes``: (feature, level, upgrade type). ApiError if none of them was made."""
        ...


class FeatureHandlers:
    """Passes changes of feature levels on to the controller."""

    def __init__(self, *, features: FeatureStore) -> None:
        self._features = features

    @handles(UpdateFeaturesRequest)
    async def update_features(
        self, request: UpdateFeaturesRequest, context: RequestContext
    ) -> UpdateFeaturesResponse:
        changes = [
            (update.feature, update.max_version_level, _upgrade_type(update, context.api_version))
            for update in request.feature_updates
        ]
        try:
            await self._features.update_features(changes, validate_only=request.validate_only)
        except ApiError as error:
            message = f"The update failed for all features since the following feature had an error: {error.message}"
            return UpdateFeaturesResponse(error_code=error.code, error_message=message)
        if context.api_version >= _WITHOUT_RESULTS_SINCE:
            return UpdateFeaturesResponse(error_message=None)
        return UpdateFeaturesResponse(
            error_message=None,
            results=[
                _Result(feature=feature, error_code=ErrorCode.NONE, error_message=_NO_ERROR)
                for feature, _, _ in changes
            ],
        )


def _upgrade_type(update: UpdateFeaturesRequest.FeatureUpdateKey, api_version: int) -> int:
    if api_version >= _UPGRADE_TYPES_SINCE:
        return update.upgrade_type
    return _SAFE_DOWNGRADE if update.allow_downgrade else _UPGRADE
