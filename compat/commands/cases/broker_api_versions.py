"""``kafka-broker-api-versions``."""

from __future__ import annotations

from typing import Final

from compat.commands.case import Cases

CASES: Final = Cases("kafka-broker-api-versions")

CASES.offline("no flags", "")
CASES.offline("help", "--help")
CASES.offline("version", "--version")
CASES.offline("an unknown flag", "--bogus", "--bootstrap-server {nowhere} --bogus")
CASES.offline("no address", "--command-config {dir}/absent")
CASES.offline("an address that is none", "--bootstrap-server nowhere")
CASES.offline("a file that is not there", "--bootstrap-server {nowhere} --command-config {dir}/absent")
CASES.offline(
    "nobody at the address",
    "--bootstrap-server {nowhere} --command-config {dir}/impatient",
    files={"impatient": "default.api.timeout.ms=500\nrequest.timeout.ms=300\n"},
)
CASES.read("what the broker serves", "", "--command-config {dir}/client", files={"client": "client.id=me\n"})
