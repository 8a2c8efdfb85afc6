"""What clients saw during a kill test, as data."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple


class Place(NamedTuple):
    """Where a record is."""

    partition: int
    offset: int


class Seen(NamedTuple):
    """A record that a consumer got."""

    place: Place
    value: bytes


class Commit(NamedTuple):
    """A committed offset that the broker acknowledged."""

    partition: int
    offset: int


@dataclass
class Session:
    """One life of the group consumer: what it was told to begin with, read, and committed, in order."""

    events: list[Seen | Commit] = field(default_factory=list)


@dataclass
class History:
    """Everything that was observed.

    sent: value -> its partition, in the order in which the producer was given them (dicts keep it).
    acknowledged: value -> the place that the broker acknowledged.
    refused: value -> the error with which the producer gave up on it.
    sessions: the lives of the group consumer, one after the other.
    committed: what the broker said, at the end, that the group had committed, by partition.
    log: every record in every partition, read at the end from the start.
    """

    sent: dict[bytes, int] = field(default_factory=dict)
    acknowledged: dict[bytes, Place] = field(default_factory=dict)
    refused: dict[bytes, str] = field(default_factory=dict)
    sessions: list[Session] = field(default_factory=list)
    committed: dict[int, int] = field(default_factory=dict)
    log: list[Seen] = field(default_factory=list)
