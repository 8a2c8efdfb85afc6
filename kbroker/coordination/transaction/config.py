"""The broker configs that the transaction coordinator acts on, under Kafka's names.

``kbroker.config.BrokerConfig`` has them.
"""

from __future__ import annotations

from typing import Protocol


class TransactionConfig(Protocol):
    """Times in milliseconds."""

    @property
    def transaction_max_timeout_ms(self) -> int: ...

    @property
    def transactional_id_expiration_ms(self) -> int: ...

    @property
    def transaction_abort_timed_out_transaction_cleanup_interval_ms(self) -> int: ...

    @property
    def transaction_remove_expired_transaction_cleanup_interval_ms(self) -> int: ...

    @property
    def add_partitions_to_txn_retry_backoff_max_ms(self) -> int: ...

    @property
    def transaction_two_phase_commit_enable(self) -> bool: ...
