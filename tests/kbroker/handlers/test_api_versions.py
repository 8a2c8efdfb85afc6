"""ApiVersions: who the client believes to talk to (KIP-1242). Codes are those of Apache Kafka 4.4's answers."""

from __future__ import annotations

import pytest

from kbroker.handlers.api_versions import ApiVersionsHandlers
from kbroker.handlers.table import HandlerTable
from tests.kbroker.handlers.requests import send
from wire.errors import ErrorCode
from wire.messages.api_versions import ApiVersionsRequest

CLUSTER, NODE = "AAAAAAAAAAAAAAAAAAAAAQ", 1


def handlers() -> ApiVersionsHandlers:
    table = HandlerTable()
    found = ApiVersionsHandlers(
        served=table.rows,
        supported_features={},
        finalized_features=lambda: (0, {}),
        identity=lambda: (CLUSTER, NODE),
    )
    table.register(found)
    return found


@pytest.mark.parametrize(
    ("cluster_id", "node_id", "expected"),
    [
        (None, -1, ErrorCode.NONE),
        (CLUSTER, NODE, ErrorCode.NONE),
        ("other", NODE, ErrorCode.REBOOTSTRAP_REQUIRED),
        ("", NODE, ErrorCode.REBOOTSTRAP_REQUIRED),
        (CLUSTER, NODE + 7, ErrorCode.REBOOTSTRAP_REQUIRED),
        (CLUSTER, -5, ErrorCode.REBOOTSTRAP_REQUIRED),
        (CLUSTER, -1, ErrorCode.INVALID_REQUEST),
        (None, NODE, ErrorCode.INVALID_REQUEST),
    ],
)
async def test_a_client_that_reached_another_broker_is_told(
    cluster_id: str | None, node_id: int, expected: ErrorCode
) -> None:
    request = ApiVersionsRequest(
        client_software_name="x", client_software_version="1", cluster_id=cluster_id, node_id=node_id
    )
    response = await send(handlers().api_versions, request, 5)
    assert response.error_code == expected
    assert bool(response.api_keys) == (expected is ErrorCode.NONE)


@pytest.mark.parametrize("version", range(5))
async def test_older_clients_name_nobody(version: int) -> None:
    request = ApiVersionsRequest(client_software_name="x", client_software_version="1")
    response = await send(handlers().api_versions, request, version)
    assert response.error_code == ErrorCode.NONE
