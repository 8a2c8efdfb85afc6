"""``kafka-configs``: settings of topics, brokers, groups and clients' metrics, quotas and SCRAM credentials.

Kafka's ConfigCommand. What is asked of ``--bootstrap-controller`` there, this command asks of brokers only.
"""

from __future__ import annotations

import re
import sys
from argparse import Namespace
from collections.abc import Sequence
from typing import Final, NoReturn

from kbroker.tools.arguments import Arguments, read_properties
from kbroker.tools.cluster import Cluster
from kbroker.tools.config_resources import (
    BROKER,
    BROKER_LOGGER,
    CLIENT_METRICS,
    GROUP,
    SOURCES,
    TOPIC,
    Entry,
    Resource,
    alter_configs,
    describe_configs,
    list_config_resources,
)
from kbroker.tools.failures import NotStartedError, os_error_text
from kbroker.tools.session import CommandError, Connected, run
from kbroker.tools.waiting import here
from wire.errors import ApiError, ErrorCode

_RESOURCE_TYPES: Final = {
    "topics": (TOPIC, "DYNAMIC_TOPIC_CONFIG"),
    "brokers": (BROKER, "DYNAMIC_BROKER_CONFIG"),
    "broker-loggers": (BROKER_LOGGER, None),
    "client-metrics": (CLIENT_METRICS, "DYNAMIC_CLIENT_METRICS_CONFIG"),
    "groups": (GROUP, "DYNAMIC_GROUP_CONFIG"),
}
"""The type of resource, and where the values come from that are described without --all."""

_ENTITY_TYPES: Final = (
    "broker-loggers",
    "topics",
    "clients",
    "users",
    "brokers",
    "ips",
    "client-metrics",
    "groups",
)
_ENTITY_FLAGS: Final = {
    "topic": "topics",
    "client": "clients",
    "user": "users",
    "broker": "brokers",
    "broker-logger": "broker-loggers",
    "ip": "ips",
    "client-metrics": "client-metrics",
    "group": "groups",
}
_DEFAULT_FLAGS: Final = {
    "client-defaults": "clients",
    "user-defaults": "users",
    "broker-defaults": "brokers",
    "ip-defaults": "ips",
}
_HAVE_DEFAULTS: Final = ("users", "clients", "brokers", "ips")
_TOPIC_NAME_MAX: Final = 249
_OUTSIDE_BRACKETS: Final = r"(?=[^\]]*(?:\[|$))"


def main() -> NoReturn:
    options = parse()

    async def work() -> None:
        try:
            if options.types[0] == "ips":
                await _check_hosts(options.names)
            properties = read_properties(options.command_config)
            call = _call(options.types[0], options)
            async with Connected(options.bootstrap_server, properties, call=call) as cluster:
                await execute(options, cluster)
        except ApiError as error:
            from kbroker.tools.java_errors import java_text

            raise _failure(f"java.util.concurrent.ExecutionException: {java_text(error)}") from None
        except (NotStartedError, OSError) as error:
            text = os_error_text(error) if isinstance(error, OSError) else str(error)
            raise _failure(text) from None

    run(work, to_stderr=True)


async def _check_hosts(names: Sequence[str]) -> None:
    """CommandError for a host that has no address."""
    for name in filter(None, names):
        if not await here().has_address(name):
            raise CommandError(
                f"The entity name for ips must be a valid IP or resolvable host, but it is: {name}"
            )


def _call(kind: str, options: Namespace) -> str:
    """What Kafka's client would call what is asked first."""
    if options.alter:
        return "alterClientQuotas" if kind in ("users", "clients", "ips") else "incrementalAlterConfigs"
    if options.all and options.names:
        return "describeConfigs"
    calls = {"topics": "listTopics", "brokers": "listNodes", "groups": "listGroups"}
    return calls.get(kind, "describeConfigs")


def _failure(exception: str) -> CommandError:
    """With two lines: what was to be done, and what Java's exception is called and says."""
    given = " ".join(sys.argv[1:])
    return CommandError(f"Error while executing config command with args '{given}'\n{exception}")


