"""``kafka-console-consumer``."""

from __future__ import annotations

from typing import Final

from compat.commands.case import Cases
from compat.commands.states import records, transactions

CASES: Final = Cases("kafka-console-consumer")
_ALL: Final = "--topic {letters} --partition 0 --offset earliest --max-messages 6 "
_PROPERTY: Final = "--formatter-property "
_GROUP: Final = [("kafka-consumer-groups", "--describe --group {group}")]

CASES.offline("no flags", "")
CASES.offline("help", "--help")
CASES.offline("version", "--version")
CASES.offline("an unknown flag", "--bogus", "--topic t --zookeeper {nowhere}", "--whitelist t")
CASES.offline("no topic", "--bootstrap-server {nowhere}")
CASES.offline("no address", "--topic t")
CASES.offline("a topic and a pattern", "--topic t --include t --bootstrap-server {nowhere}")
CASES.offline(
    "a partition without a topic or with a group",
    "--include t --partition 0 --bootstrap-server {nowhere}",
    "--topic t --partition 0 --group g --bootstrap-server {nowhere}",
)
CASES.offline(
    "an offset without a partition or that is none",
    "--topic t --offset 3 --bootstrap-server {nowhere}",
    "--topic t --partition 0 --offset -3 --bootstrap-server {nowhere}",
    "--topic t --partition 0 --offset first --bootstrap-server {nowhere}",
    "--topic t --partition 0 --offset 3 --from-beginning --bootstrap-server {nowhere}",
)
CASES.offline(
    "numbers that are none",
    "--topic t --max-messages few --bootstrap-server {nowhere}",
    "--topic t --timeout-ms soon --bootstrap-server {nowhere}",
    "--topic t --partition first --bootstrap-server {nowhere}",
)
CASES.offline(
    "from where, twice",
    "--topic t --from-beginning --command-property auto.offset.reset=latest --bootstrap-server {nowhere}",
    "--topic t --command-property auto.offset.reset=first --bootstrap-server {nowhere}",
)
CASES.offline(
    "a group by flag and by property",
    "--topic t --group a --command-property group.id=b --bootstrap-server {nowhere}",
)
CASES.offline(
    "two names of one flag",
    "--topic t --bootstrap-server {nowhere} --property a=b --formatter-property c=d",
    "--topic t --bootstrap-server {nowhere} --consumer-property a=b --command-property c=d",
    "--topic t --bootstrap-server {nowhere} --consumer.config {dir}/a --command-config {dir}/a",
    files={"a": "client.id=a\n"},
)
CASES.offline(
    "a class that there is not",
    "--topic t --formatter no.such.Formatter --bootstrap-server {nowhere}",
    "--topic t --key-deserializer no.such.Deserializer --bootstrap-server {nowhere} --timeout-ms 100",
)
CASES.offline(
    "an isolation that there is not", "--topic t --isolation-level dirty --bootstrap-server {nowhere}"
)
CASES.offline(
    "files that are not there",
    "--topic t --bootstrap-server {nowhere} --command-config {dir}/absent",
    "--topic t --bootstrap-server {nowhere} --formatter-config {dir}/absent",
)
CASES.offline("an address that is none", "--topic t --bootstrap-server nowhere")
CASES.offline("nobody at the address", "--topic t --bootstrap-server {nowhere} --timeout-ms 500")

