"""``kafka-consumer-groups``: everything but ``--reset-offsets``, which has a module of its own."""

from __future__ import annotations

from typing import Final

from compat.commands.case import Cases
from compat.commands.states import groups, idle_group

CASES: Final = Cases("kafka-consumer-groups")
_DESCRIBED: Final = [("kafka-consumer-groups", "--describe --group {idle}")]

CASES.offline("no flags", "")
CASES.offline("help", "--help")
CASES.offline("version", "--version")
CASES.offline("an unknown flag", "--bogus", "--new-consumer --list")
CASES.offline("no address", "--list", "--describe --group g")
CASES.offline("no action", "--bootstrap-server {nowhere}", "--group g --bootstrap-server {nowhere}")
CASES.offline("several actions", "--list --describe --group g --bootstrap-server {nowhere}")
CASES.offline(
    "describe without a group, or with two kinds",
    "--describe --bootstrap-server {nowhere}",
    "--describe --group g --all-groups --bootstrap-server {nowhere}",
    "--describe --group g --members --offsets --bootstrap-server {nowhere}",
    "--describe --group g --members --state --bootstrap-server {nowhere}",
    "--describe --group g --state Stable --bootstrap-server {nowhere}",
)
CASES.offline(
    "flags of other actions",
    "--list --group g --bootstrap-server {nowhere}",
    "--list --topic t --bootstrap-server {nowhere}",
    "--list --members --bootstrap-server {nowhere}",
    "--describe --group g --topic t --bootstrap-server {nowhere}",
    "--delete --group g --verbose --bootstrap-server {nowhere}",
    "--describe --group g --type classic --bootstrap-server {nowhere}",
)
CASES.offline(
    "delete without a group or with topics",
    "--delete --bootstrap-server {nowhere}",
    "--delete --group g --topic t --bootstrap-server {nowhere}",
    "--delete --group g --all-groups --bootstrap-server {nowhere}",
)
CASES.offline(
    "delete-offsets without group or topic",
    "--delete-offsets --bootstrap-server {nowhere}",
    "--delete-offsets --group g --bootstrap-server {nowhere}",
    "--delete-offsets --topic t --bootstrap-server {nowhere}",
)
CASES.offline(
    "states and types that there are not",
    "--list --state Happy --bootstrap-server {nowhere}",
    "--list --type modern --bootstrap-server {nowhere}",
    "--list --state Stable,Happy --bootstrap-server {nowhere}",
)
CASES.offline("a timeout that is none", "--list --timeout soon --bootstrap-server {nowhere}")
CASES.offline("an address that is none", "--list --bootstrap-server nowhere")
CASES.offline("a file that is not there", "--list --bootstrap-server {nowhere} --command-config {dir}/absent")
CASES.offline(
    "a regular expression",
    "--validate-regex 'a.*'",
    "--validate-regex '['",
    "--validate-regex '(?<name>a)' --list",
)
CASES.offline(
    "nobody at the address",
    "--list --timeout 500 --bootstrap-server {nowhere} --command-config {dir}/impatient",
    "--describe --group g --timeout 500 --bootstrap-server {nowhere} --command-config {dir}/impatient",
    files={"impatient": "default.api.timeout.ms=500\nrequest.timeout.ms=300\n"},
)

CASES.read("all of them", "--list", given=groups)
CASES.read(
    "all of them by state",
    "--list --state",
    "--list --state Stable",
    "--list --state stable",
    "--list --state Empty,Stable",
    "--list --state Dead",
    "--list --state Assigning",
    given=groups,
)
CASES.read(
    "all of them by type",
    "--list --type",
    "--list --type classic",
    "--list --type consumer",
    "--list --type classic,consumer --state Stable",
    "--list --type --state",
    given=groups,
)
for group in ("idle", "live"):
    CASES.read(
        f"described: one that is {group}",
        f"--describe --group {{{group}}}",
        f"--describe --group {{{group}}} --offsets",
        f"--describe --group {{{group}}} --offsets --verbose",
        f"--describe --group {{{group}}} --members",
        f"--describe --group {{{group}}} --members --verbose",
        f"--describe --group {{{group}}} --state",
        f"--describe --group {{{group}}} --state --verbose",
        f"--describe --group {{{group}}} --verbose",
        given=groups,
    )
CASES.read(
    "described: two",
    "--describe --group {idle} --group {live}",
    "--describe --group {idle} --group {live} --state",
    "--describe --group {idle} --group {live} --members",
    given=groups,
)
CASES.read(
    "described: one that is not there",
    "--describe --group {absent}",
    "--describe --group {absent} --members",
    "--describe --group {absent} --state",
    "--describe --group {absent} --group {idle}",
    given=groups,
)
CASES.read("described: all", "--describe --all-groups --state", given=groups)
CASES.read(
    "with properties for the client",
    "--describe --group {idle} --command-config {dir}/client --timeout 10000",
    given=groups,
    files={"client": "client.id=me\n"},
)
CASES.read(
    "flags of a reset, which other actions do not mind",
    "--describe --group {idle} --to-earliest",
    "--delete --group {absent} --to-latest",
    given=groups,
)
CASES.read(
    "refused deletions",
    "--delete --group {live}",
    "--delete --group {absent}",
    "--delete --group {absent} --group {live}",
    "--delete-offsets --group {absent} --topic {letters}",
    "--delete-offsets --group {idle} --topic {absent}",
    "--delete-offsets --group {idle} --topic {letters}:7",
    "--delete-offsets --group {idle} --topic {letters}:x",
    "--delete-offsets --group {live} --topic {numbers}",
    given=groups,
)
CASES.change("deleted", "--delete --group {idle}", given=idle_group, after=_DESCRIBED)
CASES.change(
    "deleted with one that is not there",
    "--delete --group {idle} --group {absent}",
    given=idle_group,
    after=_DESCRIBED,
)
CASES.change(
    "offsets of a topic deleted",
    "--delete-offsets --group {idle} --topic {letters}",
    "--delete-offsets --group {idle} --topic {letters}",
    given=idle_group,
    after=_DESCRIBED,
)
CASES.change(
    "offsets of partitions deleted",
    "--delete-offsets --group {idle} --topic {numbers}:0",
    "--delete-offsets --group {idle} --topic {numbers}:1,2 --topic {letters}",
    given=idle_group,
    after=_DESCRIBED,
)
