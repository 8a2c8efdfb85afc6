"""DescribeProducers (key 61), version 0 (KIP-664).

Who has written to a partition, and what is open there: ``kafka-transactions.sh find-hanging`` compares it with what
the transaction coordinators know, and ends what nobody else will (WriteTxnMarkers).
"""

from __future__ import annotations

from kbroker.config.topic_names import validate_topic_name
from kbroker.handlers.ports import Partitions
from kbroker.handlers.table import RequestContext, handles
from wire.errors import ApiError, ErrorCode
from wire.messages.transactions import DescribeProducersRequest, DescribeProducersResponse
from wire.schema import ZERO_UUID

_TopicResponse = DescribeProducersResponse.TopicResponse
_PartitionResponse = _TopicResponse.PartitionResponse
_ProducerState = _PartitionResponse.ProducerState


class ProducerHandlers:
    """Describes the producers that partitions remember."""

    def __init__(self, *, partitions: Partitions) -> None:
        self._partitions = partitions

    @handles(DescribeProducersRequest)
    async def describe_producers(
        self, request: DescribeProducersRequest, context: RequestContext
    ) -> DescribeProducersResponse:
        return DescribeProducersResponse(
            topics=[
                _TopicResponse(
                    name=topic.name,
                    partitions=[self._describe(topic.name, index) for index in topic.partition_indexes],
                )
                for topic in request.topics
            ]
        )

    def _describe(self, topic: str, index: int) -> _PartitionResponse:
        try:
            validate_topic_name(topic)
            if self._partitions.topic_id(topic) == ZERO_UUID:
                code = ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
                raise ApiError(code, code.description)  # Kafka says more of a topic than of a partition
            producers = self._partitions.leader(topic, index).active_producers.values()
        except ApiError as error:
            return _PartitionResponse(
                partition_index=index, error_code=error.code, error_message=error.message
            )
        return _PartitionResponse(
            partition_index=index,
            active_producers=[
                _ProducerState(
                    producer_id=entry.producer_id,
                    producer_epoch=entry.producer_epoch,
                    last_sequence=entry.last_sequence,
                    last_timestamp=entry.last_timestamp,
                    coordinator_epoch=entry.coordinator_epoch,
                    current_txn_start_offset=entry.transaction_first_offset,
                )
                for entry in producers
            ],
        )
