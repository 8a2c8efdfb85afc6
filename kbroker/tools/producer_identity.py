"""Who a producer is to the brokers: its producer id, and with a transactional id its transactions (KIP-98, KIP-890)."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from kbroker.tools.cluster import TRANSACTION, Cluster, Partition, by_topic
from kbroker.tools.coordinators import Coordinator, first_error
from kbroker.tools.producer_queues import ProducerId
from kbroker.tools.producer_settings import ProducerSettings
from wire.errors import ApiError, ErrorCode
from wire.messages.producer_ids import InitProducerIdRequest, InitProducerIdResponse
from wire.messages.transactions import (
    AddPartitionsToTxnRequest,
    AddPartitionsToTxnResponse,
    EndTxnRequest,
    EndTxnResponse,
)

_ADD_PARTITIONS_VERSION: Final = 3  # newer ones are for brokers
_NO_TIMEOUT_MS: Final = 2**31 - 1


class ProducerIdentity:
    """Methods raise ApiError, after trying for as long as the cluster is patient."""

    def __init__(self, cluster: Cluster, settings: ProducerSettings) -> None:
        self._cluster = cluster
        self._settings = settings
        self._producer_id: ProducerId | None = None
        self._coordinator = Coordinator(cluster, settings.transactional_id or "", TRANSACTION)

    async def producer_id(self) -> ProducerId:
        """The id to write under; got from the cluster if there is none, or ``give_up`` has been called."""
        if self._producer_id is None:
            self._producer_id = await self._init_producer_id()
        return self._producer_id

    def give_up(self, number: int) -> None:
        """This id is not to be used for anything new."""
        if self._producer_id is not None and self._producer_id.number == number:
            self._producer_id = None

    # Transactions

    async def begin(self) -> None:
        """Take the transactional id over from whoever had it, whose open transaction is aborted."""
        assert self._settings.transactional_id is not None
        self._producer_id = await self._init_producer_id()

    async def add_partitions(self, partitions: Collection[Partition]) -> None:
        """Make them part of the open transaction."""
        assert self._producer_id is not None, "begin comes first"
        topic_class = AddPartitionsToTxnRequest.AddPartitionsToTxnTopic
        request = AddPartitionsToTxnRequest(
            v3_and_below_transactional_id=self._settings.transactional_id or "",
            v3_and_below_producer_id=self._producer_id.number,
            v3_and_below_producer_epoch=self._producer_id.epoch,
            v3_and_below_topics=[
                topic_class(name=topic, partitions=numbers)
                for topic, numbers in by_topic(sorted(set(partitions))).items()
            ],
        )
        await self._coordinator.ask(
            request,
            AddPartitionsToTxnResponse,
            first_error(_partition_codes),
            version_max=_ADD_PARTITIONS_VERSION,
        )

    async def end(self, *, is_commit: bool) -> ProducerId:
        """Commit the open transaction or abort it; the id for the next one, which may have another epoch."""
        assert self._producer_id is not None, "begin comes first"
        request = EndTxnRequest(
            transactional_id=self._settings.transactional_id or "",
            producer_id=self._producer_id.number,
            producer_epoch=self._producer_id.epoch,
            committed=is_commit,
        )
        response = await self._coordinator.ask(
            request, EndTxnResponse, first_error(lambda answer: [answer.error_code])
        )
        if response.producer_id >= 0:  # an epoch for each transaction (KIP-890)
            self._producer_id = ProducerId(response.producer_id, response.producer_epoch)
        return self._producer_id

    async def _init_producer_id(self) -> ProducerId:
        transactional_id = self._settings.transactional_id
        timeout_ms = _NO_TIMEOUT_MS if transactional_id is None else self._settings.transaction_timeout_ms
        request = InitProducerIdRequest(transactional_id=transactional_id, transaction_timeout_ms=timeout_ms)
        if transactional_id is not None:
            response = await self._coordinator.ask(
                request, InitProducerIdResponse, first_error(lambda answer: [answer.error_code])
            )
            return ProducerId(response.producer_id, response.producer_epoch)

        async def attempt() -> ProducerId:
            response = await self._cluster.any(request, InitProducerIdResponse)
            if response.error_code:
                raise ApiError(ErrorCode(response.error_code))
            return ProducerId(response.producer_id, response.producer_epoch)

        return await self._cluster.retrying(attempt)


def _partition_codes(response: AddPartitionsToTxnResponse) -> list[int]:
    return [
        partition.partition_error_code
        for topic in response.results_by_topic_v3_and_below
        for partition in topic.results_by_partition
    ]
