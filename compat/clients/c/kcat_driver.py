"""kcat, the command line of librdkafka, behind the line protocol of ``compat.clients.driver``.

kcat sends when its input ends, so every ``send`` is a run of its own (several where keys, partitions or headers ask
for different flags), and a record counts as acknowledged by the delivery report that the run prints. A consumer is
one run that goes on until it is closed, and commits by itself.
"""

from __future__ import annotations

import itertools
import json
import re
import signal
import subprocess
import threading
import uuid
from collections import deque
from collections.abc import Iterator
from typing import IO, Any

from compat.clients.features import FEATURES
from compat.clients.python.lines import Json, Refusal, hello, method_of, serve, to_bytes, to_text
from tests.broker_process import die_with_parent

_DEADLINE_S = 80.0
_END_S = 2.0
_AUTO_COMMIT_MS = 250
_START = {-2: "beginning", -1: "end"}
_ASSIGNORS = {"eager": "range,roundrobin", "cooperative": "cooperative-sticky"}
_ONLY_LOOKS = "kcat lists metadata and changes nothing"
_UNSUPPORTED = {
    "create_topic": _ONLY_LOOKS,
    "create_partitions": _ONLY_LOOKS,
    "describe_config": _ONLY_LOOKS,
    "alter_config": _ONLY_LOOKS,
    "delete_topic": _ONLY_LOOKS,
    "list_groups": _ONLY_LOOKS,
    "delete_group": _ONLY_LOOKS,
    "commit": "kcat commits by itself",
    "transactions": "a run is one transaction, which nothing but the end of its input ends in good order",
    "exactly_once": "a run either consumes or produces",
}
_DELIVERED = re.compile(r"% Message delivered to partition (\d+) \(offset (-?\d+)\)")
_REBALANCED = re.compile(
    r"% Group \S+ rebalanced(?: \([^)]*\))?: "
    r"(?:(?P<eager>assigned|revoked)|incremental (?P<some>assignment|revoke) of \d+ partition\(s\) \([^)]*\)): "
    r"(?P<partitions>.*)"
)
_PARTITION = re.compile(r"(\S+) \[(\d+)\]")
_VERSION = re.compile(r"Version (\S+) .*librdkafka (\S+)")


class KcatDriver:
    """Methods are named as the operations are."""

    def __init__(self) -> None:
        self._producers: dict[str, _Producer] = {}
        self._consumers: dict[str, _Consumer] = {}

    def hello(self) -> Json:
        said = subprocess.run(["kcat", "-V"], capture_output=True, text=True, check=True).stdout
        found = _VERSION.search(said)
        version = f"{found[1]} (librdkafka {found[2]})" if found else said.strip()
        return hello(
            client="kcat", version=version, language="C", features=FEATURES, unsupported=_UNSUPPORTED
        )

    def list_topics(self, bootstrap: str) -> list[str]:
        return [topic["topic"] for topic in _metadata(bootstrap)["topics"]]

    def describe_topic(self, bootstrap: str, topic: str) -> list[Json]:
        (found,) = _metadata(bootstrap, "-t", topic)["topics"]
        return [
            {
                "partition": partition["partition"],
                "leader": partition["leader"],
                "replicas": [replica["id"] for replica in partition["replicas"]],
                "in_sync": [replica["id"] for replica in partition["isrs"]],
            }
            for partition in found["partitions"]
        ]

    def producer(self, name: str, **settings: Any) -> Json:
        self._producers[name] = _Producer(**settings)
        return {}

    def send(self, producer: str, records: list[Json]) -> list[Json]:
        return self._producers[producer].send(records)

    def close_producer(self, producer: str) -> Json:
        del self._producers[producer]
        return {}

    def consumer(self, name: str, bootstrap: str, **wanted: Any) -> Json:
        self._consumers[name] = _Consumer(bootstrap, **wanted)
        return {}

    def poll(self, consumer: str, count: int, timeout_ms: int) -> Json:
        return self._consumers[consumer].poll(count, timeout_ms)

    def seek_to_time(self, consumer: str, topic: str, partition: int, timestamp_ms: int) -> Json:
        return {"offset": self._consumers[consumer].seek_to_time(topic, partition, timestamp_ms)}

    def rebalances(self, consumer: str) -> Json:
        return self._consumers[consumer].rebalances()

    def close_consumer(self, consumer: str) -> Json:
        self._consumers.pop(consumer).close()
        return {}


