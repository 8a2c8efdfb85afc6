"""``kafka-consumer-groups``: list, describe and delete consumer groups, and change their offsets."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, NoReturn

from kbroker.tools.arguments import Arguments, integer_flag, read_properties
from kbroker.tools.cluster import Cluster, Partition, by_topic
from kbroker.tools.consumer_group_admin import Committed, ConsumerGroups, Description, Member
from kbroker.tools.java_errors import java_message, java_text
from kbroker.tools.offset_resets import SCENARIOS, Resetter, UsageMistake, csv_cell, topic_partitions
from kbroker.tools.partition_offsets import LATEST, list_offsets
from kbroker.tools.session import CommandError, Connected, run
from kbroker.world import ConnectionLost
from wire.errors import ApiError, ErrorCode, ProtocolError

DESCRIPTION: Final = "This tool helps to list, describe, delete and manage the offsets of consumer groups."
MISSING: Final = "-"
_ACTIONS: Final = ("list", "describe", "delete", "reset-offsets", "delete-offsets", "validate-regex")
_STATES: Final = (
    "PreparingRebalance",
    "CompletingRebalance",
    "Stable",
    "Dead",
    "Empty",
    "Assigning",
    "Reconciling",
)
_REBALANCING: Final = frozenset({"PreparingRebalance", "CompletingRebalance", "Assigning", "Reconciling"})
_TYPES: Final = ("Classic", "Consumer")


def arguments() -> Arguments:
    """The flags."""
    parser = Arguments("kafka-consumer-groups", DESCRIPTION)
    parser.add_connection(required=False)
    parser.add_argument(
        "--group", action="append", default=[], metavar="GROUP", help="The group(s) to act on."
    )
    parser.add_argument(
        "--topic",
        action="append",
        default=[],
        metavar="TOPIC[:0,1]",
        help="The topic(s), or some of their partitions.",
    )
    for name, text in (
        ("all-topics", "All topics that the group has committed offsets of."),
        ("all-groups", "All consumer groups."),
        ("list", "List all consumer groups."),
        ("describe", "Show a group's offsets and lag."),
        ("delete", "Delete groups."),
        (
            "reset-offsets",
            "Change the offsets of inactive groups; one of --dry-run (the default) and --execute.",
        ),
        ("delete-offsets", "Delete a group's offsets of topics."),
        ("dry-run", "Only show what would be changed."),
        ("execute", "Change it."),
        ("export", "Print the offsets as CSV."),
        ("to-earliest", "To the start of the partitions."),
        ("to-latest", "To the end of the partitions."),
        ("to-current", "To what is committed."),
        ("members", "With --describe: the members."),
        ("verbose", "With --describe: more columns."),
        ("offsets", "With --describe: the offsets (the default)."),
    ):
        parser.add_argument(f"--{name}", action="store_true", help=text)
    parser.add_argument(
        "--timeout", default="5000", metavar="MS", help="How long to wait for answers. Default: 5000."
    )
    parser.add_argument("--to-offset", metavar="OFFSET", help="To one offset.")
    parser.add_argument("--shift-by", metavar="N", help="Forward by so many records, or back.")
    parser.add_argument(
        "--to-datetime", metavar="YYYY-MM-DDTHH:mm:SS.sss", help="To the first record since then."
    )
    parser.add_argument("--by-duration", metavar="PnDTnHnMnS", help="To the first record of this last time.")
    parser.add_argument("--from-file", metavar="CSV", help="To what a file says.")
    parser.add_argument(
        "--state",
        nargs="?",
        const="",
        metavar="STATE,...",
        help="With --describe: the state. With --list: states, or only groups in these.",
    )
    parser.add_argument(
        "--type", nargs="?", const="", metavar="TYPE,...", help="With --list: types, or only groups of these."
    )
    parser.add_argument(
        "--validate-regex", metavar="REGEX", help="Say whether a regular expression is valid."
    )
    return parser


def check(parser: Arguments, options: argparse.Namespace) -> None:
    """Exit with 1 if the flags do not fit together."""
    _check_availability(parser, options)
    if options.validate_regex is None:
        parser.require(options, "bootstrap-server")
    scope = bool(options.group or options.all_groups)
    one_scope = "takes one of these options: [group], [all-groups]"
    if options.describe:
        if not scope:
            parser.error(f"Option [describe] {one_scope}")
        if sum((options.members, options.offsets, options.state is not None)) > 1:
            parser.error(
                "Option [describe] takes at most one of these options: [members], [offsets], [state]"
            )
        if options.state:
            parser.error("Option [describe] does not take a value for [state]")
    if options.delete:
        if not scope:
            parser.error(f"Option [delete] {one_scope}")
        if options.topic:
            parser.error(
                "The consumer does not support topic-specific offset deletion from a consumer group."
            )
    if options.delete_offsets and not (options.group and options.topic):
        parser.error("Option [delete-offsets] takes the following options: [group], [topic]")
    if options.reset_offsets:
        _check_reset(parser, options, scope, one_scope)
    parser.refuse_together(options, "group", ["all-groups", "list"])
    parser.refuse_together(options, "topic", ["list", "describe"])
    given = sum(
        bool(getattr(options, name.replace("-", "_"))) for name in _ACTIONS if name != "validate-regex"
    ) + (options.validate_regex is not None)
    if given != 1:
        actions = ", ".join(f"--{name}" for name in _ACTIONS)
        parser.error(f"Command must include exactly one action: {actions}")


def _check_availability(parser: Arguments, options: argparse.Namespace) -> None:
    for name, given, available in (
        ("members", options.members, options.describe),
        ("verbose", options.verbose, options.describe),
        ("offsets", options.offsets, options.describe),
        ("state", options.state is not None, options.describe or options.list),
        ("type", options.type is not None, options.list),
    ):
        if given and not available:
            parser.refuse(f"Option(s) [{name}] are unavailable given other options on the command line")


def _check_reset(parser: Arguments, options: argparse.Namespace, scope: bool, one_scope: str) -> None:
    if options.dry_run and options.execute:
        parser.error("Option [reset-offsets] only accepts one of [execute] and [dry-run]")
    if not options.dry_run and not options.execute:
        print(
            "WARN: No action will be performed as the --execute option is missing. In version 5.0, this command will "
            "require either --dry-run or --execute to be specified. You should add the --dry-run option explicitly if "
            "you are scripting this command and want to keep the current default behavior without prompting.",
            file=sys.stderr,
        )
    if not scope:
        parser.error(f"Option [reset-offsets] {one_scope}")
    for name in SCENARIOS:
        parser.refuse_together(options, name, [other for other in SCENARIOS if other != name])


@dataclass(frozen=True, kw_only=True)
class OffsetRow:
    """One line of ``--describe``."""

    topic: str
    partition: int
    committed: Committed | None
    end: int | None
    consumer_id: str
    host: str
    client_id: str

    @property
    def lag(self) -> int | None:
        if self.committed is None or self.end is None:
            return None
        return self.end - self.committed.offset


class GroupsCommand:
    """What the flags ask for; prints it. ApiError, UsageMistake, CommandError."""

    def __init__(self, cluster: Cluster, options: argparse.Namespace) -> None:
        self._cluster = cluster
        self._options = options
        self._groups = ConsumerGroups(cluster)
        self._resetter = Resetter(cluster, options)

    async def run(self) -> None:
        if self._options.list:
            await self.list_all()
        elif self._options.describe:
            await self.describe()
        elif self._options.delete:
            await self.delete()
        elif self._options.reset_offsets:
            await self.reset_offsets()
        else:
            await self.delete_offsets()

    async def _chosen(self) -> list[str]:
        if self._options.all_groups:
            return [group.group_id for group in await self._groups.list()]
        return list(dict.fromkeys(self._options.group))

    # Listing

    async def list_all(self) -> None:
        with_type, with_state = self._options.type is not None, self._options.state is not None
        states = _states(self._options.state or "")
        types = _types(self._options.type or "")
        groups = await self._groups.list(states, types)
        if not with_type and not with_state:
            for group in groups:
                print(group.group_id)
            return
        width = max([15, *(len(group.group_id) for group in groups)]) + 10
        rows = [("GROUP", "TYPE", "STATE"), *((group.group_id, group.type, group.state) for group in groups)]
        for group_id, kind, state in rows:
            line = f"{group_id:<{width}}"
            line += f" {kind:<20}" if with_type else ""
            line += f" {state:<20}" if with_state else ""
            print(line)

    # Describing

    async def describe(self) -> None:
        descriptions = [await self._groups.describe(group_id) for group_id in await self._chosen()]
        for description in sorted(descriptions, key=lambda found: found.group_id):
            if self._options.members:
                self._print_members(description)
            elif self._options.state is not None:
                self._print_state(description)
            else:
                self._print_offsets(description, await self._offset_rows(description))

    async def _offset_rows(self, description: Description) -> list[OffsetRow]:
        committed = await self._groups.committed(description.group_id)
        assigned: set[Partition] = set()
        rows: list[OffsetRow] = []
        busy = [member for member in description.members if member.assignment]
        for member in sorted(busy, key=lambda member: -len(member.assignment)):
            assigned.update(member.assignment)
            rows += await self._rows(
                member.assignment, committed, member.member_id, member.host, member.client_id
            )
        rest = [partition for partition in committed if partition not in assigned]
        if rest:
            rows += await self._rows(rest, committed, MISSING, MISSING, MISSING)
        return rows

    async def _rows(
        self,
        partitions: Collection[Partition],
        committed: Mapping[Partition, Committed],
        consumer_id: str,
        host: str,
        client_id: str,
    ) -> Sequence[OffsetRow]:
        led = await self._led(partitions)
        ends = await list_offsets(self._cluster, led, LATEST)
        return [
            OffsetRow(
                topic=partition[0],
                partition=partition[1],
                committed=committed.get(partition),
                end=ends.get(partition),
                consumer_id=consumer_id,
                host=host,
                client_id=client_id,
            )
            for partition in sorted(partitions)
        ]

    async def _led(self, partitions: Collection[Partition]) -> Sequence[Partition]:
        response = await self._cluster.metadata(sorted({topic for topic, _ in partitions}))
        leaderless = {
            (topic.name or "", partition.partition_index)
            for topic in response.topics
            for partition in topic.partitions
            if partition.leader_id < 0
        }
        return [partition for partition in partitions if partition not in leaderless]

    def _print_offsets(self, description: Description, rows: Sequence[OffsetRow]) -> None:
        if not _is_worth_printing(description, len(rows)):
            return
        group_width = max(15, len(description.group_id))
        topic_width = max([15, *(len(row.topic) for row in rows)])
        consumer_width = max([15, *(len(row.consumer_id) for row in rows)])
        host_width = max([15, *(len(row.host) for row in rows)])

        def line(group: str, topic: str, *cells: object) -> str:
            *numbers, consumer_id, host, client_id = (
                MISSING if cell is None else str(cell) for cell in cells
            )
            text = f"\n{group:<{group_width}} {topic:<{topic_width}} {numbers[0]:<10}"
            for number in numbers[1:]:
                text += f" {number:<15}"
            return f"{text} {consumer_id:<{consumer_width}} {host:<{host_width}} {client_id}"

        verbose = self._options.verbose
        epoch_title = ["LEADER-EPOCH"] if verbose else []
        titles = ["PARTITION", *epoch_title, "CURRENT-OFFSET", "LOG-END-OFFSET", "LAG"]
        text = line("GROUP", "TOPIC", *titles, "CONSUMER-ID", "HOST", "CLIENT-ID")
        for row in rows:
            offset = None if row.committed is None else row.committed.offset
            epoch = None
            if row.committed is not None and row.committed.leader_epoch >= 0:
                epoch = row.committed.leader_epoch
            numbers = [row.partition, *([epoch] if verbose else []), offset, row.end, row.lag]
            text += line(description.group_id, row.topic, *numbers, row.consumer_id, row.host, row.client_id)
        print(text)

    def _print_members(self, description: Description) -> None:
        members = description.members
        if not _is_worth_printing(description, len(members)):
            members = [] if description.state == "Dead" else members
        static = any(member.instance_id for member in members)
        widths = {
            "GROUP": max(15, len(description.group_id) if members else 0),
            "CONSUMER-ID": max([15, *(len(member.member_id) for member in members)]),
            "GROUP-INSTANCE-ID": max([17, *(len(member.instance_id) for member in members)]),
            "HOST": max([15, *(len(member.host) for member in members)]),
            "CLIENT-ID": max([15, *(len(member.client_id) for member in members)]),
            "#PARTITIONS": 15,
        }
        if not static:
            del widths["GROUP-INSTANCE-ID"]
        current_width = max([20, *(len(_assignment(member.assignment)) for member in members)])
        target_width = max([20, *(len(_assignment(member.target)) for member in members)])
        mixed = {True, False} <= {member.upgraded for member in members}

        def details(*cells: str) -> str:
            epoch, current, target_epoch, target, upgraded = cells
            text = f"{epoch:<15} {current:<{current_width}} {target_epoch:<15} {target:<{target_width}}"
            return f"{text} {upgraded}" if mixed else text

        def print_line(cells: Mapping[str, object], more: str) -> None:
            line = "".join(f"{cells[name]!s:<{width}} " for name, width in widths.items())
            print(line + (more if self._options.verbose else ""))

        print()
        print_line(
            {name: name for name in widths},
            details("CURRENT-EPOCH", "CURRENT-ASSIGNMENT", "TARGET-EPOCH", "TARGET-ASSIGNMENT", "UPGRADED"),
        )
        for member in members:
            print_line(
                {
                    "GROUP": description.group_id,
                    "CONSUMER-ID": member.member_id,
                    "GROUP-INSTANCE-ID": member.instance_id,
                    "HOST": member.host,
                    "CLIENT-ID": member.client_id,
                    "#PARTITIONS": len(member.assignment),
                },
                details(*_member_details(member, description)),
            )

    def _print_state(self, description: Description) -> None:
        if not _is_worth_printing(description, 1):
            return
        broker = self._cluster.brokers[description.coordinator_id]
        coordinator = f"{broker.host}:{broker.port}  ({description.coordinator_id})"
        group_width = max(15, len(description.group_id))
        coordinator_width = max(25, len(coordinator))

        def line(*cells: object) -> str:
            group, place, assignor, state, *epochs, count = (str(cell) for cell in cells)
            text = f"\n{group:<{group_width}} {place:<{coordinator_width}} {assignor:<20} {state:<20}"
            if epochs:
                text += f" {epochs[0]:<15} {epochs[1]:<25}"
            return f"{text} {count}"

        verbose = self._options.verbose
        titles = ["GROUP-EPOCH", "TARGET-ASSIGNMENT-EPOCH"] if verbose else []
        epochs = [_text(description.epoch), _text(description.target_epoch)] if verbose else []
        print(
            line("GROUP", "COORDINATOR (ID)", "ASSIGNMENT-STRATEGY", "STATE", *titles, "#MEMBERS")
            + line(
                description.group_id,
                coordinator,
                description.assignor or MISSING,
                description.state,
                *epochs,
                len(description.members),
            )
        )

    # Changing

    async def delete(self) -> None:
        """Delete the groups; those that cannot be are listed, with the reasons."""
        deleted: list[str] = []
        failed: dict[str, ApiError] = {}
        for group_id in await self._chosen():
            try:
                await self._groups.delete(group_id)
                deleted.append(f"'{group_id}'")
            except ApiError as error:
                failed[group_id] = error
        if not failed:
            print(f"Deletion of requested consumer groups ({', '.join(deleted)}) was successful.")
            return
        print_error("Deletion of some consumer groups failed:")
        for group_id, reason in failed.items():
            print(f"* Group '{group_id}' could not be deleted due to: {java_text(reason)}")
        if deleted:
            print(f"\nThese consumer groups were deleted successfully: {', '.join(deleted)}")

    async def delete_offsets(self) -> None:
        """Delete a group's offsets, and tell about each partition."""
        (group_id, *_) = self._options.group
        topics = self._options.topic
        partitions = [part for topic in topics if ":" in topic for part in topic_partitions(topic)]
        outcome: dict[Partition, ApiError | None] = {}
        whole = [topic for topic in topics if ":" not in topic]
        if whole:
            for topic in (await self._cluster.metadata(whole)).topics:
                if topic.error_code:
                    outcome[topic.name or "", -1] = ApiError(ErrorCode(topic.error_code))
                partitions += [
                    (topic.name or "", partition.partition_index) for partition in topic.partitions
                ]
        deletion = await self._groups.delete_offsets(group_id, partitions)
        outcome |= deletion.partitions
        self._tell_deletion(group_id, deletion.error)
        width = max([15, *(len(topic) for topic, _ in outcome)])
        text = f"\n{'TOPIC':<{width}} {'PARTITION':<10} {'STATUS':<15}"
        for (topic_name, number), failure in sorted(
            outcome.items(), key=lambda row: f"{row[0][0]}{row[0][1]}"
        ):
            shown = str(number) if number >= 0 else MISSING
            status = "Successful" if failure is None else f"Error: {java_text(failure)}"
            text += f"\n{topic_name:<{width}} {shown:<10} {status:<15}"
        print(text)

    def _tell_deletion(self, group_id: str, error: ApiError | None) -> None:
        if error is None:
            print(f"Request succeeded for deleting offsets from group {group_id}.")
        elif error.code in (
            ErrorCode.INVALID_GROUP_ID,
            ErrorCode.GROUP_ID_NOT_FOUND,
            ErrorCode.GROUP_AUTHORIZATION_FAILED,
            ErrorCode.NON_EMPTY_GROUP,
        ):
            print_error(java_message(ApiError(error.code)))
        elif error.code in (
            ErrorCode.GROUP_SUBSCRIBED_TO_TOPIC,
            ErrorCode.TOPIC_AUTHORIZATION_FAILED,
            ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
        ):
            print_error("Encountered some partition-level error, see the follow-up details.")
        else:
            print_error(f"Encountered some unknown error: {error.code.name}")

    async def reset_offsets(self) -> None:
        """Work out new offsets, commit them with ``--execute``, and print them."""
        results: dict[str, dict[Partition, int]] = {}
        for group_id in await self._chosen():
            try:
                state = (await self._groups.describe(group_id)).state
            except ApiError as error:
                if error.code is not ErrorCode.GROUP_ID_NOT_FOUND:
                    raise
                state = "Dead"
            if state not in ("Empty", "Dead"):
                print_error(
                    f"Assignments can only be reset if the group '{group_id}' is inactive, but the current state is "
                    f"{state}."
                )
                results[group_id] = {}
                continue
            results[group_id] = await self._reset(group_id)
        if self._options.export:
            print(self._csv(results))
        else:
            _print_new_offsets(results)

    async def _reset(self, group_id: str) -> dict[Partition, int]:
        options = self._options
        committed = await self._groups.committed(group_id)
        if options.all_topics:
            partitions = list(committed)
        elif options.topic:
            partitions = await self._resetter.partitions(options.topic)
        elif options.from_file is not None:
            partitions = []
        else:
            raise UsageMistake("One of the reset scopes should be defined: --all-topics, --topic.")
        await self._resetter.check(partitions)
        offsets = await self._resetter.offsets(group_id, partitions, committed)
        if options.execute:
            await self._groups.commit(group_id, offsets)
        return offsets

    def _csv(self, results: Mapping[str, Mapping[Partition, int]]) -> str:
        single = len(self._options.group) == 1
        lines = []
        for group_id, offsets in results.items():
            for (topic, number), offset in sorted(offsets.items()):
                names = [topic] if single else [group_id, topic]
                lines.append(f"{','.join(map(csv_cell, names))},{number},{offset}\n")
        return "".join(lines)


