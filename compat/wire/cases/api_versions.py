"""ApiVersions; what it says at versions that nobody has stands in ``connections``."""

from __future__ import annotations

from compat.wire.arrange import cluster_id
from compat.wire.case import Cases
from wire.messages.api_versions import ApiVersionsRequest

API_VERSIONS = Cases(ApiVersionsRequest)


def named(name: str, software_version: str = "1.0") -> ApiVersionsRequest:
    return ApiVersionsRequest(client_software_name=name, client_software_version=software_version)


API_VERSIONS.add("a client without a name", lambda at: ApiVersionsRequest())
API_VERSIONS.add("a named client", lambda at: named("apache-kafka-java", "4.4.0"), "3+")
for software_name in ("-", "a b", "a-", ".a", "a" * 250, "ä", "a_b"):
    API_VERSIONS.add(
        f"a client called {software_name[:10]!a}", lambda at, name=software_name: named(name), "3+"
    )
API_VERSIONS.add("a version with a blank", lambda at: named("wire", "1 0"), "3+")
API_VERSIONS.add(
    "a cluster and the node in it",
    lambda at: ApiVersionsRequest(
        client_software_name="w", client_software_version="1", cluster_id=cluster_id(at), node_id=1
    ),
    "5+",
)
API_VERSIONS.add(
    "another cluster",
    lambda at: ApiVersionsRequest(
        client_software_name="w", client_software_version="1", cluster_id="another", node_id=1
    ),
    "5+",
)
API_VERSIONS.add(
    "another node",
    lambda at: ApiVersionsRequest(
        client_software_name="w", client_software_version="1", cluster_id=cluster_id(at), node_id=7
    ),
    "5+",
)
API_VERSIONS.add(
    "a cluster without a node",
    lambda at: ApiVersionsRequest(
        client_software_name="w", client_software_version="1", cluster_id=cluster_id(at)
    ),
    "5+",
)
API_VERSIONS.add(
    "a node without a cluster",
    lambda at: ApiVersionsRequest(client_software_name="w", client_software_version="1", node_id=1),
    "5+",
)
