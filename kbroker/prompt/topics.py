"""``kbroker topics``: list, describe, create, alter and delete topics."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final

from kbroker.prompt.quantities import counted, duration_text, size_text
from kbroker.prompt.session import CommandError, Session, api_error_text
from kbroker.prompt.terminal import Cell, Column, Painted
from kbroker.prompt.topic_figures import PartitionFigures, TopicFigures, topic_figures
from kbroker.prompt.topic_names import TopicNames, is_internal
from kbroker.tools.cluster import Cluster
from kbroker.tools.config_resources import SOURCES, TOPIC, Entry, alter_configs, describe_configs
from kbroker.tools.topic_changes import add_partitions, create_topics, delete_topics
from storage.uuid_text import uuid_to_text
from wire.errors import ApiError, ErrorCode

_DEFAULT: Final = "DEFAULT_CONFIG"
_FROM: Final = {
    "DYNAMIC_TOPIC_CONFIG": "topic",
    "DYNAMIC_BROKER_CONFIG": "broker",
    "DYNAMIC_DEFAULT_BROKER_CONFIG": "cluster",
    "STATIC_BROKER_CONFIG": "server.properties",
    _DEFAULT: "default",
}
_LONGEST_MS: Final = 2**62
_UNLIMITED: Final = frozenset(map(str, (-1, 2**31 - 1, 2**63 - 1)))


async def topics(session: Session) -> None:
    """The whole command."""
    options = session.options
    actions = {"create": _create, "alter": _alter, "delete": _delete}
    action = actions.get(options.verb) or (_describe if options.topics else _list)
    async with session.connected() as cluster:
        await action(session, cluster)


# Listing


async def _list(session: Session, cluster: Cluster) -> None:
    listed = {topic.name or "": topic for topic in (await cluster.metadata()).topics}
    shown = {
        name: listed[name] for name in sorted(listed) if session.options.all or not is_internal(listed[name])
    }
    found = await topic_figures(cluster, shown)
    if session.options.json:
        session.print_json([topic.as_json() for topic in found])
        return
    if found:
        session.terminal.table(
            [
                Column("TOPIC"),
                Column("PARTITIONS", right=True),
                Column("REPLICAS", right=True),
                Column("UNDER-REPLICATED", right=True),
                Column("MESSAGES", right=True),
                Column("SIZE", right=True),
            ],
            [_listed(topic) for topic in found],
        )
    else:
        session.terminal.note("no topics; create one with `kbroker topics create NAME`")
    if hidden := len(listed) - len(shown):
        session.terminal.note(f"{counted(hidden, 'internal topic')} not shown; see --all")


def _listed(topic: TopicFigures) -> list[Cell]:
    health: Cell = Painted("0", "dim")
    if topic.offline:
        health = Painted(f"{topic.under_replicated}, {topic.offline} offline", "red")
    elif topic.under_replicated:
        health = Painted(str(topic.under_replicated), "yellow")
    return [
        Painted(topic.name, "dim" if topic.internal else "cyan"),
        len(topic.partitions),
        topic.replication_factor,
        health,
        topic.messages,
        None if topic.size_bytes is None else size_text(topic.size_bytes),
    ]


# Describing


async def _describe(session: Session, cluster: Cluster) -> None:
    found = await TopicNames(session.options.topics).required(cluster)
    figures = await topic_figures(cluster, found)
    settings = {name: await _settings(session, cluster, name) for name in found}
    if session.options.json:
        session.print_json(
            [
                topic.as_json()
                | {
                    "partitions": [partition.as_json() for partition in topic.partitions],
                    "settings": {entry.name: _setting_as_json(entry) for entry in settings[topic.name]},
                }
                for topic in figures
            ]
        )
        return
    for index, topic in enumerate(figures):
        if index:
            session.terminal.line()
        _print_topic(session, topic, settings[topic.name])


async def _settings(session: Session, cluster: Cluster, name: str) -> list[Entry]:
    """Those that are not the default, or all. ApiError."""
    result = (await describe_configs(cluster, [(TOPIC, name)]))[TOPIC, name]
    if result.error_code:
        raise ApiError(ErrorCode(result.error_code), result.error_message)
    entries = sorted(result.configs, key=lambda entry: entry.name)
    return [entry for entry in entries if session.options.all_settings or _source(entry) != _DEFAULT]


def _source(entry: Entry) -> str:
    return SOURCES.get(entry.config_source, "UNKNOWN")


def _setting_as_json(entry: Entry) -> dict[str, Any]:
    return {"value": entry.value, "source": _source(entry)}


def _print_topic(session: Session, topic: TopicFigures, settings: Collection[Entry]) -> None:
    terminal = session.terminal
    facts = [
        counted(len(topic.partitions), "partition"),
        counted(topic.replication_factor, "replica"),
    ]
    if topic.messages is not None:
        facts.append(counted(topic.messages, "message"))
    if topic.size_bytes is not None:
        facts.append(size_text(topic.size_bytes))
        if topic.disk_bytes not in (None, topic.size_bytes):
            facts[-1] += f" ({size_text(topic.disk_bytes or 0)} with all replicas)"
    if topic.internal:
        facts.append("internal")
    terminal.line(f"{terminal.paint(topic.name, 'bold cyan')}  {', '.join(facts)}")
    if topic.topic_id.int:
        terminal.line(terminal.paint(f"id {uuid_to_text(topic.topic_id)}", "dim"))
    terminal.line()
    terminal.table(
        [
            Column("PARTITION", right=True),
            Column("LEADER", right=True),
            Column("REPLICAS"),
            Column("IN SYNC"),
            Column("EARLIEST", right=True),
            Column("LATEST", right=True),
            Column("MESSAGES", right=True),
            Column("SIZE", right=True),
        ],
        [_described(partition) for partition in topic.partitions],
    )
    if settings:
        terminal.line()
        terminal.table(
            [Column("SETTING"), Column("VALUE"), Column("FROM")],
            [
                [entry.name, _value_text(entry), Painted(_FROM.get(_source(entry), "?"), "dim")]
                for entry in settings
            ],
        )


def _described(partition: PartitionFigures) -> list[Cell]:
    in_sync: Cell = ",".join(map(str, partition.in_sync))
    if partition.is_under_replicated:
        in_sync = Painted(str(in_sync) or "none", "yellow" if partition.in_sync else "red")
    extent = partition.extent
    return [
        partition.index,
        Painted("none", "red") if partition.leader is None else str(partition.leader),
        ",".join(map(str, partition.replicas)),
        in_sync,
        str(extent.earliest) if extent else None,  # to be typed again, so without separators
        str(extent.latest) if extent else None,
        partition.messages,
        None if partition.size_bytes is None else size_text(partition.size_bytes),
    ]


def _value_text(entry: Entry) -> str:
    """A setting's value, and what it comes to where it is a long number."""
    value = entry.value
    if value is None:
        return "(not shown)" if entry.is_sensitive else ""
    if not value.lstrip("-").isdecimal():
        return value
    if value in _UNLIMITED:
        return f"{value} (no limit)" if value == "-1" else value
    number = int(value)
    if entry.name.endswith(".ms") and 1_000 <= number < _LONGEST_MS:
        return f"{value} ({duration_text(number)})"
    if entry.name.endswith(".bytes") and number >= 1024:
        return f"{value} ({size_text(number)})"
    return value