def parse(arguments: Sequence[str] | None = None) -> Namespace:
    """The command's flags, with ``types`` and ``names`` of the entities; ends the process if they are wrong."""
    flags = Arguments(
        "kafka-configs",
        "This tool helps to manipulate and describe entity config for a topic, client, user, broker, ip, "
        "client-metrics or group",
    )
    flags.add_connection(required=False)
    flags.add_argument("--bootstrap-controller", metavar="HOST:PORT,...", help="Not supported.")
    flags.add_argument("--alter", action="store_true", help="Change settings of the entity.")
    flags.add_argument("--describe", action="store_true", help="List the settings of the entity.")
    flags.add_argument("--all", action="store_true", help="List all settings, not only changed ones.")
    flags.add_argument("--entity-type", action="append", default=[], help=", ".join(_ENTITY_TYPES))
    flags.add_argument("--entity-name", action="append", dest="entity_names", default=[])
    flags.add_argument("--entity-default", action="append_const", const="", dest="entity_names")
    flags.add_argument("--add-config", metavar="K=V,K=[V,V]", help="Settings to add.")
    flags.add_argument("--add-config-file", metavar="FILE", help="A properties file of settings to add.")
    flags.add_argument("--delete-config", action="append", metavar="K,K", help="Settings to remove.")
    for flag, kind in _ENTITY_FLAGS.items():
        flags.add_argument(f"--{flag}", help=f"One of the {kind}.")
    for flag, kind in _DEFAULT_FLAGS.items():
        flags.add_argument(f"--{flag}", action="store_true", help=f"The defaults of all {kind}.")
    options = flags.parse(arguments)
    specific = {**_ENTITY_FLAGS, **_DEFAULT_FLAGS}
    given = {flag: getattr(options, flag.replace("-", "_")) for flag in specific}
    given = {flag: value for flag, value in given.items() if value is not None and value is not False}
    options.types = [*options.entity_type, *(specific[flag] for flag in given)]
    options.names = [*options.entity_names, *("" if value is True else value for value in given.values())]
    _check(flags, options, specific=bool(given))
    return options


def _check(flags: Arguments, options: Namespace, *, specific: bool) -> None:
    types, names = options.types, options.names
    if options.alter == options.describe:
        flags.error("Command must include exactly one action: --describe, --alter")
    flags.refuse_together(options, "describe", ("alter", "add-config", "delete-config"))
    if twice := sorted({kind for kind in types if types.count(kind) > 1}):
        flags.refuse(f"Duplicate entity type(s) specified: {','.join(twice)}")
    if options.bootstrap_server is None and options.bootstrap_controller is None:
        flags.refuse("Either --bootstrap-server or --bootstrap-controller must be specified.")
    for kind in types:
        if kind not in _ENTITY_TYPES:
            flags.refuse(
                f"Invalid entity type {kind}, the entity type must be one of {', '.join(_ENTITY_TYPES)} with a "
                "--bootstrap-server or --bootstrap-controller argument"
            )
    if not types:
        flags.refuse("At least one entity type must be specified")
    if len(types) > 1 and set(types) != {"users", "clients"}:
        flags.refuse("Only 'users' and 'clients' entity types may be specified together")
    if specific and (options.entity_type or options.entity_names):
        flags.refuse(
            "--entity-{type,name,default} should not be used in conjunction with specific entity flags"
        )
    if options.bootstrap_server is not None and options.bootstrap_controller is not None:
        flags.refuse("Only one of --bootstrap-server or --bootstrap-controller can be specified")
    if options.bootstrap_controller is not None:
        flags.refuse("--bootstrap-controller is not supported by this command")
    _check_names(flags, types, names)
    if options.describe:
        if types[0] not in _HAVE_DEFAULTS and "" in options.entity_names:
            flags.refuse(f"--entity-default must not be specified with --describe of {','.join(types)}")
        if "broker-loggers" in types and not any(names):
            flags.refuse(f"An entity name must be specified with --describe of {','.join(types)}")
    else:
        _check_alter(flags, options)


