"""``kafka-transactions``."""

from __future__ import annotations

from typing import Final

from compat.commands.case import Cases
from compat.commands.states import transactions

CASES: Final = Cases("kafka-transactions")
_PRODUCERS: Final = [("kafka-transactions", "describe-producers --topic {ledger} --partition 0")]
_AT_NOBODY: Final = "--bootstrap-server {nowhere} "

CASES.offline("no flags", "")
CASES.offline(
    "help",
    "--help",
    "-h",
    *(
        f"{_AT_NOBODY}{command} --help"
        for command in (
            "list",
            "describe",
            "describe-producers",
            "abort",
            "find-hanging",
            "forceTerminateTransaction",
        )
    ),
)
CASES.offline("version", "--version", "-v")
CASES.offline("an unknown flag", _AT_NOBODY + "list --bogus", "--bogus")
CASES.offline("an unknown command", _AT_NOBODY + "nonsense")
CASES.offline("no address", "list", "describe --transactional-id t")
CASES.offline("no command", _AT_NOBODY)
CASES.offline(
    "flags that are missing",
    _AT_NOBODY + "describe",
    _AT_NOBODY + "describe-producers",
    _AT_NOBODY + "describe-producers --topic t",
    _AT_NOBODY + "describe-producers --partition 0",
    _AT_NOBODY + "abort",
    _AT_NOBODY + "abort --topic t --partition 0",
    _AT_NOBODY + "abort --topic t --partition 0 --producer-id 1",
    _AT_NOBODY + "forceTerminateTransaction",
    _AT_NOBODY + "find-hanging",
    _AT_NOBODY + "find-hanging --partition 0",
)
CASES.offline(
    "numbers that are none",
    _AT_NOBODY + "list --duration-filter soon",
    _AT_NOBODY + "describe-producers --topic t --partition first",
    _AT_NOBODY + "abort --topic t --partition 0 --start-offset first",
    _AT_NOBODY + "find-hanging --broker-id one",
)
CASES.offline("a file that is not there", _AT_NOBODY + "--command-config {dir}/absent list")
CASES.offline(
    "nobody at the address",
    _AT_NOBODY + "--command-config {dir}/impatient list",
    files={"impatient": "default.api.timeout.ms=500\nrequest.timeout.ms=300\n"},
)

CASES.read("all of them", "list", given=transactions)
CASES.read(
    "filtered",
    "list --transactional-id-pattern {all}.*",
    "list --transactional-id-pattern nobody",
    "list --transactional-id-pattern '['",
    "list --duration-filter 3600000",
    "list --duration-filter 0 --transactional-id-pattern {open}",
    given=transactions,
)
CASES.read(
    "described",
    "describe --transactional-id {ended}",
    "describe --transactional-id {open}",
    "describe --transactional-id {absent}",
    given=transactions,
)
CASES.read(
    "a partition's producers",
    "describe-producers --topic {ledger} --partition 0",
    "describe-producers --topic {ledger} --partition 1",
    "describe-producers --topic {ledger} --partition 0 --broker-id {node}",
    "--command-config {dir}/impatient describe-producers --topic {absent} --partition 0",
    given=transactions,
    files={"impatient": "default.api.timeout.ms=500\nrequest.timeout.ms=300\n"},
)
CASES.read(
    "hanging ones, of which there are none",
    "find-hanging --topic {ledger}",
    "find-hanging --topic {ledger} --partition 0",
    "find-hanging --broker-id {node}",
    "find-hanging --topic {ledger} --max-transaction-timeout 1",
    "find-hanging --topic {absent}",
    "find-hanging --broker-id 77",
    given=transactions,
)
CASES.read(
    "flags that do not go together",
    "find-hanging --topic {ledger} --broker-id {node}",
    "abort --topic {ledger} --partition 0 --start-offset 100 --producer-id 1",
    given=transactions,
)
CASES.read(
    "refused",
    "abort --topic {ledger} --partition 0 --start-offset 100",
    "forceTerminateTransaction --transactionalId {absent}",
    given=transactions,
)
CASES.change(
    "aborted at its start",
    "abort --topic {ledger} --partition 0 --start-offset 4",
    given=transactions,
    after=_PRODUCERS,
)
CASES.change(
    "terminated by its id",
    "forceTerminateTransaction --transactionalId {open}",
    given=transactions,
    after=[
        (
            "kafka-console-consumer",
            "--topic {ledger} --partition 0 --offset 0 --timeout-ms 1000 --isolation-level read_committed",
        )
    ],
)
