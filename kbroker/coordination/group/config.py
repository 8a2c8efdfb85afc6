"""The broker configs of the group coordinator, under Kafka's names; defaults are Apache Kafka's."""

from __future__ import annotations

from dataclasses import dataclass

_MINUTE_MS = 60_000
_INT_MAX = 2**31 - 1


@dataclass(frozen=True, slots=True)
class GroupConfig:
    """``new_member_join_timeout_ms`` is no config but a constant of Kafka: five minutes."""

    group_min_session_timeout_ms: int = 6_000
    group_max_session_timeout_ms: int = 30 * _MINUTE_MS
    group_initial_rebalance_delay_ms: int = 3_000
    group_max_size: int = _INT_MAX
    offset_metadata_max_bytes: int = 4_096
    offsets_retention_minutes: int = 7 * 24 * 60
    offsets_retention_check_interval_ms: int = 10 * _MINUTE_MS
    offsets_commit_timeout_ms: int = 5_000
    new_member_join_timeout_ms: int = 5 * _MINUTE_MS

    @property
    def offsets_retention_ms(self) -> int:
        return self.offsets_retention_minutes * _MINUTE_MS