def _states(text: str) -> Sequence[str]:
    if not text:
        return ()
    known = {state.lower(): state for state in _STATES}
    wanted = [name.strip().lower() for name in text.split(",")]
    if any(name not in known for name in wanted):
        raise UsageMistake(f"Invalid state list '{text}'. Valid states are: {', '.join(_STATES)}")
    return [known[name] for name in wanted]


def _types(text: str) -> Sequence[str]:
    if not text:
        return ()
    wanted = [name.strip().lower() for name in text.split(",")]
    if any(name.capitalize() not in _TYPES for name in wanted):
        raise UsageMistake(f"Invalid types list '{text}'. Valid types are: {', '.join(_TYPES)}")
    return wanted


def _is_worth_printing(description: Description, rows: int) -> bool:
    state = description.state
    if state == "Dead":
        print_error(f"Consumer group '{description.group_id}' does not exist.")
    elif state == "Empty":
        sys.stdout.flush()
        print(f"\nConsumer group '{description.group_id}' has no active members.", file=sys.stderr)
    elif state in _REBALANCING:
        sys.stdout.flush()
        print(f"\nWarning: Consumer group '{description.group_id}' is rebalancing.", file=sys.stderr)
    elif state != "Stable":
        raise CommandError(f"Expected a valid consumer group state, but found '{state}'.")
    return state != "Dead" and rows > 0


