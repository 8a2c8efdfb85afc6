"""From the hash of a key to the latest offset with that key, in a fixed amount of memory (Kafka: SkimpyOffsetMap).

An open-addressing table in one flat buffer: 16 bytes of hash and 8 of offset a slot. A dict would be five times as
large, and the memory is what decides how much of a log is cleaned in one pass. Two keys with the same 128 bits of
BLAKE2b would be taken for one.
"""

from __future__ import annotations

from hashlib import blake2b
from struct import Struct

SLOT_BYTES = 24
_SLOT = Struct("=16sq")
_HASH_BYTES = 16
_FREE = bytes(_HASH_BYTES)


class OffsetMap:
    """Keys of one pass. `latest_offset` tells how far the log was looked at; -1 for an empty map.

    `key_count_wanted` (an upper bound of how many keys there are) keeps the table of a small log small. A full
    table takes no more keys: look at `is_full` before every `put`.
    """

    __slots__ = ("_table", "key_count", "key_count_max", "latest_offset", "slot_count")

    def __init__(self, memory_bytes: int, load_factor: float, *, key_count_wanted: int | None = None) -> None:
        if not 0 < load_factor <= 1:
            raise ValueError(f"a load factor is in (0, 1], not {load_factor}")
        slot_count = memory_bytes // SLOT_BYTES
        if int(slot_count * load_factor) < 1:
            raise ValueError(f"{memory_bytes} bytes at a load factor of {load_factor} hold no key")
        if key_count_wanted is not None:
            slot_count = min(slot_count, int(key_count_wanted / load_factor) + 2)
        self.slot_count = _prime_up_to(slot_count)
        self.key_count_max = max(1, min(int(slot_count * load_factor), self.slot_count - 1))
        self._table = bytearray(self.slot_count * SLOT_BYTES)
        self.key_count = 0
        self.latest_offset = -1

    @property
    def is_full(self) -> bool:
        return self.key_count >= self.key_count_max

    def put(self, key: bytes, offset: int) -> None:
        """Note that `key` occurs at `offset`, which is larger than at any earlier call."""
        digest = blake2b(key, digest_size=_HASH_BYTES).digest()
        at, stored = self._find(digest)
        if stored < 0:
            self.key_count += 1
        _SLOT.pack_into(self._table, at, digest, offset)
        self.latest_offset = offset

    def get(self, key: bytes) -> int:
        """The latest offset of `key`, or -1."""
        return self._find(blake2b(key, digest_size=_HASH_BYTES).digest())[1]

    def looked_at(self, offset: int) -> None:
        """Everything up to `offset` was looked at, whether it had keys or not."""
        self.latest_offset = max(self.latest_offset, offset)

    def _find(self, digest: bytes) -> tuple[int, int]:
        """Byte position and offset of the slot of a hash; of the free one where it belongs, with -1."""
        table, slots, unpack = self._table, self.slot_count, _SLOT.unpack_from
        # Python's own hash of the hash is a cheap way to a number; it differs from process to process, the map does not
        # outlive one.
        number = hash(digest)
        slot = number % slots
        found, offset = unpack(table, slot * SLOT_BYTES)
        if found == digest:
            return slot * SLOT_BYTES, offset
        step = 0
        looked = 1
        while found != _FREE and looked < slots:
            if not step:
                # Another step for every key: keys that meet once do not go on together (double hashing).
                step = 1 + (number >> 20) % (slots - 1) if slots > 1 else 1
            slot = (slot + step) % slots
            found, offset = unpack(table, slot * SLOT_BYTES)
            if found == digest:
                return slot * SLOT_BYTES, offset
            looked += 1
        return slot * SLOT_BYTES, -1


def _prime_up_to(number: int) -> int:
    """The largest prime that is at most `number`, so that every step visits all slots; 1 below 2."""
    while number > 3:
        if number % 2 and all(number % divisor for divisor in range(3, int(number**0.5) + 1, 2)):
            return number
        number -= 1
    return max(number, 1)
