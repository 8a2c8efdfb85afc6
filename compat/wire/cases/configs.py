"""DescribeConfigs, AlterConfigs, IncrementalAlterConfigs, ListConfigResources."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from compat.wire.arrange import standing_topic, topic_with
from compat.wire.case import Cases
from compat.wire.members import group_id, stable
from compat.wire.scene import Scene
from wire.messages.configs import (
    AlterConfigsRequest,
    DescribeConfigsRequest,
    DescribeConfigsResponse,
    IncrementalAlterConfigsRequest,
    ListConfigResourcesRequest,
    ListConfigResourcesResponse,
)

DESCRIBE_CONFIGS = Cases(DescribeConfigsRequest)
ALTER_CONFIGS = Cases(AlterConfigsRequest)
INCREMENTAL_ALTER_CONFIGS = Cases(IncrementalAlterConfigsRequest)
LIST_CONFIG_RESOURCES = Cases(ListConfigResourcesRequest)

UNKNOWN, TOPIC, BROKER, BROKER_LOGGER, CLIENT_METRICS, GROUP = 0, 2, 4, 8, 16, 32
SET, DELETE, APPEND, SUBTRACT = range(4)
THE_BROKER = "1"
DYNAMIC_KEY = "log.cleaner.backoff.ms"
"""A setting of brokers that can be changed while they run and that no case minds."""
Values = Sequence[tuple[str, str | None]]
Changes = Sequence[tuple[str, int, str | None]]


def describe(
    *resources: tuple[int, str],
    keys: Sequence[str] | None = None,
    synonyms: bool = False,
    documentation: bool = False,
) -> DescribeConfigsRequest:
    return DescribeConfigsRequest(
        resources=[
            DescribeConfigsRequest.DescribeConfigsResource(
                resource_type=kind,
                resource_name=name,
                configuration_keys=None if keys is None else list(keys),
            )
            for kind, name in resources
        ],
        include_synonyms=synonyms,
        include_documentation=documentation,
    )


DESCRIBE_CONFIGS.add("a topic", lambda at: describe((TOPIC, standing_topic(at).name)))
DESCRIBE_CONFIGS.add(
    "a topic, with synonyms", lambda at: describe((TOPIC, standing_topic(at).name), synonyms=True)
)
DESCRIBE_CONFIGS.add(
    "a topic, with documentation",
    lambda at: describe((TOPIC, standing_topic(at).name), documentation=True),
    "3+",
)
DESCRIBE_CONFIGS.add(
    "a topic with settings of its own",
    lambda at: describe(
        (TOPIC, topic_with(at, 1, configs={"retention.ms": "1000", "cleanup.policy": "compact"}).name),
        keys=["retention.ms", "cleanup.policy", "segment.bytes"],
        synonyms=True,
    ),
)
KEYS: Mapping[str, Sequence[str]] = {
    "an unknown key": ["no.such.key", "retention.ms"],
    "a key twice": ["retention.ms", "retention.ms"],
    "an empty key": [""],
    "no keys": [],
}
for what, keys in KEYS.items():
    DESCRIBE_CONFIGS.add(
        f"a topic, {what}", lambda at, keys=keys: describe((TOPIC, standing_topic(at).name), keys=keys)
    )
    DESCRIBE_CONFIGS.add(f"a broker, {what}", lambda at, keys=keys: describe((BROKER, THE_BROKER), keys=keys))
DESCRIBE_CONFIGS.add("an unknown topic", lambda at: describe((TOPIC, at.name("absent"))))
DESCRIBE_CONFIGS.add("a topic with an invalid name", lambda at: describe((TOPIC, "a b")))
DESCRIBE_CONFIGS.add("a topic without a name", lambda at: describe((TOPIC, "")))
DESCRIBE_CONFIGS.add("a broker", lambda at: describe((BROKER, THE_BROKER)))
DESCRIBE_CONFIGS.add("a broker, with synonyms", lambda at: describe((BROKER, THE_BROKER), synonyms=True))
DESCRIBE_CONFIGS.add(
    "a broker, with documentation", lambda at: describe((BROKER, THE_BROKER), documentation=True), "3+"
)
DESCRIBE_CONFIGS.add("the brokers' defaults", lambda at: describe((BROKER, "")))
for name in ("99", "-1", "one", "1.0", " 1"):
    DESCRIBE_CONFIGS.add(
        f"a broker called {name!r}", lambda at, name=name: describe((BROKER, name), keys=["node.id"])
    )
DESCRIBE_CONFIGS.add("the loggers", lambda at: describe((BROKER_LOGGER, THE_BROKER)))
DESCRIBE_CONFIGS.add(
    "the root logger", lambda at: describe((BROKER_LOGGER, THE_BROKER), keys=["root", "no.such.logger"])
)
for name in ("", "99", "one"):
    DESCRIBE_CONFIGS.add(
        f"the loggers of a broker called {name!r}",
        lambda at, name=name: describe((BROKER_LOGGER, name), keys=["root"]),
    )
DESCRIBE_CONFIGS.add("a group", lambda at: describe((GROUP, stable(at, group_id(at)).group), synonyms=True))
DESCRIBE_CONFIGS.add(
    "a group, with documentation", lambda at: describe((GROUP, at.name("g")), documentation=True), "3+"
)
DESCRIBE_CONFIGS.add("an unknown group", lambda at: describe((GROUP, at.name("absent"))))
DESCRIBE_CONFIGS.add("a group without a name", lambda at: describe((GROUP, "")))
DESCRIBE_CONFIGS.add(
    "an unknown subscription to metrics", lambda at: describe((CLIENT_METRICS, at.name("absent")))
)
DESCRIBE_CONFIGS.add("a subscription to metrics without a name", lambda at: describe((CLIENT_METRICS, "")))
for kind in (UNKNOWN, 1, 3, 64, -1):
    DESCRIBE_CONFIGS.add(f"a resource of type {kind}", lambda at, kind=kind: describe((kind, "a")))
DESCRIBE_CONFIGS.add("nothing", lambda at: describe())
DESCRIBE_CONFIGS.add(
    "a resource twice", lambda at: describe(*[(TOPIC, standing_topic(at).name)] * 2, keys=["retention.ms"])
)
DESCRIBE_CONFIGS.add(
    "several resources",
    lambda at: describe(
        (TOPIC, at.name("absent")),
        (BROKER, THE_BROKER),
        (TOPIC, standing_topic(at).name),
        keys=["retention.ms", "node.id"],
    ),
)


def alter(*resources: tuple[int, str, Values], validate_only: bool = False) -> AlterConfigsRequest:
    resource = AlterConfigsRequest.AlterConfigsResource
    return AlterConfigsRequest(
        resources=[
            resource(
                resource_type=kind,
                resource_name=name,
                configs=[resource.AlterableConfig(name=key, value=value) for key, value in values],
            )
            for kind, name, values in resources
        ],
        validate_only=validate_only,
    )


def change(
    *resources: tuple[int, str, Changes], validate_only: bool = False
) -> IncrementalAlterConfigsRequest:
    resource = IncrementalAlterConfigsRequest.AlterConfigsResource
    return IncrementalAlterConfigsRequest(
        resources=[
            resource(
                resource_type=kind,
                resource_name=name,
                configs=[
                    resource.AlterableConfig(name=key, config_operation=operation, value=value)
                    for key, operation, value in changes
                ],
            )
            for kind, name, changes in resources
        ],
        validate_only=validate_only,
    )


def look(at: Scene, kind: int, name: str, key: str, value: str | None) -> None:
    """Describe ``key`` and its synonyms once it has ``value``."""
    at.ask_until(
        describe((kind, name), keys=[key], synonyms=True),
        DescribeConfigsResponse,
        lambda answer: bool(answer.results[0].configs) and answer.results[0].configs[0].value == value,
        version=4,
    )


@ALTER_CONFIGS.case("a topic's, which replaces them")
def _alter_topic(at: Scene) -> None:
    name = topic_with(at, 1, configs={"retention.ms": "1000"}).name
    at.ask(alter((TOPIC, name, [("segment.bytes", "2000000")])))
    look(at, TOPIC, name, "segment.bytes", "2000000")
    look(at, TOPIC, name, "retention.ms", "604800000")


@ALTER_CONFIGS.case("a topic's, validated only")
def _alter_validated(at: Scene) -> None:
    name = standing_topic(at).name
    at.ask(alter((TOPIC, name, [("segment.bytes", "2000000")]), validate_only=True))
    look(at, TOPIC, name, "segment.bytes", "1073741824")


@ALTER_CONFIGS.case("none, which takes all away")
def _alter_nothing(at: Scene) -> None:
    name = topic_with(at, 1, configs={"retention.ms": "1000"}).name
    at.ask(alter((TOPIC, name, [])))
    look(at, TOPIC, name, "retention.ms", "604800000")


WRONG: Mapping[str, tuple[str, str | None]] = {
    "an unknown key": ("no.such.key", "1"),
    "an empty key": ("", "1"),
    "a null value": ("retention.ms", None),
    "an empty value": ("retention.ms", ""),
    "a wrong type": ("retention.ms", "soon"),
    "a value out of range": ("segment.bytes", "1"),
    "a key of brokers": ("log.retention.ms", "1000"),
    "an unknown choice": ("cleanup.policy", "shred"),
    "a contradiction": ("local.retention.ms", "99999999999"),
    "more in sync than replicas": ("min.insync.replicas", "2"),
}
for what, (key, value) in WRONG.items():
    ALTER_CONFIGS.add(
        f"a topic's, {what}",
        lambda at, key=key, value=value: alter(
            (TOPIC, standing_topic(at).name, [(key, value)]), validate_only=True
        ),
    )
    INCREMENTAL_ALTER_CONFIGS.add(
        f"a topic's, {what}",
        lambda at, key=key, value=value: change(
            (TOPIC, standing_topic(at).name, [(key, SET, value)]), validate_only=True
        ),
    )
BROKER_KEYS: Mapping[str, tuple[str, str | None]] = {
    "one that is read at the start": ("log.dirs", "/tmp"),
    "one for all brokers only": ("message.max.bytes", "1000000"),
    "one of a single broker": ("listeners", "PLAINTEXT://127.0.0.1:0"),
    "a dynamic one": (DYNAMIC_KEY, "20000"),
    "a dynamic one of the wrong type": (DYNAMIC_KEY, "soon"),
    "a dynamic one out of range": (DYNAMIC_KEY, "-1"),
    "a null value": (DYNAMIC_KEY, None),
    "an unknown one": ("no.such.key", "1"),
    "an empty key": ("", "1"),
    "the id": ("node.id", "5"),
    "in sync replicas": ("min.insync.replicas", "2"),
    "threads": ("num.io.threads", "9"),
    "too many threads": ("num.io.threads", "1000"),
    "a retention": ("log.retention.ms", "100000000"),
    "a retention in hours": ("log.retention.hours", "5"),
    "unclean elections": ("unclean.leader.election.enable", "true"),
    "a password": ("ssl.keystore.password", "secret"),
    "an authorizer": ("authorizer.class.name", "x"),
    "connections": ("max.connections.per.ip", "1000"),
    "compression": ("compression.type", "brotli"),
}
for what, (key, value) in BROKER_KEYS.items():
    for name, who in ((THE_BROKER, "a broker's"), ("", "all brokers'")):
        ALTER_CONFIGS.add(
            f"{who}, {what}",
            lambda at, key=key, value=value, name=name: alter(
                (BROKER, name, [(key, value)]), validate_only=True
            ),
        )
        INCREMENTAL_ALTER_CONFIGS.add(
            f"{who}, {what}",
            lambda at, key=key, value=value, name=name: change(
                (BROKER, name, [(key, SET, value)]), validate_only=True
            ),
        )
RESOURCES: Mapping[str, tuple[int, str]] = {
    "an unknown topic": (TOPIC, "absent"),
    "a topic with an invalid name": (TOPIC, "a b"),
    "a topic without a name": (TOPIC, ""),
    "an unknown broker": (BROKER, "99"),
    "a broker that is no number": (BROKER, "one"),
    "a type of no resource": (UNKNOWN, "a"),
    "a type between": (3, "a"),
    "a type beyond": (64, "a"),
    "a group without a name": (GROUP, ""),
    "metrics without a name": (CLIENT_METRICS, ""),
}
for what, (kind, name) in RESOURCES.items():
    ALTER_CONFIGS.add(
        what,
        lambda at, kind=kind, name=name: alter((kind, name, [("retention.ms", "5000")]), validate_only=True),
    )
    INCREMENTAL_ALTER_CONFIGS.add(
        what,
        lambda at, kind=kind, name=name: change(
            (kind, name, [("retention.ms", SET, "5000")]), validate_only=True
        ),
    )
ALTER_CONFIGS.add("nothing", lambda at: alter())


@ALTER_CONFIGS.case("a resource twice", "2")
def _alter_twice(at: Scene) -> None:
    resource = (TOPIC, standing_topic(at).name, [("retention.ms", "5")])
    at.send(alter(resource, resource, validate_only=True), over=at.connect()).answer(deadline_s=2)


ALTER_CONFIGS.add(
    "a key twice",
    lambda at: alter(
        (TOPIC, standing_topic(at).name, [("retention.ms", "5"), ("retention.ms", "6")]), validate_only=True
    ),
)
INCREMENTAL_ALTER_CONFIGS.add("nothing", lambda at: change())
INCREMENTAL_ALTER_CONFIGS.add("no changes", lambda at: change((TOPIC, standing_topic(at).name, [])))
INCREMENTAL_ALTER_CONFIGS.add(
    "a resource twice",
    lambda at: change(
        *[(TOPIC, standing_topic(at).name, [("retention.ms", SET, "5")])] * 2, validate_only=True
    ),
)
INCREMENTAL_ALTER_CONFIGS.add(
    "a key twice",
    lambda at: change(
        (TOPIC, standing_topic(at).name, [("retention.ms", SET, "5"), ("retention.ms", DELETE, None)]),
        validate_only=True,
    ),
)
INCREMENTAL_ALTER_CONFIGS.add(
    "known and unknown resources",
    lambda at: change(
        (TOPIC, at.name("absent"), [("retention.ms", SET, "5")]),
        (TOPIC, standing_topic(at).name, [("retention.ms", SET, "5"), ("no.such.key", SET, "5")]),
        (BROKER, THE_BROKER, [(DYNAMIC_KEY, SET, "16000")]),
        validate_only=True,
    ),
)
for operation in (4, -1, 127):
    INCREMENTAL_ALTER_CONFIGS.add(
        f"operation {operation}",
        lambda at, operation=operation: change(
            (TOPIC, standing_topic(at).name, [("retention.ms", operation, "5")]), validate_only=True
        ),
    )
OPERATIONS: Mapping[str, tuple[Changes, str, str]] = {
    "set": ([("retention.ms", SET, "5000")], "retention.ms", "5000"),
    "set, with blanks": ([("retention.ms", SET, " 5000 ")], "retention.ms", "5000"),
    "delete": ([("retention.ms", DELETE, None)], "retention.ms", "604800000"),
    "delete, with a value": ([("retention.ms", DELETE, "5")], "retention.ms", "604800000"),
    "append": ([("cleanup.policy", APPEND, "compact")], "cleanup.policy", "delete,compact"),
    "append what is there": ([("cleanup.policy", APPEND, "delete")], "cleanup.policy", "delete"),
    "append several": (
        [("leader.replication.throttled.replicas", APPEND, "0:1,1:1")],
        "leader.replication.throttled.replicas",
        "0:1,1:1",
    ),
    "subtract": ([("cleanup.policy", APPEND, "compact"), ("retention.ms", SET, "1")], "retention.ms", "1"),
}
for what, (changes, key, value) in OPERATIONS.items():

    @INCREMENTAL_ALTER_CONFIGS.case(f"a topic's: {what}")
    def _change_topic(at: Scene, changes: Changes = changes, key: str = key, value: str = value) -> None:
        name = topic_with(at, 1, configs={"retention.ms": "1000"}).name
        at.ask(change((TOPIC, name, changes)))
        look(at, TOPIC, name, key, value)


@INCREMENTAL_ALTER_CONFIGS.case("a topic's: append and subtract")
def _subtract(at: Scene) -> None:
    name = topic_with(at, 1, configs={"cleanup.policy": "delete,compact"}).name
    at.ask(change((TOPIC, name, [("cleanup.policy", SUBTRACT, "delete")])))
    look(at, TOPIC, name, "cleanup.policy", "compact")
    at.ask(change((TOPIC, name, [("cleanup.policy", SUBTRACT, "delete")])))
    at.ask(change((TOPIC, name, [("cleanup.policy", SUBTRACT, "compact")])))
    at.ask(change((TOPIC, name, [("cleanup.policy", APPEND, "delete,compact")])))


for operation, value in ((APPEND, "5"), (SUBTRACT, "5"), (APPEND, None), (SUBTRACT, None)):
    INCREMENTAL_ALTER_CONFIGS.add(
        f"operation {operation} of {value} on what is no list",
        lambda at, operation=operation, value=value: change(
            (TOPIC, standing_topic(at).name, [("retention.ms", operation, value)]), validate_only=True
        ),
    )
    INCREMENTAL_ALTER_CONFIGS.add(
        f"operation {operation} of {value} on a list",
        lambda at, operation=operation, value=value: change(
            (TOPIC, standing_topic(at).name, [("cleanup.policy", operation, value)]), validate_only=True
        ),
    )


for who, name in (("a broker's", THE_BROKER), ("all brokers'", "")):

    @INCREMENTAL_ALTER_CONFIGS.case(f"{who}: set and delete")
    def _change_broker(at: Scene, name: str = name) -> None:
        at.ask(change((BROKER, name, [(DYNAMIC_KEY, SET, "16000")])))
        look(at, BROKER, THE_BROKER, DYNAMIC_KEY, "16000")
        at.ask(describe((BROKER, ""), synonyms=True), version=4)
        at.ask(change((BROKER, name, [(DYNAMIC_KEY, DELETE, None)])))
        look(at, BROKER, THE_BROKER, DYNAMIC_KEY, "15000")


LEVELS: Mapping[str, Changes] = {
    "an unknown logger": [("no.such.logger", SET, "DEBUG")],
    "an unknown level": [("root", SET, "LOUD")],
    "no level": [("root", SET, None)],
    "the root logger taken away": [("root", DELETE, None)],
    "a level appended": [("root", APPEND, "INFO")],
    "the root logger": [("root", SET, "INFO")],
}
for what, changes in LEVELS.items():
    INCREMENTAL_ALTER_CONFIGS.add(
        f"loggers: {what}",
        lambda at, changes=changes: change((BROKER_LOGGER, THE_BROKER, changes), validate_only=True),
    )
for name in ("", "99"):
    INCREMENTAL_ALTER_CONFIGS.add(
        f"loggers of a broker called {name!r}",
        lambda at, name=name: change((BROKER_LOGGER, name, [("root", SET, "INFO")]), validate_only=True),
    )
GROUP_CONFIGS: Mapping[str, Changes] = {
    "a session": [("consumer.session.timeout.ms", SET, "50000")],
    "a session that is too short": [("consumer.session.timeout.ms", SET, "1")],
    "an unknown key": [("no.such.key", SET, "1")],
    "a wrong type": [("consumer.heartbeat.interval.ms", SET, "soon")],
    "of share groups": [("share.auto.offset.reset", SET, "earliest")],
}
for what, changes in GROUP_CONFIGS.items():
    INCREMENTAL_ALTER_CONFIGS.add(
        f"a group's, {what}",
        lambda at, changes=changes: change((GROUP, at.name("group"), changes), validate_only=True),
    )


@INCREMENTAL_ALTER_CONFIGS.case("a group's: set and describe")
def _change_group(at: Scene) -> None:
    name = at.name("group")
    at.ask(change((GROUP, name, [("consumer.session.timeout.ms", SET, "50000")])))
    look(at, GROUP, name, "consumer.session.timeout.ms", "50000")
    at.ask(ListConfigResourcesRequest(resource_types=[GROUP]), ListConfigResourcesResponse, version=1)


METRICS: Mapping[str, Changes] = {
    "a subscription": [("metrics", SET, "org.apache.kafka."), ("interval.ms", SET, "10000")],
    "an interval that is too short": [("interval.ms", SET, "1")],
    "an unknown key": [("no.such.key", SET, "1")],
    "a match that is none": [("match", SET, "nonsense")],
    "a match": [("match", SET, "client_id=.*")],
}
for what, changes in METRICS.items():
    INCREMENTAL_ALTER_CONFIGS.add(
        f"metrics: {what}",
        lambda at, changes=changes: change((CLIENT_METRICS, at.name("metrics"), changes), validate_only=True),
    )


@INCREMENTAL_ALTER_CONFIGS.case("metrics: set and describe")
def _change_metrics(at: Scene) -> None:
    name = at.name("metrics")
    at.ask(change((CLIENT_METRICS, name, [("interval.ms", SET, "10000")])))
    look(at, CLIENT_METRICS, name, "interval.ms", "10000")
    at.ask_until(
        ListConfigResourcesRequest(),
        ListConfigResourcesResponse,
        lambda listed: name in {resource.resource_name for resource in listed.config_resources},
        version=0,
    )


LIST_CONFIG_RESOURCES.add("the subscriptions to metrics", lambda at: ListConfigResourcesRequest(), "0")
LIST_CONFIG_RESOURCES.add("all", lambda at: topic_with(at, 1) and ListConfigResourcesRequest(), "1")
for kinds in (
    (TOPIC,),
    (BROKER,),
    (BROKER_LOGGER,),
    (CLIENT_METRICS,),
    (GROUP,),
    (UNKNOWN,),
    (3,),
    (TOPIC, 99),
    (TOPIC, TOPIC),
):
    LIST_CONFIG_RESOURCES.add(
        f"of types {kinds}",
        lambda at, kinds=kinds: topic_with(at, 1) and ListConfigResourcesRequest(resource_types=list(kinds)),
        "1",
    )
