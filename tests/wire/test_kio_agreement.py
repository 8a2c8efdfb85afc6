"""The public `kio` package, generated from Kafka's definitions by others, as an independent second opinion."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kio.schema.errors import ErrorCode as KioErrorCode

from tests.wire.kio_adapter import from_kio, kio_class, kio_decode, kio_encode, limits, to_kio
from tests.wire.messages_under_test import PROTOCOL_MESSAGES, Generator, versions_of
from wire.errors import ErrorCode
from wire.messages import API_KEYS, request_class, response_class
from wire.schema import Message

NEWER_THAN_KIO = {(18, 5), (28, 6), (42, 3)}
"""What Apache Kafka 4.4 added: here the golden bytes of its own classes are the second opinion."""


@pytest.mark.parametrize("message_class", PROTOCOL_MESSAGES, ids=lambda message_class: message_class.__name__)
@settings(max_examples=5, deadline=None, derandomize=True, database=None)
@given(seed=st.integers(0, (1 << 32) - 1), size=st.integers(1, 4))
def test_same_bytes_and_same_values(message_class: type[Message], seed: int, size: int) -> None:
    for version in versions_of(message_class):
        if (message_class.api_key, version) in NEWER_THAN_KIO:
            continue
        entity_class = kio_class(message_class, version)
        message = Generator(seed, size, limits(message_class, version)).structure(message_class, version)
        entity = to_kio(message, entity_class, version)

        data = kio_encode(entity)
        assert message.encode(version) == data
        assert kio_decode(entity_class, data) == entity
        assert message_class.decode(data, version) == message
        assert from_kio(entity, message_class, version) == message


def test_every_key_and_version_is_compared() -> None:
    """kio has 302 versions of 89 APIs, in both directions: all but what is newer than kio."""
    compared = [
        (api.key, version)
        for api in API_KEYS.values()
        for version in range(api.min_version, api.max_version + 1)
        if (api.key, version) not in NEWER_THAN_KIO
        and kio_class(request_class(api.key), version)
        and kio_class(response_class(api.key), version)
    ]
    assert len(API_KEYS) == 89
    in_table = sum(api.max_version - api.min_version + 1 for api in API_KEYS.values())
    assert len(compared) == in_table - len(NEWER_THAN_KIO) == 302


def test_error_codes_are_kios() -> None:
    for theirs in KioErrorCode:
        ours = ErrorCode(int(theirs))
        assert ours.name == theirs.name.upper()
        assert ours.retriable == theirs.retriable
