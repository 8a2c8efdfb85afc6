"""``kafka-configs`` against one broker."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from kbroker.tools import client_quotas, configs
from kbroker.tools.cluster import Cluster
from kbroker.tools.session import CommandError
from tests.broker_process import BrokerProcess
from tests.tools.command_runs import Command, Run, new_topic
from wire.messages.client_quotas import (
    AlterClientQuotasRequest,
    AlterClientQuotasResponse,
    DescribeClientQuotasRequest,
    DescribeClientQuotasResponse,
)
from wire.messages.scram_credentials import (
    AlterUserScramCredentialsRequest,
    AlterUserScramCredentialsResponse,
    DescribeUserScramCredentialsRequest,
    DescribeUserScramCredentialsResponse,
)
from wire.schema import Request


@pytest.fixture(scope="module")
def bootstrap(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with BrokerProcess(tmp_path_factory.mktemp("broker")) as broker:
        broker.start()
        yield broker.bootstrap_server


@pytest.fixture
def run(bootstrap: str) -> Command:
    return Command("configs", bootstrap)


def test_settings_of_a_topic_are_changed_and_described(run: Command, bootstrap: str) -> None:
    topic = new_topic(bootstrap)
    altered = run.process(
        "--alter",
        "--entity-type",
        "topics",
        "--entity-name",
        topic,
        "--add-config",
        "retention.ms=5000,cleanup.policy=[compact,delete]",
    )
    assert altered == Run(0, f"Completed updating config for topic {topic}.\n", "")
    assert run("--describe", "--topic", topic).lines == [
        f"Dynamic configs for topic {topic} are:",
        "  cleanup.policy=compact,delete sensitive=false synonyms={DYNAMIC_TOPIC_CONFIG:cleanup.policy=compact,delete,"
        " DEFAULT_CONFIG:log.cleanup.policy=delete}",
        "  retention.ms=5000 sensitive=false synonyms={DYNAMIC_TOPIC_CONFIG:retention.ms=5000}",
    ]
    assert run("--alter", "--topic", topic, "--delete-config", "retention.ms,cleanup.policy").code == 0
    assert run("--describe", "--topic", topic) == Run(0, f"Dynamic configs for topic {topic} are:\n", "")


def test_all_settings_are_described_in_order(run: Command, bootstrap: str) -> None:
    topic = new_topic(bootstrap, "--config", "retention.ms=1")
    first, *others = run("--describe", "--topic", topic, "--all").lines
    assert first == f"All configs for topic {topic} are:"
    names = [line.partition("=")[0].strip() for line in others]
    assert names == sorted(names)
    assert {"cleanup.policy", "retention.ms", "segment.bytes"} <= set(names)


def test_all_topics_are_described(run: Command, bootstrap: str) -> None:
    topics = sorted(new_topic(bootstrap, "--config", "retention.ms=7") for _ in range(2))
    lines = run("--describe", "--entity-type", "topics").lines
    heads = [line for line in lines if not line.startswith("  ")]
    assert heads == sorted(heads)
    assert {f"Dynamic configs for topic {topic} are:" for topic in topics} <= set(heads)


def test_a_file_of_settings_is_added(run: Command, bootstrap: str, tmp_path: Path) -> None:
    topic = new_topic(bootstrap)
    settings = tmp_path / "settings.properties"
    settings.write_text("retention.ms=11\nsegment.bytes : 2000000\n")
    assert run("--alter", "--topic", topic, "--add-config-file", str(settings)).code == 0
    described = run("--describe", "--topic", topic).out
    assert "  retention.ms=11 " in described
    assert "  segment.bytes=2000000 " in described


@pytest.mark.parametrize(
    ("setting", "error"),
    [
        (
            "retention.ms",
            'Invalid entity config: all configs to be added must be in the format "key=val" or  "key=[val1,val2]" to '
            "group values which contain commas.",
        ),
        ("a b=1", "Invalid character found for config key: a b"),
    ],
)
def test_settings_that_are_none_are_told(run: Command, bootstrap: str, setting: str, error: str) -> None:
    assert run("--alter", "--topic", "any", "--add-config", setting) == Run(1, "", f"{error}\n")


def test_what_the_broker_refuses_is_told_with_kafkas_exception(run: Command, bootstrap: str) -> None:
    topic = new_topic(bootstrap)
    refused = run.process("--alter", "--topic", topic, "--add-config", "nonsense=1")
    assert (refused.code, refused.out) == (1, "")
    first, second = refused.err.splitlines()
    assert first == (
        f"Error while executing config command with args '--bootstrap-server {bootstrap} --alter --topic {topic} "
        "--add-config nonsense=1'"
    )
    assert second.startswith(
        "java.util.concurrent.ExecutionException: org.apache.kafka.common.errors.InvalidConfigurationException: "
    )


def test_what_the_cluster_does_not_know_is_told_as_kafka_tells_it(run: Command) -> None:
    """kbroker keeps no credentials."""
    refused = run("--describe", "--entity-type", "users")
    assert (refused.code, refused.out) == (1, "")
    assert refused.err.splitlines()[1] == (
        "java.util.concurrent.ExecutionException: org.apache.kafka.common.errors.UnsupportedVersionException: "
        "The node does not support DESCRIBE_USER_SCRAM_CREDENTIALS"
    )


def test_a_topic_name_that_is_none_is_told(run: Command) -> None:
    assert run("--describe", "--topic", "bad name") == Run(
        1,
        "",
        "Topic name is invalid: 'bad name' contains one or more characters other than ASCII alphanumerics, '.', '_' "
        "and '-'\n",
    )
    assert run("--describe", "--topic", "..").err == "Topic name is invalid: '..' is not allowed\n"


def test_a_file_that_is_not_there_is_told(run: Command, bootstrap: str) -> None:
    missing = run("--alter", "--topic", "t", "--add-config-file", "/no/file")
    assert (missing.code, missing.out) == (1, "")
    assert missing.err.splitlines() == [
        f"Error while executing config command with args '--bootstrap-server {bootstrap} --alter --topic t "
        "--add-config-file /no/file'",
        "java.nio.file.NoSuchFileException: /no/file",
    ]


def test_settings_of_brokers_and_their_defaults(run: Command) -> None:
    (node_line, _) = run("--describe", "--entity-type", "brokers").lines
    node_id = node_line.removeprefix("Dynamic configs for broker ").removesuffix(" are:")
    assert run("--alter", "--broker", node_id, "--add-config", "log.cleaner.threads=2") == Run(
        0, f"Completed updating config for broker {node_id}.\n", ""
    )
    assert run("--alter", "--broker-defaults", "--add-config", "log.retention.ms=100000") == Run(
        0, "Completed updating default config for brokers in the cluster.\n", ""
    )
    assert run("--describe", "--entity-type", "brokers").lines == [
        f"Dynamic configs for broker {node_id} are:",
        "  log.cleaner.threads=2 sensitive=false synonyms={DYNAMIC_BROKER_CONFIG:log.cleaner.threads=2, "
        "DEFAULT_CONFIG:log.cleaner.threads=1}",
        "Default configs for brokers in the cluster are:",
        "  log.retention.ms=100000 sensitive=false synonyms={DYNAMIC_DEFAULT_BROKER_CONFIG:log.retention.ms=100000}",
    ]
    assert run("--describe", "--entity-type", "brokers", "--entity-default").lines[0] == (
        "Default configs for brokers in the cluster are:"
    )
    for entity in (["--broker", node_id], ["--broker-defaults"]):
        assert run("--alter", *entity, "--delete-config", "log.cleaner.threads,log.retention.ms").code == 0
    assert len(run("--describe", "--entity-type", "brokers").lines) == 2


def test_loggers_are_checked_before_they_are_set(run: Command) -> None:
    node_id = run("--describe", "--entity-type", "brokers").lines[0].split()[4]
    lines = run("--describe", "--broker-logger", node_id).lines
    assert lines[0] == f"Dynamic configs for broker-logger {node_id} are:"
    assert "  root=INFO sensitive=false synonyms={}" in lines
    unknown = run("--alter", "--broker-logger", node_id, "--add-config", "no.such=DEBUG")
    assert unknown == Run(1, "", "Invalid broker logger(s): no.such\n")


def test_settings_of_groups_and_client_metrics(run: Command) -> None:
    assert run("--alter", "--group", "g1", "--add-config", "consumer.session.timeout.ms=50000").out == (
        "Completed updating config for group g1.\n"
    )
    group_lines = run("--describe", "--group", "g1").lines
    assert group_lines[0] == "Dynamic configs for group g1 are:"
    assert group_lines[1].startswith("  consumer.session.timeout.ms=50000 sensitive=false synonyms={")
    assert run("--describe", "--entity-type", "groups").lines == group_lines
    assert run("--alter", "--client-metrics", "m1", "--add-config", "interval.ms=1000").out == (
        "Completed updating config for client-metric m1.\n"
    )
    metrics_lines = [
        "Dynamic configs for client-metric m1 are:",
        "  interval.ms=1000 sensitive=false synonyms={DYNAMIC_CLIENT_METRICS_CONFIG:interval.ms=1000}",
    ]
    assert run("--describe", "--client-metrics", "m1").lines == metrics_lines
    assert run("--describe", "--entity-type", "client-metrics").lines == metrics_lines


@pytest.mark.parametrize(
    ("entity", "kind", "name"),
    [("--topic", "topic", "nix"), ("--broker", "broker", "77"), ("--group", "group", "nobody")],
)
def test_what_is_not_there_is_told(run: Command, entity: str, kind: str, name: str) -> None:
    text = f"The {kind} '{name}' doesn't exist and doesn't have dynamic config.\n"
    assert run("--describe", entity, name) == Run(0, text, "")


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["--describe"], "At least one entity type must be specified"),
        (
            ["--describe", "--entity-type", "foo"],
            "Invalid entity type foo, the entity type must be one of broker-loggers, topics, clients, users, brokers, "
            "ips, client-metrics, groups with a --bootstrap-server or --bootstrap-controller argument",
        ),
        (["--topic", "t"], "Command must include exactly one action: --describe, --alter"),
        (
            ["--describe", "--topic", "t", "--add-config", "a=b"],
            'Option "[describe]" can\'t be used with option "[add-config]"',
        ),
        (
            ["--alter", "--entity-type", "topics", "--add-config", "a=b"],
            "An entity name must be specified with --alter of topics",
        ),
        (
            ["--alter", "--entity-type", "users", "--add-config", "a=b"],
            "An entity-name or default entity must be specified with --alter of users, clients, brokers or ips",
        ),
        (
            ["--alter", "--topic", "t"],
            "At least one of --add-config, --add-config-file, or --delete-config must be specified with --alter",
        ),
        (
            ["--describe", "--topic", "t", "--entity-name", "x"],
            "--entity-{type,name,default} should not be used in conjunction with specific entity flags",
        ),
        (
            ["--describe", "--topic", "t", "--user", "x"],
            "Only 'users' and 'clients' entity types may be specified together",
        ),
        (
            ["--describe", "--broker", "x"],
            "The entity name for brokers must be a valid integer broker id, but it is: x",
        ),
        (
            ["--describe", "--entity-type", "topics", "--entity-default"],
            "--entity-default must not be specified with --describe of topics",
        ),
        (
            ["--describe", "--entity-type", "broker-loggers"],
            "An entity name must be specified with --describe of broker-loggers",
        ),
        (
            ["--alter", "--user", "u", "--entity-type", "users", "--add-config", "a=b"],
            "Duplicate entity type(s) specified: users",
        ),
        (
            ["--alter", "--user", "u", "--add-config", "foo=1"],
            "Only quota and SCRAM credential configs can be added for 'users' using --bootstrap-server. Unexpected "
            "config names: foo",
        ),
        (
            ["--alter", "--client", "c", "--add-config", "foo=1"],
            "Only quota configs can be added for 'clients' using --bootstrap-server. Unexpected config names: foo",
        ),
        (
            ["--alter", "--user-defaults", "--add-config", "SCRAM-SHA-256=[password=p]"],
            "The use of --entity-default or --user-defaults is not allowed with User SCRAM Credentials using "
            "--bootstrap-server.",
        ),
        (
            ["--alter", "--user", "u", "--add-config", "SCRAM-SHA-256=[iterations=7,password=p]"],
            "Iterations 7 is less than the minimum 4096 required for SCRAM-SHA-256",
        ),
    ],
)
def test_flags_that_make_no_sense_are_told(run: Command, arguments: list[str], error: str) -> None:
    ended = run(*arguments)
    assert (ended.code, ended.out, ended.first_error) == (1, "", error)


def test_it_has_to_be_said_where_the_brokers_are() -> None:
    ended = Command("configs", None)("--describe", "--topic", "t")
    assert (ended.code, ended.err) == (
        1,
        "Either --bootstrap-server or --bootstrap-controller must be specified.\n",
    )


def test_settings_are_split_outside_of_brackets() -> None:
    assert configs.parse_settings("a=1,b=[2,3], c = ,d=[x=y,z]") == {
        "a": "1",
        "b": "2,3",
        "c": "",
        "d": "x=y,z",
    }
    with pytest.raises(CommandError, match="Invalid entity config"):
        configs.parse_settings("a=1=2")


class QuotaBroker(Cluster):
    """A cluster that keeps credentials, which kbroker does not, and quotas: it notes what it is asked."""

    def __init__(self) -> None:
        self.asked: list[Request] = []
        self.quotas: list[DescribeClientQuotasResponse.EntryData] = []

    async def any(self, request, response_class):  # type: ignore[no-untyped-def]
        self.asked.append(request)
        if isinstance(request, DescribeClientQuotasRequest):
            return DescribeClientQuotasResponse(entries=self.quotas)
        if isinstance(request, AlterClientQuotasRequest):
            return AlterClientQuotasResponse(entries=[])
        if isinstance(request, AlterUserScramCredentialsRequest):
            return AlterUserScramCredentialsResponse(results=[])
        assert isinstance(request, DescribeUserScramCredentialsRequest)
        result = DescribeUserScramCredentialsResponse.DescribeUserScramCredentialsResult
        return DescribeUserScramCredentialsResponse(
            error_message=None,
            results=[
                result(
                    user="u1",
                    error_message=None,
                    credential_infos=[result.CredentialInfo(mechanism=1, iterations=8192)],
                ),
                result(user="nobody", error_code=91, error_message=None),
            ],
        )

    async def controller(self, request, response_class, *, errors=None):  # type: ignore[no-untyped-def]
        return await self.any(request, response_class)

    def keep(self, entity: dict[str, str | None], **quotas: float) -> None:
        entry = DescribeClientQuotasResponse.EntryData
        self.quotas.append(
            entry(
                entity=[
                    entry.EntityData(entity_type=kind, entity_name=name) for kind, name in entity.items()
                ],
                values=[entry.ValueData(key=key, value=value) for key, value in quotas.items()],
            )
        )


async def test_quotas_are_described_as_java_writes_them(capsys: pytest.CaptureFixture[str]) -> None:
    cluster = QuotaBroker()
    cluster.keep({"client-id": None, "user": "u1"}, producer_byte_rate=1024.0, consumer_byte_rate=12345678.0)
    cluster.keep({"ip": "127.0.0.1"}, connection_creation_rate=0.5)
    await client_quotas.describe(["users", "clients"], ["u1"], cluster)
    assert capsys.readouterr().out.splitlines() == [
        "Quota configs for user-principal 'u1', the default client-id are consumer_byte_rate=1.2345678E7, "
        "producer_byte_rate=1024.0",
        "Quota configs for ip '127.0.0.1' are connection_creation_rate=0.5",
    ]
    (request,) = cluster.asked
    assert isinstance(request, DescribeClientQuotasRequest)
    assert request.strict
    assert [(one.entity_type, one.match_type, one.match) for one in request.components] == [
        ("user", 0, "u1"),
        ("client-id", 2, None),
    ]


async def test_credentials_of_users_are_described_with_their_quotas(
    capsys: pytest.CaptureFixture[str],
) -> None:
    await client_quotas.describe(["users"], [], QuotaBroker())
    assert capsys.readouterr().out == (
        "SCRAM credential configs for user-principal 'u1' are SCRAM-SHA-256=iterations=8192\n"
    )


async def test_quotas_are_set_and_removed() -> None:
    cluster = QuotaBroker()
    with pytest.raises(CommandError, match=r"^Invalid config\(s\): producer_byte_rate$"):
        await client_quotas.alter(["users"], ["u1"], {}, ["producer_byte_rate"], cluster)
    cluster.keep({"user": None}, producer_byte_rate=1.0)
    await client_quotas.alter(
        ["users"], [""], {"consumer_byte_rate": "2048.5"}, ["producer_byte_rate"], cluster
    )
    request = cluster.asked[-1]
    assert isinstance(request, AlterClientQuotasRequest)
    (entry,) = request.entries
    assert [(one.entity_type, one.entity_name) for one in entry.entity] == [("user", None)]
    assert [(op.key, op.value, op.remove) for op in entry.ops] == [
        ("consumer_byte_rate", 2048.5, False),
        ("producer_byte_rate", 0.0, True),
    ]
    with pytest.raises(
        CommandError, match="Cannot parse quota configuration value for consumer_byte_rate: x"
    ):
        await client_quotas.alter(["users"], ["u1"], {"consumer_byte_rate": "x"}, [], cluster)


async def test_credentials_are_salted_here() -> None:
    cluster = QuotaBroker()
    await client_quotas.alter(
        ["users"], ["u1"], {"SCRAM-SHA-512": "iterations=5000,password=pass,word"}, ["SCRAM-SHA-256"], cluster
    )
    (request,) = cluster.asked
    assert isinstance(request, AlterUserScramCredentialsRequest)
    assert [(one.name, one.mechanism) for one in request.deletions] == [("u1", 1)]
    (upsertion,) = request.upsertions
    assert (upsertion.name, upsertion.mechanism, upsertion.iterations) == ("u1", 2, 5000)
    assert upsertion.salted_password == hashlib.pbkdf2_hmac("sha512", b"pass,word", upsertion.salt, 5000)
