"""A transaction coordinator for handlers: it says what a test tells it to say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import trio

from kbroker.handlers.ports import Partitions
from kbroker.handlers.transaction_verification import TransactionVerifier
from wire.errors import ErrorCode


@dataclass
class Settings:
    """The config keys of transactional produce."""

    transaction_partition_verification_enable: bool = True
    add_partitions_to_txn_retry_backoff_ms: int = 20
    add_partitions_to_txn_retry_backoff_max_ms: int = 100
    request_timeout_ms: int = 30_000


class TrioTime:
    """The World's time, as trio counts it: a mock clock moves it."""

    def monotonic(self) -> float:
        return trio.current_time()

    async def sleep(self, seconds: float) -> None:
        await trio.sleep(seconds)


class Asked(NamedTuple):
    """One question that the coordinator was asked."""

    transactional_id: str
    producer: tuple[int, int]
    partitions: list[tuple[str, int]]
    verify_only: bool
    transaction_version: int


class FakeTransactions:
    """Confirms every partition; ``answers`` are given, for all partitions of a question, before that."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.answers: list[ErrorCode] = []
        self.refused: dict[tuple[str, int], ErrorCode] = {}

    async def add_partitions(
        self,
        transactional_id: str,
        producer_id: int,
        producer_epoch: int,
        partitions: Sequence[tuple[str, int]],
        *,
        verify_only: bool,
        transaction_version: int,
    ) -> dict[tuple[str, int], ErrorCode]:
        self.asked.append(
            Asked(
                transactional_id,
                (producer_id, producer_epoch),
                list(partitions),
                verify_only,
                transaction_version,
            )
        )
        code = self.answers.pop(0) if self.answers else ErrorCode.NONE
        return {partition: self.refused.get(partition, code) for partition in partitions}


def verifier_of(
    partitions: Partitions, transactions: FakeTransactions | None = None, settings: Settings | None = None
) -> TransactionVerifier:
    return TransactionVerifier(
        partitions=partitions,
        transactions=transactions or FakeTransactions(),
        settings=settings or Settings(),
    )
