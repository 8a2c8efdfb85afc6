"""ApiVersions (key 18, versions 0-5, flexible from 3): which APIs and versions the broker has.

It is the first request on most connections, so a broker answers even versions that it does not know: in version 0,
with UNSUPPORTED_VERSION (KIP-511). For the same reason the response's header is never flexible.

- 3: name and version of the client's software; tagged, the features of broker and cluster (KIP-584).
- 4: a feature's lowest version may be 0, which older clients cannot read (KAFKA-17011).
- 5: the cluster and the broker that the client believes to talk to (KIP-1242).
"""

from __future__ import annotations

from wire.schema import (
    Request,
    Response,
    Structure,
    array,
    boolean,
    int16,
    int32,
    int64,
    nullable_string,
    string,
)


class ApiVersionsRequest(Request, api_key=18, versions="0-5", flexible="3+"):
    client_software_name: str = string("3+", ignorable=True)
    client_software_version: str = string("3+", ignorable=True)
    cluster_id: str | None = nullable_string("5+", default=None, ignorable=True)
    node_id: int = int32("5+", default=-1, ignorable=True)


class ApiVersionsResponse(Response, api_key=18, versions="0-5", flexible="3+"):
    class ApiVersion(Structure):
        api_key: int = int16()
        min_version: int = int16()
        max_version: int = int16()

    class SupportedFeatureKey(Structure):
        name: str = string()
        min_version: int = int16()
        max_version: int = int16()

    class FinalizedFeatureKey(Structure):
        name: str = string()
        max_version_level: int = int16()
        min_version_level: int = int16()

    error_code: int = int16()
    api_keys: list[ApiVersion] = array(ApiVersion)
    throttle_time_ms: int = int32("1+", ignorable=True)
    supported_features: list[SupportedFeatureKey] = array(SupportedFeatureKey, "3+", ignorable=True, tag=0)
    finalized_features_epoch: int = int64("3+", default=-1, ignorable=True, tag=1)
    finalized_features: list[FinalizedFeatureKey] = array(FinalizedFeatureKey, "3+", ignorable=True, tag=2)
    zk_migration_ready: bool = boolean("3+", ignorable=True, tag=3)
