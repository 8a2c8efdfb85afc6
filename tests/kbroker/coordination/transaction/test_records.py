"""The records of __transaction_state, byte for byte."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kbroker.coordination.transaction.records import (
    TransactionChange,
    decode,
    transaction_record,
    transaction_tombstone,
)
from kbroker.coordination.transaction.states import TransactionState
from kbroker.coordination.transaction.transaction import TransactionMetadata
from wire.errors import ProtocolError

METADATA = TransactionMetadata(
    producer_id=0x0102,
    producer_epoch=3,
    timeout_ms=60_000,
    state=TransactionState.PREPARE_COMMIT,
    previous_producer_id=0x0101,
    next_producer_id=0x0103,
    last_producer_epoch=2,
    partitions=frozenset({("t", 1), ("t", 0), ("s", 2)}),
    start_ms=5,
    updated_ms=6,
    client_transaction_version=2,
)
KEY = bytes.fromhex("0000 0002 6964")
CLASSIC_VALUE = bytes.fromhex(
    "0000 0000000000000102 0003 0000ea60 02"
    "00000002 0001 73 00000001 00000002 0001 74 00000002 00000000 00000001"
    "0000000000000006 0000000000000005"
)
FLEXIBLE_VALUE = bytes.fromhex(
    "0001 0000000000000102 0003 0000ea60 02"
    "03 02 73 02 00000002 00 02 74 03 00000000 00000001 00"
    "0000000000000006 0000000000000005"
    "03 00 08 0000000000000101 01 08 0000000000000103 02 02 0002"
)


def test_a_record_is_kafkas_to_the_byte() -> None:
    record = transaction_record("id", METADATA, transaction_version=2)
    assert record == (KEY, FLEXIBLE_VALUE, TransactionChange("id", METADATA))
    assert transaction_record("id", METADATA, transaction_version=1).value == FLEXIBLE_VALUE


def test_older_brokers_must_be_able_to_read_it_while_the_cluster_says_so() -> None:
    record = transaction_record("id", METADATA, transaction_version=0)
    assert record.value == CLASSIC_VALUE
    change = decode(record.key, record.value)
    assert change is not None
    assert change.metadata == replace(
        METADATA,
        previous_producer_id=-1,
        next_producer_id=-1,
        last_producer_epoch=-1,
        client_transaction_version=0,
    )


def test_all_but_the_last_epoch_comes_back() -> None:
    change = decode(KEY, FLEXIBLE_VALUE)
    assert change == TransactionChange("id", replace(METADATA, last_producer_epoch=-1))


def test_an_empty_transaction_has_no_partitions_at_all() -> None:
    empty = TransactionMetadata(producer_id=1, producer_epoch=0, timeout_ms=1)
    value = transaction_record("id", empty, transaction_version=2).value
    assert value is not None
    assert value[2 + 8 + 2 + 4 + 1] == 0  # null
    assert decode(KEY, value) == TransactionChange("id", empty)


def test_a_tombstone_has_no_value() -> None:
    record = transaction_tombstone("id")
    assert record == (KEY, None, TransactionChange("id", None))
    assert decode(record.key, record.value) == TransactionChange("id", None)


@pytest.mark.parametrize(("key", "value"), [(b"\0\1\0\2id", FLEXIBLE_VALUE), (KEY, b"\0\2" + bytes(40))])
def test_versions_of_the_future_are_passed_over(key: bytes, value: bytes) -> None:
    assert decode(key, value) is None


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (b"\0", CLASSIC_VALUE),
        (KEY, b"\0"),
        (KEY, CLASSIC_VALUE[:-1]),
        (KEY[:-1], CLASSIC_VALUE),
        (KEY, CLASSIC_VALUE[:16] + b"\x09" + CLASSIC_VALUE[17:]),
    ],
)
def test_garbled_records_are_not_guessed_at(key: bytes, value: bytes) -> None:
    with pytest.raises(ProtocolError):
        decode(key, value)


@given(
    state=st.sampled_from([state for state in TransactionState if state is not TransactionState.EMPTY]),
    partitions=st.frozensets(st.tuples(st.text(max_size=5), st.integers(0, 2**31 - 1)), max_size=5),
    ids=st.tuples(*[st.integers(-1, 2**63 - 1)] * 3),
    version=st.integers(0, 2),
)
def test_every_state_comes_back(
    state: TransactionState, partitions: frozenset[tuple[str, int]], ids: tuple[int, int, int], version: int
) -> None:
    metadata = TransactionMetadata(
        producer_id=ids[0], previous_producer_id=ids[1], next_producer_id=ids[2], producer_epoch=7,
        timeout_ms=1, state=state, partitions=partitions, client_transaction_version=version,
    )  # fmt: skip
    record = transaction_record("x", metadata, transaction_version=2)
    assert decode(record.key, record.value) == TransactionChange("x", metadata)
