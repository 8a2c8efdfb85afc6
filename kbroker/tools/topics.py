"""``kafka-topics``: create, list, describe, alter and delete topics (Kafka's TopicCommand)."""

from __future__ import annotations

import re
import sys
from argparse import Namespace
from collections.abc import Sequence
from typing import Final, NoReturn

from kbroker.tools.arguments import Arguments, integer_flag, read_properties
from kbroker.tools.cluster import Cluster
from kbroker.tools.session import CommandError, Connected, run
from kbroker.tools.topic_changes import delete_topics
from kbroker.tools.topic_filters import INTERNAL_TOPICS, TopicFilter
from wire.errors import ApiError, ErrorCode
from wire.messages.metadata import MetadataResponse
from wire.messages.topics import (
    CreatePartitionsRequest,
    CreatePartitionsResponse,
    CreateTopicsRequest,
    CreateTopicsResponse,
)

_ACTIONS: Final = ("list", "describe", "create", "alter", "delete")
_REPORTS: Final = (
    "under_replicated_partitions",
    "under_min_isr_partitions",
    "at_min_isr_partitions",
    "unavailable_partitions",
)
_SUITS: Final = {
    "config": ("alter", "create"),
    "partitions": ("alter", "create"),
    "replication-factor": ("create",),
    "replica-assignment": ("alter", "create"),
    "under-replicated-partitions": ("describe",),
    "under-min-isr-partitions": ("describe",),
    "at-min-isr-partitions": ("describe",),
    "unavailable-partitions": ("describe",),
    "topics-with-overrides": ("describe",),
    "if-exists": ("alter", "delete", "describe"),
    "if-not-exists": ("create",),
    "exclude-internal": ("list", "describe"),
}
"""With which actions a flag may be given."""

_CONFIGS_HINT: Final = " (To alter topic configurations, the kafka-configs tool can be used.)"
_INT16_MAX: Final = 32_767

TopicMetadata = MetadataResponse.MetadataResponseTopic


def main() -> NoReturn:
    options = parse()

    async def work() -> None:
        properties = read_properties(options.command_config)
        call = "createTopics" if options.create else "listTopics"
        async with Connected(options.bootstrap_server, properties, call=call) as cluster:
            await execute(options, cluster)

    run(work, failed="Error while executing topic command : {}".format)


def parse(arguments: Sequence[str] | None = None) -> Namespace:
    """The command's flags; ends the process if they are wrong."""
    what = "reate, delete, describe, or change a topic."
    flags = Arguments("kafka-topics", f"This tool helps to c{what}", without_flags=f"C{what}")
    flags.add_connection(required=False)
    for action in _ACTIONS:
        flags.add_argument(f"--{action}", action="store_true", help=f"{action.capitalize()} topics.")
    flags.add_argument("--topic", help="The topic; a regular expression except with --create.")
    flags.add_argument("--topic-id", help="The id of the topic to describe.")
    flags.add_argument("--config", action="append", metavar="NAME=VALUE", help="A setting of the new topic.")
    flags.add_argument("--delete-config", action="append", metavar="NAME", help="No longer supported.")
    flags.add_argument("--partitions", help="How many partitions; the cluster's default if not given.")
    flags.add_argument("--replication-factor", help="How many replicas; the cluster's default if not given.")
    flags.add_argument("--replica-assignment", help="Brokers of each partition: 1:2,2:3,3:1.")
    flags.add_argument("--under-replicated-partitions", action="store_true", help="Show these only.")
    flags.add_argument("--unavailable-partitions", action="store_true", help="Show these only.")
    flags.add_argument("--under-min-isr-partitions", action="store_true", help="Show these only.")
    flags.add_argument("--at-min-isr-partitions", action="store_true", help="Show these only.")
    flags.add_argument("--topics-with-overrides", action="store_true", help="Show these topics only.")
    flags.add_argument("--if-exists", action="store_true", help="It is no error if the topic does not exist.")
    flags.add_argument("--if-not-exists", action="store_true", help="It is no error if the topic exists.")
    flags.add_argument("--exclude-internal", action="store_true", help="Leave internal topics out.")
    flags.add_argument("--partition-size-limit-per-response", help="Partitions in one response at most.")
    options = flags.parse(arguments)
    _check(flags, options)
    return options


