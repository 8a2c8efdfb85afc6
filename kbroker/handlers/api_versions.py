"""ApiVersions (key 18), versions 0-5.

v3 client software name and version, flexible request, features (KIP-511, KIP-584); v4 features whose minimum is 0;
v5 the cluster and broker that the client means, who is told if it has reached another one (KIP-1242).
The response header is never flexible, so that any client can read it; an unknown version is answered in version 0.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping

from kbroker.handlers.table import RequestContext, ServedApi, handles
from wire.errors import ErrorCode
from wire.messages.api_versions import ApiVersionsRequest, ApiVersionsResponse

_SOFTWARE_NAME = re.compile(r"[a-zA-Z0-9](?:[a-zA-Z0-9\-.]*[a-zA-Z0-9])?")
_SOFTWARE_NAME_SINCE = 3
_NO_NODE_ID = -1


class ApiVersionsHandlers:
    """Says what this broker serves: exactly what the handler table holds."""

    def __init__(
        self,
        *,
        served: Callable[[], Iterable[ServedApi]],
        supported_features: Mapping[str, tuple[int, int]],
        finalized_features: Callable[[], tuple[int, Mapping[str, int]]],
        identity: Callable[[], tuple[str | None, int]] = lambda: (None, _NO_NODE_ID),
    ) -> None:
        """``supported_features``: name -> (lowest, highest level); ``finalized_features``: (epoch, name -> level).

        ``identity``: the cluster's id and this broker's node id.
        """
        self._served = served
        self._supported_features = supported_features
        self._finalized_features = finalized_features
        self._identity = identity

    @handles(ApiVersionsRequest)
    async def api_versions(self, request: ApiVersionsRequest, context: RequestContext) -> ApiVersionsResponse:
        if not request.min_version <= context.api_version <= request.max_version:
            own = [row for row in self._api_keys() if row.api_key == request.api_key]
            return ApiVersionsResponse(error_code=ErrorCode.UNSUPPORTED_VERSION, api_keys=own)
        if context.api_version >= _SOFTWARE_NAME_SINCE and not (
            _SOFTWARE_NAME.fullmatch(request.client_software_name)
            and _SOFTWARE_NAME.fullmatch(request.client_software_version)
        ):
            return ApiVersionsResponse(error_code=ErrorCode.INVALID_REQUEST)
        if request.cluster_id is not None or request.node_id != _NO_NODE_ID:
            if request.cluster_id is None or request.node_id == _NO_NODE_ID:
                return ApiVersionsResponse(error_code=ErrorCode.INVALID_REQUEST)
            if (request.cluster_id, request.node_id) != self._identity():
                return ApiVersionsResponse(error_code=ErrorCode.REBOOTSTRAP_REQUIRED)
        epoch, levels = self._finalized_features()
        return ApiVersionsResponse(
            api_keys=self._api_keys(),
            supported_features=[
                ApiVersionsResponse.SupportedFeatureKey(name=name, min_version=lowest, max_version=highest)
                for name, (lowest, highest) in self._supported_features.items()
                # Before v4 a client may choke on a minimum of 0 (KAFKA-17011).
                if lowest > 0 or context.api_version >= 4
            ],
            finalized_features_epoch=epoch,
            finalized_features=[
                ApiVersionsResponse.FinalizedFeatureKey(
                    name=name, min_version_level=level, max_version_level=level
                )
                for name, level in levels.items()
            ],
        )

    def _api_keys(self) -> list[ApiVersionsResponse.ApiVersion]:
        return [
            ApiVersionsResponse.ApiVersion(
                api_key=row.api_key, min_version=row.advertised_min, max_version=row.max_version
            )
            for row in self._served()
        ]
