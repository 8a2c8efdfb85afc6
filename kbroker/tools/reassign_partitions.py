"""``kafka-reassign-partitions``: move replicas to other brokers and directories (Kafka's ReassignPartitionsCommand).

What is asked of ``--bootstrap-controller`` there, this command asks of brokers only.
"""

from __future__ import annotations

import random
import sys
from argparse import Namespace
from collections.abc import Collection, Mapping, Sequence
from typing import Final, NoReturn

from kbroker.tools.arguments import Arguments, integer_flag, read_properties
from kbroker.tools.cluster import Cluster, Partition
from kbroker.tools.config_resources import BROKER, TOPIC, alter_configs
from kbroker.tools.failures import UnreadableFileError
from kbroker.tools.json_files import read_text
from kbroker.tools.log_directories import describe_log_dirs
from kbroker.tools.reassignment_plans import (
    Replica,
    joined,
    moves,
    parse_brokers,
    parse_plan,
    parse_plan_to_execute,
    parse_topics,
    partition_text,
    plan_text,
    propose,
    throttled_replicas,
)
from kbroker.tools.reassignment_state import list_reassignments
from kbroker.tools.session import CommandError, Connected, run
from wire.errors import ApiError, ErrorCode
from wire.messages.log_dirs import AlterReplicaLogDirsRequest, AlterReplicaLogDirsResponse
from wire.messages.reassignments import (
    AlterPartitionReassignmentsRequest,
    AlterPartitionReassignmentsResponse,
)

_CLIENT_ID: Final = "reassign-partitions-tool"
_ACTIONS: Final = {
    "generate": ("topics-to-move-json-file", "broker-list"),
    "execute": ("reassignment-json-file",),
    "verify": ("reassignment-json-file",),
    "cancel": ("reassignment-json-file",),
    "list": (),
}
"""What each action needs."""

_ALLOWED: Final = {
    "generate": ("disable-rack-aware",),
    "execute": (
        "additional",
        "throttle",
        "replica-alter-log-dirs-throttle",
        "timeout",
        "disallow-replication-factor-change",
    ),
    "verify": ("preserve-throttles",),
    "cancel": ("preserve-throttles", "timeout"),
    "list": (),
}
_FLAGS: Final = (
    "additional",
    "broker-list",
    "disable-rack-aware",
    "disallow-replication-factor-change",
    "preserve-throttles",
    "reassignment-json-file",
    "replica-alter-log-dirs-throttle",
    "throttle",
    "timeout",
    "topics-to-move-json-file",
)
_BROKER_THROTTLES: Final = (
    "leader.replication.throttled.rate",
    "follower.replication.throttled.rate",
    "replica.alter.log.dirs.io.max.bytes.per.second",
)
_TOPIC_THROTTLES: Final = (
    "leader.replication.throttled.replicas",
    "follower.replication.throttled.replicas",
)
_START_TIMEOUT_MS: Final = 10_000
_RETRY_S: Final = 0.1


class TerseError(CommandError):
    """What is printed as it is, without "Error:" before it."""


def main() -> NoReturn:
    options = parse()

    async def work() -> None:
        try:
            properties = {"client.id": _CLIENT_ID, **read_properties(options.command_config)}
            call = "describeTopics" if options.action == "generate" else "listPartitionReassignments"
            async with Connected(options.bootstrap_server, properties, call=call) as cluster:
                await execute(options, cluster)
        except TerseError:
            raise
        except UnreadableFileError as error:
            raise CommandError(f"Error: {error.reason}") from None
        except CommandError as error:
            raise CommandError(f"Error: {error}") from None
        except ApiError as error:
            from kbroker.tools.java_errors import java_text

            raise CommandError(f"Error: {java_text(error)}") from None

    run(work)


