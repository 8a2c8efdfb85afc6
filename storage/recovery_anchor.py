"""Where recovery may begin: a place inside a segment that is known to be safe, and how to recognise it.

The recovery point, which Kafka's checkpoint file tells, is about record batches only: the indexes of the segment
that it lies in may be anything after a power loss, and producer state is known at the segment's beginning. So
whoever knows nothing else reads that whole segment. An anchor says more. When it is written, these are on the
disk: the log before `offset`; the named extents of the segment's indexes; leader epochs; and a producer snapshot
at `offset` (none is needed while there are no producers). Recovery then reads from `position` on.

An anchor is a claim about files that somebody else may have changed since (Apache Kafka ran on the directory, the
cleaner replaced the segment, an index was found damaged and rebuilt), and it is believed only if

* its offset is not above the recovery point, which everybody lowers before truncating a log;
* its segment is the one in which the recovery point lies;
* the indexes begin with the extents that it names, by their CRC-32C;
* walking from the last index entry leads exactly to `position`, at `offset`, over a batch with `last_batch_crc`.

Anything else, a missing or torn file included, means the whole segment: more time, the same result.

The file, `kbroker-recovery-anchors` beside Kafka's checkpoints: version 0, the number of entries, one line each,
and last the CRC-32C of all that. Recovery points are written before anchors when both rise, after them when both
fall, so that a crash in between leaves an anchor that the recovery point covers, or none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from crc32c import crc32c

from storage.checkpoint import decode_number
from storage.errors import CorruptCheckpointError
from storage.index_extent import IndexExtent
from storage.topic_partition import TopicPartition

RECOVERY_ANCHORS = "kbroker-recovery-anchors"

_VERSION = 0
_NUMBERS = 11


@dataclass(frozen=True, slots=True)
class RecoveryAnchor:
    """`position` is the size of the segment when the log ended at `offset`."""

    offset: int
    segment_base_offset: int
    position: int
    last_batch_crc: int
    """From the header of the batch that ends at `position`; 0 when the segment was empty."""

    offset_index: IndexExtent
    time_index: IndexExtent
    transaction_index: IndexExtent
    has_producers: bool
    line: str = field(init=False, repr=False, compare=False)
    """As it stands in the file, without the partition; made once, written often."""

    def __post_init__(self) -> None:
        numbers = [self.offset, self.segment_base_offset, self.position, self.last_batch_crc]
        for extent in (self.offset_index, self.time_index, self.transaction_index):
            numbers += extent
        numbers.append(int(self.has_producers))
        object.__setattr__(self, "line", " ".join(map(str, numbers)))


def encode_anchors(anchors: Mapping[TopicPartition, RecoveryAnchor]) -> bytes:
    lines = [str(_VERSION), str(len(anchors))]
    lines += [f"{topic} {partition} {anchor.line}" for (topic, partition), anchor in anchors.items()]
    body = ("\n".join(lines) + "\n").encode()
    return body + b"%d\n" % crc32c(body)


def decode_anchors(data: bytes) -> dict[TopicPartition, RecoveryAnchor]:
    """CorruptCheckpointError unless every byte is as it was written."""
    body, _, last = data.removesuffix(b"\n").rpartition(b"\n")
    body += b"\n"
    if not data.endswith(b"\n") or last != b"%d" % crc32c(body):
        raise CorruptCheckpointError("the CRC does not match")
    version, count, *lines = body.decode().splitlines()
    if decode_number(version) != _VERSION:
        raise CorruptCheckpointError(f"unknown version {version!r}")
    if decode_number(count) != len(lines):
        raise CorruptCheckpointError(f"{count} entries announced, {len(lines)} found")
    return dict(_decode_line(line.split(" ")) for line in lines)


def _decode_line(fields: list[str]) -> tuple[TopicPartition, RecoveryAnchor]:
    if len(fields) != 2 + _NUMBERS:
        raise CorruptCheckpointError(f"malformed line {' '.join(fields)!r}")
    topic, *rest = fields
    partition, offset, base_offset, position, batch_crc, *extents, has_producers = map(decode_number, rest)
    offset_index, time_index, transaction_index = _pairs(extents)
    anchor = RecoveryAnchor(
        offset,
        base_offset,
        position,
        batch_crc,
        offset_index,
        time_index,
        transaction_index,
        has_producers != 0,
    )
    return TopicPartition(topic, partition), anchor


def _pairs(numbers: list[int]) -> Iterable[IndexExtent]:
    return [IndexExtent(*numbers[at : at + 2]) for at in range(0, len(numbers), 2)]
