"""kafka-consumer-groups against a broker: what it lists, prints and changes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from kbroker.tools import consumer_groups
from kbroker.tools.cluster import Cluster
from kbroker.tools.consumer_group_admin import ConsumerGroups, Description, Member
from kbroker.tools.consuming import ConsumerSettings, consuming
from kbroker.tools.group_membership import Subscription
from kbroker.tools.offset_resets import (
    UsageMistake,
    parse_datetime_ms,
    parse_duration_ms,
    read_plan,
    topic_partitions,
)
from kbroker.tools.producer_settings import ProducerSettings
from kbroker.tools.producing import producing
from kbroker.tools.session import CommandError, Connected
from kbroker.tools.waiting import here
from tests.broker_process import BrokerProcess
from tests.tools.command_line import run_command
from wire.messages.topics import CreateTopicsRequest, CreateTopicsResponse

STAMP = 1_700_000_000_000


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerProcess]:
    overrides = {"offsets.topic.num.partitions": 1, "group.initial.rebalance.delay.ms": 0}
    with BrokerProcess(tmp_path_factory.mktemp("broker"), overrides=overrides) as process:
        yield process.start()


async def groups_command(broker: BrokerProcess, *flags: str) -> None:
    parser = consumer_groups.arguments()
    options = parser.parse(["--bootstrap-server", broker.bootstrap_server, *flags])
    consumer_groups.check(parser, options)
    await consumer_groups.command(parser, options)


async def fill(cluster: Cluster, topic: str, counts: tuple[int, ...]) -> None:
    """A topic with so many records in each of its partitions, a second apart from STAMP on."""
    wanted = CreateTopicsRequest.CreatableTopic(name=topic, num_partitions=len(counts), replication_factor=1)
    response = await cluster.controller(
        CreateTopicsRequest(topics=[wanted], timeout_ms=5000), CreateTopicsResponse
    )
    assert response.topics[0].error_code == 0
    async with producing(cluster, ProducerSettings(batch_size_bytes=1)) as producer:
        for partition, count in enumerate(counts):
            for number in range(count):
                stamp = STAMP + number * 1000
                await producer.send(topic, None, b"v", partition=partition, timestamp_ms=stamp)


async def group_of(cluster: Cluster, group_id: str, offsets: dict[tuple[str, int], int]) -> None:
    await ConsumerGroups(cluster).commit(group_id, offsets)


async def committed(cluster: Cluster, group_id: str) -> dict[tuple[str, int], int]:
    found = await ConsumerGroups(cluster).committed(group_id)
    return {partition: each.offset for partition, each in found.items()}


async def test_offsets_of_a_group_without_members(
    broker: BrokerProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    async with Connected(broker.bootstrap_server, {}) as cluster:
        await fill(cluster, "described", (5, 0))
        await group_of(cluster, "idle", {("described", 0): 2, ("described", 1): 0})
    ended = run_command(
        "consumer_groups", "--bootstrap-server", broker.bootstrap_server, "--describe", "--group", "idle"
    )
    assert ended.code == 0
    assert ended.err == "\nConsumer group 'idle' has no active members.\n"
    dash = "-               -               -"
    assert ended.out == (
        "\nGROUP           TOPIC           PARTITION  CURRENT-OFFSET  LOG-END-OFFSET  LAG             "
        "CONSUMER-ID     HOST            CLIENT-ID"
        f"\nidle            described       0          2               5               3               {dash}"
        f"\nidle            described       1          0               0               0               {dash}\n"
    )
    await groups_command(broker, "--describe", "--group", "idle", "--state", "--verbose")
    address = f"{broker.bootstrap_server}  (1)"
    assert capsys.readouterr().out == (
        "\nGROUP           COORDINATOR (ID)          ASSIGNMENT-STRATEGY  STATE                GROUP-EPOCH     "
        "TARGET-ASSIGNMENT-EPOCH   #MEMBERS"
        f"\nidle            {address:<25} -                    Empty                -               "
        "-                         0\n"
    )


async def test_a_live_group(broker: BrokerProcess, capsys: pytest.CaptureFixture[str]) -> None:
    settings = ConsumerSettings.from_properties({"group.id": "live", "auto.offset.reset": "earliest"})
    async with Connected(broker.bootstrap_server, {"client.id": "c"}) as cluster:
        await fill(cluster, "lived", (1, 1))
        async with consuming(cluster, settings, subscription=Subscription(["lived"])) as consumer:
            assert await consumer.next(10) is not None
            await groups_command(broker, "--describe", "--group", "live")
            await groups_command(broker, "--describe", "--group", "live", "--members", "--verbose")
            await groups_command(broker, "--describe", "--group", "live", "--state")
            await groups_command(broker, "--list", "--state", "stable", "--type", "classic")
            offsets, members, state, listed = _split(capsys.readouterr().out, ("GROUP  ",))
            rows = [line.split() for line in offsets[1:]]
            assert [row[:6] for row in rows] == [
                ["live", "lived", "0", "-", "1", "-"],
                ["live", "lived", "1", "-", "1", "-"],
            ]
            assert rows[0][6].startswith("c-")
            assert rows[0][7:] == ["/127.0.0.1", "c"]
            assert members[0].split() == [
                *(
                    "GROUP",
                    "CONSUMER-ID",
                    "HOST",
                    "CLIENT-ID",
                    "#PARTITIONS",
                    "CURRENT-EPOCH",
                    "CURRENT-ASSIGNMENT",
                ),
                *("TARGET-EPOCH", "TARGET-ASSIGNMENT"),
            ]
            assert members[1].split() == [
                "live",
                rows[0][6],
                "/127.0.0.1",
                "c",
                "2",
                "-",
                "lived:0,1",
                "-",
                "-",
            ]
            assert state[1].split() == ["live", broker.bootstrap_server, "(1)", "range", "Stable", "1"]
            assert [line.split() for line in listed] == [
                ["GROUP", "TYPE", "STATE"],
                ["live", "Classic", "Stable"],
            ]
            await groups_command(
                broker, "--reset-offsets", "--group", "live", "--all-topics", "--to-latest", "--execute"
            )
            assert (
                "\nError: Assignments can only be reset if the group 'live' is inactive, but the current state is "
                "Stable.\n" in capsys.readouterr().out
            )
            await groups_command(broker, "--delete", "--group", "live")
            assert capsys.readouterr().out == (
                "\nError: Deletion of some consumer groups failed:\n* Group 'live' could not be deleted due to: "
                "org.apache.kafka.common.errors.GroupNotEmptyException: The group is not empty.\n"
            )


def _split(text: str, starts: tuple[str, ...]) -> list[list[str]]:
    tables: list[list[str]] = []
    for line in text.splitlines():
        if line.startswith(starts):
            tables.append([])
        if line:
            tables[-1].append(line)
    return tables


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--to-earliest", "--topic", "resets"], {0: 1, 1: 0}),
        (["--to-latest", "--topic", "resets:0"], {0: 6, 1: 2}),
        (["--to-offset", "3", "--topic", "resets:0,1"], {0: 3, 1: 3}),
        (["--to-offset", "0", "--all-topics"], {0: 1, 1: 0}),
        (["--to-offset", "99", "--all-topics"], {0: 6, 1: 4}),
        (["--shift-by", "1", "--all-topics"], {0: 6, 1: 3}),
        (["--shift-by", "-2", "--all-topics"], {0: 3, 1: 0}),
        (["--to-current", "--all-topics"], {0: 5, 1: 2}),
        (["--to-datetime", "2023-11-14T22:13:22.500", "--all-topics"], {0: 3, 1: 3}),
        (["--to-datetime", "2023-11-14T23:13:22.000+01:00", "--all-topics"], {0: 2, 1: 2}),
        (["--by-duration", "P20000D", "--all-topics"], {0: 1, 1: 0}),
        (["--by-duration", "PT0S", "--all-topics"], {0: 6, 1: 4}),
    ],
)
async def test_resets(
    broker: BrokerProcess, flags: list[str], expected: dict[int, int], capsys: pytest.CaptureFixture[str]
) -> None:
    async with Connected(broker.bootstrap_server, {}) as cluster:
        if not any(topic.name == "resets" for topic in (await cluster.metadata(None)).topics):
            await fill(cluster, "resets", (6, 4))
            await _delete_records(cluster, "resets", 0, 1)
        before = {("resets", 0): 5, ("resets", 1): 2}
        await group_of(cluster, "moved", before)
        await groups_command(broker, "--reset-offsets", "--group", "moved", *flags, "--dry-run")
        shown = capsys.readouterr().out
        assert await committed(cluster, "moved") == before
        await groups_command(broker, "--reset-offsets", "--group", "moved", *flags, "--execute")
        assert capsys.readouterr().out == shown
        after = await committed(cluster, "moved")
    assert after == {("resets", number): offset for number, offset in expected.items()}
    rows = [line.split() for line in shown.splitlines() if line.startswith("moved")]
    touched = {0} if "resets:0" in flags else {0, 1}
    assert rows == [["moved", "resets", str(number), str(expected[number])] for number in sorted(touched)]


async def _delete_records(cluster: Cluster, topic: str, partition: int, offset: int) -> None:
    from wire.messages.offsets import DeleteRecordsRequest, DeleteRecordsResponse

    part = DeleteRecordsRequest.DeleteRecordsTopic.DeleteRecordsPartition(
        partition_index=partition, offset=offset
    )
    request = DeleteRecordsRequest(
        topics=[DeleteRecordsRequest.DeleteRecordsTopic(name=topic, partitions=[part])], timeout_ms=5000
    )
    response = await cluster.controller(request, DeleteRecordsResponse)
    assert response.topics[0].partitions[0].error_code == 0


async def test_export_and_from_file(
    broker: BrokerProcess, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with Connected(broker.bootstrap_server, {}) as cluster:
        await fill(cluster, "exported", (3, 3))
        await group_of(cluster, "from", {("exported", 0): 1, ("exported", 1): 2})
        await groups_command(
            broker,
            "--reset-offsets",
            "--group",
            "from",
            "--all-topics",
            "--to-current",
            "--export",
            "--dry-run",
        )
        text = capsys.readouterr().out
        assert text == "exported,0,1\nexported,1,2\n\n"
        file = tmp_path / "plan.csv"
        file.write_text(text)
        await groups_command(
            broker, "--reset-offsets", "--group", "to", "--from-file", str(file), "--execute"
        )
        assert await committed(cluster, "to") == {("exported", 0): 1, ("exported", 1): 2}
        await groups_command(
            broker,
            "--reset-offsets",
            "--group",
            "from",
            "--group",
            "to",
            "--all-topics",
            "--to-current",
            "--export",
            "--dry-run",
        )
        both = capsys.readouterr().out.split("\n\n")[-2].splitlines()
        assert "from,exported,0,1" in both
        assert "to,exported,1,2" in both
    file.write_text("g,t,0,5\nh,t,1,6\n")
    assert read_plan(str(file), ["g", "h"]) == {"g": {("t", 0): 5}, "h": {("t", 1): 6}}
    file.write_text("nonsense\n")
    with pytest.raises(CommandError):
        read_plan(str(file), ["g"])


async def test_what_cannot_be_reset(broker: BrokerProcess, capsys: pytest.CaptureFixture[str]) -> None:
    async with Connected(broker.bootstrap_server, {}) as cluster:
        await fill(cluster, "fixed", (1,))
        await group_of(cluster, "fixed", {("fixed", 0): 1})
    reset = ["--reset-offsets", "--group", "fixed", "--to-latest", "--dry-run"]
    failed = "\nError: Executing consumer group command failed due to "
    await groups_command(broker, *reset, "--topic", "absent")
    assert capsys.readouterr().out == failed + "This server does not host this topic-partition.\n"
    await groups_command(broker, *reset, "--topic", "fixed:7")
    assert capsys.readouterr().out == failed + 'The partitions "fixed-7" do not exist\n'
    for flags, message in (
        (["--topic", "fixed:x"], "Invalid partition 'x' specified in topic arg 'fixed:x''"),
        ([], "One of the reset scopes should be defined: --all-topics, --topic."),
    ):
        with pytest.raises(SystemExit) as ended:
            await groups_command(broker, *reset, *flags)
        assert ended.value.code == 1
        assert capsys.readouterr().err.startswith(message)


async def test_deletions(broker: BrokerProcess, capsys: pytest.CaptureFixture[str]) -> None:
    async with Connected(broker.bootstrap_server, {}) as cluster:
        await fill(cluster, "forgotten", (2, 2))
        await group_of(cluster, "forgetful", {("forgotten", 0): 1, ("forgotten", 1): 2})
        await groups_command(
            broker, "--delete-offsets", "--group", "forgetful", "--topic", "forgotten:0", "--topic", "absent"
        )
        assert capsys.readouterr().out == (
            "Request succeeded for deleting offsets from group forgetful.\n"
            "\nTOPIC           PARTITION  STATUS         "
            "\nabsent          -          Error: org.apache.kafka.common.errors.UnknownTopicOrPartitionException: "
            "This server does not host this topic-partition."
            "\nforgotten       0          Successful     \n"
        )
        assert await committed(cluster, "forgetful") == {("forgotten", 1): 2}
        await groups_command(broker, "--delete", "--group", "forgetful", "--group", "absent")
        assert capsys.readouterr().out == (
            "\nError: Deletion of some consumer groups failed:\n"
            "* Group 'absent' could not be deleted due to: "
            "org.apache.kafka.common.errors.GroupIdNotFoundException: The group id does not exist.\n"
            "\nThese consumer groups were deleted successfully: 'forgetful'\n"
        )
        await group_of(cluster, "last", {("forgotten", 0): 1})
        await groups_command(broker, "--delete", "--group", "last")
        assert capsys.readouterr().out == "Deletion of requested consumer groups ('last') was successful.\n"
        await groups_command(broker, "--describe", "--group", "last")
        assert capsys.readouterr().out == (
            "\nError: Executing consumer group command failed due to "
            "org.apache.kafka.common.errors.GroupIdNotFoundException: Group last not found.\n"
        )


async def test_a_static_member_and_a_mixed_group_have_more_columns(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def member(name: str, *, upgraded: bool) -> Member:
        return Member(
            member_id=name,
            instance_id="i-" + name,
            client_id="c",
            host="/h",
            assignment=[("t", 2), ("t", 1), ("a", 0)],
            target=[("t", 1)],
            epoch=4,
            upgraded=upgraded,
        )

    description = Description(
        group_id="g",
        state="Stable",
        assignor="uniform",
        coordinator_id=1,
        members=[member("m", upgraded=True), member("n", upgraded=False)],
        epoch=5,
        target_epoch=5,
    )
    parser = consumer_groups.arguments()
    options = parser.parse(
        ["--bootstrap-server", "h:1", "--describe", "--group", "g", "--members", "--verbose"]
    )
    command = consumer_groups.GroupsCommand(Cluster(here(), "h:1"), options)
    command._print_members(description)
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split()[2] == "GROUP-INSTANCE-ID"
    assert lines[1].split()[-1] == "UPGRADED"
    assert lines[2].split() == ["g", "m", "i-m", "/h", "c", "3", "4", "a:0;t:1,2", "5", "t:1", "true"]
    assert lines[3].split()[-1] == "false"
    await trio.lowlevel.checkpoint()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--list"], 'Missing required argument "[bootstrap-server]"'),
        (
            ["--bootstrap-server", "h:1", "--describe"],
            "Option [describe] takes one of these options: [group], [all-groups]",
        ),
        (
            ["--bootstrap-server", "h:1", "--list", "--delete", "--group", "g"],
            'Option "[group]" can\'t be used with option "[list]"',
        ),
        (
            ["--bootstrap-server", "h:1", "--list", "--members"],
            "Option(s) [members] are unavailable given other options",
        ),
        (
            [
                "--bootstrap-server",
                "h:1",
                "--reset-offsets",
                "--group",
                "g",
                "--to-latest",
                "--to-earliest",
                "--execute",
            ],
            'Option "[to-earliest]" can\'t be used with option "[to-latest]"',
        ),
        (
            ["--bootstrap-server", "h:1", "--reset-offsets", "--group", "g", "--dry-run", "--execute"],
            "Option [reset-offsets] only accepts one of [execute] and [dry-run]",
        ),
        (
            ["--bootstrap-server", "h:1", "--group", "g"],
            "Command must include exactly one action: --list, --describe, --delete, --reset-offsets, --delete-offsets, "
            "--validate-regex",
        ),
        (
            ["--bootstrap-server", "h:1", "--delete-offsets", "--group", "g"],
            "Option [delete-offsets] takes the following",
        ),
    ],
)
def test_mistakes_in_flags(flags: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    parser = consumer_groups.arguments()
    with pytest.raises(SystemExit) as ended:
        consumer_groups.check(parser, parser.parse(flags))
    assert ended.value.code == 1
    assert capsys.readouterr().err.startswith(message)


async def test_unknown_states_are_refused(broker: BrokerProcess, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        await groups_command(broker, "--list", "--state", "asleep")
    assert capsys.readouterr().err.startswith("Invalid state list 'asleep'. Valid states are: ")


def test_a_missing_execute_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    parser = consumer_groups.arguments()
    flags = ["--bootstrap-server", "h:1", "--reset-offsets", "--group", "g", "--to-latest", "--all-topics"]
    consumer_groups.check(parser, parser.parse(flags))
    assert capsys.readouterr().err.startswith(
        "WARN: No action will be performed as the --execute option is missing."
    )


def test_times() -> None:
    assert parse_duration_ms("P1DT2H3M4.5S") == ((26 * 60 + 3) * 60 + 4) * 1000 + 500
    assert parse_duration_ms("-PT1M") == -60_000
    assert parse_duration_ms("pt-1s") == -1000
    for wrong in ("P", "1D", "PT", "P1H", ""):
        with pytest.raises(CommandError):
            parse_duration_ms(wrong)
    assert parse_datetime_ms("1970-01-01T00:00:01.002") == 1002
    assert parse_datetime_ms("1970-01-01T01:00:00.000+01:00") == 0
    assert parse_datetime_ms("2023-11-14T22:13:20.000Z") == STAMP
    for wrong in ("2023-11-14", "2023-11-14T22:13:20", "2023-11-14T25:13:20.000"):
        with pytest.raises(CommandError):
            parse_datetime_ms(wrong)
    assert topic_partitions("t:0,3") == [("t", 0), ("t", 3)]
    with pytest.raises(UsageMistake):
        topic_partitions("t:1:2")


def test_patterns(capsys: pytest.CaptureFixture[str]) -> None:
    consumer_groups.validate_regex("a.*")
    consumer_groups.validate_regex("a(")
    assert capsys.readouterr().out == (
        "The regular expression `a.*` is valid.\nThe regular expression `a(` is invalid: missing closing ).\n"
    )
