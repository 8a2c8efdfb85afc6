"""``kafka-leader-election``."""

from __future__ import annotations

from typing import Final

from compat.commands.case import Cases
from compat.commands.states import records

CASES: Final = Cases("kafka-leader-election")
_PREFERRED: Final = "--election-type preferred "
_FILES: Final = {
    "partitions": '{"partitions":[{"topic":"{letters}","partition":0},{"topic":"{numbers}","partition":2}]}',
    "absent-topic": '{"partitions":[{"topic":"{absent}","partition":0},{"topic":"{letters}","partition":7}]}',
    "twice": '{"partitions":[{"topic":"{letters}","partition":0},{"topic":"{letters}","partition":0}]}',
    "empty": '{"partitions":[]}',
    "text": "partitions",
    "nothing": "",
    "no-partitions": "{}",
    "no-topic": '{"partitions":[{"partition":0}]}',
}

CASES.offline("no flags", "")
CASES.offline("help", "--help")
CASES.offline("version", "--version")
CASES.offline("an unknown flag", "--bogus")
CASES.offline("no kind of election", "--all-topic-partitions --bootstrap-server {nowhere}")
CASES.offline(
    "an election that there is not",
    "--election-type fair --all-topic-partitions --bootstrap-server {nowhere}",
)
CASES.offline("no address", _PREFERRED + "--all-topic-partitions")
CASES.offline(
    "no partitions",
    _PREFERRED + "--bootstrap-server {nowhere}",
    _PREFERRED + "--topic t --bootstrap-server {nowhere}",
    _PREFERRED + "--partition 0 --bootstrap-server {nowhere}",
)
CASES.offline(
    "partitions in two ways",
    _PREFERRED + "--topic t --partition 0 --all-topic-partitions --bootstrap-server {nowhere}",
    _PREFERRED + "--path-to-json-file {dir}/empty --all-topic-partitions --bootstrap-server {nowhere}",
    _PREFERRED + "--path-to-json-file {dir}/empty --topic t --partition 0 --bootstrap-server {nowhere}",
    files=_FILES,
)
CASES.offline(
    "a partition that is no number", _PREFERRED + "--topic t --partition first --bootstrap-server {nowhere}"
)
CASES.offline(
    "a file that makes no sense",
    *(
        f"{_PREFERRED}--path-to-json-file {{dir}}/{name} --bootstrap-server {{nowhere}}"
        for name in ("absent", "text", "nothing", "no-partitions", "no-topic", "twice")
    ),
    files=_FILES,
)
CASES.offline(
    "two names of one flag",
    _PREFERRED
    + "--all-topic-partitions --bootstrap-server {nowhere} --admin.config {dir}/a --command-config {dir}/a",
    files={"a": "client.id=a\n"},
)
CASES.offline(
    "nobody at the address",
    _PREFERRED + "--topic t --partition 0 --bootstrap-server {nowhere} --command-config {dir}/impatient",
    files={"impatient": "default.api.timeout.ms=500\nrequest.timeout.ms=300\n"},
)

CASES.read(
    "one partition",
    "--election-type preferred --topic {letters} --partition 0",
    "--election-type PREFERRED --topic {letters} --partition 0",
    "--election-type unclean --topic {letters} --partition 0",
    "--election-type UNCLEAN --topic {numbers} --partition 2",
    given=records,
)
CASES.read(
    "partitions of a file",
    "--election-type preferred --path-to-json-file {dir}/partitions",
    "--election-type unclean --path-to-json-file {dir}/partitions",
    "--election-type preferred --path-to-json-file {dir}/empty",
    given=records,
    files=_FILES,
)
CASES.read(
    "all partitions",
    "--election-type preferred --all-topic-partitions",
    "--election-type unclean --all-topic-partitions",
    given=records,
)
CASES.read(
    "partitions that are not there",
    "--election-type preferred --topic {absent} --partition 0",
    "--election-type preferred --topic {letters} --partition 7",
    "--election-type unclean --path-to-json-file {dir}/absent-topic",
    given=records,
    files=_FILES,
)
CASES.read(
    "with properties for the client",
    "--election-type preferred --topic {letters} --partition 0 --command-config {dir}/client",
    "--election-type preferred --topic {letters} --partition 0 --admin.config {dir}/client",
    given=records,
    files={"client": "client.id=me\n"},
)
