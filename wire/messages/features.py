"""UpdateFeatures (key 57, versions 0-2, flexible): raises or lowers the cluster's feature levels (KIP-584).

- 1: upgrade types and dry runs (KIP-778). 2: the response has one error for all of the features.
"""

from __future__ import annotations

from wire.schema import (
    Request,
    Response,
    Structure,
    array,
    boolean,
    int8,
    int16,
    int32,
    nullable_string,
    string,
)


class UpdateFeaturesRequest(Request, api_key=57, versions="0-2", flexible="0+"):
    class FeatureUpdateKey(Structure):
        feature: str = string()
        max_version_level: int = int16()
        allow_downgrade: bool = boolean("0")
        upgrade_type: int = int8("1+", default=1)

    timeout_ms: int = int32(default=60000)
    feature_updates: list[FeatureUpdateKey] = array(FeatureUpdateKey)
    validate_only: bool = boolean("1+")


class UpdateFeaturesResponse(Response, api_key=57, versions="0-2", flexible="0+"):
    class UpdatableFeatureResult(Structure):
        feature: str = string()
        error_code: int = int16()
        error_message: str | None = nullable_string()

    throttle_time_ms: int = int32()
    error_code: int = int16()
    error_message: str | None = nullable_string()
    results: list[UpdatableFeatureResult] = array(UpdatableFeatureResult, "0-1", ignorable=True)
