"""``kafka-dump-log``, of what the broker has written itself."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

from confluent_kafka import Producer

from compat.commands.case import Cases
from compat.commands.scene import Scene
from compat.commands.state import FOR_GOOD, Rec, new_topic, produce, send
from compat.commands.states import idle_group, transactions

CASES: Final = Cases("kafka-dump-log", prefix="")
_SEGMENT: Final = "00000000000000000000"
_ALL_FILES: Final = ("log", "index", "timeindex")


def written(scene: Scene) -> None:
    """The directories of records, transactions, a topic of two segments, and Kafka's own, copied beside the case."""
    idle_group(scene)
    transactions(scene)
    new_topic(
        scene, "rolled", configs={**FOR_GOOD, "segment.bytes": "1048576", "index.interval.bytes": "100"}
    )
    with_numbers = Producer(
        {"bootstrap.servers": scene.broker.bootstrap_servers, "enable.idempotence": True, "linger.ms": 0}
    )
    for number in range(30):
        send(with_numbers, scene, "rolled", [Rec(b"x" * 50_000, at_s=number)])
    new_topic(scene, "packed", configs=FOR_GOOD)
    for codec in ("gzip", "snappy", "lz4", "zstd"):
        produce(scene, "packed", [Rec(b"a", b"k"), Rec(b"b" * 40, at_s=1)], **{"compression.type": codec})
    directory = scene.directory / "data"
    logs = scene.log_directory()
    for topic in ("letters", "ledger", "packed", "rolled"):
        shutil.copytree(logs / f"{scene.name(topic)}-0", directory / f"{scene.name(topic)}-0")
    for topic in ("__consumer_offsets", "__transaction_state"):
        for log in logs.glob(f"{topic}-*/{_SEGMENT}.log"):
            (directory / log.parent.name).mkdir()
            shutil.copy(log, directory / log.parent.name)
    scene.facts["offsets-log"] = _largest_log(directory, "__consumer_offsets-*")
    scene.facts["transactions-log"] = _largest_log(directory, "__transaction_state-*")
    (snapshot,) = (directory / f"{scene.name('rolled')}-0").glob("*.snapshot")
    scene.facts["snapshot"] = snapshot.name


def _largest_log(directory: Path, pattern: str) -> str:
    """Of the partitions of a topic the one where most was written."""
    logs = directory.glob(f"{pattern}/{_SEGMENT}.log")
    return str(max(logs, key=lambda log: log.stat().st_size).relative_to(directory))


CASES.offline("no flags", "")
CASES.offline("help", "--help")
CASES.offline("version", "--version")
CASES.offline("an unknown flag", "--bogus")
CASES.offline("no files", "--print-data-log", "--deep-iteration")
CASES.offline(
    "numbers that are none",
    "--files {dir}/00000000000000000000.log --max-message-size big",
    "--files {dir}/00000000000000000000.log --max-bytes some",
    files={f"{_SEGMENT}.log": ""},
)
CASES.offline(
    "a file that is not there", "--files {dir}/00000000000000000000.log", "--files {dir}/absent.index"
)
CASES.offline(
    "a file of no kind that it knows",
    "--files {dir}/notes.txt",
    "--files {dir}/notes",
    files={"notes.txt": "text", "notes": "text"},
)
CASES.offline(
    "a log that is none",
    "--files {dir}/00000000000000000000.log",
    files={f"{_SEGMENT}.log": "no records" * 10},
)


def _of(topic: str, *kinds: str) -> str:
    return "--files " + ",".join(f"{{dir}}/data/{{{topic}}}-0/{_SEGMENT}.{kind}" for kind in kinds)


for topic in ("letters", "ledger", "packed"):
    CASES.read(
        f"a log: {topic}",
        _of(topic, "log"),
        *(
            f"{_of(topic, 'log')} {flags}"
            for flags in (
                "--print-data-log",
                "--deep-iteration",
                "--deep-iteration --print-data-log",
                "--print-data-log --skip-record-metadata",
                "--deep-iteration --max-bytes 100",
                "--max-message-size 10",
                "--verify-index-only",
                "--index-sanity-check",
            )
        ),
        given=written,
    )
CASES.read(
    "decoders of keys and values",
    *(
        f"{_of('letters', 'log')} --print-data-log {flags}"
        for flags in (
            "--key-decoder-class org.apache.kafka.tools.api.StringDecoder",
            "--value-decoder-class org.apache.kafka.tools.api.StringDecoder",
            "--value-decoder-class org.apache.kafka.tools.api.DefaultDecoder",
            "--value-decoder-class kafka.serializer.StringDecoder",
            "--value-decoder-class no.such.Decoder",
            "--key-decoder-class",
        )
    ),
    given=written,
)
CASES.read("indexes", _of("rolled", "index"), _of("rolled", "timeindex"), given=written)
CASES.read(
    "indexes that are only checked",
    *(
        f"{_of('rolled', kind)} {flag}"
        for kind in ("index", "timeindex")
        for flag in ("--verify-index-only", "--index-sanity-check")
    ),
    given=written,
)
CASES.read(
    "an index of a log that is written to",
    _of("letters", "index"),
    _of("letters", "timeindex"),
    given=written,
)
CASES.read("several files", _of("ledger", "log", "index"), _of("rolled", "log", "timeindex"), given=written)
CASES.read("aborted transactions", _of("ledger", "txnindex"), given=written)
CASES.read("producers' states", "--files {dir}/data/{rolled}-0/{snapshot}", given=written)
CASES.read(
    "committed offsets",
    "--files {dir}/data/{offsets-log} --offsets-decoder",
    "--files {dir}/data/{offsets-log} --offsets-decoder --print-data-log",
    "--files {dir}/data/{offsets-log} --offsets-decoder --deep-iteration --skip-record-metadata",
    given=written,
)
CASES.read(
    "transactions' states",
    "--files {dir}/data/{transactions-log} --transaction-log-decoder",
    "--files {dir}/data/{transactions-log} --transaction-log-decoder --skip-record-metadata",
    given=written,
)
CASES.read(
    "a decoder that does not fit",
    f"{_of('letters', 'log')} --offsets-decoder",
    f"{_of('letters', 'log')} --transaction-log-decoder",
    given=written,
)
CASES.read("the other decoders", f"{_of('letters', 'log')} --share-group-state-decoder", given=written)
