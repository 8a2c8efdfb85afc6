"""The config keys of a client metrics subscription (KIP-714)."""

from __future__ import annotations

from kbroker.config.declare import int32, string_list
from kbroker.config.definition import ConfigRegistry

KEYS = (
    int32(
        "interval.ms",
        300_000,
        "Time in milliseconds between two pushes of a client's metrics.",
    ),
    string_list(
        "match",
        (),
        "Which clients are meant: attribute=pattern pairs that must all match.",
    ),
    string_list(
        "metrics",
        (),
        "Name prefixes of the metrics asked for; * for all.",
    ),
)

CLIENT_METRICS_KEYS = ConfigRegistry(KEYS)
