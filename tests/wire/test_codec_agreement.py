"""Every message on every version: the compiled codec, interpreted construct and Apache Kafka agree."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.wire.interpreted import container_of, message_of
from tests.wire.messages_under_test import ALL_MESSAGES, Generator, versions_of
from wire.schema import Message

SEEDS = st.integers(0, (1 << 32) - 1)
SIZES = st.integers(1, 4)
GOLDEN = (Path(__file__).parent / "golden" / "kafka_messages.txt").read_text().splitlines()


@pytest.mark.parametrize("message_class", ALL_MESSAGES, ids=lambda message_class: message_class.__name__)
@settings(max_examples=6, deadline=None, derandomize=True, database=None)
@given(seed=SEEDS, size=SIZES)
def test_compiled_codec_is_the_interpreted_construct(
    message_class: type[Message], seed: int, size: int
) -> None:
    for version in versions_of(message_class):
        message = Generator(seed, size).structure(message_class, version)
        tree = message_class.struct(version)
        data = message.encode(version)

        assert data == tree.build(container_of(tree, message))
        assert message_of(tree, tree.parse(data)) == message

        assert message_class.decode(data, version) == message
        assert message_class.decode(bytearray(data), version) == message
        assert message_class.decode(memoryview(data), version) == message
        assert b"".join(message.encode_parts(version)) == data


@pytest.mark.parametrize("message_class", ALL_MESSAGES, ids=lambda message_class: message_class.__name__)
def test_defaults_survive(message_class: type[Message]) -> None:
    """A message that nothing was set in can be written on every version, and read again."""
    message = message_class()
    for version in versions_of(message_class):
        tree = message_class.struct(version)
        reference = tree.build(container_of(tree, message))
        assert message.encode(version) == reference
        assert message_class.decode(reference, version) == message


@pytest.mark.parametrize("line", GOLDEN, ids=lambda line: " ".join(line.split()[:2]))
def test_what_kafka_wrote_is_read_and_written_again(line: str) -> None:
    """See golden/make_kafka_messages.py for where the lines come from."""
    name, version, hexadecimal = line.split()
    message_class = next(found for found in ALL_MESSAGES if found.__name__ == name)
    data = bytes.fromhex(hexadecimal)
    message = message_class.decode(data, int(version))
    assert message.encode(int(version)) == data
    tree = message_class.struct(int(version))
    assert message_of(tree, tree.parse(data)) == message


def test_golden_messages_are_all_there() -> None:
    """One line for each message at least: an empty file would let the test above pass."""
    assert {line.split()[0] for line in GOLDEN} == {message_class.__name__ for message_class in ALL_MESSAGES}
