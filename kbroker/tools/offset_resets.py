"""New offsets for a consumer group, as ``--reset-offsets`` works them out (Kafka: GroupOffsetsResetter)."""

from __future__ import annotations

import argparse
import re
import time
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from kbroker.tools.cluster import Cluster, Partition
from kbroker.tools.consumer_group_admin import Committed
from kbroker.tools.failures import CommandError
from kbroker.tools.java_errors import java_text
from kbroker.tools.log_lines import log
from kbroker.tools.partition_offsets import EARLIEST, LATEST, UNKNOWN_OFFSET, list_offsets
from wire.errors import ApiError, ErrorCode

SCENARIOS: Final = (
    "to-offset",
    "shift-by",
    "to-datetime",
    "by-duration",
    "to-earliest",
    "to-latest",
    "to-current",
    "from-file",
)
_LOOKED_THROUGH_MAX: Final = 24
_LOGGER: Final = "org.apache.kafka.tools.GroupOffsetsResetter"
_DURATION: Final = re.compile(
    r"([+-]?)P(?:([+-]?\d+)D)?(?:T(?=[\d+-])(?:([+-]?\d+)H)?(?:([+-]?\d+)M)?(?:([+-]?\d+)(?:[.,](\d{0,9}))?S)?)?",
    re.IGNORECASE,
)
Plan = Mapping[str, Mapping[Partition, int]]


class UsageMistake(Exception):
    """Told together with the command's help."""


def topic_partitions(argument: str) -> list[Partition]:
    """``topic:0,1`` as partitions; UsageMistake."""
    topic, separator, numbers = argument.partition(":")
    if not topic or not separator or not numbers or ":" in numbers:
        raise UsageMistake(f"Invalid topic arg '{argument}', expected topic name and partitions")
    found = []
    for number in numbers.split(","):
        try:
            found.append((topic, int(number)))
        except ValueError:
            raise UsageMistake(f"Invalid partition '{number}' specified in topic arg '{argument}''") from None
    return found


def parse_duration_ms(text: str) -> int:
    """``PnDTnHnMnS`` in milliseconds; CommandError."""
    found = _DURATION.fullmatch(text)
    if found is None or not any(found.groups()[1:]):
        raise CommandError("Text cannot be parsed to a Duration")
    sign, days, hours, minutes, seconds, fraction = found.groups()
    milliseconds = (int(days or 0) * 24 + int(hours or 0)) * 3_600_000 + int(minutes or 0) * 60_000
    milliseconds += int(seconds or 0) * 1000
    part = int(((fraction or "") + "000")[:3])
    milliseconds += -part if (seconds or "").startswith("-") else part
    return -milliseconds if sign == "-" else milliseconds


def parse_datetime_ms(text: str) -> int:
    """``YYYY-MM-DDTHH:mm:SS.sss``, UTC unless it names a zone, in ms since the epoch; CommandError."""
    _, separator, clock = text.partition("T")
    if not separator:
        raise CommandError(
            "java.text.ParseException: Error parsing timestamp. It does not contain a 'T' according to ISO8601 format"
        )
    zoned = text if re.search("[Z+-]", clock) else text + "Z"
    try:
        if not re.search(r"\.\d{1,3}(?:Z|[+-])", clock + "Z"):
            raise ValueError
        moment = datetime.fromisoformat(
            re.sub(r"\.(\d{1,3})(?=Z|[+-])", lambda part: f".{int(part[1]):03d}", zoned)
        )
    except ValueError:
        raise CommandError(f'java.text.ParseException: Unparseable date: "{zoned}"') from None
    since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * 1000 + since.microseconds // 1000


def read_plan(path: str, groups: Collection[str]) -> Plan:
    """A CSV file of ``topic,partition,offset`` (if there is one group) or ``group,topic,partition,offset``."""
    import csv

    plan: dict[str, dict[Partition, int]] = {}
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError:
        raise CommandError(f"java.io.IOException: Unable to read file {path}") from None
    try:
        rows = [row for row in csv.reader(text.splitlines()) if row]
        without_group = bool(rows) and len(rows[0]) == 3
        for row in rows:
            if len(groups) == 1 and without_group:
                (group,) = groups
                topic, partition, offset = row
            else:
                group, topic, partition, offset = row
            plan.setdefault(group, {})[topic, int(partition)] = int(offset)
    except ValueError as error:
        raise CommandError(f"{path} is not a plan: {error}") from None
    return plan


def csv_cell(text: str) -> str:
    """As Jackson writes it: a long text gets quotes without being looked through."""
    if len(text) <= _LOOKED_THROUGH_MAX and all(character >= "-" for character in text):
        return text
    return '"' + text.replace('"', '""') + '"'


