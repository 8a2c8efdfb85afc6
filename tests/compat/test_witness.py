"""What the witness makes of the batches that it is given."""

from __future__ import annotations

from compat.clients.witness import Batch, _without_aborted
from wire.records import ControlType, Record, build_batch, read_batch_header

ONE, OTHER = 7, 8


def batch(offset: int, producer_id: int, control: ControlType | None = None) -> Batch:
    """Of a transaction, with one record."""
    header = read_batch_header(
        build_batch(
            [Record(offset, 0)],
            base_offset=offset,
            producer_id=producer_id,
            producer_epoch=0,
            is_transactional=True,
            is_control=control is not None,
        )
    )
    return Batch(header, (Record(offset, 0),), control)


def offsets(batches: list[Batch]) -> list[int]:
    return [found.header.base_offset for found in batches]


def test_only_what_the_broker_calls_aborted_is_left_out() -> None:
    log = [
        batch(0, ONE),
        batch(1, OTHER),
        batch(2, ONE, ControlType.ABORT),
        batch(3, OTHER, ControlType.COMMIT),
        batch(4, ONE),
        batch(5, ONE, ControlType.COMMIT),
    ]
    assert offsets(_without_aborted(log, {(0, ONE)})) == [1, 2, 3, 4, 5]
    assert offsets(_without_aborted(log, set())) == [0, 1, 2, 3, 4, 5]


def test_a_producer_s_next_transaction_is_aborted_on_its_own() -> None:
    log = [
        batch(0, ONE),
        batch(1, ONE, ControlType.COMMIT),
        batch(2, ONE),
        batch(3, ONE, ControlType.ABORT),
    ]
    assert offsets(_without_aborted(log, {(2, ONE)})) == [0, 1, 3]
