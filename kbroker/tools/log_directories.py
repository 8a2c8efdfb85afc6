"""The log directories of one broker, as it describes them (DescribeLogDirs)."""

from __future__ import annotations

from kbroker.tools.cluster import Cluster
from wire.errors import ApiError, ErrorCode
from wire.messages.log_dirs import DescribeLogDirsRequest, DescribeLogDirsResponse

LogDirectory = DescribeLogDirsResponse.DescribeLogDirsResult


async def describe_log_dirs(cluster: Cluster, node_id: int) -> list[LogDirectory]:
    """All of one broker's directories and everything in them. ApiError."""
    response = await cluster.broker(node_id, DescribeLogDirsRequest(topics=None), DescribeLogDirsResponse)
    if response.error_code:
        raise ApiError(ErrorCode(response.error_code))
    return response.results
