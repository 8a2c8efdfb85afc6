"""``kafka-producer-perf-test`` and ``kafka-consumer-perf-test``: what they print, but for how fast it was."""

from __future__ import annotations

from typing import Final

from compat.commands.case import Cases
from compat.commands.scene import Scene
from compat.commands.state import new_topic
from compat.commands.states import records

PRODUCER: Final = Cases("kafka-producer-perf-test")
CONSUMER: Final = Cases("kafka-consumer-perf-test")
_ENDS: Final = [("kafka-get-offsets", "--topic {topic}")]
_FEW: Final = "--topic {topic} --num-records 20 --throughput -1 "


def a_topic(scene: Scene) -> None:
    """One partition."""
    new_topic(scene, "topic")


PRODUCER.offline("no flags", "")
PRODUCER.offline("help", "--help", "-h")
PRODUCER.offline(
    "an unknown flag", "--bogus", "--topic t --num-records 1 --throughput 1 --record-size 1 --bogus"
)
PRODUCER.offline(
    "flags that are missing",
    "--topic t",
    "--num-records 1 --throughput 1 --record-size 1",
    "--topic t --throughput 1 --record-size 1",
    "--topic t --num-records 1 --record-size 1",
    "--topic t --num-records 1 --throughput 1",
    "--topic t --num-records 1 --throughput 1 --record-size 1",
)
PRODUCER.offline(
    "flags that exclude one another",
    "--topic t --num-records 1 --throughput 1 --record-size 1 --payload-monotonic --bootstrap-server {nowhere}",
    "--topic t --num-records 1 --throughput 1 --record-size 1 --payload-file f --bootstrap-server {nowhere}",
)
PRODUCER.offline(
    "values that make no sense",
    "--topic t --num-records few --throughput 1 --record-size 1 --bootstrap-server {nowhere}",
    "--topic t --num-records 1 --throughput fast --record-size 1 --bootstrap-server {nowhere}",
    "--topic t --num-records 1 --throughput 1 --record-size 0 --bootstrap-server {nowhere}",
    "--topic t --num-records 1 --throughput 1 --record-size -5 --bootstrap-server {nowhere}",
    "--topic t --num-records 1 --throughput 1 --record-size 1 --transaction-duration-ms 0 "
    "--bootstrap-server {nowhere}",
    "--topic t --num-records 1 --throughput 1 --record-size 1 --warmup-records 5 --bootstrap-server {nowhere}",
    "--topic t --num-records 1 --throughput 1 --record-size 1 --reporting-interval 0 --bootstrap-server {nowhere}",
    "--topic t --num-records 1 --throughput 1 --record-size 1 --key-distribution even --bootstrap-server {nowhere}",
)
PRODUCER.offline(
    "files that are not there or empty",
    "--topic t --num-records 1 --throughput 1 --payload-file {dir}/absent --bootstrap-server {nowhere}",
    "--topic t --num-records 1 --throughput 1 --payload-file {dir}/empty --bootstrap-server {nowhere}",
    "--topic t --num-records 1 --throughput 1 --record-size 1 --command-config {dir}/absent "
    "--bootstrap-server {nowhere}",
    files={"empty": ""},
)
PRODUCER.change(
    "records of a size",
    _FEW + "--record-size 10",
    _FEW + "--record-size 10 --producer-props acks=1 linger.ms=0",
    _FEW + "--record-size 10 --command-property acks=all compression.type=gzip",
    _FEW + "--record-size 10 --command-config {dir}/client",
    _FEW + "--record-size 10 --producer.config {dir}/client",
    given=a_topic,
    files={"client": "linger.ms=0\n"},
    after=_ENDS,
)
PRODUCER.change("with metrics", _FEW + "--record-size 10 --print-metrics", given=a_topic, after=_ENDS)
PRODUCER.change(
    "records that count",
    _FEW + "--payload-monotonic",
    given=a_topic,
    after=[("kafka-console-consumer", "--topic {topic} --from-beginning --max-messages 20")],
)
PRODUCER.change(
    "records of a file",
    _FEW + "--payload-file {dir}/payload",
    _FEW + "--payload-file {dir}/semicolons --payload-delimiter ;",
    given=a_topic,
    files={"payload": "a\nb\n", "semicolons": "a;b"},
    after=_ENDS,
)
PRODUCER.change(
    "keys",
    _FEW + "--record-size 10 --record-key-range 3 --key-distribution range --random-seed 1",
    given=a_topic,
    after=[
        (
            "kafka-console-consumer",
            "--topic {topic} --from-beginning --max-messages 20 "
            "--formatter-property print.key=true --formatter-property print.value=false",
        )
    ],
)
PRODUCER.change(
    "in transactions",
    _FEW + "--record-size 10 --transactional-id {transactional} --transaction-duration-ms 1000",
    _FEW + "--record-size 10 --transaction-duration-ms 1000",
    given=a_topic,
    after=[
        (
            "kafka-console-consumer",
            "--topic {topic} --from-beginning --max-messages 40 --timeout-ms 5000 "
            "--isolation-level read_committed --formatter org.apache.kafka.tools.consumer.NoOpMessageFormatter",
        )
    ],
)
PRODUCER.change(
    "slowly, with reports",
    "--topic {topic} --num-records 20 --throughput 25 --record-size 10 --reporting-interval 300",
    "--topic {topic} --num-records 20 --throughput 25 --record-size 10 --reporting-interval 300 --warmup-records 10",
    given=a_topic,
    after=_ENDS,
)