# Changing


async def _create(session: Session, cluster: Cluster) -> None:
    options = session.options
    outcome = await create_topics(
        cluster,
        options.topics,
        partitions=options.partitions,
        replication_factor=options.replication_factor,
        settings=dict(options.config),
    )
    results: list[dict[str, Any]] = []
    failures: dict[str, ApiError] = {}
    for name, result in outcome.items():
        if not isinstance(result, ApiError):
            row = {"name": name, "created": True, "id": uuid_to_text(result.topic_id)}
            row |= {
                "partition_count": result.num_partitions,
                "replication_factor": result.replication_factor,
            }
            results.append(row)
            text = f"{counted(result.num_partitions, 'partition')}, {counted(result.replication_factor, 'replica')}"
            if not options.json:
                session.terminal.line(f"created {session.terminal.paint(name, 'cyan')}: {text}")
        elif options.if_not_exists and result.code is ErrorCode.TOPIC_ALREADY_EXISTS:
            results.append({"name": name, "created": False})
            if not options.json:
                session.terminal.line(f"{session.terminal.paint(name, 'cyan')} exists already")
        else:
            failures[name] = result
    if options.json:
        session.print_json(results)
    _raise_failures(session, failures)


async def _alter(session: Session, cluster: Cluster) -> None:
    options = session.options
    found = await TopicNames(options.topics).required(cluster)
    changes: dict[str, str | None] = dict(options.config) | dict.fromkeys(options.unset)
    failures: dict[str, ApiError] = {}
    if changes:
        refused = await alter_configs(cluster, {(TOPIC, name): changes for name in found})
        failures = {name: error for (_, name), error in refused.items()}
    grown = [name for name in found if name not in failures]
    if options.partitions is not None and grown:
        outcome = await add_partitions(cluster, dict.fromkeys(grown, options.partitions))
        failures |= {name: error for name, error in outcome.items() if error is not None}
    changed = [name for name in found if name not in failures]
    if options.json:
        session.print_json([{"name": name, "changed": True} for name in changed])
    else:
        for name in changed:
            session.terminal.line(f"changed {session.terminal.paint(name, 'cyan')}")
    _raise_failures(session, failures)


async def _delete(session: Session, cluster: Cluster) -> None:
    options = session.options
    found = await TopicNames(options.topics).required(cluster)
    figures = await topic_figures(cluster, found)
    session.terminal.confirm(f"delete {_summary(figures)}", yes=options.yes)
    outcome = await delete_topics(cluster, list(found))
    deleted = [name for name, error in outcome.items() if error is None]
    if options.json:
        session.print_json([{"name": name, "deleted": True} for name in deleted])
    else:
        for name in deleted:
            session.terminal.line(f"deleted {session.terminal.paint(name, 'cyan')}")
    _raise_failures(session, {name: error for name, error in outcome.items() if error is not None})


def _summary(figures: Collection[TopicFigures]) -> str:
    names = [topic.name for topic in figures]
    text = ", ".join(names[:3]) + (f" and {counted(len(names) - 3, 'more topic')}" if len(names) > 3 else "")
    messages = sum(topic.messages or 0 for topic in figures)
    return f"{text} with {counted(messages, 'message')}"


def _raise_failures(session: Session, failures: Mapping[str, ApiError]) -> None:
    """All of them are told, the last one as the command's error."""
    if not failures:
        return
    texts = [f"{name}: {api_error_text(error)}" for name, error in failures.items()]
    for text in texts[:-1]:
        session.terminal.warn(f"kbroker topics: {text}")
    raise CommandError(texts[-1])