def _check_names(flags: Arguments, types: list[str], names: list[str]) -> None:
    for name in filter(None, names):
        if types[0] in ("brokers", "broker-loggers") and not re.fullmatch(r"[+-]?\d+", name):
            flags.refuse(
                f"The entity name for {types[0]} must be a valid integer broker id, but it is: {name}"
            )


def _check_alter(flags: Arguments, options: Namespace) -> None:
    types, names = options.types, options.names
    if types[0] in _HAVE_DEFAULTS:
        if not names:
            flags.refuse(
                "An entity-name or default entity must be specified with --alter of users, clients, brokers or ips"
            )
    elif not any(names):
        flags.refuse(f"An entity name must be specified with --alter of {','.join(types)}")
    if options.add_config is not None and options.add_config_file is not None:
        flags.refuse("Only one of --add-config or --add-config-file must be specified")
    if options.add_config is None and options.add_config_file is None and not options.delete_config:
        flags.refuse(
            "At least one of --add-config, --add-config-file, or --delete-config must be specified with --alter"
        )
    if len(types) != len(names):
        flags.refuse("An entity name must be specified for every entity type")


async def execute(options: Namespace, cluster: Cluster) -> None:
    """Do what the flags say. ApiError, CommandError."""
    kind = options.types[0]
    if kind not in _RESOURCE_TYPES:
        from kbroker.tools import client_quotas

        if options.alter:
            added, deleted = _changes(options)
            await client_quotas.alter(options.types, options.names, added, deleted, cluster)
            _print_completed(kind, options.names[0])
        else:
            await client_quotas.describe(options.types, options.names, cluster)
    elif options.alter:
        await _alter(options, kind, options.names[0], cluster)
    else:
        await _describe(options, kind, options.names[0] if options.names else None, cluster)


async def _alter(options: Namespace, kind: str, name: str, cluster: Cluster) -> None:
    added, deleted = _changes(options)
    resource = (_RESOURCE_TYPES[kind][0], name)
    if kind == "broker-loggers":
        known = {entry.name for entry in await _entries(cluster, resource)}
        if unknown := [logger for logger in [*deleted, *added] if logger not in known]:
            raise CommandError(f"Invalid broker logger(s): {','.join(unknown)}")
    changes: dict[str, str | None] = {**added, **dict.fromkeys(deleted)}
    try:
        refused = await alter_configs(cluster, {resource: changes})
    except ApiError as error:
        if error.code == ErrorCode.UNSUPPORTED_VERSION:
            raise CommandError(
                "The INCREMENTAL_ALTER_CONFIGS API is not supported by the cluster. The API is supported starting "
                "from version 2.3.0. You may want to use an older version of this tool to interact with your "
                "cluster, or upgrade your brokers to version 2.3.0 or newer to avoid this error."
            ) from None
        raise
    if refused:
        raise refused[resource]
    _print_completed(kind, name)


def _print_completed(kind: str, name: str) -> None:
    if name:
        print(f"Completed updating config for {kind[:-1]} {name}.")
    else:
        print(f"Completed updating default config for {kind} in the cluster.")


async def _describe(options: Namespace, kind: str, name: str | None, cluster: Cluster) -> None:
    """The settings of one entity or of all of a type; of one that is not known, that it is not."""
    if kind == "topics" and name:
        _check_topic_name(name)
    if name is None or not options.all:
        known = await _entities(kind, cluster)
        if name is not None and name not in known:
            print(f"The {kind[:-1]} '{name}' doesn't exist and doesn't have dynamic config.")
            return
    names = known if name is None else [name]
    resource_type, shown_source = _RESOURCE_TYPES[kind]
    resources = [(resource_type, one) for one in names]
    described = await describe_configs(cluster, resources, include_synonyms=True)
    for resource in resources:
        if resource[1] == "":
            print(f"Default configs for {kind} in the cluster are:")
            source = "DYNAMIC_DEFAULT_BROKER_CONFIG"
        else:
            print(f"{'All' if options.all else 'Dynamic'} configs for {kind[:-1]} {resource[1]} are:")
            source = shown_source or ""
        result = described[resource]
        if result.error_code:
            raise ApiError(ErrorCode(result.error_code), result.error_message)
        for entry in sorted(result.configs, key=lambda one: one.name):
            if options.all or not source or SOURCES.get(entry.config_source) == source:
                _print_entry(entry)