CONSUMER.offline("no flags", "")
CONSUMER.offline("help", "--help")
CONSUMER.offline("version", "--version")
CONSUMER.offline(
    "an unknown flag", "--bogus", "--topic t --threads 1 --num-records 1 --bootstrap-server {nowhere}"
)
CONSUMER.offline(
    "flags that are missing",
    "--topic t --num-records 1",
    "--bootstrap-server {nowhere} --num-records 1",
    "--bootstrap-server {nowhere} --topic t",
)
CONSUMER.offline(
    "flags that exclude one another",
    "--bootstrap-server {nowhere} --topic t --include u --num-records 1",
    "--bootstrap-server {nowhere} --topic t --num-records 1 --messages 1",
    "--bootstrap-server {nowhere} --topic t --num-records 1 --consumer.config a --command-config a",
)
CONSUMER.offline(
    "values that make no sense",
    "--bootstrap-server {nowhere} --topic t --num-records few",
    "--bootstrap-server {nowhere} --topic t --num-records 1 --date-format QQQQQQQ",
    "--bootstrap-server {nowhere} --topic t --num-records 1 --reporting-interval 0",
    "--bootstrap-server {nowhere} --topic t --num-records 1 --fetch-size much",
)
CONSUMER.offline(
    "a file that is not there",
    "--bootstrap-server {nowhere} --topic t --num-records 1 --command-config {dir}/absent",
)
CONSUMER.read("a time-out that is none", "--topic {letters} --num-records 6 --timeout soon", given=records)
CONSUMER.read("a topic", "--topic {letters} --num-records 6 --timeout 5000", given=records)
CONSUMER.read("a topic by its old flag", "--topic {letters} --messages 6 --timeout 5000", given=records)
CONSUMER.read(
    "without a header", "--topic {letters} --num-records 6 --hide-header --timeout 5000", given=records
)
CONSUMER.read(
    "in detail",
    "--topic {letters} --num-records 6 --show-detailed-stats --timeout 5000",
    "--topic {letters} --num-records 6 --show-detailed-stats --hide-header --timeout 5000",
    given=records,
)
CONSUMER.read(
    "with a date format",
    "--topic {letters} --num-records 6 --date-format yyyy-MM-dd --timeout 5000",
    given=records,
)
CONSUMER.read(
    "more than there is",
    "--topic {letters} --num-records 60 --timeout 1000",
    "--topic {letters} --num-records 60 --timeout 1000 --from-latest",
    given=records,
)
CONSUMER.read(
    "with properties for the client",
    "--topic {letters} --num-records 6 --timeout 5000 --command-config {dir}/client",
    "--topic {letters} --num-records 6 --timeout 5000 --consumer.config {dir}/client",
    "--topic {letters} --num-records 6 --timeout 5000 --command-property client.id=me",
    given=records,
    files={"client": "client.id=me\n"},
)
CONSUMER.read(
    "topics that match a pattern", "--include {all}let.* --num-records 6 --timeout 5000", given=records
)
CONSUMER.change(
    "a group",
    "--topic {letters} --group {group} --num-records 6 --timeout 5000",
    given=records,
    after=[("kafka-consumer-groups", "--describe --group {group}")],
)