def _assignment(partitions: Collection[Partition]) -> str:
    numbers = by_topic(sorted(partitions))
    return ";".join(f"{topic}:{','.join(map(str, its))}" for topic, its in numbers.items()) or MISSING


def _member_details(member: Member, description: Description) -> tuple[str, str, str, str, str]:
    upgraded = MISSING if member.upgraded is None else str(member.upgraded).lower()
    return (
        _text(member.epoch),
        _assignment(member.assignment),
        _text(description.target_epoch),
        _assignment(member.target),
        upgraded,
    )


def _text(number: int | None) -> str:
    return MISSING if number is None else str(number)


def _print_new_offsets(results: Mapping[str, Mapping[Partition, int]]) -> None:
    group_width = max([15, *(len(group_id) for group_id in results)])
    topic_width = max([15, *(len(topic) for offsets in results.values() for topic, _ in offsets)])
    text = ""
    if results:
        text = f"\n{'GROUP':<{group_width}} {'TOPIC':<{topic_width}} {'PARTITION':<10} NEW-OFFSET"
    for group_id, offsets in results.items():
        for (topic, number), offset in sorted(offsets.items()):
            text += f"\n{group_id:<{group_width}} {topic:<{topic_width}} {number:<10} {offset}"
    print(text)


def print_error(message: str) -> None:
    """How this command tells that something failed; its exit code stays 0."""
    print(f"\nError: {message}")