class Resetter:
    """Works out offsets; ApiError, CommandError, UsageMistake."""

    def __init__(self, cluster: Cluster, options: argparse.Namespace) -> None:
        self._cluster = cluster
        self._options = options

    async def partitions(self, arguments: Collection[str]) -> list[Partition]:
        """What ``--topic`` flags mean: named partitions, or all of a topic."""
        named = [
            partition for argument in arguments if ":" in argument for partition in topic_partitions(argument)
        ]
        topics = [argument for argument in arguments if ":" not in argument]
        if topics:
            response = await self._cluster.metadata(topics)
            for topic in response.topics:
                if topic.error_code:
                    raise ApiError(ErrorCode(topic.error_code))
                named += [(topic.name or "", partition.partition_index) for partition in topic.partitions]
        return named

    async def check(self, partitions: Collection[Partition]) -> None:
        """UNKNOWN_TOPIC_OR_PARTITION or LEADER_NOT_AVAILABLE if some cannot be reset."""
        topics = sorted({topic for topic, _ in partitions})
        leaders: dict[Partition, int] = {}
        for topic in (await self._cluster.metadata(topics)).topics if topics else ():
            if topic.error_code:
                raise ApiError(ErrorCode(topic.error_code))
            for partition in topic.partitions:
                leaders[topic.name or "", partition.partition_index] = partition.leader_id
        missing = [partition for partition in partitions if partition not in leaders]
        if missing:
            named = ",".join(named_partition(partition) for partition in missing)
            raise ApiError(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, f'The partitions "{named}" do not exist')
        leaderless = [partition for partition in partitions if leaders[partition] < 0]
        if leaderless:
            named = ",".join(named_partition(partition) for partition in leaderless)
            raise ApiError(ErrorCode.LEADER_NOT_AVAILABLE, f'The partitions "{named}" have no leader')

    async def offsets(
        self, group_id: str, partitions: Collection[Partition], committed: Mapping[Partition, Committed]
    ) -> dict[Partition, int]:
        """The new offsets that the flags ask for."""
        options = self._options
        if options.to_offset is not None:
            return await self._within_range(dict.fromkeys(partitions, options.to_offset))
        if options.to_earliest:
            return await self._listed(partitions, EARLIEST)
        if options.to_latest:
            return await self._listed(partitions, LATEST)
        if options.shift_by is not None:
            return await self._within_range(self._shifted(partitions, committed))
        if options.to_datetime is not None:
            return await self._at_time(partitions, parse_datetime_ms(options.to_datetime))
        if options.by_duration is not None:
            now_ms = time.time_ns() // 1_000_000
            return await self._at_time(partitions, now_ms - parse_duration_ms(options.by_duration))
        if options.from_file is not None:
            plan = read_plan(options.from_file, options.group or ())
            if group_id not in plan:
                print(f"\nError: No reset plan for group {group_id} found.")
                return {}
            return await self._within_range(plan[group_id])
        if options.to_current:
            known = {
                partition: committed[partition].offset for partition in partitions if partition in committed
            }
            others = [partition for partition in partitions if partition not in committed]
            return known | await self._listed(others, LATEST)
        scenarios = ", ".join(f"[{name}]" for name in SCENARIOS)
        raise UsageMistake(f"Option '[reset-offsets]' requires one of the following scenarios: [{scenarios}]")

    def _shifted(
        self, partitions: Collection[Partition], committed: Mapping[Partition, Committed]
    ) -> dict[Partition, int]:
        for partition in partitions:
            if partition not in committed:
                raise UsageMistake(
                    f"Cannot shift offset for partition {named_partition(partition)} since there is no current "
                    "committed offset"
                )
        return {partition: committed[partition].offset + self._options.shift_by for partition in partitions}

    async def _at_time(self, partitions: Collection[Partition], timestamp_ms: int) -> dict[Partition, int]:
        offsets = await self._listed(partitions, timestamp_ms)
        beyond = [partition for partition in partitions if offsets[partition] == UNKNOWN_OFFSET]
        for topic, number in beyond:
            print(
                f"\nWarn: Partition {number} from topic {topic} is empty. Falling back to latest known offset."
            )
        return offsets | await self._listed(beyond, LATEST)

    async def _within_range(self, wanted: Mapping[Partition, int]) -> dict[Partition, int]:
        starts = await self._listed(list(wanted), EARLIEST)
        ends = await self._listed(list(wanted), LATEST)
        offsets: dict[Partition, int] = {}
        for partition, offset in wanted.items():
            start, end = starts[partition], ends[partition]
            for limit, is_beyond, words in (
                (end, offset > end, "higher than latest"),
                (start, offset < start, "lower than earliest"),
            ):
                if is_beyond:
                    log(
                        "WARN",
                        f"New offset ({offset}) is {words} offset for topic partition "
                        f"{named_partition(partition)}. Value will be set to {limit}.",
                        _LOGGER,
                    )
            offsets[partition] = max(start, min(end, offset))
        return offsets

    async def _listed(self, partitions: Collection[Partition], timestamp_ms: int) -> dict[Partition, int]:
        """The offsets at a time; CommandError, in the words of Java, where the cluster does not tell."""
        try:
            return await list_offsets(self._cluster, partitions, timestamp_ms)
        except ApiError as error:
            if error.code is ErrorCode.UNKNOWN_TOPIC_OR_PARTITION and error.message is None:
                (first, *_) = partitions
                error = ApiError(
                    error.code,
                    f"Failed to fetch metadata for partition {named_partition(first)} because metadata for topic "
                    f"`{first[0]}` could not be found",
                )
            raise CommandError(f"java.util.concurrent.ExecutionException: {java_text(error)}") from None


def named_partition(partition: Partition) -> str:
    """As Java's TopicPartition prints itself."""
    return f"{partition[0]}-{partition[1]}"
