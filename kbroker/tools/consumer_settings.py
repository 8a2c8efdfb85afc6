"""A consumer's configuration, as properties give it: Kafka's names, defaults and refusals (ConsumerConfig)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from kbroker.tools.client_properties import SettingError, boolean, integer
from kbroker.tools.fetching import EARLIEST, LATEST, READ_COMMITTED, READ_UNCOMMITTED, FetchSettings
from kbroker.tools.group_membership import GroupSettings

_ISOLATION_LEVELS: Final = {"read_committed": READ_COMMITTED, "read_uncommitted": READ_UNCOMMITTED}
_RESET_POLICIES: Final = {"earliest": EARLIEST, "latest": LATEST, "none": None}


@dataclass(frozen=True, kw_only=True)
class ConsumerSettings:
    """What of a consumer's configuration is acted on. ``group``: None without ``group.id``."""

    fetch: FetchSettings
    group: GroupSettings | None
    auto_commit: bool = True
    auto_commit_interval_ms: int = 5_000
    metadata_max_age_ms: int = 300_000

    @classmethod
    def from_properties(cls, properties: Mapping[str, str]) -> ConsumerSettings:
        """Read a consumer's configuration; SettingError. Keys that it does not know are left alone."""
        if properties.get("group.protocol", "classic").lower() != "classic":
            raise SettingError("group.protocol consumer is not supported by this command; classic is")
        return cls(
            fetch=_fetch_settings(properties),
            group=_group_settings(properties),
            auto_commit=boolean(properties, "enable.auto.commit", True),
            auto_commit_interval_ms=integer(
                properties, "auto.commit.interval.ms", cls.auto_commit_interval_ms
            ),
            metadata_max_age_ms=integer(properties, "metadata.max.age.ms", cls.metadata_max_age_ms),
        )


def _fetch_settings(properties: Mapping[str, str]) -> FetchSettings:
    of = FetchSettings
    isolation = properties.get("isolation.level", "read_uncommitted").lower()
    if isolation not in _ISOLATION_LEVELS:
        raise SettingError(
            f"Invalid value {isolation} for configuration isolation.level: "
            f"String must be one of: {', '.join(_ISOLATION_LEVELS)}"
        )
    return FetchSettings(
        min_bytes=integer(properties, "fetch.min.bytes", of.min_bytes),
        max_bytes=integer(properties, "fetch.max.bytes", of.max_bytes),
        max_wait_ms=integer(properties, "fetch.max.wait.ms", of.max_wait_ms),
        partition_max_bytes=integer(properties, "max.partition.fetch.bytes", of.partition_max_bytes),
        isolation_level=_ISOLATION_LEVELS[isolation],
        reset_to=_reset_policy(properties.get("auto.offset.reset", "latest")),
        check_crcs=boolean(properties, "check.crcs", True),
        retry_backoff_ms=integer(properties, "retry.backoff.ms", of.retry_backoff_ms),
        request_timeout_ms=integer(properties, "request.timeout.ms", of.request_timeout_ms),
        creates_topics=boolean(properties, "allow.auto.create.topics", True),
    )


def _group_settings(properties: Mapping[str, str]) -> GroupSettings | None:
    of = GroupSettings
    group_id = properties.get("group.id")
    if group_id is None:
        return None
    return GroupSettings(
        group_id=group_id,
        group_instance_id=properties.get("group.instance.id") or None,
        session_timeout_ms=integer(properties, "session.timeout.ms", of.session_timeout_ms),
        heartbeat_interval_ms=integer(properties, "heartbeat.interval.ms", of.heartbeat_interval_ms),
        max_poll_interval_ms=integer(properties, "max.poll.interval.ms", of.max_poll_interval_ms),
        creates_topics=boolean(properties, "allow.auto.create.topics", True),
    )


def _reset_policy(text: str) -> int | None:
    policy = text.lower()
    if policy.startswith("by_duration:"):
        raise SettingError("auto.offset.reset by_duration is not supported by this command")
    if policy not in _RESET_POLICIES:
        raise SettingError(
            f"Invalid value {text} for configuration auto.offset.reset: "
            f"Invalid value `{text}` for configuration auto.offset.reset. The value must be either "
            "'earliest', 'latest', 'none' or of the format 'by_duration:<PnDTnHnMn.nS.>'."
        )
    return _RESET_POLICIES[policy]
