"""``kafka-transactions``: look at transactions and producers, and end transactions that hang (KIP-664)."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, NoReturn

from kbroker.tools.arguments import read_properties, version_text
from kbroker.tools.cluster import TRANSACTION, Cluster, Partition, by_topic
from kbroker.tools.coordinators import Coordinator, first_error
from kbroker.tools.failures import NotStartedError, UnreadableFileError
from kbroker.tools.java_errors import java_message
from kbroker.tools.plain_arguments import INTEGER, LONG, PlainArguments
from kbroker.tools.session import CommandError, Connected, run
from wire.errors import ApiError, ErrorCode
from wire.messages.producer_ids import InitProducerIdRequest, InitProducerIdResponse
from wire.messages.transactions import (
    DescribeProducersRequest,
    DescribeProducersResponse,
    DescribeTransactionsRequest,
    DescribeTransactionsResponse,
    ListTransactionsRequest,
    ListTransactionsResponse,
    WriteTxnMarkersRequest,
    WriteTxnMarkersResponse,
)

ProducerState = DescribeProducersResponse.TopicResponse.PartitionResponse.ProducerState
TransactionState = DescribeTransactionsResponse.TransactionState

_FORCE: Final = "forceTerminateTransaction"
_CALLS: Final = {
    "list": "listTransactions(api=METADATA)",
    "describe": "describeTransactions(api=FIND_COORDINATOR)",
    "describe-producers": "describeProducers(api=METADATA)",
    "abort": "describeProducers(api=METADATA)",
    "find-hanging": "listTopics",
    _FORCE: "fenceProducer(api=FIND_COORDINATOR)",
}
"""What Kafka's client would call what is asked first."""
_BATCH: Final = 500
_TERMINATION_TIMEOUT_MS: Final = 60_000


def arguments() -> PlainArguments:
    """The flags and the actions with theirs."""
    parser = PlainArguments(
        "kafka-transactions.sh",
        description="This tool is used to analyze the transactional state of producers in the cluster. "
        "It can be used to detect and recover from hanging transactions.",
    )
    parser.add_argument(
        "-v", "--version", action="version", version=version_text(), help="show the version and exit"
    )
    parser.add_argument("--command-config", metavar="FILE", help="property file for the admin client")
    parser.add_argument(
        "--bootstrap-server", metavar="host:port", required=True, help="the server(s) to connect to"
    )
    actions = parser.add_subparsers(dest="command", title="commands", metavar="COMMAND", required=True)
    listing = actions.add_parser("list", help="list transactions")
    listing.add_argument(
        "--duration-filter", type=LONG, help="only transactions that run longer than this (ms)"
    )
    listing.add_argument("--transactional-id-pattern", help="only transactional ids that match this pattern")
    describe = actions.add_parser("describe", help="describe the state of an active transactional-id")
    describe.add_argument("--transactional-id", required=True, help="transactional id")
    producers = actions.add_parser(
        "describe-producers", help="describe the states of active producers for a topic partition"
    )
    producers.add_argument("--broker-id", type=INTEGER, help="the replica to ask; the leader by default")
    _add_partition(producers, required=True)
    abort = actions.add_parser(
        "abort", help="abort a hanging transaction (requires administrative privileges)"
    )
    _add_partition(abort, required=True)
    abort.add_argument("--start-offset", type=LONG, help="start offset of the transaction to abort")
    for name in ("producer-id", "producer-epoch", "coordinator-epoch"):
        abort.add_argument(
            f"--{name}", type=INTEGER, help=f"{name.replace('-', ' ')} (brokers older than 3.0)"
        )
    hanging = actions.add_parser("find-hanging", help="find hanging transactions")
    hanging.add_argument("--broker-id", type=INTEGER, help="broker id to search for hanging transactions")
    hanging.add_argument(
        "--max-transaction-timeout", type=INTEGER, default=15, help="in minutes; 15 by default"
    )
    _add_partition(hanging, required=False)
    force = actions.add_parser(_FORCE, help="force abort an ongoing transaction on transactionalId")
    force.add_argument("--transactionalId", dest="transactional_id", required=True, help="transactional id")
    return parser


def _add_partition(parser: argparse.ArgumentParser, *, required: bool) -> None:
    parser.add_argument("--topic", required=required, help="topic name")
    parser.add_argument("--partition", type=INTEGER, required=required, help="partition number")


