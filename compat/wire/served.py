"""APIs that one of the two brokers serves and the other does not, by key, and why."""

from __future__ import annotations

_SASL = "GAPS: TLS, SASL, SCRAM credentials, delegation tokens"
_GROUPS = "GAPS: the newer group protocols (KIP-848 consumer groups, share groups, streams groups)"
_KRAFT = "GAPS: there is no Raft quorum"

NOT_SERVED_HERE: dict[int, str] = {
    17: _SASL,
    36: _SASL,
    38: _SASL,
    39: _SASL,
    40: _SASL,
    41: _SASL,
    50: _SASL,
    51: _SASL,
    68: _GROUPS,
    69: _GROUPS,
    76: _GROUPS,
    77: _GROUPS,
    78: _GROUPS,
    79: _GROUPS,
    80: _KRAFT,
    81: _KRAFT,
    83: _GROUPS,
    84: _GROUPS,
    85: _GROUPS,
    86: _GROUPS,
    87: _GROUPS,
    88: _GROUPS,
    89: _GROUPS,
    90: _GROUPS,
    91: _GROUPS,
    92: _GROUPS,
    93: _GROUPS,
    94: _GROUPS,
}
"""What Apache Kafka serves to clients and kbroker does not."""

SERVED_HERE_ONLY: dict[int, str] = {
    56: "AlterPartition goes to Kafka's controller, on a listener of its own; brokers of a kbroker cluster are alike",
}

OTHER_VERSIONS: dict[int, tuple[tuple[int, int], tuple[int, int], str]] = {
    22: (
        (0, 5),
        (0, 6),
        "GAPS: InitProducerId is served up to version 6, which Apache Kafka holds to be unstable",
    ),
}
"""Key: Kafka's first and last version, kbroker's, and why they are not the same."""
