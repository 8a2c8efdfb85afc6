"""What a client metrics subscription may say (KIP-714, Kafka's ``ClientMetricsConfigs``)."""

from __future__ import annotations

import re
from collections.abc import Mapping

from kbroker.config.client_metrics_keys import CLIENT_METRICS_KEYS
from kbroker.config.definition import ConfigError, UnknownConfigError
from kbroker.config.limits import CLIENT_METRICS_INTERVAL_MS_MAX, CLIENT_METRICS_INTERVAL_MS_MIN

_MATCHED_ATTRIBUTES = (
    "client_instance_id",
    "client_id",
    "client_software_name",
    "client_software_version",
    "client_source_address",
    "client_source_port",
)


class UnusableSubscription(ConfigError):
    """A well-formed value that no subscription can have: Kafka calls the request invalid, not the config."""


class UnknownSubscriptionKey(UnknownConfigError, UnusableSubscription):
    """A key that no subscription has."""


def check_client_metrics_overrides(overrides: Mapping[str, str]) -> None:
    """ConfigError unless a subscription may have these configs."""
    for name, text in overrides.items():
        if name not in CLIENT_METRICS_KEYS:
            raise UnknownSubscriptionKey(name, text, "Unknown client metrics configuration")
    values = {name: CLIENT_METRICS_KEYS[name].parse(text) for name, text in overrides.items()}
    interval_ms = values.get("interval.ms")
    if isinstance(interval_ms, int) and not (
        CLIENT_METRICS_INTERVAL_MS_MIN <= interval_ms <= CLIENT_METRICS_INTERVAL_MS_MAX
    ):
        raise UnusableSubscription(
            "interval.ms",
            str(interval_ms),
            f"expected a number from {CLIENT_METRICS_INTERVAL_MS_MIN} to {CLIENT_METRICS_INTERVAL_MS_MAX}",
        )
    patterns = values.get("match", ())
    assert isinstance(patterns, tuple)
    for pattern in patterns:
        _check_pattern(pattern)


def _check_pattern(pattern: str) -> None:
    attribute, equals, expression = pattern.partition("=")
    if not equals or "=" in expression or attribute.strip() not in _MATCHED_ATTRIBUTES:
        raise ConfigError(
            "match", pattern, f"expected attribute=pattern, of {', '.join(_MATCHED_ATTRIBUTES)}"
        )
    try:
        re.compile(expression.strip())
    except re.error as error:
        raise ConfigError("match", pattern, f"expected a regular expression ({error})") from None
