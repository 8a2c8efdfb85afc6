"""``kafka-consumer-groups --reset-offsets``."""

from __future__ import annotations

from typing import Final

from compat.commands.case import Cases
from compat.commands.states import groups, idle_group, idle_group_of_numbers

CASES: Final = Cases("kafka-consumer-groups")
_IDLE: Final = "--reset-offsets --group {idle} "
_NOWHERE: Final = "--reset-offsets --group g --bootstrap-server {nowhere} "
_DESCRIBED: Final = [("kafka-consumer-groups", "--describe --group {idle}")]
_WAYS: Final = {
    "earliest": "--to-earliest",
    "latest": "--to-latest",
    "current": "--to-current",
    "an offset": "--to-offset 2",
    "an offset too small": "--to-offset -3",
    "an offset too large": "--to-offset 1000",
    "forward": "--shift-by 1",
    "back": "--shift-by -1",
    "far back": "--shift-by -1000",
    "far forward": "--shift-by 1000",
    "a time": "--to-datetime 2025-06-15T15:08:00.000",
    "a time of a zone": "--to-datetime 2025-06-15T17:08:00.000+02:00",
    "a time to come": "--to-datetime 2125-06-15T15:08:00.000Z",
    "a duration": "--by-duration PT1H",
    "a long duration": "--by-duration P30000D",
}
_FILES: Final = {
    "one.csv": "{letters},0,4\n{numbers},2,1\n",
    "several.csv": "{idle},{letters},0,3\n",
    "nonsense.csv": "{letters},0\n",
    "words.csv": "{letters},zero,one\n",
    "elsewhere.csv": "{absent},0,1\n",
    "empty.csv": "",
}

CASES.offline("reset: no group", "--reset-offsets --to-earliest --all-topics --bootstrap-server {nowhere}")
CASES.read(
    "reset: no topics, or no way, or both kinds of topics",
    _IDLE + "--to-earliest",
    _IDLE + "--all-topics",
    _IDLE + "--topic {letters}",
    _IDLE + "--topic {letters} --all-topics --to-earliest",
    given=groups,
)
CASES.offline(
    "reset: contradictions",
    _NOWHERE + "--topic t --to-earliest --execute --dry-run",
    _NOWHERE + "--topic t --to-earliest --to-latest",
    _NOWHERE + "--topic t --to-offset 1 --shift-by 1",
    _NOWHERE + "--topic t --from-file f --to-current",
    _NOWHERE + "--topic t --by-duration PT1H --to-datetime 2025-06-15T15:08:00.000",
    _NOWHERE + "--all-groups --topic t --to-earliest",
    _NOWHERE + "--topic t --to-earliest --members",
)
CASES.offline(
    "reset: numbers that are none",
    _NOWHERE + "--topic t --to-offset first",
    _NOWHERE + "--topic t --shift-by some",
)
CASES.read(
    "reset: times and durations that are none",
    _IDLE + "--topic {letters} --to-datetime yesterday",
    _IDLE + "--topic {letters} --to-datetime 2025-06-15",
    _IDLE + "--topic {letters} --to-datetime 2025-06-15T15:08:00",
    _IDLE + "--topic {letters} --by-duration hour",
    _IDLE + "--topic {letters} --by-duration P1Y",
    given=groups,
)
CASES.read(
    "reset: what would become of it",
    *(f"{_IDLE}--topic {{numbers}} {way} --dry-run" for way in _WAYS.values()),
    given=groups,
)
CASES.read(
    "reset: by default only what would become of it", _IDLE + "--topic {letters} --to-earliest", given=groups
)
CASES.read(
    "reset: all topics",
    _IDLE + "--all-topics --to-earliest --dry-run",
    _IDLE + "--all-topics --to-latest --export --dry-run",
    given=groups,
)
CASES.read(
    "reset: topics and partitions",
    _IDLE + "--topic {numbers}:0 --to-earliest",
    _IDLE + "--topic {numbers}:0,1 --to-earliest",
    _IDLE + "--topic {numbers}:0 --topic {letters} --to-earliest",
    _IDLE + "--topic {numbers}:7 --to-earliest",
    _IDLE + "--topic {numbers}:x --to-earliest",
    _IDLE + "--topic {absent} --to-earliest --timeout 1000",
    _IDLE + "--topic {nothing} --to-earliest",
    _IDLE + "--topic {nothing} --to-current",
    given=groups,
)
CASES.read(
    "reset: exported",
    _IDLE + "--topic {letters} --to-earliest --export",
    "--reset-offsets --group {idle} --group {absent} --topic {letters} --to-earliest --export",
    "--reset-offsets --group {idle} --group 'a b' --group a-b --topic {letters} --to-earliest --export",
    given=groups,
)
CASES.read(
    "reset: refused",
    "--reset-offsets --group {live} --topic {numbers} --to-earliest --execute",
    "--reset-offsets --group {live} --topic {numbers} --to-earliest",
    "--reset-offsets --group {live} --all-topics --to-latest",
    given=groups,
)
CASES.read(
    "reset: files that make no sense",
    *(
        f"{_IDLE}--timeout 1000 --from-file {{dir}}/{name} --dry-run"
        for name in ("absent.csv", "nonsense.csv", "words.csv", "elsewhere.csv", "empty.csv")
    ),
    given=groups,
    files=_FILES,
)
CASES.read(
    "reset: a file, dry",
    _IDLE + "--from-file {dir}/one.csv --dry-run",
    _IDLE + "--from-file {dir}/one.csv --export",
    "--reset-offsets --group {idle} --group {other} --from-file {dir}/several.csv --dry-run",
    given=groups,
    files=_FILES,
)
for name, way in _WAYS.items():
    CASES.change(
        f"reset: to {name}",
        f"{_IDLE}--topic {{numbers}} {way} --execute",
        given=idle_group_of_numbers,
        after=_DESCRIBED,
    )
CASES.change(
    "reset: all topics, done",
    _IDLE + "--all-topics --to-earliest --execute",
    given=idle_group,
    after=_DESCRIBED,
)
CASES.change(
    "reset: several groups",
    "--reset-offsets --group {idle} --group {other} --topic {letters} --to-latest --execute",
    given=idle_group,
    after=[*_DESCRIBED, ("kafka-consumer-groups", "--describe --group {other}")],
)
CASES.change(
    "reset: a new group",
    "--reset-offsets --group {new} --topic {letters}:0 --to-latest --execute",
    "--reset-offsets --group {new} --all-topics --to-earliest --execute",
    given=idle_group,
    after=[("kafka-consumer-groups", "--describe --group {new}")],
)
CASES.change(
    "reset: from a file",
    _IDLE + "--from-file {dir}/one.csv --execute",
    _IDLE + "--from-file {dir}/one.csv --execute --export",
    given=idle_group,
    files=_FILES,
    after=_DESCRIBED,
)