def table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as their widest cell, each followed by a tab (Kafka: ToolsUtils.prettyPrintTable)."""
    widths = [max(len(cell) for cell in column) for column in zip(headers, *rows, strict=True)]
    return "\n".join(
        "".join(f"{cell:<{width}}\t" for cell, width in zip(row, widths, strict=True))
        for row in (headers, *rows)
    )


class _Failed(CommandError):
    def __init__(self, what: str, error: ApiError) -> None:
        super().__init__(f"{what}: {java_message(error)}. Enable debug logging for additional detail.")


@dataclass(frozen=True)
class _OpenTransaction:
    partition: Partition
    producer: ProducerState


class TransactionsCommand:
    """The actions; ApiError, CommandError."""

    def __init__(self, cluster: Cluster, options: argparse.Namespace) -> None:
        self._cluster = cluster
        self._options = options
        self._asked: int | None = None  # the broker that was asked last

    async def run(self) -> None:
        actions = {
            "list": self.list_all,
            "describe": self.describe,
            "describe-producers": self.describe_producers,
            "abort": self.abort,
            "find-hanging": self.find_hanging,
            _FORCE: self.force_terminate,
        }
        await actions[self._options.command]()

    async def list_all(self) -> None:
        pattern, duration = self._options.transactional_id_pattern, self._options.duration_filter
        rows = []
        try:
            for node_id, found in (await self._transactions(duration_ms=duration, pattern=pattern)).items():
                rows += [
                    (each.transactional_id, str(node_id), str(each.producer_id), each.transaction_state)
                    for each in found
                ]
        except ApiError as error:
            if not error.code.retriable:
                error = ApiError(
                    error.code,
                    f"ListTransactions request sent to broker {self._asked} failed with an unexpected exception",
                )
            raise _Failed("Failed to list transactions", error) from None
        print(table(("TransactionalId", "Coordinator", "ProducerId", "TransactionState"), rows))

    async def _transactions(
        self,
        *,
        duration_ms: int | None = None,
        pattern: str | None = None,
        producer_ids: Collection[int] = (),
    ) -> Mapping[int, Sequence[ListTransactionsResponse.TransactionState]]:
        found = {}
        await self._cluster.connect()
        for node_id in sorted(self._cluster.brokers):
            request = ListTransactionsRequest(
                producer_id_filters=sorted(producer_ids),
                duration_filter=-1 if duration_ms is None else duration_ms,
                transactional_id_pattern=pattern,
            )

            async def attempt(
                node_id: int = node_id, request: ListTransactionsRequest = request
            ) -> ListTransactionsResponse:
                self._asked = node_id
                response = await self._cluster.once(node_id, request, ListTransactionsResponse)
                if response.error_code:
                    raise ApiError(ErrorCode(response.error_code))
                return response

            found[node_id] = (await self._cluster.retrying(attempt)).transaction_states
        return found

    async def describe(self) -> None:
        transactional_id = self._options.transactional_id
        try:
            coordinator_id, state = await self._describe(transactional_id)
        except ApiError as error:
            what = f"Failed to describe transaction state of transactional-id `{transactional_id}`"
            raise _Failed(what, error) from None
        start_ms = state.transaction_start_time_ms
        times = ("None", "None") if start_ms < 0 else (str(start_ms), str(_now_ms() - start_ms))
        partitions = ",".join(
            f"{topic.topic}-{number}" for topic in state.topics for number in topic.partitions
        )
        headers = (
            "CoordinatorId",
            "TransactionalId",
            "ProducerId",
            "ProducerEpoch",
            "TransactionState",
            "TransactionTimeoutMs",
            "CurrentTransactionStartTimeMs",
            "TransactionDurationMs",
            "TopicPartitions",
        )
        row = (
            str(coordinator_id),
            transactional_id,
            str(state.producer_id),
            str(state.producer_epoch),
            state.transaction_state,
            str(state.transaction_timeout_ms),
            *times,
            partitions,
        )
        print(table(headers, [row]))

    async def _describe(self, transactional_id: str) -> tuple[int, TransactionState]:
        """The coordinator, and what it says."""
        coordinator = Coordinator(self._cluster, transactional_id, TRANSACTION)
        request = DescribeTransactionsRequest(transactional_ids=[transactional_id])
        response = await coordinator.ask(request, DescribeTransactionsResponse, _description_error)
        (state,) = response.transaction_states
        return coordinator.node_id, state

    async def describe_producers(self) -> None:
        partition, broker_id = (self._options.topic, self._options.partition), self._options.broker_id
        try:
            producers = (await self._producers([partition], broker_id))[partition]
        except ApiError as error:
            where = "leader" if broker_id is None else f"broker {broker_id}"
            what = f"Failed to describe producers for partition {partition[0]}-{partition[1]} on {where}"
            raise _Failed(what, error) from None
        headers = (
            "ProducerId",
            "ProducerEpoch",
            "LatestCoordinatorEpoch",
            "LastSequence",
            "LastTimestamp",
            "CurrentTransactionStartOffset",
        )
        rows = [
            (
                str(each.producer_id),
                str(each.producer_epoch),
                str(each.coordinator_epoch),
                str(each.last_sequence),
                str(each.last_timestamp),
                str(each.current_txn_start_offset) if each.current_txn_start_offset >= 0 else "None",
            )
            for each in producers
        ]
        print(table(headers, rows))

    async def _producers(
        self, partitions: Collection[Partition], broker_id: int | None
    ) -> dict[Partition, Sequence[ProducerState]]:
        async def attempt() -> dict[Partition, Sequence[ProducerState]]:
            by_broker = (
                await self._cluster.leaders(partitions)
                if broker_id is None
                else {broker_id: list(partitions)}
            )
            found: dict[Partition, Sequence[ProducerState]] = {}
            for node_id, its in by_broker.items():
                request = DescribeProducersRequest(
                    topics=[
                        DescribeProducersRequest.TopicRequest(name=topic, partition_indexes=numbers)
                        for topic, numbers in by_topic(its).items()
                    ]
                )
                response = await self._cluster.once(node_id, request, DescribeProducersResponse)
                for answer in response.topics:
                    for partition in answer.partitions:
                        if partition.error_code:
                            raise ApiError(ErrorCode(partition.error_code), partition.error_message)
                        found[answer.name, partition.partition_index] = partition.active_producers
            return found

        return await self._cluster.retrying(attempt)

    async def abort(self) -> None:
        options = self._options
        partition = (options.topic, options.partition)
        if options.start_offset is None and options.producer_id is None:
            raise CommandError(
                "The transaction to abort must be identified either with --start-offset (for brokers on 3.0 or above) "
                "or with --producer-id, --producer-epoch, and --coordinator-epoch (for older brokers)"
            )
        if options.start_offset is not None:
            producer = await self._producer_at(partition, options.start_offset)
            identity = (producer.producer_id, producer.producer_epoch, max(producer.coordinator_epoch, 0))
        else:
            for name in ("producer-epoch", "coordinator-epoch"):
                if getattr(options, name.replace("-", "_")) is None:
                    raise CommandError(f"Missing required argument --{name}")
            identity = (options.producer_id, options.producer_epoch, max(options.coordinator_epoch, 0))
        try:
            await self._write_abort_marker(partition, *identity)
        except ApiError as error:
            spec = (
                f"AbortTransactionSpec(topicPartition={partition[0]}-{partition[1]}, producerId={identity[0]}, "
                f"producerEpoch={identity[1]}, coordinatorEpoch={identity[2]})"
            )
            raise _Failed(f"Failed to abort transaction {spec}", error) from None

    async def _producer_at(self, partition: Partition, start_offset: int) -> ProducerState:
        name = f"{partition[0]}-{partition[1]}"
        try:
            producers = (await self._producers([partition], None))[partition]
        except ApiError as error:
            raise _Failed(f"Failed to validate producer state for partition {name}", error) from None
        for producer in producers:
            if producer.current_txn_start_offset == start_offset:
                return producer
        raise CommandError(
            f"Could not find any open transactions starting at offset {start_offset} on partition {name}"
        )

    async def _write_abort_marker(
        self, partition: Partition, producer_id: int, producer_epoch: int, coordinator_epoch: int
    ) -> None:
        marker_class = WriteTxnMarkersRequest.WritableTxnMarker
        request = WriteTxnMarkersRequest(
            markers=[
                marker_class(
                    producer_id=producer_id,
                    producer_epoch=producer_epoch,
                    coordinator_epoch=coordinator_epoch,
                    transaction_result=False,
                    topics=[
                        marker_class.WritableTxnMarkerTopic(
                            name=partition[0], partition_indexes=[partition[1]]
                        )
                    ],
                )
            ]
        )

        async def attempt() -> None:
            ((leader, _),) = (await self._cluster.leaders([partition])).items()
            response = await self._cluster.once(leader, request, WriteTxnMarkersResponse)
            for marker in response.markers:
                for topic in marker.topics:
                    for answer in topic.partitions:
                        if answer.error_code:
                            raise ApiError(ErrorCode(answer.error_code))

        await self._cluster.retrying(attempt)

    async def find_hanging(self) -> None:
        options = self._options
        if options.topic is None and options.broker_id is None:
            raise CommandError(
                "The `find-hanging` command requires either --topic or --broker-id to limit the scope of the search"
            )
        if options.partition is not None and options.topic is None:
            raise CommandError("The --partition argument requires --topic to be provided")
        hanging: list[_OpenTransaction] = []
        candidates = await self._candidates(await self._partitions_to_search())
        if candidates:
            hanging = await self._without_live(candidates)
        headers = (
            "Topic",
            "Partition",
            "ProducerId",
            "ProducerEpoch",
            "CoordinatorEpoch",
            "StartOffset",
            "LastTimestamp",
            "Duration(min)",
        )
        now_ms = _now_ms()
        rows = [
            (
                each.partition[0],
                str(each.partition[1]),
                str(each.producer.producer_id),
                str(each.producer.producer_epoch),
                str(each.producer.coordinator_epoch),
                str(each.producer.current_txn_start_offset),
                str(each.producer.last_timestamp),
                str((now_ms - each.producer.last_timestamp) // 60_000),
            )
            for each in hanging
        ]
        print(table(headers, rows))

    async def _partitions_to_search(self) -> Sequence[Partition]:
        options = self._options
        if options.partition is not None:
            return [(options.topic, options.partition)]
        response = await self._cluster.metadata(None if options.topic is None else [options.topic])
        found = []
        for topic in response.topics:
            if topic.error_code:
                raise _Failed("Failed to describe 1 topics", ApiError(ErrorCode(topic.error_code)))
            found += [
                (topic.name or "", partition.partition_index)
                for partition in topic.partitions
                if options.broker_id is None or options.broker_id in partition.replica_nodes
            ]
        return found

    async def _candidates(self, partitions: Sequence[Partition]) -> Sequence[_OpenTransaction]:
        limit_ms = self._options.max_transaction_timeout * 60_000
        found = []
        for start in range(0, len(partitions), _BATCH):
            chunk = partitions[start : start + _BATCH]
            try:
                producers = await self._producers(chunk, self._options.broker_id)
            except ApiError as error:
                where = (
                    "Optional.empty"
                    if self._options.broker_id is None
                    else f"Optional[{self._options.broker_id}]"
                )
                what = f"Failed to describe producers for {len(chunk)} partitions on broker {where}"
                raise _Failed(what, error) from None
            now_ms = _now_ms()
            found += [
                _OpenTransaction(partition, producer)
                for partition, its in producers.items()
                for producer in its
                if producer.current_txn_start_offset >= 0 and now_ms - producer.last_timestamp > limit_ms
            ]
        return found

    async def _without_live(self, candidates: Sequence[_OpenTransaction]) -> list[_OpenTransaction]:
        """Those that no coordinator will end any more."""
        producer_ids = {each.producer.producer_id for each in candidates}
        listed = await self._transactions(producer_ids=producer_ids)
        names = {each.producer_id: each.transactional_id for its in listed.values() for each in its}
        states: dict[str, TransactionState | None] = {}
        for transactional_id in names.values():
            try:
                states[transactional_id] = (await self._describe(transactional_id))[1]
            except ApiError as error:
                if error.code is not ErrorCode.TRANSACTIONAL_ID_NOT_FOUND:
                    raise _Failed(f"Failed to describe {len(names)} transactions", error) from None
                states[transactional_id] = None
        hanging = []
        for each in candidates:
            name = names.get(each.producer.producer_id)
            state = None if name is None else states[name]
            is_known = state is not None and any(
                topic.topic == each.partition[0] and each.partition[1] in topic.partitions
                for topic in state.topics
            )
            if not is_known or (state is not None and each.producer.producer_epoch < state.producer_epoch):
                hanging.append(each)
        return hanging

    async def force_terminate(self) -> None:
        """Fence the producer, which aborts its transaction."""
        transactional_id = self._options.transactional_id
        request = InitProducerIdRequest(
            transactional_id=transactional_id, transaction_timeout_ms=_TERMINATION_TIMEOUT_MS
        )

        coordinator = Coordinator(self._cluster, transactional_id, TRANSACTION)
        try:
            await coordinator.ask(
                request, InitProducerIdResponse, first_error(lambda answer: [answer.error_code])
            )
        except ApiError as error:
            raise _Failed(f"Failed to force terminate transactionalId `{transactional_id}`", error) from None


def _description_error(response: DescribeTransactionsResponse) -> ApiError | None:
    (state,) = response.transaction_states
    if state.error_code == ErrorCode.TRANSACTIONAL_ID_NOT_FOUND:
        text = f"DescribeTransactions request for transactionalId `{state.transactional_id}` failed because the ID "
        return ApiError(ErrorCode.TRANSACTIONAL_ID_NOT_FOUND, text + "could not be found")
    return ApiError(ErrorCode(state.error_code)) if state.error_code else None


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


async def command(options: argparse.Namespace) -> None:
    """The whole command."""
    try:
        properties = read_properties(options.command_config)
    except UnreadableFileError as error:
        raise NotStartedError(
            f"Failed to load admin client properties: {error.reason}. Enable debug logging for additional detail."
        ) from None
    async with Connected(options.bootstrap_server, properties, call=_CALLS[options.command]) as cluster:
        await TransactionsCommand(cluster, options).run()


def main() -> NoReturn:
    """The console script."""
    options = arguments().parse_args(sys.argv[1:])
    run(partial(command, options), to_stderr=True)
