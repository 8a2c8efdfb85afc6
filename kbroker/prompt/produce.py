"""``kbroker produce``: lines, JSON or a single record into a topic, until all in-sync replicas have everything."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing, contextmanager
from functools import partial
from typing import Final

import trio

from kbroker.prompt.pipes import lines
from kbroker.prompt.quantities import count_text, counted, size_text
from kbroker.prompt.record_json import GivenRecord, parse_record
from kbroker.prompt.session import CommandError, Session, api_error_text
from kbroker.prompt.terminal import Progress
from kbroker.prompt.topic_names import numbered_partitions
from kbroker.tools.cluster import Cluster
from kbroker.tools.interrupts import ending_on_signals
from kbroker.tools.producer_settings import ProducerSettings
from kbroker.tools.producing import Producer, producing
from wire.compression import Compression
from wire.errors import ApiError, ErrorCode
from wire.messages.metadata import MetadataResponse

_REASONS_TOLD_MAX: Final = 5
_CREATION_MAX_S: Final = 5.0
_CREATION_CHECK_S: Final = 0.1
_PROGRESS_EVERY_S: Final = 0.1
_LAST_ANSWERS_MAX_S: Final = 5.0
_BATCH_BYTES: Final = 131_072
"""Eight times Kafka's default: the lines of a file are there all at once."""


async def produce(session: Session) -> None:
    """The whole command. CommandError unless everything was acknowledged; SystemExit if it was interrupted."""
    with _source(session) as descriptor:
        async with session.connected() as cluster:
            await Production(session, cluster, descriptor).run()


