"""``kafka-log-dirs``."""

from __future__ import annotations

from typing import Final

from compat.commands.case import Cases
from compat.commands.states import records

CASES: Final = Cases("kafka-log-dirs")

CASES.offline("no flags", "")
CASES.offline("help", "--help")
CASES.offline("version", "--version")
CASES.offline("an unknown flag", "--bogus")
CASES.offline("no describe", "--bootstrap-server {nowhere}")
CASES.offline("no address", "--describe")
CASES.offline("an address that is none", "--describe --bootstrap-server nowhere")
CASES.offline(
    "a file that is not there", "--describe --bootstrap-server {nowhere} --command-config {dir}/absent"
)
CASES.offline(
    "nobody at the address",
    "--describe --bootstrap-server {nowhere} --command-config {dir}/impatient",
    files={"impatient": "default.api.timeout.ms=500\nrequest.timeout.ms=300\n"},
)
CASES.read("everything", "--describe", given=records)
CASES.read(
    "topics",
    "--describe --topic-list {letters}",
    "--describe --topic-list {letters},{numbers}",
    "--describe --topic-list {absent}",
    "--describe --topic-list ''",
    given=records,
)
CASES.read(
    "brokers",
    "--describe --broker-list {node} --topic-list {letters}",
    "--describe --broker-list {node},77 --topic-list {letters}",
    "--describe --broker-list 77,78",
    "--describe --broker-list one",
    "--describe --broker-list ''",
    given=records,
)
CASES.read(
    "with properties for the client",
    "--describe --topic-list {letters} --command-config {dir}/client",
    given=records,
    files={"client": "client.id=me\n"},
)
