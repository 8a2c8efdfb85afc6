"""``kafka-leader-election``: make preferred or, at a loss of records, any replicas leaders (LeaderElectionCommand)."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Collection, Sequence
from typing import Final, NoReturn

from kbroker.tools.arguments import Arguments, read_properties
from kbroker.tools.cluster import Cluster, NotReachable, Partition, by_topic
from kbroker.tools.json_files import member, parse_json, read_text
from kbroker.tools.session import CommandError, Connected, run
from wire.errors import ApiError, ErrorCode
from wire.messages.reassignments import ElectLeadersRequest, ElectLeadersResponse

_ELECTIONS: Final = {"PREFERRED": 0, "UNCLEAN": 1}
_TIMEOUT_MS: Final = 30_000


def main() -> NoReturn:
    options = parse()

    async def work() -> None:
        properties = {
            "default.api.timeout.ms": str(_TIMEOUT_MS),
            "request.timeout.ms": str(_TIMEOUT_MS // 2),
            **read_properties(options.command_config or options.admin_config),
        }
        try:
            async with Connected(options.bootstrap_server, properties, call="electLeaders") as cluster:
                await execute(options, cluster)
        except NotReachable:
            print("Timeout waiting for election results")
            raise CommandError("Timeout waiting for election results") from None

    run(work, to_stderr=True)


def parse(arguments: Sequence[str] | None = None) -> Namespace:
    """The command's flags; ends the process if they are wrong."""
    flags = Arguments(
        "kafka-leader-election",
        "This tool attempts to elect a new leader for a set of topic partitions. The type of elections supported are "
        "preferred replicas and unclean replicas.",
    )
    flags.add_connection(required=False)
    flags.add_argument(
        "--admin.config", dest="admin_config", metavar="FILE", help="Deprecated: --command-config."
    )
    flags.add_argument(
        "--path-to-json-file", metavar="FILE", help='{"partitions": [{"topic": "foo", "partition": 1}]}'
    )
    flags.add_argument("--topic", help="The topic, with --partition.")
    flags.add_argument("--partition", type=int, help="The partition of --topic.")
    flags.add_argument(
        "--all-topic-partitions", action="store_true", help="All partitions that are eligible."
    )
    flags.add_argument(
        "--election-type",
        metavar="TYPE",
        help='REQUIRED: "preferred" where another replica leads, "unclean" where none does.',
    )
    options = flags.parse(arguments)
    if options.election_type is not None:
        if options.election_type.upper() not in _ELECTIONS:
            flags.refuse(f"Cannot parse argument '{options.election_type}' of option election-type")
        options.election_type = options.election_type.upper()
    flags.refuse_together(options, "admin.config", ["command-config"])
    _check(flags, options)
    if options.admin_config is not None:
        print(
            "Option --admin.config has been deprecated and will be removed in a future version. "
            "Use --command-config instead."
        )
    return options


def _check(flags: Arguments, options: Namespace) -> None:
    required = {"bootstrap-server": options.bootstrap_server, "election-type": options.election_type}
    if missing := [name for name, value in required.items() if value is None]:
        flags.refuse(f"Missing required option(s): {', '.join(missing)}")
    ways = (options.topic is not None, options.all_topic_partitions, options.path_to_json_file is not None)
    if sum(ways) != 1:
        flags.refuse(
            "One and only one of the following options is required: topic, all-topic-partitions, path-to-json-file"
        )
    if options.topic is not None and options.partition is None:
        flags.refuse("Missing required option(s): partition")
    if options.topic is None and options.partition is not None:
        flags.refuse("Option partition is only allowed if topic is used")


async def execute(options: Namespace, cluster: Cluster) -> None:
    """Elect, and print what came of it. CommandError if a partition could not get a leader."""
    partitions: Collection[Partition] | None = None
    if options.path_to_json_file is not None:
        partitions = parse_partitions(_read(options.path_to_json_file))
    elif options.topic is not None:
        partitions = [(options.topic, options.partition)]
    results = await _elect(cluster, options.election_type, partitions)
    elected = [partition for partition, error in results.items() if error is None]
    if elected:
        print(
            f"Successfully completed leader election ({options.election_type}) for partitions {_listed(elected)}"
        )
    failed = {partition: error for partition, error in results.items() if error is not None}
    not_needed = [one for one, error in failed.items() if error.code == ErrorCode.ELECTION_NOT_NEEDED]
    if not_needed:
        print(f"Valid replica already elected for partitions {_listed(not_needed)}")
    count = 0
    for partition, error in failed.items():
        if partition not in not_needed:
            from kbroker.tools.java_errors import java_text

            count += 1
            print(
                f"Error completing leader election ({options.election_type}) for partition: "
                f"{_listed([partition])}: {java_text(error)}"
            )
    if count:
        raise CommandError(f"{count} replica(s) could not be elected")


async def _elect(
    cluster: Cluster, election: str, partitions: Collection[Partition] | None
) -> dict[Partition, ApiError | None]:
    """What came of each partition, in order. CommandError."""
    topics = None
    if partitions is not None:
        topics = [
            ElectLeadersRequest.TopicPartitions(topic=topic, partitions=indexes)
            for topic, indexes in by_topic(partitions).items()
        ]
    request = ElectLeadersRequest(
        election_type=_ELECTIONS[election],
        topic_partitions=topics,
        timeout_ms=int(cluster.request_timeout_s * 1000),
    )
    response = await cluster.controller(
        request, ElectLeadersResponse, errors=lambda answer: [answer.error_code]
    )
    if response.error_code == ErrorCode.CLUSTER_AUTHORIZATION_FAILED:
        print("Not authorized to perform leader election")
        raise CommandError("Not authorized to perform leader election")
    if response.error_code:
        raise ApiError(ErrorCode(response.error_code))
    results = {
        (topic.topic, one.partition_id): ApiError(ErrorCode(one.error_code), one.error_message)
        if one.error_code
        else None
        for topic in response.replica_election_results
        for one in topic.partition_result
    }
    return dict(sorted(results.items(), key=lambda item: item[0]))


def _read(path: str) -> str:
    try:
        return read_text(path)
    except CommandError as error:
        raise CommandError(f"java.io.IOException: {error}") from None


def parse_partitions(text: str) -> list[Partition]:
    """What the file says; CommandError."""
    value = parse_json(text, invalid="Replica election data is empty")
    if isinstance(value, dict) and "partitions" not in value:
        raise CommandError('Replica election data is missing "partitions" field')
    partitions = [
        (member(one, "topic", str), member(one, "partition", int))
        for one in member(value, "partitions", list)
    ]
    if twice := sorted({one for one in partitions if partitions.count(one) > 1}):
        raise CommandError(f"Replica election data contains duplicate partitions: [{_listed(twice)}]")
    return partitions


def _listed(partitions: Collection[Partition]) -> str:
    return ", ".join(f"{topic}-{index}" for topic, index in partitions)