def parse(arguments: Sequence[str] | None = None) -> Namespace:
    """The command's flags, with ``action``; ends the process if they are wrong."""
    flags = Arguments(
        "kafka-reassign-partitions", "This tool helps to move topic partitions between replicas."
    )
    flags.add_connection(required=False)
    flags.add_argument("--bootstrap-controller", metavar="HOST:PORT,...", help="Not supported.")
    flags.add_argument("--generate", action="store_true", help="Propose a reassignment.")
    flags.add_argument("--execute", action="store_true", help="Start the reassignment of a file.")
    flags.add_argument("--verify", action="store_true", help="Tell how far it is; lift throttles at its end.")
    flags.add_argument("--cancel", action="store_true", help="Cancel the reassignment of a file.")
    flags.add_argument("--list", action="store_true", help="List the reassignments under way.")
    flags.add_argument("--reassignment-json-file", metavar="FILE", help="The reassignment.")
    flags.add_argument("--topics-to-move-json-file", metavar="FILE", help="The topics to propose one for.")
    flags.add_argument("--broker-list", metavar="N,N", help="The brokers to propose one for.")
    flags.add_argument("--disable-rack-aware", action="store_true", help="Take no account of racks.")
    flags.add_argument("--throttle", help="Bytes per second between brokers at most.")
    flags.add_argument("--replica-alter-log-dirs-throttle", help="The same between directories.")
    flags.add_argument("--timeout", help="Milliseconds until moves of directories must have begun.")
    flags.add_argument("--additional", action="store_true", help="In addition to those under way.")
    flags.add_argument("--preserve-throttles", action="store_true", help="Leave throttles as they are.")
    flags.add_argument(
        "--disallow-replication-factor-change", action="store_true", help="Refuse another replication factor."
    )
    options = flags.parse(arguments)
    given = [action for action in _ACTIONS if getattr(options, action)]
    if len(given) != 1:
        flags.error(
            f"Command must include exactly one action: {', '.join(f'--{action}' for action in _ACTIONS)}"
        )
    options.action = given[0]
    if options.bootstrap_server is not None and options.bootstrap_controller is not None:
        flags.error("Please don't specify both --bootstrap-server and --bootstrap-controller")
    if options.bootstrap_server is None and options.bootstrap_controller is None:
        flags.error("Please specify either --bootstrap-server or --bootstrap-controller")
    flags.require(options, *_ACTIONS[options.action])
    for flag in _FLAGS:
        value = getattr(options, flag.replace("-", "_"))
        suits = flag in _ACTIONS[options.action] or flag in _ALLOWED[options.action]
        if value is not None and value is not False and not suits:
            flags.error(f'Option "[{flag}]" can\'t be used with action "[{options.action}]"')
    if options.bootstrap_controller is not None:
        if options.action == "generate":
            flags.error('Option "[bootstrap-controller]" can\'t be used with action "[generate]"')
        flags.error("--bootstrap-controller is not supported by this command")
    return options


async def execute(options: Namespace, cluster: Cluster) -> None:
    """Do what the flags say. ApiError, CommandError."""
    match options.action:
        case "generate":
            await _generate(options, cluster)
        case "execute":
            await _execute(options, cluster)
        case "verify":
            await _verify(options, cluster)
        case "cancel":
            await _cancel(options, cluster)
        case _:
            await _list(cluster)


async def _list(cluster: Cluster) -> None:
    under_way = await list_reassignments(cluster)
    if not under_way:
        print("No partition reassignments found.")
        return
    print("Current partition reassignments:")
    for partition, one in sorted(under_way.items(), key=lambda item: item[0]):
        adding = f" adding: {joined(one.adding_replicas)}." if one.adding_replicas else ""
        removing = f" removing: {joined(one.removing_replicas)}." if one.removing_replicas else ""
        print(f"{partition_text(partition)}: replicas: {joined(one.replicas)}.{adding}{removing}")


async def _generate(options: Namespace, cluster: Cluster) -> None:
    brokers = parse_brokers(options.broker_list)
    topics = parse_topics(read_text(options.topics_to_move_json_file))
    current = await _assignments(cluster, topics)
    racks = {
        node_id: None if options.disable_rack_aware else broker.rack
        for node_id, broker in cluster.brokers.items()
        if node_id in brokers
    }
    if len({rack is None for rack in racks.values()}) > 1:
        raise CommandError(
            "Not all brokers have rack information. Add --disable-rack-aware in command line to make replica "
            "assignment without rack information."
        )
    proposal = propose(current, racks, random.randrange(max(1, len(racks))))
    directories = await _directories(cluster, _replicas(current))
    print(f"Current partition replica assignment\n{plan_text(current, directories)}\n")
    print(f"Proposed partition reassignment configuration\n{plan_text(proposal, {})}")