def validate_regex(pattern: str) -> None:
    """Say whether a regular expression is one (RE2's, as the broker takes)."""
    import re2

    try:
        options = re2.Options()
        options.log_errors = False
        re2.compile(pattern, options)
        print(f"The regular expression `{pattern}` is valid.")
    except re2.error as error:
        reason = error.args[0].decode() if isinstance(error.args[0], bytes) else str(error.args[0])
        reason = re.sub(": .*", "", reason).replace("missing ", "missing closing ")  # as RE2/J words it
        print(f"The regular expression `{pattern}` is invalid: {reason}.")


async def command(parser: Arguments, options: argparse.Namespace) -> None:
    """The whole command. What fails is printed; the exit code is 0 as Kafka's is, but for wrong flags."""
    try:
        properties = read_properties(options.command_config)
        properties["default.api.timeout.ms"] = str(integer_flag(options, "timeout"))
        options.to_offset = integer_flag(options, "to-offset")
        options.shift_by = integer_flag(options, "shift-by")
        call = "deleteConsumerGroups" if options.delete else "describeConsumerGroups"
        call = f"{call}(api=FIND_COORDINATOR)"
        async with Connected(options.bootstrap_server, properties, call=call) as cluster:
            await GroupsCommand(cluster, options).run()
    except UsageMistake as mistake:
        parser.error(str(mistake))
    except (ApiError, CommandError, ConnectionLost, ProtocolError, OSError, ValueError) as error:
        reason = java_message(error) if isinstance(error, ApiError) else str(error)
        if isinstance(error, ApiError) and options.describe:
            reason = java_text(error)
        print_error(f"Executing consumer group command failed due to {reason}")


def main() -> NoReturn:
    """The console script."""
    parser = arguments()
    options = parser.parse()
    check(parser, options)
    if options.validate_regex is not None:
        validate_regex(options.validate_regex)
        sys.exit(0)
    run(partial(command, parser, options))
