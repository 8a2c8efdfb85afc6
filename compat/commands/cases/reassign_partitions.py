"""``kafka-reassign-partitions``, on one broker: moves have nowhere to go but to where they are."""

from __future__ import annotations

from typing import Final

from compat.commands.case import Cases
from compat.commands.states import records

CASES: Final = Cases("kafka-reassign-partitions")
_AT_NOBODY: Final = "--bootstrap-server {nowhere} "


def _plan(topic: str, *replicas: str, extra: str = "") -> str:
    listed = ",".join(
        f'{{"topic":"{{{topic}}}","partition":{partition},"replicas":[{brokers}]{extra}}}'
        for partition, brokers in enumerate(replicas)
    )
    return f'{{"version":1,"partitions":[{listed}]}}'


_FILES: Final = {
    "topics": '{"version":1,"topics":[{"topic":"{numbers}"}]}',
    "two-topics": '{"version":1,"topics":[{"topic":"{numbers}"},{"topic":"{letters}"}]}',
    "absent-topics": '{"version":1,"topics":[{"topic":"{absent}"}]}',
    "topics-twice": '{"version":1,"topics":[{"topic":"{letters}"},{"topic":"{letters}"}]}',
    "plan": _plan("numbers", "{node}", "{node}", "{node}"),
    "any-directory": _plan("numbers", "{node}", extra=',"log_dirs":["any"]'),
    "absent-directory": _plan("numbers", "{node}", extra=',"log_dirs":["/no/such/directory"]'),
    "two-directories": _plan("numbers", "{node}", extra=',"log_dirs":["any","any"]'),
    "absent": _plan("absent", "{node}"),
    "far": _plan("numbers", "77"),
    "grown": _plan("letters", "{node},77"),
    "twice": _plan("letters", "{node},{node}"),
    "empty-replicas": _plan("letters", ""),
    "none": '{"version":1,"partitions":[]}',
    "partition-twice": '{"version":1,"partitions":[{"topic":"t","partition":0,"replicas":[1]},'
    '{"topic":"t","partition":0,"replicas":[1]}]}',
    "text": "partitions",
    "nothing": "",
    "no-version": '{"partitions":[]}',
    "newer": '{"version":2,"partitions":[]}',
    "no-partitions": '{"version":1}',
    "impatient": "default.api.timeout.ms=500\nrequest.timeout.ms=300\n",
}

CASES.offline("no flags", "")
CASES.offline("help", "--help")
CASES.offline("version", "--version")
CASES.offline("an unknown flag", "--bogus", "--list --zookeeper {nowhere}")
CASES.offline("no address", "--list", "--verify --reassignment-json-file {dir}/plan", files={"plan": "{}"})
CASES.offline("no action", _AT_NOBODY, _AT_NOBODY + "--broker-list 1")
CASES.offline(
    "two actions",
    _AT_NOBODY + "--list --verify",
    _AT_NOBODY + "--generate --execute",
    _AT_NOBODY + "--cancel --list",
)
CASES.offline(
    "flags that are missing",
    _AT_NOBODY + "--generate",
    _AT_NOBODY + "--generate --broker-list 1",
    _AT_NOBODY + "--generate --topics-to-move-json-file f",
    _AT_NOBODY + "--execute",
    _AT_NOBODY + "--verify",
    _AT_NOBODY + "--cancel",
)
CASES.offline(
    "flags of other actions",
    _AT_NOBODY + "--list --throttle 1",
    _AT_NOBODY + "--verify --reassignment-json-file f --throttle 1",
    _AT_NOBODY + "--generate --topics-to-move-json-file f --broker-list 1 --timeout 1",
    _AT_NOBODY + "--execute --reassignment-json-file f --broker-list 1",
    _AT_NOBODY + "--cancel --reassignment-json-file f --additional",
    _AT_NOBODY + "--execute --reassignment-json-file f --preserve-throttles",
)
CASES.offline("a number that is none", _AT_NOBODY + "--execute --reassignment-json-file f --throttle much")
CASES.offline(
    "a controller for it",
    "--bootstrap-controller {nowhere} --generate --topics-to-move-json-file f --broker-list 1",
)
CASES.offline("two addresses", _AT_NOBODY + "--bootstrap-controller {nowhere} --list")
CASES.offline("an address that is none", "--list --bootstrap-server nowhere")
CASES.offline(
    "files that are not there",
    _AT_NOBODY + "--execute --reassignment-json-file {dir}/absent-file",
    _AT_NOBODY + "--list --command-config {dir}/absent-file",
)
CASES.offline(
    "nobody at the address",
    _AT_NOBODY + "--list --command-config {dir}/impatient",
    files={"impatient": _FILES["impatient"]},
)