async def _execute(options: Namespace, cluster: Cluster) -> None:
    text = read_text(options.reassignment_json_file)
    between_brokers = _throttle(options, "throttle")
    between_directories = _throttle(options, "replica-alter-log-dirs-throttle")
    timeout_ms = _timeout_ms(options)
    plan = parse_plan_to_execute(text)
    proposed = plan.partitions
    under_way = await list_reassignments(cluster)
    if under_way and not options.additional:
        raise TerseError(
            "Cannot execute because there is an existing partition assignment.  Use --additional to override this and "
            "create a new partition assignment in addition to the existing one. The --additional flag can also be "
            "used to change the throttle by resubmitting the current reassignment."
        )
    await _check_brokers(cluster, {broker for replicas in proposed.values() for broker in replicas})
    current = await _assignments(cluster, {topic for topic, _ in proposed}, proposed)
    print(
        "Current partition replica assignment\n\n"
        f"{plan_text(current, await _directories(cluster, _replicas(current)))}\n\n"
        "Save this to use as the --reassignment-json-file option during rollback"
    )
    if between_brokers >= 0 or between_directories >= 0:
        print(
            "Warning: You must run --verify periodically, until the reassignment completes, to ensure the throttle "
            "is removed."
        )
    if between_brokers >= 0:
        moving = moves(under_way, proposed, current)
        leaders = throttled_replicas(moving, leaders=True)
        followers = throttled_replicas(moving, leaders=False)
        await _alter_topics(
            cluster,
            {
                topic: dict(zip(_TOPIC_THROTTLES, (leaders[topic], followers[topic]), strict=True))
                for topic in leaders
            },
        )
        concerned = {broker for move in moving.values() for broker in move.sources | move.destinations}
        await _alter_brokers(cluster, concerned, dict.fromkeys(_BROKER_THROTTLES[:2], str(between_brokers)))
        print(f"The inter-broker throttle limit was set to {between_brokers} B/s")
    if between_directories >= 0:
        concerned = {replica.broker for replica in plan.directories}
        await _alter_brokers(cluster, concerned, {_BROKER_THROTTLES[2]: str(between_directories)})
        print(f"The replica-alter-dir throttle limit was set to {between_directories} B/s")
    errors = await _reassign(
        cluster, proposed, replication_factor_may_change=not options.disallow_replication_factor_change
    )
    if errors:
        raise TerseError("Error reassigning partition(s):\n" + _error_lines(errors))
    plural = "" if len(proposed) == 1 else "s"
    started = joined(map(partition_text, sorted(proposed)))
    print(f"Successfully started partition reassignment{plural} for {started}")
    if plan.directories:
        await _move_directories(cluster, plan.directories, timeout_ms)


async def _verify(options: Namespace, cluster: Cluster) -> None:
    plan = parse_plan(read_text(options.reassignment_json_file))
    targets = plan.partitions
    under_way = await list_reassignments(cluster)
    print("Status of partition reassignment:")
    topics = {topic for topic, _ in targets if not under_way or (topic, _) not in under_way}
    current = await _assignments(cluster, topics, missing_allowed=True)
    for partition, replicas in sorted(targets.items()):
        if partition in under_way:
            print(f"Reassignment of partition {partition_text(partition)} is still in progress.")
        elif current.get(partition, []) == replicas:
            print(f"Reassignment of partition {partition_text(partition)} is completed.")
        else:
            print(
                f"There is no active reassignment of partition {partition_text(partition)}, but replica set is "
                f"{joined(current.get(partition, []))} rather than {joined(replicas)}."
            )
    lines, moving = await _move_states(cluster, plan.directories)
    print("\n".join(lines))
    if not under_way and not moving and not options.preserve_throttles:
        await _clear_throttles(cluster, targets)


async def _cancel(options: Namespace, cluster: Cluster) -> None:
    plan = parse_plan(read_text(options.reassignment_json_file))
    under_way = await list_reassignments(cluster, set(plan.partitions))
    if under_way:
        errors = await _reassign(cluster, dict.fromkeys(under_way))
        plural = "" if len(errors or under_way) == 1 else "s"
        if errors:
            raise TerseError(f"Error cancelling partition reassignment{plural} for:\n{_error_lines(errors)}")
        cancelled = joined(map(partition_text, sorted(under_way)))
        print(f"Successfully cancelled partition reassignment{plural} for: {cancelled}")
    else:
        print("None of the specified partition reassignments are active.")
    found = await _directories(cluster, plan.directories)
    future = await _directories(cluster, plan.directories, future=True)
    back = {replica: found[replica] for replica in future if replica in found}
    if back:
        await _move_directories(cluster, back, _timeout_ms(options))
    else:
        sys.stdout.write("None of the specified partition moves are active.")
    if not options.preserve_throttles:
        await _clear_throttles(cluster, plan.partitions)


