"""Addresses as people type them after ``--bootstrap-server``."""

from __future__ import annotations

import pytest

from kbroker.tools.cluster import parse_address
from kbroker.world import Address


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("localhost:9092", Address("localhost", 9092)),
        (" broker-1.example:65535 ", Address("broker-1.example", 65535)),
        ("[::1]:9092", Address("::1", 9092)),
        ("PLAINTEXT://broker:9092", Address("broker", 9092)),
        (":9092", Address("localhost", 9092)),
    ],
)
def test_addresses_are_read(text: str, address: Address) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize("text", ["", "localhost", "localhost:", ":", "localhost:kafka", "localhost:65536"])
def test_what_is_no_address_is_told_in_the_words_of_java(text: str) -> None:
    with pytest.raises(ValueError, match=r"Invalid url in bootstrap\.servers: "):
        parse_address(text)


@pytest.mark.parametrize(
    "text", ["", "localhost", "localhost:", ":", "localhost:kafka", "localhost:65536", "a:1,b"]
)
def test_what_is_no_address_is_told(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not HOST:PORT"):
        Address.parse(text)