CASES.read("from the beginning", "--topic {letters} --from-beginning --max-messages 6", given=records)
CASES.read(
    "until nothing comes any more",
    "--topic {letters} --from-beginning --timeout-ms 1000",
    "--topic {nothing} --from-beginning --timeout-ms 1000",
    given=records,
)
CASES.read("no more than so many", "--topic {letters} --from-beginning --max-messages 2", given=records)
CASES.read(
    "one partition",
    "--topic {numbers} --partition 1 --offset earliest --max-messages 4",
    "--topic {numbers} --partition 1 --offset 2 --max-messages 2",
    "--topic {numbers} --partition 1 --from-beginning --max-messages 1",
    "--topic {numbers} --partition 1 --offset latest --timeout-ms 1000",
    "--topic {numbers} --partition 1 --max-messages 0",
    given=records,
)
CASES.read(
    "a partition that is not there", "--topic {numbers} --partition 7 --timeout-ms 1000", given=records
)
CASES.read(
    "an offset that is not there",
    "--topic {letters} --partition 0 --offset 100 --timeout-ms 1000",
    "--topic {letters} --partition 0 --offset 100 --max-messages 1 "
    "--command-property auto.offset.reset=earliest",
    given=records,
)
CASES.read(
    "with everything about a record",
    _ALL
    + "".join(
        f"{_PROPERTY}print.{what}=true "
        for what in ("timestamp", "key", "offset", "delivery", "partition", "headers", "value")
    ),
    given=records,
)
CASES.read(
    "with one thing about a record",
    *(
        f"{_ALL}{_PROPERTY}print.{what}=true"
        for what in ("timestamp", "key", "offset", "partition", "headers", "epoch")
    ),
    given=records,
)
CASES.read(
    "with separators and nulls of one's own",
    f"{_ALL}{_PROPERTY}print.key=true {_PROPERTY}key.separator=: {_PROPERTY}line.separator=; "
    f"{_PROPERTY}null.literal=NULL",
    f"{_ALL}{_PROPERTY}print.headers=true {_PROPERTY}headers.separator=/ {_PROPERTY}print.value=false",
    given=records,
)
CASES.read(
    "with deserializers",
    f"{_ALL}{_PROPERTY}print.key=true "
    "--value-deserializer org.apache.kafka.common.serialization.StringDeserializer "
    "--key-deserializer org.apache.kafka.common.serialization.BytesDeserializer",
    f"{_ALL}{_PROPERTY}value.deserializer=org.apache.kafka.common.serialization.BytesDeserializer",
    f"{_ALL}--value-deserializer org.apache.kafka.common.serialization.LongDeserializer",
    f"{_ALL}--value-deserializer org.apache.kafka.common.serialization.LongDeserializer --skip-message-on-error",
    given=records,
)
CASES.read(
    "with Kafka's other formatters",
    f"{_ALL}--formatter org.apache.kafka.tools.consumer.NoOpMessageFormatter",
    f"{_ALL}--formatter org.apache.kafka.tools.consumer.LoggingMessageFormatter",
    f"{_ALL}--formatter org.apache.kafka.tools.consumer.DefaultMessageFormatter",
    given=records,
)
CASES.read(
    "a formatter from a file",
    _ALL + "--formatter-config {dir}/formatter",
    given=records,
    files={"formatter": "print.key=true\nprint.offset=true\n"},
)
CASES.read(
    "flags of old",
    _ALL + "--property print.key=true",
    _ALL + "--consumer-property client.id=me",
    _ALL + "--consumer.config {dir}/client",
    given=records,
    files={"client": "client.id=me\n"},
)
CASES.read(
    "topics that match a pattern", "--include {all}let.* --from-beginning --max-messages 6", given=records
)
CASES.read(
    "events for system tests",
    "--topic {letters} --from-beginning --max-messages 1 --enable-systest-events",
    given=records,
)
CASES.read(
    "transactions",
    "--topic {ledger} --partition 0 --offset earliest --timeout-ms 1000 --isolation-level read_committed",
    "--topic {ledger} --partition 0 --offset earliest --max-messages 3 --isolation-level read_uncommitted",
    "--topic {ledger} --partition 0 --offset earliest --max-messages 3",
    given=transactions,
)
CASES.read(
    "the offsets topic",
    "--topic __consumer_offsets --partition 0 --offset 0 --timeout-ms 1000 "
    "--formatter org.apache.kafka.tools.consumer.OffsetsMessageFormatter",
    "--topic __consumer_offsets --partition 0 --offset 0 --timeout-ms 1000 "
    "--formatter org.apache.kafka.tools.consumer.GroupMetadataMessageFormatter",
    given=records,
)
CASES.read(
    "the transactions topic",
    "--topic __transaction_state --from-beginning --timeout-ms 1000 "
    "--formatter org.apache.kafka.tools.consumer.TransactionLogMessageFormatter",
    given=transactions,
)
CASES.read("a topic of no valid name", "--topic not/a/name --timeout-ms 1000", given=records)
CASES.change(
    "a group that commits",
    "--topic {letters} --group {group} --from-beginning --max-messages 2",
    "--topic {letters} --group {group} --max-messages 2",
    "--topic {letters} --group {group} --from-beginning --timeout-ms 1000",
    given=records,
    after=_GROUP,
)
CASES.change(
    "a group that does not commit",
    "--topic {letters} --group {group} --from-beginning --max-messages 2 "
    "--command-property enable.auto.commit=false",
    given=records,
    after=_GROUP,
)
CASES.read(
    "no offset to begin with",
    "--topic {letters} --group {nobody} --command-property auto.offset.reset=none --timeout-ms 5000",
    given=records,
)
CASES.change(
    "a group by property",
    "--topic {letters} --command-property group.id={group} --from-beginning --max-messages 6",
    given=records,
    after=_GROUP,
)
CASES.change(
    "a topic that comes to be",
    "--topic {topic} --timeout-ms 1000",
    after=[("kafka-topics", "--list --topic {all}.*")],
)