def _timeout_ms(options: Namespace) -> int:
    timeout_ms = integer_flag(options, "timeout")
    return _START_TIMEOUT_MS if timeout_ms is None else timeout_ms


def _throttle(options: Namespace, name: str) -> int:
    """Bytes per second; -1 for none. CommandError."""
    limit = integer_flag(options, name)
    return -1 if limit is None else limit


def _error_lines(errors: Mapping[Partition, ApiError]) -> str:
    from kbroker.tools.java_errors import java_message

    return "\n".join(f"{partition_text(one)}: {java_message(errors[one])}" for one in sorted(errors))


# Asking


async def _check_brokers(cluster: Cluster, brokers: Collection[int]) -> None:
    await cluster.connect()
    for broker in sorted(brokers):
        if broker not in cluster.brokers:
            raise CommandError(f"Unknown broker id {broker}")


async def _assignments(
    cluster: Cluster,
    topics: Collection[str],
    wanted: Collection[Partition] | None = None,
    *,
    missing_allowed: bool = False,
) -> dict[Partition, list[int]]:
    """The brokers of all partitions of these topics, or of those wanted, which must be there. ApiError."""
    found: dict[Partition, list[int]] = {}
    if not topics:
        return found
    for topic in (await cluster.metadata(sorted(topics))).topics:
        if topic.error_code == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION:
            if missing_allowed:
                continue
            raise ApiError(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, f"Topic {topic.name} not found.")
        if topic.error_code:
            raise ApiError(ErrorCode(topic.error_code))
        for one in topic.partitions:
            found[topic.name or "", one.partition_index] = one.replica_nodes
    if wanted is None:
        return found
    if missing := sorted(set(wanted) - found.keys()):
        listed = ", ".join(map(partition_text, missing))
        raise ApiError(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, f"Unable to find partition: {listed}")
    return {partition: found[partition] for partition in wanted}


def _replicas(assignment: Mapping[Partition, Sequence[int]]) -> set[Replica]:
    return {
        Replica(broker, topic, index) for (topic, index), brokers in assignment.items() for broker in brokers
    }


async def _directories(
    cluster: Cluster, replicas: Collection[Replica], *, future: bool = False
) -> dict[Replica, str]:
    """In which directory these replicas are, or (future) to which they are moving; without those that are in none."""
    found: dict[Replica, str] = {}
    for broker in sorted({replica.broker for replica in replicas} & cluster.brokers.keys()):
        for directory in await describe_log_dirs(cluster, broker):
            for topic in directory.topics:
                for one in topic.partitions:
                    replica = Replica(broker, topic.name, one.partition_index)
                    if one.is_future_key == future and replica in replicas:
                        found[replica] = directory.log_dir
    return found


async def _move_states(cluster: Cluster, targets: Mapping[Replica, str]) -> tuple[list[str], bool]:
    """How far moves between directories are, in words, and whether one is not over."""
    if not targets:
        return [], False
    current = await _directories(cluster, targets)
    future = await _directories(cluster, targets, future=True)
    lines: list[str] = []
    moving = False
    for replica in sorted(targets):
        target, partition = targets[replica], f"{replica.topic}-{replica.partition}"
        if replica not in current:
            moving = True
            lines.append(
                f"Partition {partition} is not found in any live log dir on broker {replica.broker}. There is likely "
                "an offline log directory on the broker."
            )
        elif replica in future:
            moving = True
            if future[replica] == target:
                lines.append(f"Reassignment of replica {replica} is still in progress.")
            else:
                lines.append(
                    f"Partition {partition} on broker {replica.broker} is being moved to log dir {future[replica]} "
                    f"instead of {target}."
                )
        elif current[replica] == target:
            lines.append(f"Reassignment of replica {replica} completed successfully.")
        else:
            lines.append(
                f"Partition {partition} on broker {replica.broker} is not being moved from log dir "
                f"{current[replica]} to {target}."
            )
    return lines, moving


# Changing