def _check_topic_name(name: str) -> None:
    if name in (".", ".."):
        raise CommandError(f"Topic name is invalid: '{name}' is not allowed")
    if len(name) > _TOPIC_NAME_MAX:
        raise CommandError(
            f"Topic name is invalid: the length of '{name}' is longer than the max allowed length {_TOPIC_NAME_MAX}"
        )
    if not re.fullmatch(r"[A-Za-z0-9._-]+", name):
        raise CommandError(
            f"Topic name is invalid: '{name}' contains one or more characters other than ASCII alphanumerics, '.', "
            "'_' and '-'"
        )


def _print_entry(entry: Entry) -> None:
    synonyms = ", ".join(
        f"{SOURCES.get(one.source, 'UNKNOWN')}:{one.name}={_java(one.value)}" for one in entry.synonyms
    )
    sensitive = str(entry.is_sensitive).lower()
    print(f"  {entry.name}={_java(entry.value)} sensitive={sensitive} synonyms={{{synonyms}}}")


def _java(value: str | None) -> str:
    return "null" if value is None else value


async def _entries(cluster: Cluster, resource: Resource) -> list[Entry]:
    result = (await describe_configs(cluster, [resource]))[resource]
    if result.error_code:
        raise ApiError(ErrorCode(result.error_code), result.error_message)
    return result.configs


async def _entities(kind: str, cluster: Cluster) -> list[str]:
    """All that there is of a type, in order; the defaults of brokers ("") last."""
    match kind:
        case "topics":
            return sorted(topic.name or "" for topic in (await cluster.metadata()).topics)
        case "brokers" | "broker-loggers":
            await cluster.connect()
            return [*map(str, sorted(cluster.brokers)), ""]
        case "groups":
            return sorted({*await _groups(cluster), *await _groups_with_settings(cluster)})
        case _:
            return sorted(await list_config_resources(cluster, CLIENT_METRICS))


async def _groups(cluster: Cluster) -> list[str]:
    from wire.messages.groups import ListGroupsRequest, ListGroupsResponse

    groups: list[str] = []
    await cluster.connect()
    for node_id in sorted(cluster.brokers):
        response = await cluster.broker(node_id, ListGroupsRequest(), ListGroupsResponse)
        if response.error_code:
            raise ApiError(ErrorCode(response.error_code))
        groups += [group.group_id for group in response.groups]
    return groups


async def _groups_with_settings(cluster: Cluster) -> list[str]:
    try:
        return await list_config_resources(cluster, GROUP)
    except ApiError as error:
        if error.code in (ErrorCode.UNSUPPORTED_VERSION, ErrorCode.CLUSTER_AUTHORIZATION_FAILED):
            return []
        raise


def _changes(options: Namespace) -> tuple[dict[str, str], list[str]]:
    """What is to be set, and what is to be deleted; CommandError."""
    added = read_properties(options.add_config_file)
    if options.add_config is not None:
        added.update(parse_settings(options.add_config))
    for name in added:
        if not re.fullmatch(r"[a-zA-Z0-9._-]*", name):
            raise CommandError(f"Invalid character found for config key: {name}")
    deleted = [name.strip() for text in options.delete_config or [] for name in text.split(",")]
    return added, deleted


def parse_settings(text: str) -> dict[str, str]:
    """``a=1,b=[2,3]``; CommandError."""
    settings: dict[str, str] = {}
    for setting in re.split("," + _OUTSIDE_BRACKETS, text.rstrip(",")):
        parts = re.split(r"\s*=\s*" + _OUTSIDE_BRACKETS, setting)
        if len(parts) != 2:
            raise CommandError(
                'Invalid entity config: all configs to be added must be in the format "key=val" or  '
                '"key=[val1,val2]" to group values which contain commas.'
            )
        settings[parts[0].strip()] = re.sub(r"[\[\]]", "", parts[1]).strip()
    return settings
