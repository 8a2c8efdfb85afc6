"""``kbroker groups``: list and describe consumer groups, set their offsets, delete them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final

from kbroker.prompt.arguments import parse_numbers
from kbroker.prompt.group_figures import GroupFigures, PartitionLag, group_figures
from kbroker.prompt.positions import Extent, extents, parse_position, resolve
from kbroker.prompt.quantities import counted
from kbroker.prompt.session import CommandError, Session, api_error_text
from kbroker.prompt.terminal import Cell, Column, Painted, Progress
from kbroker.prompt.topic_names import TopicNames, partitions_of
from kbroker.tools.cluster import Cluster, Partition
from kbroker.tools.consumer_group_admin import ConsumerGroups
from wire.errors import ApiError, ErrorCode

_STATE_PAINTS: Final = {"Stable": "green", "Empty": "dim", "Dead": "dim"}
_REBALANCING: Final = "yellow"


async def groups(session: Session) -> None:
    """The whole command."""
    options = session.options
    if options.verb == "reset" and options.to is not None:
        parse_position(options.to)  # before anything is connected
    actions = {"reset": _reset, "delete": _delete}
    action = actions.get(options.verb) or (_describe if options.groups else _list)
    async with session.connected() as cluster:
        await action(session, cluster)


# Listing


async def _list(session: Session, cluster: Cluster) -> None:
    listed = sorted(group.group_id for group in await ConsumerGroups(cluster).list())
    progress = Progress()
    try:
        found = await group_figures(
            cluster, listed, step=lambda done: progress.show(f"{done:,} of {counted(len(listed), 'group')}")
        )
    finally:
        progress.clear()
    if session.options.json:
        session.print_json([group.as_json() for group in found])
        return
    if not found:
        session.terminal.note("no consumer groups")
        return
    session.terminal.table(
        [
            Column("GROUP"),
            Column("STATE"),
            Column("MEMBERS", right=True),
            Column("TOPICS", right=True),
            Column("LAG", right=True),
        ],
        [
            [
                Painted(group.description.group_id, "cyan"),
                _state(group),
                len(group.description.members),
                len({one.partition[0] for one in group.partitions}),
                _lag(group.lag),
            ]
            for group in found
        ],
    )


def _state(group: GroupFigures) -> Painted:
    state = group.description.state
    return Painted(state, _STATE_PAINTS.get(state, _REBALANCING))


def _lag(lag: int | None) -> Cell:
    return Painted(f"{lag:,}", "yellow") if lag else lag


# Describing


async def _describe(session: Session, cluster: Cluster) -> None:
    found = [await _required(cluster, group_id) for group_id in dict.fromkeys(session.options.groups)]
    if session.options.json:
        session.print_json([_described_as_json(group) for group in found])
        return
    for index, group in enumerate(found):
        if index:
            session.terminal.line()
        _print_group(session, group)


async def _required(cluster: Cluster, group_id: str) -> GroupFigures:
    try:
        (found,) = await group_figures(cluster, [group_id])
    except ApiError as error:
        if error.code is not ErrorCode.GROUP_ID_NOT_FOUND:
            raise
        raise CommandError(await _unknown(cluster, group_id)) from None
    return found


async def _unknown(cluster: Cluster, group_id: str) -> str:
    from difflib import get_close_matches  # only where something went wrong

    known = [group.group_id for group in await ConsumerGroups(cluster).list()]
    if similar := get_close_matches(group_id, known, n=1):
        return f"no group {group_id!r}; did you mean {similar[0]!r}?"
    return f"no group {group_id!r}; `kbroker groups` lists them"


def _described_as_json(group: GroupFigures) -> dict[str, Any]:
    description = group.description
    return group.as_json() | {
        "coordinator": description.coordinator_id,
        "assignor": description.assignor,
        "members": [
            {
                "member_id": member.member_id,
                "instance_id": member.instance_id or None,
                "client_id": member.client_id,
                "host": member.host,
                "partitions": [{"topic": topic, "partition": number} for topic, number in member.assignment],
                "lag": group.lag_of(member),
            }
            for member in description.members
        ],
        "partitions": [partition.as_json() for partition in group.partitions],
    }


def _print_group(session: Session, group: GroupFigures) -> None:
    terminal, description = session.terminal, group.description
    state = _state(group)
    facts = [terminal.paint(state.text, state.paint), counted(len(description.members), "member")]
    if group.lag is not None:
        facts.append(f"lag {group.lag:,}")
    terminal.line(f"{terminal.paint(description.group_id, 'bold cyan')}  {', '.join(facts)}")
    assignor = f", assignor {description.assignor}" if description.assignor else ""
    terminal.line(terminal.paint(f"coordinator {description.coordinator_id}{assignor}", "dim"))
    if description.members:
        terminal.line()
        _print_members(session, group)
    if group.partitions:
        terminal.line()
        _print_partitions(session, group.partitions)


def _print_members(session: Session, group: GroupFigures) -> None:
    session.terminal.table(
        [
            Column("MEMBER"),
            Column("CLIENT"),
            Column("HOST"),
            Column("PARTITIONS", right=True),
            Column("LAG", right=True),
        ],
        [
            [
                member.instance_id or member.member_id,
                member.client_id,
                member.host.removeprefix("/"),
                len(member.assignment),
                _lag(group.lag_of(member)),
            ]
            for member in group.description.members
        ],
    )


def _print_partitions(session: Session, partitions: Collection[PartitionLag]) -> None:
    session.terminal.table(
        [
            Column("TOPIC"),
            Column("PARTITION", right=True),
            Column("COMMITTED", right=True),
            Column("LATEST", right=True),
            Column("LAG", right=True),
            Column("CLIENT"),
        ],
        [
            [
                one.partition[0],
                one.partition[1],
                None if one.committed is None else str(one.committed),
                None if one.end is None else str(one.end),
                _lag(one.lag),
                one.member.client_id if one.member else None,
            ]
            for one in partitions
        ],
    )


# Offsets


async def _reset(session: Session, cluster: Cluster) -> None:
    options = session.options
    admin = ConsumerGroups(cluster)
    committed = await _offsets_of_inactive(admin, options.group)
    partitions = await _chosen(session, cluster, committed)
    within = await extents(cluster, partitions)
    wanted = await _wanted(session, cluster, committed, within)
    if options.yes:
        await admin.commit(options.group, wanted)
    if options.json:
        session.print_json(
            {
                "group": options.group,
                "changed": bool(options.yes),
                "partitions": [
                    {
                        "topic": topic,
                        "partition": number,
                        "from": committed.get((topic, number)),
                        "to": wanted[topic, number],
                    }
                    for topic, number in partitions
                ],
            }
        )
        return
    _print_changes(session, committed, wanted, within)
    if not options.yes:
        session.terminal.say("nothing was changed; add --yes to do it")


async def _offsets_of_inactive(admin: ConsumerGroups, group_id: str) -> dict[Partition, int]:
    """What it has committed: nothing, if there is no such group yet. CommandError if it has members."""
    try:
        description = await admin.describe(group_id)
    except ApiError as error:
        if error.code is ErrorCode.GROUP_ID_NOT_FOUND:
            return {}
        raise
    if description.members:
        count = counted(len(description.members), "member")
        raise CommandError(
            f"group {group_id} has {count}, which would set the offsets again; stop them first"
        )
    return {one: found.offset for one, found in (await admin.committed(group_id)).items()}


async def _chosen(session: Session, cluster: Cluster, committed: Mapping[Partition, int]) -> list[Partition]:
    """The partitions that ``--topic`` flags mean, or those that there are offsets of. CommandError."""
    options = session.options
    if options.all_topics:
        topics = TopicNames({topic for topic, _ in committed})
        there = set(partitions_of(await topics.there(cluster))) if committed else set()
        chosen = sorted(there & committed.keys())
        if not chosen:
            raise CommandError(f"group {options.group} has no offsets of any topic; name one with --topic")
        return chosen
    partitions: set[Partition] = set()
    for text in options.topic:
        name, separator, numbers = text.partition(":")
        found = await TopicNames([name]).required(cluster)
        partitions.update(partitions_of(found, parse_numbers(numbers) if separator else None))
    return sorted(partitions)


async def _wanted(
    session: Session, cluster: Cluster, committed: Mapping[Partition, int], within: Mapping[Partition, Extent]
) -> dict[Partition, int]:
    options = session.options
    if options.to is not None:
        return await resolve(cluster, parse_position(options.to), within)
    if missing := [partition for partition in within if partition not in committed]:
        topic, number = missing[0]
        raise CommandError(f"{topic}/{number} has no committed offset to shift; say --to")
    return {one: extent.clamp(committed[one] + options.shift_by) for one, extent in within.items()}


def _print_changes(
    session: Session,
    committed: Mapping[Partition, int],
    wanted: Mapping[Partition, int],
    within: Mapping[Partition, Extent],
) -> None:
    session.terminal.table(
        [
            Column("TOPIC"),
            Column("PARTITION", right=True),
            Column("FROM", right=True),
            Column("TO", right=True),
            Column("CHANGE", right=True),
            Column("LAG", right=True),
        ],
        [
            [
                topic,
                number,
                str(committed[topic, number]) if (topic, number) in committed else None,
                Painted(str(offset), "bold"),
                _change(committed.get((topic, number)), offset),
                within[topic, number].latest - offset,
            ]
            for (topic, number), offset in wanted.items()
        ],
    )


def _change(before: int | None, after: int) -> Cell:
    if before is None:
        return None
    if after == before:
        return Painted("0", "dim")
    return Painted(f"{after - before:+,}", "green" if after > before else "yellow")


# Deleting


async def _delete(session: Session, cluster: Cluster) -> None:
    options = session.options
    admin = ConsumerGroups(cluster)
    known = {group.group_id for group in await admin.list()}
    chosen = list(dict.fromkeys(options.groups))
    for group_id in chosen:
        if group_id not in known:
            raise CommandError(await _unknown(cluster, group_id))
    session.terminal.confirm(f"delete {', '.join(chosen)} with all committed offsets", yes=options.yes)
    failures: list[str] = []
    deleted: list[str] = []
    for group_id in chosen:
        try:
            await admin.delete(group_id)
            deleted.append(group_id)
        except ApiError as error:
            failures.append(f"{group_id}: {api_error_text(error)}")
    if options.json:
        session.print_json([{"group": group_id, "deleted": True} for group_id in deleted])
    else:
        for group_id in deleted:
            session.terminal.line(f"deleted {session.terminal.paint(group_id, 'cyan')}")
    for text in failures[:-1]:
        session.terminal.warn(f"kbroker groups: {text}")
    if failures:
        raise CommandError(failures[-1])