class _Producer:
    def __init__(
        self,
        bootstrap: str,
        acks: str,
        compression: str,
        idempotent: bool,
        transactional_id: str | None,
        request_bytes_max: int | None,
    ) -> None:
        if transactional_id is not None:
            raise Refusal("UNSUPPORTED", _UNSUPPORTED["transactions"])
        self._flags = ["-b", bootstrap, "-z", compression, "-X", f"acks={acks}"]
        self._flags += ["-X", f"enable.idempotence={str(idempotent).lower()}"]
        if request_bytes_max is not None:
            self._flags += ["-X", f"message.max.bytes={request_bytes_max}"]

    def send(self, records: list[Json]) -> list[Json]:
        answers: list[Json] = []
        for flags, its in itertools.groupby(records, _flags_of):
            answers += self._run(list(flags), list(its))
        return answers

    def _run(self, flags: list[str], records: list[Json]) -> list[Json]:
        between, behind_key = (uuid.uuid4().hex for _ in range(2))
        payload = b"".join(
            (to_bytes(record.get("key")) or b"")
            + behind_key.encode()
            + (to_bytes(record.get("value")) or b"")
            + between.encode()
            if _has_key(record)
            else (to_bytes(record.get("value")) or b"") + between.encode()
            for record in records
        )
        line = ["kcat", "-P", "-vv", *self._flags, *flags, "-D", between, "-K", behind_key]
        done = subprocess.run(
            [*die_with_parent(), *line], input=payload, capture_output=True, timeout=_DEADLINE_S
        )
        said = done.stderr.decode("utf-8", "replace")
        placed = [
            {"partition": int(found[1]), "offset": int(found[2])} for found in _DELIVERED.finditer(said)
        ]
        if done.returncode != 0 or len(placed) != len(records):
            raise Refusal(f"EXIT_{done.returncode}", said[-500:])
        return placed


def _flags_of(record: Json) -> tuple[str, ...]:
    """What a run says for all its records: topic, partition, headers, and whether what is empty is null."""
    flags = ["-t", record["topic"]]
    if record.get("partition") is not None:
        flags += ["-p", str(record["partition"])]
    for name, value in record.get("headers") or ():
        # The bytes of an argument are what surrogateescape makes of them.
        flags += ["-H", f"{name}={(to_bytes(value) or b'').decode('utf-8', 'surrogateescape')}"]
    if record.get("timestamp_ms") is not None:
        raise Refusal("UNSUPPORTED", "kcat gives records the time at which it sends them")
    if record.get("value") is None:
        flags.append("-Z")
    return tuple(flags)


def _has_key(record: Json) -> bool:
    """Whether it is written with a key in front: a null value is recognised only behind one, be that null as well."""
    return record.get("key") is not None or record.get("value") is None


class _Consumer:
    """One kcat for a group or for all that is assigned of one topic."""

    def __init__(
        self,
        bootstrap: str,
        *,
        topics: list[str],
        group: str | None = None,
        assignor: str = "eager",
        instance_id: str | None = None,
        assign: list[Json] | None = None,
        isolation: str | None = None,
        fetch_bytes_max: int | None = None,
        session_timeout_ms: int | None = None,
        heartbeat_interval_ms: int | None = None,
    ) -> None:
        self._bootstrap = bootstrap
        settings: dict[str, Any] = {"isolation.level": isolation}
        if fetch_bytes_max is not None:
            settings["fetch.max.bytes"] = settings["max.partition.fetch.bytes"] = fetch_bytes_max
            settings["message.max.bytes"] = fetch_bytes_max
            settings["receive.message.max.bytes"] = fetch_bytes_max + 1_048_576
        if group is not None:
            settings |= {
                "auto.offset.reset": "earliest",
                "auto.commit.interval.ms": _AUTO_COMMIT_MS,
                "partition.assignment.strategy": _ASSIGNORS[assignor],
                "group.instance.id": instance_id,
                "session.timeout.ms": session_timeout_ms,
                "heartbeat.interval.ms": heartbeat_interval_ms,
            }
        # -E: brokers that are away for a while are no reason to end. -u: records are printed as they come.
        self._flags = ["-E", "-u", "-J", "-b", bootstrap]
        for name, value in settings.items():
            if value is not None:
                self._flags += ["-X", f"{name}={value}"]
        self._runs: list[_Run] = []
        self._change = threading.Condition()
        if group is not None:
            self._start(["-G", group], topics)
        for one in assign or ():
            self._read_from(one["topic"], one["partition"], _START.get(one["offset"], str(one["offset"])))

    def poll(self, count: int, timeout_ms: int) -> Json:
        with self._change:
            self._change.wait_for(
                lambda: (
                    sum(len(run.records) for run in self._runs) >= count
                    or any(run.ended for run in self._runs)
                ),
                timeout_ms / 1000,
            )
            records: list[Json] = []
            for run in self._runs:
                while run.records and len(records) < count:
                    records.append(run.records.popleft())
                if run.ended and not records:
                    raise Refusal("ENDED", run.said[-500:])
            assignment = [partition for run in self._runs for partition in run.assignment]
        return {"records": records, "assignment": assignment}

    def seek_to_time(self, topic: str, partition: int, timestamp_ms: int) -> int:
        """Ask for the offset (-Q), then go on with a run that begins there."""
        line = ["kcat", "-Q", "-b", self._bootstrap, "-t", f"{topic}:{partition}:{timestamp_ms}"]
        said = subprocess.run(line, capture_output=True, text=True, check=True, timeout=_DEADLINE_S).stdout
        offset = int(said.rpartition("offset ")[2])
        for run in [run for run in self._runs if run.assignment == [[topic, partition]]]:
            self._runs.remove(run)
            run.end()
        self._read_from(topic, partition, str(offset) if offset >= 0 else "end")
        return offset

    def rebalances(self) -> Json:
        (run,) = self._runs
        with self._change:
            return {"assigned": list(run.assigned), "revoked": list(run.revoked)}

    def close(self) -> None:
        for run in self._runs:
            run.end()

    def _read_from(self, topic: str, partition: int, start: str) -> None:
        run = self._start(["-C", "-t", topic, "-p", str(partition), "-o", start], [])
        run.assignment = [[topic, partition]]

    def _start(self, mode: list[str], topics: list[str]) -> _Run:
        run = _Run([*mode, *self._flags, *topics], self._change)
        self._runs.append(run)
        return run