def _check(flags: Arguments, options: Namespace) -> None:
    given = [action for action in _ACTIONS if getattr(options, action)]
    if len(given) != 1:
        flags.error(
            "Command must include exactly one action: --list, --describe, --create, --alter or --delete"
        )
    if options.delete_config:
        print(
            "delete-config option is no longer supported and deprecated since version 4.0. "
            "The config will be fully removed in future releases.",
            file=sys.stderr,
        )
    if options.bootstrap_server is None:
        flags.refuse("--bootstrap-server must be specified")
    if options.describe and options.if_exists:
        if options.topic is None and options.topic_id is None:
            flags.error("--topic or --topic-id is required to describe a topic")
        if options.topic is not None and options.topic_id is not None:
            print(
                "Only topic id will be used when both --topic and --topic-id are specified and topicId is not "
                "Uuid.ZERO_UUID"
            )
    if not options.list and not options.describe:
        flags.require(options, "topic")
    if options.alter:
        if options.config:
            flags.error(
                'Option combination "[[bootstrap-server], [config]]" can\'t be used with option "[alter]"'
                + _CONFIGS_HINT
            )
        flags.require(options, "partitions")
    for flag, actions in _SUITS.items():
        flags.refuse_together(options, flag, [action for action in _ACTIONS if action not in actions])
    if options.create:
        flags.refuse_together(options, "replica-assignment", ("partitions", "replication-factor"))
    for report in _REPORTS:
        flags.refuse_together(options, report.replace("_", "-"), ["topics-with-overrides"])


async def execute(options: Namespace, cluster: Cluster) -> None:
    """Do what the flags say. ApiError, CommandError."""
    if options.create:
        await _create(options, cluster)
    elif options.alter:
        await _alter(options, cluster)
    elif options.list:
        print("\n".join(await _matching(options, cluster)))
    elif options.describe:
        await _describe(options, cluster)
    else:
        await _delete(options, cluster)


async def _create(options: Namespace, cluster: Cluster) -> None:
    partitions = integer_flag(options, "partitions")
    replication_factor = integer_flag(options, "replication-factor")
    assignment = parse_replica_assignment(options.replica_assignment or "")
    configs = _parse_configs(options.config or [])
    if "." in options.topic or "_" in options.topic:
        print(
            "WARNING: Due to limitations in metric names, topics with a period ('.') or underscore ('_') could "
            "collide. To avoid issues it is best to use either, but not both."
        )
    if not options.topic:
        raise CommandError("The given topic name '' cannot be represented in a request.")
    if replication_factor is not None and not 1 <= replication_factor <= _INT16_MAX:
        raise CommandError("The replication factor must be between 1 and 32767 inclusive")
    if partitions is not None and partitions < 1:
        raise CommandError("The partitions must be greater than 0")
    topic = CreateTopicsRequest.CreatableTopic(
        name=options.topic,
        num_partitions=partitions or -1,
        replication_factor=replication_factor or -1,
        assignments=[
            CreateTopicsRequest.CreatableTopic.CreatableReplicaAssignment(
                partition_index=index, broker_ids=brokers
            )
            for index, brokers in enumerate(assignment)
        ],
        configs=[
            CreateTopicsRequest.CreatableTopic.CreatableTopicConfig(name=name, value=value)
            for name, value in configs.items()
        ],
    )
    request = CreateTopicsRequest(topics=[topic], timeout_ms=_timeout_ms(cluster))
    response = await cluster.controller(
        request, CreateTopicsResponse, errors=lambda answer: [one.error_code for one in answer.topics]
    )
    result = response.topics[0]
    if result.error_code == ErrorCode.TOPIC_ALREADY_EXISTS and options.if_not_exists:
        return
    _raise_error(result.error_code, result.error_message)
    print(f"Created topic {options.topic}.")


