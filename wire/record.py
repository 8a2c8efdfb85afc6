"""One record of a batch, as `record_reader` reads it and `record_writer` writes it."""

from typing import NamedTuple

Header = tuple[str, bytes | None]


class Record(NamedTuple):
    """Offset and timestamp (ms) are absolute; a `value` of None is a tombstone.

    Header keys are text. Kafka stores whatever bytes a producer sends there; those that are not
    UTF-8 come as lone surrogates (`surrogateescape`) and are written back as the same bytes, so a
    key is to be encoded or printed with that in mind.
    """

    offset: int
    timestamp: int
    key: bytes | None = None
    value: bytes | None = None
    headers: tuple[Header, ...] = ()


RECORD_SIZE_MIN = 7
"""A record takes at least its length, attributes, two deltas, two null lengths and a header count."""

HEADER_KEY_ERRORS = "surrogateescape"
