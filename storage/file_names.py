"""Names of the files in a partition's directory (Kafka: LogFileUtils)."""

from __future__ import annotations

LOG_SUFFIX = ".log"
OFFSET_INDEX_SUFFIX = ".index"
TIME_INDEX_SUFFIX = ".timeindex"
TRANSACTION_INDEX_SUFFIX = ".txnindex"
SNAPSHOT_SUFFIX = ".snapshot"

DELETED_SUFFIX = ".deleted"
CLEANED_SUFFIX = ".cleaned"
SWAP_SUFFIX = ".swap"
TEMPORARY_SUFFIX = ".tmp"

SEGMENT_SUFFIXES = (LOG_SUFFIX, OFFSET_INDEX_SUFFIX, TIME_INDEX_SUFFIX, TRANSACTION_INDEX_SUFFIX)

_DIGITS = 20


def offset_file_name(offset: int, suffix: str) -> str:
    """The offset in 20 digits, so that names sort like offsets."""
    return f"{offset:0{_DIGITS}d}{suffix}"


def offset_of_file_name(name: str) -> int | None:
    """The offset that a file name begins with, or None when it begins with something else."""
    digits = name[:_DIGITS]
    if (
        len(digits) == _DIGITS
        and digits.isascii()
        and digits.isdigit()
        and name[_DIGITS : _DIGITS + 1] == "."
    ):
        return int(digits)
    return None
