"""``kafka-metadata-quorum.sh``: who keeps the metadata (Kafka's MetadataQuorumCommand), as DescribeQuorum tells it.

With kbroker that are the brokers, of which one is the controller: see ``kbroker.handlers.quorum``.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from typing import NoReturn

from kbroker.cli.scripts.argparse4j import Program, fail
from kbroker.tools.arguments import read_properties
from kbroker.tools.cluster import Cluster
from kbroker.tools.session import Connected, run
from storage.uuid_text import uuid_to_text
from wire.errors import ApiError, ErrorCode
from wire.messages.quorum import DescribeQuorumRequest, DescribeQuorumResponse

_COLUMNS = (
    "NodeId",
    "DirectoryId",
    "LogEndOffset",
    "Lag",
    "LastFetchTimestamp",
    "LastCaughtUpTimestamp",
    "Status",
)
_Partition = DescribeQuorumResponse.TopicData.PartitionData
_Replica = DescribeQuorumResponse.ReplicaState


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    options = _parser().parse_args(arguments)
    if not (options.status or options.replication):
        fail("One of --status or --replication must be specified with describe sub-command")
    if options.status and options.replication:
        fail("Only one of --status or --replication should be specified with describe sub-command")

    async def work() -> None:
        async with Connected(options.bootstrap_server, read_properties(options.command_config)) as cluster:
            await execute(options, cluster)

    run(work, to_stderr=True)


async def execute(options: argparse.Namespace, cluster: Cluster) -> None:
    topic = DescribeQuorumRequest.TopicData
    request = DescribeQuorumRequest(
        topics=[
            topic(topic_name="__cluster_metadata", partitions=[topic.PartitionData(partition_index=0)]),
        ]
    )
    response = await cluster.any(request, DescribeQuorumResponse)
    _raise(response.error_code, response.error_message)
    quorum = response.topics[0].partitions[0]
    _raise(quorum.error_code, quorum.error_message)
    if options.replication:
        _print_replication(quorum)
    else:
        _print_status((await cluster.metadata([])).cluster_id, quorum, response)


def _raise(code: int, message: str | None) -> None:
    if code:
        raise ApiError(ErrorCode(code), message)


def _print_status(cluster_id: str | None, quorum: _Partition, response: DescribeQuorumResponse) -> None:
    leader = _leader(quorum)
    last = min(_replicas(quorum), key=lambda replica: replica.log_end_offset)
    lag_ms = 0 if last is leader else max(0, leader.last_caught_up_timestamp - last.last_caught_up_timestamp)
    endpoints = {
        node.node_id: [f"{listener.name}://{listener.host}:{listener.port}" for listener in node.listeners]
        for node in response.nodes
    }
    voters = [
        {"id": voter.replica_id, "endpoints": endpoints.get(voter.replica_id, [])}
        for voter in quorum.current_voters
    ]
    lines = {
        "ClusterId": cluster_id,
        "LeaderId": quorum.leader_id,
        "LeaderEpoch": quorum.leader_epoch,
        "HighWatermark": quorum.high_watermark,
        "MaxFollowerLag": leader.log_end_offset - last.log_end_offset,
        "MaxFollowerLagTimeMs": lag_ms,
        "CurrentVoters": json.dumps(voters),
        "CurrentObservers": json.dumps([{"id": observer.replica_id} for observer in quorum.observers]),
    }
    for name, value in lines.items():
        print(f"{name + ':':<24}{value}")


def _print_replication(quorum: _Partition) -> None:
    leader = _leader(quorum)
    others = [voter for voter in quorum.current_voters if voter is not leader]
    rows = [_row(leader, leader, "Leader"), *(_row(voter, leader, "Follower") for voter in others)]
    rows += [_row(observer, leader, "Observer") for observer in quorum.observers]
    widths = [max(map(len, column)) for column in zip(_COLUMNS, *rows, strict=True)]
    for row in (_COLUMNS, *rows):
        print("".join(f"{cell:<{width}}\t" for cell, width in zip(row, widths, strict=True)))


def _row(replica: _Replica, leader: _Replica, status: str) -> tuple[str, ...]:
    return (
        str(replica.replica_id),
        uuid_to_text(replica.replica_directory_id),
        str(replica.log_end_offset),
        str(leader.log_end_offset - replica.log_end_offset),
        str(replica.last_fetch_timestamp),
        str(replica.last_caught_up_timestamp),
        status,
    )


def _leader(quorum: _Partition) -> _Replica:
    return next(voter for voter in quorum.current_voters if voter.replica_id == quorum.leader_id)


def _replicas(quorum: _Partition) -> list[_Replica]:
    return [*quorum.current_voters, *quorum.observers]


def _parser() -> argparse.ArgumentParser:
    parser = Program("kafka-metadata-quorum", "This tool describes the status of the metadata quorum.")
    parser.add_argument("--bootstrap-server", required=True, help="HOST:PORT,... of brokers.")
    parser.add_argument("--command-config", help="Property file with configs for the admin client.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="describe")
    describe = commands.add_parser("describe", help="Describe the metadata quorum.")
    describe.add_argument("--status", action="store_true", help="A short summary.")
    describe.add_argument("--replication", action="store_true", help="Who has how much of the metadata.")
    return parser
