"""``kafka-get-offsets``."""

from __future__ import annotations

from typing import Final

from compat.commands.case import Cases
from compat.commands.state import FIRST_RECORD_MS
from compat.commands.states import records

CASES: Final = Cases("kafka-get-offsets")

CASES.offline("no flags", "")
CASES.offline("help", "--help")
CASES.offline("version", "--version")
CASES.offline(
    "an unknown flag", "--bogus", "--broker-list {nowhere}", "--bootstrap-server {nowhere} --offsets 1"
)
CASES.offline("no address", "--topic t", "--time -1")
CASES.offline("an address that is none", "--bootstrap-server nowhere")
CASES.offline(
    "filters that exclude one another",
    "--bootstrap-server {nowhere} --topic t --topic-partitions t:0",
    "--bootstrap-server {nowhere} --partitions 0 --topic-partitions t:0",
)
CASES.offline("a file that is not there", "--bootstrap-server {nowhere} --command-config {dir}/absent")
CASES.offline(
    "nobody at the address",
    "--bootstrap-server {nowhere} --command-config {dir}/impatient",
    files={"impatient": "default.api.timeout.ms=500\nrequest.timeout.ms=300\n"},
)

CASES.read(
    "every time by name",
    *(
        f"--topic {{all}}.* --time {name}"
        for name in ("latest", "earliest", "max-timestamp", "earliest-local", "latest-tiered")
    ),
    given=records,
)
CASES.read(
    "every time by number",
    *(f"--topic {{all}}.* --time {number}" for number in (-1, -2, -3, -4, -5)),
    given=records,
)
CASES.read("the upload that is to come", "--topic {letters} --time -6", given=records)
CASES.read(
    "a timestamp",
    *(
        f"--topic {{all}}.* --time {FIRST_RECORD_MS + milliseconds}"
        for milliseconds in (-1, 0, 1_500, 120_000, 10_000_000)
    ),
    "--topic {all}.* --time 0",
    given=records,
)
CASES.read(
    "a time that is none",
    "--topic {letters} --time soon",
    "--topic {letters} --time -7",
    "--topic {letters} --time 99999999999999999999",
    "--topic {letters} --time 1.5",
    given=records,
)
CASES.read("by default", "--topic {numbers}", "--topic {nothing}", given=records)
CASES.read("without those of Kafka's own", "--exclude-internal-topics", given=records)
CASES.read(
    "partitions",
    "--topic {numbers} --partitions 0,2",
    "--topic {numbers} --partitions 1",
    "--topic {numbers} --partitions 7",
    "--topic {numbers} --partitions 0,x",
    "--topic {numbers} --partitions 0-1",
    "--topic {all}.* --partitions 0",
    given=records,
)
CASES.read(
    "topics and partitions",
    "--topic-partitions {numbers}:1",
    "--topic-partitions {numbers}:0-2",
    "--topic-partitions {numbers}:1-",
    "--topic-partitions {numbers}:-2",
    "--topic-partitions {numbers},{letters}:0",
    "--topic-partitions {all}.*:0",
    "--topic-partitions {numbers}:a",
    "--topic-partitions {numbers}:0:1",
    "--topic-partitions {absent}:0",
    given=records,
)
CASES.read(
    "one that is not there",
    "--topic {absent}",
    "--topic {absent} --partitions 0",
    "--topic '['",
    given=records,
)
