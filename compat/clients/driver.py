"""Drivers: one small program for each client library, told what to do in lines of JSON on its standard input.

A request is one line, ``{"id": 1, "do": "send", ...}``, answered by one line on standard output, in order:
``{"id": 1, "result": ...}`` or ``{"id": 1, "error": "KAFKA_ERROR_NAME or the library's word", "message": "..."}``.
Standard error is for people. The end of standard input ends the driver, which closes what is open. Keys, values and
header values are base64, or null. Whoever writes a driver writes it the way the library's users would: its own retries,
defaults and loops, no detours around it.

What can be done; every driver has ``hello``, the rest as far as its library can:

``hello``                → {client, version, language, features: [...], unsupported: {feature: why the library cannot}}
                         ``unsupported`` may also name one of the operations below, or ``assign`` where consumers read
                         as members of a group only: the cases then do without.
``create_topic``         {bootstrap, topic, partitions, replication_factor, config: {}} → {}
``create_partitions``    {bootstrap, topic, partitions} → {}
``list_topics``          {bootstrap} → [topic, ...]
``describe_topic``       {bootstrap, topic} → [{partition, leader, replicas: [], in_sync: []}, ...]
``describe_config``      {bootstrap, topic} → {key: value}
``alter_config``         {bootstrap, topic, config: {key: value}} → {}
``delete_topic``         {bootstrap, topic} → {}
``list_groups``          {bootstrap} → [group, ...]
``delete_group``         {bootstrap, group} → {}
``producer``             {name, bootstrap, acks: "all"|"1"|"0", compression: "none"|"gzip"|"snappy"|"lz4"|"zstd",
                         idempotent, transactional_id, request_bytes_max} → {}
``send``                 {producer, records: [{topic, partition, key, value, headers: [[name, value]], timestamp_ms}]}
                         partition, key, headers, timestamp_ms may be absent; returns once all are acknowledged
                         → [{partition, offset}, ...] in the records' order (offset -1 where the library does not tell)
``begin``, ``commit_transaction``, ``abort``  {producer} → {}
``send_offsets``         {producer, consumer, offsets: [{topic, partition, offset}]} → {}   into the open transaction
``close_producer``       {producer} → {}
``consumer``             {name, bootstrap, topics: [...]} with {group, assignor: "eager"|"cooperative", instance_id}, or
                         {assign: [{topic, partition, offset}]} (offset -2 earliest, -1 latest); also
                         {isolation: "read_committed"|"read_uncommitted", fetch_bytes_max}. A group begins at the
                         earliest offset and commits only when told to → {}
                         With a group also {session_timeout_ms, heartbeat_interval_ms}, where the library has them
``poll``                 {consumer, count, timeout_ms} → {records: [{topic, partition, offset, key, value, headers,
                         timestamp_ms}], assignment: [[topic, partition], ...]}; returns with ``count`` records at most,
                         as soon as it has them or at the timeout; records beyond are kept for the next poll.
``seek_to_time``         {consumer, topic, partition, timestamp_ms} → {offset}  of the first record at or after it,
                         where the consumer goes on reading; -1 where there is none
``commit``               {consumer} → {}   what poll has returned, synchronously
``rebalances``           {consumer} → {assigned: [[[topic, partition], ...], ...], revoked: [...]}   one list for each
                         callback, in order; drivers whose library has no such callbacks leave it out
``close_consumer``       {consumer} → {}   leaves the group, commits nothing
"""

from __future__ import annotations

import base64
import contextlib
import json
import subprocess
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.broker_process import die_with_parent

CALL_DEADLINE_S = 90.0
_STDERR_LINES_KEPT = 200


class DriverError(Exception):
    """The library refused, or failed; ``name`` is the error's."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(f"{name}: {message}")
        self.name = name


class Driver:
    """A running driver; usable as a context manager."""

    def __init__(
        self, command: Sequence[str], *, cwd: Path | None = None, env: Mapping[str, str] | None = None
    ) -> None:
        self._process = subprocess.Popen(
            [*die_with_parent(), *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=cwd,
            env=dict(env) if env is not None else None,
            encoding="utf-8",
        )
        self._stderr: deque[str] = deque(maxlen=_STDERR_LINES_KEPT)
        self._reader = threading.Thread(target=self._read_stderr, daemon=True)
        self._reader.start()
        self._next_id = 1

    def __enter__(self) -> Driver:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def call(self, do: str, *, deadline_s: float = CALL_DEADLINE_S, **arguments: Any) -> Any:
        """Have it done and return the result. DriverError with the library's; AssertionError if there is no answer."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        number, self._next_id = self._next_id, self._next_id + 1
        # A driver that hangs is ended, and with it the read below.
        watchdog = threading.Timer(deadline_s, self._process.kill)
        watchdog.start()
        try:
            with contextlib.suppress(BrokenPipeError):
                stdin.write(json.dumps({"id": number, "do": do, **arguments}) + "\n")
                stdin.flush()
            line = stdout.readline()
        finally:
            watchdog.cancel()
        if not line:
            code = self._process.wait()
            raise AssertionError(f"the driver ended ({code}) instead of answering {do!r}:\n{self.stderr}")
        answer = json.loads(line)
        assert answer.get("id") == number, f"not the answer to {do!r}: {line}"
        if "error" in answer:
            raise DriverError(str(answer["error"]), str(answer.get("message", "")))
        return answer["result"]

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    @property
    def stderr(self) -> str:
        """The last lines that it said."""
        return "\n".join(self._stderr)

    def close(self) -> None:
        """Tell it that nothing more will come, and end it if it stays."""
        if self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join(5)
        for stream in (self._process.stdout, self._process.stderr):
            if stream is not None:
                stream.close()

    def _read_stderr(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self._stderr.append(line.rstrip("\n"))


def encoded(data: bytes | None) -> str | None:
    """Bytes as the lines carry them."""
    return None if data is None else base64.b64encode(data).decode("ascii")


def decoded(text: str | None) -> bytes | None:
    """The other way."""
    return None if text is None else base64.b64decode(text)
