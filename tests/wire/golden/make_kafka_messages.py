"""Writes `kafka_messages.txt`: messages that Apache Kafka's own classes read, and write again to the same bytes.

    python -m tests.wire.golden.make_kafka_messages JARS [MESSAGES]

JARS is the `libs` folder of an Apache Kafka 4.4 distribution; `java` and `javac` must be on the path. Every message
on every version is tried with random values, MESSAGES of each (3 if not given). A difference is printed and ends
the run with status 1. Of those that agree, the file gets one of every header and internal record on each version,
and one of every request and response on its newest.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from tests.wire.messages_under_test import ALL_MESSAGES, HEADERS, INTERNAL_RECORDS, Generator, versions_of
from wire.schema import Message

HERE = Path(__file__).parent
GOLDEN = HERE / "kafka_messages.txt"

PACKAGES = {
    "wire.internal.consumer_offsets": "org.apache.kafka.coordinator.group.generated",
    "wire.internal.transaction_log": "org.apache.kafka.coordinator.transaction.generated",
    "wire.internal.share_group_state": "org.apache.kafka.coordinator.share.generated",
    "wire.internal.producer_snapshot": "org.apache.kafka.server.log.remote.metadata.storage.generated",
}


def java_class(message_class: type[Message]) -> str:
    module = message_class.__module__
    suffix = "Data" if module.startswith("wire.messages.") or module == "wire.headers" else ""
    package = PACKAGES.get(module, "org.apache.kafka.common.message")
    return f"{package}.{message_class.__name__}{suffix}"


def ask_kafka(jars: Path, lines: list[str]) -> list[str]:
    class_path = ":".join(str(jar) for jar in sorted(jars.glob("*.jar")))
    with tempfile.TemporaryDirectory() as built:
        source = str(HERE / "RoundTrip.java")
        subprocess.run(["javac", "-cp", class_path, "-d", built, source], check=True)
        command = ["java", "-cp", f"{built}:{class_path}", "RoundTrip"]
        ran = subprocess.run(
            command, input="\n".join(lines) + "\n", capture_output=True, check=True, text=True
        )
    return ran.stdout.splitlines()


def main(jars: Path, messages: int) -> int:
    tried = []
    for message_class in ALL_MESSAGES:
        for version in versions_of(message_class):
            for seed in range(messages):
                message = Generator(seed * 7919 + version, 1 + seed % 4).structure(message_class, version)
                tried.append((message_class, version, seed, message.encode(version).hex()))
    answers = ask_kafka(jars, [f"{java_class(tried_[0])} {tried_[1]} {tried_[3]}" for tried_ in tried])
    differences = 0
    golden = []
    for (message_class, version, seed, ours), kafkas in zip(tried, answers, strict=True):
        if ours != kafkas:
            differences += 1
            print(f"{message_class.__name__} version {version}\n  ours  {ours}\n  Kafka {kafkas}")
        kept_on_each_version = message_class in INTERNAL_RECORDS or message_class in HEADERS
        if seed == 1 and (kept_on_each_version or version == message_class.max_version):
            golden.append(f"{message_class.__name__} {version} {ours}\n")
    print(f"{len(tried)} messages, {differences} differences")
    if differences:
        return 1
    GOLDEN.write_text("".join(golden))
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 3))