class _Run:
    """A consuming kcat and what it has printed."""

    def __init__(self, flags: list[str], change: threading.Condition) -> None:
        self._change = change
        self._process = subprocess.Popen(
            [*die_with_parent(), "kcat", *flags],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self.records: deque[Json] = deque()
        self.assignment: list[list[Any]] = []
        self.assigned: list[list[list[Any]]] = []
        self.revoked: list[list[list[Any]]] = []
        self.said = ""
        self.ended = False
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self._readers = [
            threading.Thread(target=self._read_records, args=(self._process.stdout,), daemon=True),
            threading.Thread(target=self._read_remarks, args=(self._process.stderr,), daemon=True),
        ]
        for reader in self._readers:
            reader.start()

    def end(self) -> None:
        """SIGINT, as at a terminal: it commits and leaves its group.

        Then the library takes itself apart, in which some versions (librdkafka 2.0.2) hang for ever.
        """
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for reader in self._readers:
            reader.join(5)

    def _read_records(self, stream: IO[bytes]) -> None:
        for line in stream:
            record = _received(line)
            with self._change:
                self.records.append(record)
                self._change.notify_all()
        with self._change:
            self.ended = True
            self._change.notify_all()

    def _read_remarks(self, stream: IO[bytes]) -> None:
        for line in stream:
            text = line.decode("utf-8", "replace")
            with self._change:
                self.said += text
                found = _REBALANCED.match(text)
                if found is not None:
                    self._rebalanced(found)
                    self._change.notify_all()

    def _rebalanced(self, found: re.Match[str]) -> None:
        named = [[topic, int(number)] for topic, number in _PARTITION.findall(found["partitions"])]
        if found["eager"] == "assigned" or found["some"] == "assignment":
            self.assigned.append(named)
            kept = [] if found["eager"] else self.assignment
            self.assignment = [*kept, *named]
        else:
            self.revoked.append(named)
            self.assignment = [one for one in self.assignment if one not in named]


def _received(line: bytes) -> Json:
    # kcat escapes what JSON wants escaped and leaves all other bytes as they are, UTF-8 or not.
    record = json.loads(line.decode("latin-1"))
    return {
        "topic": record["topic"],
        "partition": record["partition"],
        "offset": record["offset"],
        "key": _to_text(record["key"]),
        "value": _to_text(record["payload"]),
        "headers": list(_headers(record.get("headers") or [])),
        "timestamp_ms": record["ts"],
    }


def _headers(flat: list[str]) -> Iterator[list[str | None]]:
    for name, value in zip(flat[::2], flat[1::2], strict=True):
        yield [name.encode("latin-1").decode("utf-8"), _to_text(value)]


def _to_text(text: str | None) -> str | None:
    return None if text is None else to_text(text.encode("latin-1"))


def _metadata(bootstrap: str, *flags: str) -> Json:
    line = ["kcat", "-L", "-J", "-b", bootstrap, *flags]
    said = subprocess.run(line, capture_output=True, check=True, timeout=_DEADLINE_S).stdout
    found: Json = json.loads(said)
    return found


def main() -> None:
    driver = KcatDriver()
    serve(lambda do, request: method_of(driver, do)(**request), lambda error: type(error).__name__)


if __name__ == "__main__":
    main()