CASES.read("none under way", "--list", given=records)
CASES.read(
    "generated",
    "--generate --topics-to-move-json-file {dir}/topics --broker-list {node}",
    "--generate --topics-to-move-json-file {dir}/two-topics --broker-list {node} --disable-rack-aware",
    given=records,
    files=_FILES,
)
CASES.read(
    "not generated",
    "--generate --topics-to-move-json-file {dir}/absent-topics --broker-list {node}",
    "--generate --topics-to-move-json-file {dir}/topics-twice --broker-list {node}",
    "--generate --topics-to-move-json-file {dir}/topics --broker-list 77",
    "--generate --topics-to-move-json-file {dir}/topics --broker-list {node},{node}",
    "--generate --topics-to-move-json-file {dir}/topics --broker-list one",
    "--generate --topics-to-move-json-file {dir}/text --broker-list {node}",
    "--generate --topics-to-move-json-file {dir}/absent-file --broker-list {node}",
    given=records,
    files=_FILES,
)
CASES.read(
    "plans that make no sense",
    *(
        f"--{action} --reassignment-json-file {{dir}}/{name}"
        for action in ("execute", "verify")
        for name in ("text", "nothing", "no-version", "newer", "no-partitions", "partition-twice", "none")
    ),
    given=records,
    files=_FILES,
)
CASES.read(
    "not executed",
    *(
        f"--execute --reassignment-json-file {{dir}}/{name}"
        for name in ("absent", "far", "grown", "twice", "empty-replicas", "two-directories")
    ),
    "--execute --reassignment-json-file {dir}/grown --disallow-replication-factor-change",
    given=records,
    files=_FILES,
)
CASES.read(
    "verified",
    "--verify --reassignment-json-file {dir}/plan",
    "--verify --reassignment-json-file {dir}/absent",
    "--verify --reassignment-json-file {dir}/any-directory",
    "--verify --reassignment-json-file {dir}/plan --preserve-throttles",
    given=records,
    files=_FILES,
)
CASES.read(
    "cancelled, though there is none",
    "--cancel --reassignment-json-file {dir}/plan",
    "--cancel --reassignment-json-file {dir}/none",
    "--cancel --reassignment-json-file {dir}/plan --preserve-throttles",
    given=records,
    files=_FILES,
)
CASES.change(
    "executed",
    "--execute --reassignment-json-file {dir}/plan",
    "--verify --reassignment-json-file {dir}/plan",
    given=records,
    files=_FILES,
    alone=True,
    after=[("kafka-topics", "--describe --topic {numbers}")],
)
CASES.change(
    "executed with a throttle",
    "--execute --reassignment-json-file {dir}/plan --throttle 1000000",
    "--execute --reassignment-json-file {dir}/plan --throttle 2000000 --additional",
    "--verify --reassignment-json-file {dir}/plan",
    given=records,
    files=_FILES,
    alone=True,
    after=[
        ("kafka-configs", "--describe --topic {numbers}"),
        ("kafka-configs", "--describe --broker {node}"),
    ],
)
CASES.change(
    "executed with directories",
    "--execute --reassignment-json-file {dir}/any-directory --timeout 5000",
    "--execute --reassignment-json-file {dir}/absent-directory --timeout 2000",
    given=records,
    files=_FILES,
    alone=True,
    after=[("kafka-topics", "--describe --topic {numbers}")],
)
