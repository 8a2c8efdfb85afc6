"""The broker configs that the group coordinator acts on, under Kafka's names.

``kbroker.config.BrokerConfig`` has them; they are read when they are needed, since some can change while the
broker runs.
"""

from __future__ import annotations

from typing import Protocol


class GroupConfig(Protocol):
    """Times in milliseconds where the name does not say otherwise."""

    @property
    def group_min_session_timeout_ms(self) -> int: ...

    @property
    def group_max_session_timeout_ms(self) -> int: ...

    @property
    def group_initial_rebalance_delay_ms(self) -> int: ...

    @property
    def group_max_size(self) -> int: ...

    @property
    def offset_metadata_max_bytes(self) -> int: ...

    @property
    def offsets_retention_minutes(self) -> int: ...

    @property
    def offsets_retention_check_interval_ms(self) -> int: ...

    @property
    def offsets_commit_timeout_ms(self) -> int: ...
