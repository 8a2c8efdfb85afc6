"""``kafka-delete-records``."""

from __future__ import annotations

from typing import Final

from compat.commands.case import Cases
from compat.commands.states import records

CASES: Final = Cases("kafka-delete-records")
_ENDS: Final = [
    ("kafka-get-offsets", "--topic {all}.* --time earliest"),
    ("kafka-get-offsets", "--topic {all}.*"),
]


def _plan(*partitions: tuple[str, int, int], version: str = '"version":1,') -> str:
    listed = ",".join(
        f'{{"topic":"{{{topic}}}","partition":{partition},"offset":{offset}}}'
        for topic, partition, offset in partitions
    )
    return f'{{"partitions":[{listed}],{version}"more":null}}'


CASES.offline("no flags", "")
CASES.offline("help", "--help")
CASES.offline("version", "--version")
CASES.offline("an unknown flag", "--bogus")
CASES.offline("no file", "--bootstrap-server {nowhere}")
CASES.offline("no address", "--offset-json-file {dir}/plan", files={"plan": "{}"})
CASES.offline("a file that is not there", "--bootstrap-server {nowhere} --offset-json-file {dir}/absent")
CASES.offline(
    "a file that makes no sense",
    *(
        f"--bootstrap-server {{nowhere}} --offset-json-file {{dir}}/{name}"
        for name in ("empty", "text", "list", "unversioned", "newer", "no-partitions", "no-offset", "strings")
    ),
    files={
        "empty": "",
        "text": "partitions",
        "list": "[]",
        "unversioned": '{"partitions":[]}',
        "newer": '{"partitions":[],"version":2}',
        "no-partitions": '{"version":1}',
        "no-offset": '{"partitions":[{"topic":"t","partition":0}],"version":1}',
        "strings": '{"partitions":[{"topic":"t","partition":"0","offset":"1"}],"version":1}',
    },
)
CASES.offline(
    "a partition twice",
    "--bootstrap-server {nowhere} --offset-json-file {dir}/twice",
    files={
        "twice": '{"partitions":[{"topic":"t","partition":0,"offset":1},'
        '{"topic":"t","partition":0,"offset":2}],"version":1}'
    },
)
CASES.read(
    "refused",
    "--offset-json-file {dir}/beyond",
    "--offset-json-file {dir}/absent-topic --command-config {dir}/impatient",
    "--offset-json-file {dir}/absent-partition --command-config {dir}/impatient",
    given=records,
    files={
        "beyond": _plan(("letters", 0, 100)),
        "absent-topic": _plan(("absent", 0, 1)),
        "absent-partition": _plan(("letters", 7, 1)),
        "impatient": "default.api.timeout.ms=500\nrequest.timeout.ms=300\n",
    },
)
CASES.change(
    "some",
    "--offset-json-file {dir}/plan",
    given=records,
    files={"plan": _plan(("letters", 0, 2), ("numbers", 1, 1))},
    after=_ENDS,
)
CASES.change(
    "all",
    "--offset-json-file {dir}/plan",
    given=records,
    files={"plan": _plan(("letters", 0, -1))},
    after=_ENDS,
)
CASES.change(
    "some that are there and some that are not",
    "--offset-json-file {dir}/plan",
    given=records,
    files={"plan": _plan(("letters", 0, 2), ("numbers", 1, 100))},
    after=_ENDS,
)
CASES.change(
    "with properties for the client",
    "--offset-json-file {dir}/plan --command-config {dir}/client",
    given=records,
    files={"plan": _plan(("letters", 0, 1)), "client": "client.id=me\n"},
    after=_ENDS,
)
CASES.read("none", "--offset-json-file {dir}/plan", given=records, files={"plan": _plan()})
