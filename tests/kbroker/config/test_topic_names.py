"""Which names Kafka allows; each case was answered so by Apache Kafka 4.4."""

from __future__ import annotations

import pytest

from kbroker.config.topic_names import (
    collision_key,
    is_internal_topic,
    is_valid_topic_name,
    validate_topic_name,
)
from wire.errors import ApiError, ErrorCode


@pytest.mark.parametrize("name", ["a", "A-b_c.9", "...", "a" * 249, "-", "_", "__consumer_offsets"])
def test_legal_name(name: str) -> None:
    assert is_valid_topic_name(name)
    validate_topic_name(name)


@pytest.mark.parametrize("name", ["", ".", "..", "a" * 250, "a b", "ü", "a/b", "a\n", "a\x00", "٣", "a:b"])
def test_illegal_name(name: str) -> None:
    assert not is_valid_topic_name(name)
    with pytest.raises(ApiError) as raised:
        validate_topic_name(name)
    assert raised.value.code == ErrorCode.INVALID_TOPIC_EXCEPTION
    assert raised.value.message


def test_names_that_differ_in_dots_and_underscores_collide() -> None:
    assert collision_key("a.b_c") == collision_key("a_b.c")
    assert collision_key("a-b") != collision_key("a_b")


def test_internal_topics_are_those_of_the_broker() -> None:
    assert [
        name
        for name in ("__consumer_offsets", "__transaction_state", "__share_group_state")
        if not is_internal_topic(name)
    ] == []
    assert not is_internal_topic("__mine")
    assert not is_internal_topic("__cluster_metadata")