async def _reassign(
    cluster: Cluster,
    proposed: Mapping[Partition, Sequence[int] | None],
    *,
    replication_factor_may_change: bool = True,
) -> dict[Partition, ApiError]:
    """Start reassignments, or with None cancel them; what was refused. ApiError."""
    topic_class = AlterPartitionReassignmentsRequest.ReassignableTopic
    by_topic: dict[str, list[AlterPartitionReassignmentsRequest.ReassignableTopic.ReassignablePartition]] = {}
    for (topic, index), replicas in proposed.items():
        by_topic.setdefault(topic, []).append(
            topic_class.ReassignablePartition(
                partition_index=index, replicas=None if replicas is None else list(replicas)
            )
        )
    request = AlterPartitionReassignmentsRequest(
        timeout_ms=int(cluster.request_timeout_s * 1000),
        allow_replication_factor_change=replication_factor_may_change,
        topics=[topic_class(name=topic, partitions=partitions) for topic, partitions in by_topic.items()],
    )
    response = await cluster.controller(
        request, AlterPartitionReassignmentsResponse, errors=lambda answer: [answer.error_code]
    )
    if response.error_code:
        raise ApiError(ErrorCode(response.error_code), response.error_message)
    return {
        (topic.name, one.partition_index): ApiError(ErrorCode(one.error_code), one.error_message)
        for topic in response.responses
        for one in topic.partitions
        if one.error_code
    }


async def _move_directories(cluster: Cluster, targets: Mapping[Replica, str], timeout_ms: int) -> None:
    """Start moves between directories. A replica that is still on its way to the broker is tried again."""
    pending = dict(targets)
    with cluster.waiting.move_on_after(timeout_ms / 1000):
        while True:
            for replica in await _start_moves(cluster, pending):
                print(
                    f"Successfully started moving log directory to {pending.pop(replica)} for replica "
                    f"{replica.topic}-{replica.partition} with broker {replica.broker} "
                )
            if not pending:
                return
            await cluster.waiting.sleep(_RETRY_S)
    plural = "" if len(pending) == 1 else "s"
    raise TerseError(
        f"Timed out before log directory move{plural} could be started for: {joined(sorted(pending))}"
    )


async def _start_moves(cluster: Cluster, targets: Mapping[Replica, str]) -> list[Replica]:
    """The replicas whose moves began, in order. CommandError."""
    started: list[Replica] = []
    directory_class = AlterReplicaLogDirsRequest.AlterReplicaLogDir
    for broker in sorted({replica.broker for replica in targets}):
        by_directory: dict[str, dict[str, list[int]]] = {}
        for replica, directory in targets.items():
            if replica.broker == broker:
                by_directory.setdefault(directory, {}).setdefault(replica.topic, []).append(replica.partition)
        request = AlterReplicaLogDirsRequest(
            dirs=[
                directory_class(
                    path=directory,
                    topics=[
                        directory_class.AlterReplicaLogDirTopic(name=topic, partitions=indexes)
                        for topic, indexes in topics.items()
                    ],
                )
                for directory, topics in by_directory.items()
            ]
        )
        response = await cluster.broker(broker, request, AlterReplicaLogDirsResponse)
        for topic_result in response.results:
            for one in topic_result.partitions:
                replica = Replica(broker, topic_result.topic_name, one.partition_index)
                if not one.error_code:
                    started.append(replica)
                elif one.error_code != ErrorCode.REPLICA_NOT_AVAILABLE:
                    raise CommandError(f"Failed to alter dir for {replica}")
    return sorted(started)


async def _clear_throttles(cluster: Cluster, targets: Mapping[Partition, Sequence[int]]) -> None:
    brokers = {*cluster.brokers, *(broker for replicas in targets.values() for broker in replicas)}
    plural = "" if len(brokers) == 1 else "s"
    print(f"Clearing broker-level throttles on broker{plural} {joined(sorted(brokers))}")
    await _alter_brokers(cluster, brokers, dict.fromkeys(_BROKER_THROTTLES))
    topics = sorted({topic for topic, _ in targets})
    plural = "" if len(topics) == 1 else "s"
    print(f"Clearing topic-level throttles on topic{plural} {joined(topics)}")
    await _alter_topics(cluster, {topic: dict.fromkeys(_TOPIC_THROTTLES) for topic in topics})


async def _alter_brokers(
    cluster: Cluster, brokers: Collection[int], settings: Mapping[str, str | None]
) -> None:
    for error in (
        await alter_configs(cluster, {(BROKER, str(broker)): settings for broker in sorted(brokers)})
    ).values():
        raise error


async def _alter_topics(cluster: Cluster, settings: Mapping[str, Mapping[str, str | None]]) -> None:
    for error in (
        await alter_configs(cluster, {(TOPIC, topic): settings[topic] for topic in sorted(settings)})
    ).values():
        raise error