@contextmanager
def _source(session: Session) -> Iterator[int]:
    """The descriptor to read from. OSError."""
    if session.options.file in (None, "-"):
        yield sys.stdin.fileno()
        return
    descriptor = os.open(session.options.file, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


class Delivery:
    """What became of the records so far. They are told apart by the numbers of their lines, from 1 on."""

    def __init__(self) -> None:
        self.sent = 0
        self.acknowledged = 0
        self.size_bytes = 0
        self.failed: list[tuple[int, ApiError]] = []

    @property
    def missing(self) -> int:
        """How many were not acknowledged, whether refused or not answered."""
        return self.sent - self.acknowledged

    def answered(self, number: int, error: ApiError | None) -> None:
        """What the cluster said about a record."""
        if error is None:
            self.acknowledged += 1
        else:
            self.failed.append((number, error))


class Production:
    """One run."""

    def __init__(self, session: Session, cluster: Cluster, descriptor: int) -> None:
        self._session = session
        self._options = session.options
        self._terminal = session.terminal
        self._cluster = cluster
        self._descriptor = descriptor
        self._headers = tuple((name, os.fsencode(value)) for name, value in self._options.header)
        self._key = None if self._options.key is None else os.fsencode(self._options.key)
        self._partition_counts: dict[str, int] = {}
        self._progress = Progress(enabled=not os.isatty(descriptor))
        status = os.fstat(descriptor)
        self._input_bytes = status.st_size if stat.S_ISREG(status.st_mode) else 0
        self._delivery = Delivery()

    async def run(self) -> None:
        """Write everything, and tell what became of it."""
        mistake: CommandError | None = None
        interrupt: SystemExit | None = None
        async with producing(self._cluster, self._settings()) as producer:
            try:
                async with ending_on_signals(), trio.open_nursery() as nursery:
                    nursery.start_soon(self._show_progress)
                    mistake = await self._send_all(producer)
                    await producer.flush()
                    nursery.cancel_scope.cancel()
            except SystemExit as end:
                interrupt = end
                with trio.move_on_after(_LAST_ANSWERS_MAX_S):
                    await producer.flush()
            self._progress.clear()
            self._tell()
            if interrupt is not None:
                raise interrupt
            self._raise_failure(mistake)

    def _settings(self) -> ProducerSettings:
        timeout_ms = round(self._session.timeout_s * 1000)
        return ProducerSettings(
            batch_size_bytes=_BATCH_BYTES,
            compression=Compression[self._options.compression.upper()],
            delivery_timeout_ms=timeout_ms,
            max_block_ms=timeout_ms,
            request_timeout_ms=timeout_ms,
        )

    # Sending

    async def _send_all(self, producer: Producer) -> CommandError | None:
        """Send what is to be read; what stopped that before the end, once the records before it are on their way."""
        number = 0
        try:
            async with aclosing(self._records()) as records:
                async for number, record in records:
                    await self._send(producer, number, record)
        except ValueError as error:
            return CommandError(f"line {number + 1}: {error}")
        except ApiError as error:
            return CommandError(
                f"line {number}: {api_error_text(error)}" if number else api_error_text(error)
            )
        except CommandError as error:
            return error
        return None

    async def _send(self, producer: Producer, number: int, record: GivenRecord) -> None:
        topic = self._options.topic or record.topic
        if topic is None:
            raise CommandError(f"line {number}: no topic; name one on the command line, or in each record")
        count = self._partition_counts.get(topic) or await self._partition_count(topic)
        partition = self._options.partition
        if partition is None and not self._options.repartition:
            partition = record.partition
        if partition is not None and partition >= count:
            raise CommandError(f"{topic} has {numbered_partitions(count)}, and no partition {partition}")
        self._delivery.sent += 1
        self._delivery.size_bytes += len(record.key or b"") + len(record.value or b"")
        try:
            await producer.send(
                topic,
                record.key,
                record.value,
                record.headers,
                partition=partition,
                timestamp_ms=record.timestamp_ms,
                done=partial(self._delivery.answered, number),
            )
        except ApiError as error:
            if error.code is not ErrorCode.MESSAGE_TOO_LARGE:
                raise
            self._delivery.answered(number, error)  # the others may fit

    async def _partition_count(self, topic: str) -> int:
        """Of the topic, which a broker may create now. CommandError if there is none, ApiError."""
        found = await self._metadata(topic, create=False)
        if found is None:
            with trio.move_on_after(_CREATION_MAX_S):
                found = await self._metadata(topic, create=True)
                while found is None:
                    await trio.sleep(_CREATION_CHECK_S)
                    found = await self._metadata(topic, create=True)
            if found is None:
                raise CommandError(f"no topic {topic!r}; create it with `kbroker topics create {topic}`")
            self._terminal.note(f"created {topic}: {counted(len(found.partitions), 'partition')}")
        self._partition_counts[topic] = len(found.partitions)
        return len(found.partitions)

    async def _metadata(self, topic: str, *, create: bool) -> MetadataResponse.MetadataResponseTopic | None:
        (found,) = (await self._cluster.metadata([topic], allow_auto_topic_creation=create)).topics
        code = ErrorCode(found.error_code)
        if code and not code.retriable:
            raise ApiError(code, f"{topic!r}: {code.description}")
        return found if found.partitions and not code else None

    # Reading

    async def _records(self) -> AsyncGenerator[tuple[int, GivenRecord], None]:
        """What is to be written, with the numbers of the lines. ValueError for the line behind the last number."""
        options = self._options
        number = 0
        if options.value is not None or options.tombstone:
            value = None if options.tombstone else os.fsencode(options.value)
            yield 1, GivenRecord(None, None, None, self._key, value, self._headers)
            return
        if os.isatty(self._descriptor):
            self._terminal.note("records, one a line; Ctrl-D ends")
        async with aclosing(lines(self._descriptor)) as given:
            async for line in given:
                number += 1
                if not options.json:
                    key, value = self._key_and_value(line)
                    yield number, GivenRecord(None, None, None, key, value, self._headers)
                elif line.strip():
                    yield number, parse_record(line)

    def _key_and_value(self, line: bytes) -> tuple[bytes | None, bytes]:
        options = self._options
        if options.key_separator is None:
            return self._key, line
        key, found, value = line.partition(os.fsencode(options.key_separator))
        if not found:
            raise ValueError(f"no {options.key_separator!r} to end a key")
        return key, value

    # Telling

    async def _show_progress(self) -> None:
        while True:
            await trio.sleep(_PROGRESS_EVERY_S)
            if self._progress.is_due:
                self._progress.show(self._progress_text())

    def _progress_text(self) -> str:
        delivery = self._delivery
        rate = round(delivery.acknowledged / self._progress.elapsed_s)
        text = (
            f"{counted(delivery.acknowledged, 'record')}  {size_text(delivery.size_bytes)}  "
            f"{count_text(rate)} records/s"
        )
        if self._input_bytes:
            share = os.lseek(self._descriptor, 0, os.SEEK_CUR) / self._input_bytes
            text = f"{min(share, 1):4.0%}  {text}"
        if waiting := delivery.missing - len(delivery.failed):
            text += f"  {count_text(waiting)} under way"
        return text + (f"  {count_text(len(delivery.failed))} failed" if delivery.failed else "")

    def _tell(self) -> None:
        delivery = self._delivery
        if self._options.json:
            self._session.print_json(
                {
                    "records": delivery.sent,
                    "acknowledged": delivery.acknowledged,
                    "failed": len(delivery.failed),
                    "unanswered": delivery.missing - len(delivery.failed),
                }
            )
        else:
            self._terminal.note(
                f"{counted(delivery.acknowledged, 'record')} acknowledged, {size_text(delivery.size_bytes)} in "
                f"{self._progress.elapsed_s:.1f} s"
            )

    def _raise_failure(self, mistake: CommandError | None) -> None:
        delivery = self._delivery
        if mistake is not None and not delivery.missing:
            raise mistake
        if mistake is not None:
            self._terminal.warn(f"kbroker produce: {mistake}")
        if not delivery.missing:
            return
        told = _reasons(delivery.failed) or ["the cluster did not answer"]
        for text in told[1:_REASONS_TOLD_MAX]:
            self._terminal.warn(f"kbroker produce: {text}")
        raise CommandError(
            f"{count_text(delivery.missing)} of {counted(delivery.sent, 'record')} not acknowledged; {told[0]}"
        )


def _reasons(failed: Sequence[tuple[int, ApiError]]) -> list[str]:
    """Each reason once, with the first line that it is about."""
    lines_of: dict[str, list[int]] = {}
    for number, error in failed:
        lines_of.setdefault(api_error_text(error), []).append(number)
    return [
        f"line {numbers[0]}{f' and {len(numbers) - 1:,} more' if len(numbers) > 1 else ''}: {text}"
        for text, numbers in lines_of.items()
    ]
