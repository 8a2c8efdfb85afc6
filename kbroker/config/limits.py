"""Bounds that no config key of Kafka's sets. The unit stands last in each name."""

from __future__ import annotations

import sys

INT32_MAX = 2**31 - 1
INT64_MAX = 2**63 - 1
DOUBLE_MAX = sys.float_info.max

# Requests that were received and not yet answered, over all connections, where
# queued.max.request.bytes leaves it open: two requests of the largest size, or very many usual ones.
QUEUED_REQUEST_BYTES_MAX = 256 << 20

# Kafka's controller takes up to this many records from one request (MAX_RECORDS_PER_USER_OP); one
# altered key is one record.
ALTERED_CONFIGS_PER_REQUEST_MAX = 10_000

# One DescribeConfigs response: every config of ten thousand topics. Without a bound, a small request that
# names the same broker over and over would ask for gigabytes.
DESCRIBED_CONFIGS_PER_REQUEST_MAX = 400_000

CLIENT_METRICS_INTERVAL_MS_MIN = 100
CLIENT_METRICS_INTERVAL_MS_MAX = 3_600_000

# Users, clients and addresses whose use of one quota is remembered; beyond, the one seen least recently is forgotten.
MEASURED_CLIENTS_MAX = 10_000
