"""``kafka-console-producer``."""

from __future__ import annotations

from typing import Final

from compat.commands.case import Cases
from compat.commands.scene import Scene
from compat.commands.state import new_topic, records_of

CASES: Final = Cases("kafka-console-producer")
_READ: Final = [records_of]
_OFFSETS: Final = [("kafka-get-offsets", "--topic {topic}")]


def a_topic(scene: Scene) -> None:
    """One partition."""
    new_topic(scene, "topic")


CASES.offline("no flags", "")
CASES.offline("help", "--help")
CASES.offline("version", "--version")
CASES.offline("an unknown flag", "--bogus", "--topic t --broker-list {nowhere}")
CASES.offline("no topic", "--bootstrap-server {nowhere}")
CASES.offline("no address", "--topic t")
CASES.offline("a flag without its value", "--topic", "--topic t --bootstrap-server")
CASES.offline(
    "an address that is none", "--topic t --bootstrap-server nowhere", "--topic t --bootstrap-server a:b"
)
CASES.offline(
    "numbers that are none",
    "--topic t --bootstrap-server {nowhere} --batch-size many",
    "--topic t --bootstrap-server {nowhere} --timeout soon",
    "--topic t --bootstrap-server {nowhere} --request-required-acks some",
    "--topic t --bootstrap-server {nowhere} --max-block-ms -1",
)
CASES.offline(
    "two names of one flag",
    "--topic t --bootstrap-server {nowhere} --property a=b --reader-property c=d",
    "--topic t --bootstrap-server {nowhere} --producer-property a=b --command-property c=d",
    "--topic t --bootstrap-server {nowhere} --producer.config {dir}/a --command-config {dir}/a",
    files={"a": "client.id=a\n"},
)
CASES.offline(
    "an unknown codec or class",
    "--topic t --bootstrap-server {nowhere} --compression-codec brotli",
    "--topic t --bootstrap-server {nowhere} --line-reader no.such.Reader",
)
CASES.offline(
    "a property without a value",
    "--topic t --bootstrap-server {nowhere} --command-property acks",
    "--topic t --bootstrap-server {nowhere} --reader-property parse.key",
)
CASES.offline(
    "files that are not there",
    "--topic t --bootstrap-server {nowhere} --command-config {dir}/absent",
    "--topic t --bootstrap-server {nowhere} --reader-config {dir}/absent",
)
CASES.offline(
    "nobody at the address",
    "--topic t --bootstrap-server {nowhere} --max-block-ms 500 --command-property request.timeout.ms=200 "
    "--command-property delivery.timeout.ms=500 --timeout 0 --sync",
    stdin="a\n",
)

CASES.change("lines", "--topic {topic}", given=a_topic, stdin="a\nb\n\nc d\n", after=_READ)
CASES.change("nothing at all", "--topic {topic}", given=a_topic, after=_OFFSETS)
CASES.change("a last line without an end", "--topic {topic}", given=a_topic, stdin="a\r\nb\rc", after=_READ)
CASES.change("lines one by one", "--topic {topic} --sync", given=a_topic, stdin="a\nb\n", after=_READ)
for codec in ("none", "gzip", "snappy", "lz4", "zstd"):
    CASES.change(
        f"compressed with {codec}",
        f"--topic {{topic}} --compression-codec {codec}",
        given=a_topic,
        stdin="a\nb\n",
        after=_READ,
    )
CASES.change(
    "compressed with the default",
    "--topic {topic} --compression-codec",
    given=a_topic,
    stdin="a\n",
    after=_READ,
)
CASES.change(
    "keys",
    "--topic {topic} --reader-property parse.key=true",
    "--topic {topic} --property parse.key=true --property key.separator=:",
    given=a_topic,
    stdin="k\t:v\nx:\ty\n",
    after=_READ,
)
CASES.change(
    "a line without a key",
    "--topic {topic} --reader-property parse.key=true",
    "--topic {topic} --reader-property parse.key=true --reader-property ignore.error=true",
    given=a_topic,
    stdin="k\tv\nno key\nl\tw\n",
    after=_READ,
)
CASES.change(
    "headers, keys and nulls",
    "--topic {topic} --reader-property parse.headers=true --reader-property parse.key=true "
    "--reader-property null.marker=NULL",
    given=a_topic,
    stdin="a:1,b:2\tk\tv\nNULL\tNULL\tNULL\na:NULL\tk\t\n",
    after=_READ,
)
CASES.change(
    "headers with separators of one's own",
    "--topic {topic} --reader-property parse.headers=true --reader-property headers.delimiter=| "
    "--reader-property headers.separator=; --reader-property headers.key.separator==",
    given=a_topic,
    stdin="a=1;b=2|v\n",
    after=_READ,
)
CASES.change(
    "a line without headers",
    "--topic {topic} --reader-property parse.headers=true",
    "--topic {topic} --reader-property parse.headers=true --reader-property headers.delimiter=|",
    given=a_topic,
    stdin="a1\tv\n",
    after=_READ,
)
CASES.change(
    "separators that are the same",
    "--topic {topic} --reader-property parse.headers=true --reader-property headers.delimiter=,",
    "--topic {topic} --reader-property parse.headers=true --reader-property headers.separator=:",
    "--topic {topic} --reader-property parse.key=true --reader-property parse.headers=true "
    "--reader-property key.separator=:",
    "--topic {topic} --reader-property null.marker=: --reader-property parse.headers=true",
    given=a_topic,
    stdin="a:1\tv\n",
    after=_READ,
)
CASES.change(
    "properties from a file",
    "--topic {topic} --reader-config {dir}/reader --command-config {dir}/client",
    given=a_topic,
    stdin="k|v\n",
    files={"reader": "parse.key=true\nkey.separator=|\n", "client": "acks=1\nlinger.ms=0\n"},
    after=_READ,
)
CASES.change(
    "every number",
    "--topic {topic} --batch-size 1000 --timeout 10 --request-required-acks 1 --request-timeout-ms 2000 "
    "--message-send-max-retries 2 --retry-backoff-ms 50 --socket-buffer-size 65536 --max-memory-bytes 1000000 "
    "--metadata-expiry-ms 10000 --max-block-ms 5000",
    "--topic {topic} --max-partition-memory-bytes 1000 --request-required-acks all",
    "--topic {topic} --request-required-acks 0 --command-property enable.idempotence=false",
    given=a_topic,
    stdin="a\n",
    after=_READ,
)
CASES.change(
    "flags of old",
    "--topic {topic} --producer-property linger.ms=0",
    "--topic {topic} --producer.config {dir}/client",
    "--topic {topic} --property parse.key=false",
    given=a_topic,
    stdin="a\n",
    files={"client": "linger.ms=0\n"},
    after=_READ,
)
CASES.change(
    "a record that is too large",
    "--topic {topic} --sync --command-property max.request.size=100",
    given=a_topic,
    stdin="x" * 200 + "\nb\n",
    after=_READ,
)
CASES.change(
    "a topic of no valid name",
    "--topic not/a/name --max-block-ms 2000",
    given=a_topic,
    stdin="a\n",
    after=_OFFSETS,
)
CASES.change("a topic that comes to be", "--topic {topic}", stdin="a\n", after=_READ)