async def _alter(options: Namespace, cluster: Cluster) -> None:
    count = integer_flag(options, "partitions")
    assert count is not None
    assignment = parse_replica_assignment(options.replica_assignment or "")
    found = await _matching(options, cluster)
    _must_exist(options, found)
    if not found:
        return
    topic_class = CreatePartitionsRequest.CreatePartitionsTopic
    request = CreatePartitionsRequest(
        topics=[
            topic_class(
                name=name,
                count=count,
                assignments=[
                    topic_class.CreatePartitionsAssignment(broker_ids=brokers)
                    for brokers in assignment[len(topic.partitions) :]
                ]
                if assignment
                else None,
            )
            for name, topic in found.items()
        ],
        timeout_ms=_timeout_ms(cluster),
    )
    response = await cluster.controller(
        request, CreatePartitionsResponse, errors=lambda answer: [one.error_code for one in answer.results]
    )
    for result in response.results:
        _raise_error(result.error_code, result.error_message)


async def _delete(options: Namespace, cluster: Cluster) -> None:
    found = await _matching(options, cluster)
    _must_exist(options, found)
    if not found:
        return
    for refusal in (await delete_topics(cluster, list(found))).values():
        if refusal is not None:
            raise refusal


async def _describe(options: Namespace, cluster: Cluster) -> None:
    from kbroker.tools.topic_descriptions import describe, parse_topic_id, topic_id_text

    topic_id = parse_topic_id(options.topic_id) if options.topic_id is not None else None
    by_id = topic_id is not None and topic_id.int != 0
    if by_id:
        everything = await _listed(options, cluster)
        found = {name: topic for name, topic in everything.items() if topic.topic_id == topic_id}
        if not found and not options.if_exists:
            assert topic_id is not None
            raise CommandError(f"TopicId '{topic_id_text(topic_id)}' does not exist as expected")
    else:
        found = await _matching(options, cluster)
        _must_exist(options, found)
    await describe(options, found, cluster, by_id=by_id)


async def _listed(options: Namespace, cluster: Cluster) -> dict[str, TopicMetadata]:
    """All topics by name, as Metadata has them, in order."""
    topics = {topic.name or "": topic for topic in (await cluster.metadata()).topics}
    return {
        name: topics[name]
        for name in sorted(topics)
        if not options.exclude_internal or not (topics[name].is_internal or name in INTERNAL_TOPICS)
    }


async def _matching(options: Namespace, cluster: Cluster) -> dict[str, TopicMetadata]:
    chosen = None if options.topic is None else TopicFilter(options.topic)
    listed = await _listed(options, cluster)
    return {name: topic for name, topic in listed.items() if chosen is None or chosen.allows(name)}


def _must_exist(options: Namespace, found: dict[str, TopicMetadata]) -> None:
    if options.topic and not options.if_exists and not found:
        raise CommandError(f"Topic '{options.topic}' does not exist as expected")


def _raise_error(code: int, message: str | None) -> None:
    if code:
        raise ApiError(ErrorCode(code), message)


def _timeout_ms(cluster: Cluster) -> int:
    return int(cluster.request_timeout_s * 1000)


def parse_replica_assignment(text: str) -> list[list[int]]:
    """``1:2,2:3``: the brokers of each partition; CommandError."""
    assignment: list[list[int]] = []
    for index, listed in enumerate(text.rstrip(",").split(",") if text else []):
        brokers = [_broker_id(broker.strip()) for broker in listed.split(":")]
        twice = sorted({broker for broker in brokers if brokers.count(broker) > 1})
        if twice:
            duplicates = ",".join(map(str, twice))
            raise CommandError(f"Partition replica lists may not contain duplicate entries: {duplicates}")
        assignment.append(brokers)
        if len(brokers) != len(assignment[0]):
            raise CommandError(f"Partition {index} has different replication factor: {brokers}")
    return assignment


def _broker_id(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise CommandError(f'For input string: "{text}"') from None


def _parse_configs(given: list[str]) -> dict[str, str]:
    configs: dict[str, str] = {}
    for setting in given:
        parts = re.split(r"\s*=\s*", setting)
        if len(parts) != 2 or not parts[1]:
            raise CommandError(
                "requirement failed: Invalid topic config: all configs to be added must be in the format "
                '"key=val".'
            )
        configs[parts[0].strip()] = parts[1].strip()
    if configs:
        from kbroker.tools.topic_settings import check_topic_settings

        check_topic_settings(configs)
    return configs
