"""Does a partition belong to the transaction that a batch claims? (KIP-890; Kafka: AddPartitionsToTxnManager)

Before a batch may open a transaction in a partition, the transaction coordinator is asked. A classic client has
added the partition itself, and the coordinator only confirms it; a client of transactions version 2 leaves the
adding to the broker. Where the transaction is open in the partition already, nobody is asked.

Which error a client gets depends on what its version knows:

    DEFAULT_ERROR   Produce to v10, TxnOffsetCommit to v3   TRANSACTION_ABORTABLE is told as INVALID_TXN_STATE
    GENERIC_ERROR   Produce v11, TxnOffsetCommit v4         knows TRANSACTION_ABORTABLE
    ADD_PARTITION   Produce v12, TxnOffsetCommit v5         and has its partitions added for it
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from kbroker.handlers.ports import Partitions, Transactions
from storage.transaction_verification import VerificationGuard
from wire.errors import ApiError, ErrorCode

TopicPartition = tuple[str, int]

_CLASSIC = 0
_TRANSACTIONS_V2 = 2


class SupportedOperation(Enum):
    """What the client's version can do; see the module's docstring."""

    DEFAULT_ERROR = "default error"
    GENERIC_ERROR = "generic error"
    ADD_PARTITION = "add partition"

    @classmethod
    def of_produce(cls, api_version: int) -> SupportedOperation:
        return cls._since(api_version, generic_error=11)

    @classmethod
    def of_offset_commit(cls, api_version: int) -> SupportedOperation:
        return cls._since(api_version, generic_error=4)

    @classmethod
    def _since(cls, api_version: int, *, generic_error: int) -> SupportedOperation:
        if api_version > generic_error:
            return cls.ADD_PARTITION
        return cls.GENERIC_ERROR if api_version == generic_error else cls.DEFAULT_ERROR


@dataclass(slots=True)
class Verified:
    """The outcome for the partitions that were asked about: an error, or a guard, or neither where the
    transaction is open already."""

    errors: dict[TopicPartition, ErrorCode] = field(default_factory=dict)
    guards: dict[TopicPartition, VerificationGuard] = field(default_factory=dict)


class VerificationSettings(Protocol):
    """The broker's configuration."""

    @property
    def transaction_partition_verification_enable(self) -> bool: ...


class TransactionVerifier:
    """Asks the partitions first, and for those that do not know the transaction the coordinator."""

    def __init__(
        self, *, partitions: Partitions, transactions: Transactions, settings: VerificationSettings
    ) -> None:
        self._partitions = partitions
        self._transactions = transactions
        self._settings = settings

    async def verify(
        self,
        transactional_id: str,
        producer: tuple[int, int],
        sequences: Mapping[TopicPartition, int],
        operation: SupportedOperation,
    ) -> Verified:
        """``producer`` is (id, epoch); ``sequences`` has the first sequence to append to each partition, or -1."""
        verified = Verified()
        adds = operation is SupportedOperation.ADD_PARTITION
        if not adds and not self._settings.transaction_partition_verification_enable:
            return verified
        producer_id, producer_epoch = producer
        for (topic, index), sequence in sequences.items():
            try:
                guard = self._partitions.leader(topic, index).start_transaction_verification(
                    producer_id, sequence, producer_epoch, supports_epoch_bump=adds
                )
            except ApiError as error:
                verified.errors[topic, index] = error.code
            else:
                if guard is not None:
                    verified.guards[topic, index] = guard
        if not verified.guards:
            return verified
        asked = list(verified.guards)
        try:
            answers = await self._transactions.add_partitions(
                transactional_id,
                producer_id,
                producer_epoch,
                asked,
                verify_only=not adds,
                transaction_version=_TRANSACTIONS_V2 if adds else _CLASSIC,
            )
        except ApiError as error:
            answers = dict.fromkeys(asked, error.code)
        for partition, code in answers.items():
            if code is not ErrorCode.NONE:
                verified.errors[partition] = _for_client(code, operation)
        return verified


def _for_client(code: ErrorCode, operation: SupportedOperation) -> ErrorCode:
    if code is ErrorCode.PRODUCER_FENCED:
        return ErrorCode.INVALID_PRODUCER_EPOCH
    if code is ErrorCode.UNKNOWN_SERVER_ERROR:
        # The coordinator cannot store the transaction, for one because it is too large. Kafka passes the code on, at
        # which a producer gives up for good; the next transaction may well succeed.
        code = ErrorCode.TRANSACTION_ABORTABLE
    if code is ErrorCode.TRANSACTION_ABORTABLE and operation is SupportedOperation.DEFAULT_ERROR:
        return ErrorCode.INVALID_TXN_STATE
    return code
