"""Frames: cut anywhere, received in place, refused, bounded in memory."""

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wire.errors import ProtocolError
from wire.framing import FIRST_ALLOCATION_BYTES, GROWTH_FACTOR, READ_AHEAD_BYTES, FrameReader

MIB = 1024 * 1024
derandomized = settings(derandomize=True, deadline=None, max_examples=200)


def framed(*frames: bytes) -> bytes:
    return b"".join(struct.pack(">i", len(frame)) + frame for frame in frames)


def receive(reader: FrameReader, data: bytes, most_bytes: int | None = None) -> int:
    """One receive, as a socket would: as many bytes of `data` as there is room for. Returns how many."""
    target = reader.buffer_to_fill()
    count = min(len(target), len(data), len(data) if most_bytes is None else most_bytes)
    target[:count] = data[:count]
    reader.filled(count)
    return count


def frames_of(reader: FrameReader) -> list[bytearray]:
    frames = []
    while (frame := reader.next_frame()) is not None:
        frames.append(frame)
    return frames


frame_lists = st.lists(st.binary(max_size=60) | st.integers(0, 3 * READ_AHEAD_BYTES).map(bytes), max_size=6)


@derandomized
@given(frames=frame_lists, cuts=st.lists(st.integers(1, 50) | st.integers(1, 10_000), min_size=1, max_size=9))
def test_frames_come_out_whole_however_the_bytes_are_cut(frames: list[bytes], cuts: list[int]) -> None:
    data = framed(*frames)
    reader = FrameReader(MIB)
    received: list[bytearray] = []
    position = 0
    turn = 0
    while position < len(data):
        position += receive(reader, data[position:], cuts[turn % len(cuts)])
        turn += 1
        received += frames_of(reader)
    assert received == frames
    assert all(type(frame) is bytearray for frame in received)
    assert reader.is_between_frames
    assert reader.reserved_bytes == reader.announced_bytes == 0


@derandomized
@given(frames=frame_lists, cuts=st.lists(st.integers(1, 5_000), min_size=1, max_size=5))
def test_bytes_can_be_fed(frames: list[bytes], cuts: list[int]) -> None:
    data = memoryview(framed(*frames))
    reader = FrameReader(MIB)
    received: list[bytearray] = []
    for turn in range(len(data)):
        cut = cuts[turn % len(cuts)]
        received += reader.feed(data[:cut])
        data = data[cut:]
    assert received == frames


def test_small_frames_take_one_receive_together() -> None:
    reader = FrameReader(MIB)
    data = framed(b"one", b"", b"three")
    assert receive(reader, data) == len(data)
    assert frames_of(reader) == [b"one", b"", b"three"]


@pytest.mark.parametrize("cut", [1, 2, 3])
def test_a_size_that_comes_in_two_pieces(cut: int) -> None:
    size = struct.pack(">i", 0x01020304)
    reader = FrameReader(0x01020304)
    receive(reader, framed(b"\xff" * 9) + size[:cut])
    assert len(frames_of(reader)) == 1
    receive(reader, size[cut:])
    assert reader.next_frame() is None
    assert reader.announced_bytes == 0x01020304


def test_a_large_frame_is_received_where_it_stays() -> None:
    frame = bytes(range(256)) * 200
    data = framed(frame)
    reader = FrameReader(MIB)
    position = receive(reader, data)
    assert position == READ_AHEAD_BYTES
    assert reader.next_frame() is None
    assert reader.announced_bytes == reader.reserved_bytes == len(frame)
    target = reader.buffer_to_fill()
    buffer = target.obj
    assert len(target) == len(frame) + 4 - position
    target[:] = data[position:]
    reader.filled(len(target))
    with pytest.raises(ValueError, match="released"):
        target[0] = 1
    complete = reader.next_frame()
    assert complete is buffer
    assert complete == frame
    assert reader.next_frame() is None


def test_a_frame_is_the_receivers_to_keep() -> None:
    reader = FrameReader(MIB)
    first, second = reader.feed(framed(b"first", b"second"))
    first[:] = b"#" * 50
    assert second == b"second"
    assert reader.feed(framed(b"third")) == [b"third"]
    assert first == b"#" * 50


def test_a_large_frame_may_be_followed_by_others_at_once() -> None:
    large = bytes(10_000)
    reader = FrameReader(MIB)
    assert reader.feed(framed(large, b"small", large) + framed(b"last")[:5]) == [large, b"small", large]
    assert not reader.is_between_frames
    assert reader.feed(framed(b"last")[5:]) == [b"last"]


@pytest.mark.parametrize("size", [-1, -(2**31), 1001, 2**31 - 1])
def test_sizes_that_are_refused(size: int) -> None:
    reader = FrameReader(1000)
    receive(reader, framed(b"fine") + struct.pack(">i", size) + b"more")
    assert bytes(reader.next_frame() or b"none") == b"fine"
    for _ in range(2):
        with pytest.raises(ProtocolError, match=str(size)):
            reader.next_frame()
    with pytest.raises(ProtocolError):
        FrameReader(1000).feed(struct.pack(">i", size))


def test_the_largest_frame_allowed() -> None:
    assert FrameReader(1000).feed(framed(bytes(1000))) == [bytes(1000)]
    assert FrameReader(0).feed(framed(b"")) == [b""]


def test_a_claim_costs_nothing_before_the_bytes_come() -> None:
    claim = 100 * MIB
    reader = FrameReader(claim)
    receive(reader, struct.pack(">i", claim))
    assert reader.next_frame() is None
    assert reader.announced_bytes == claim
    assert reader.reserved_bytes == FIRST_ALLOCATION_BYTES
    received = 0
    while received < 2 * MIB:
        received += receive(reader, bytes(50_000))
        assert reader.next_frame() is None
        assert reader.reserved_bytes <= GROWTH_FACTOR * max(received, FIRST_ALLOCATION_BYTES // GROWTH_FACTOR)
    assert received < reader.reserved_bytes < claim


@pytest.mark.parametrize("size", [FIRST_ALLOCATION_BYTES + delta for delta in (-1, 0, 1, MIB, 2 * MIB)])
def test_a_frame_that_grew_is_exactly_as_large_as_it_said(size: int) -> None:
    frame = bytes(range(251)) * (size // 251) + bytes(size % 251)
    data = memoryview(framed(frame, b"next"))
    reader = FrameReader(4 * MIB)
    received: list[bytearray] = []
    while data:
        data = data[receive(reader, bytes(data[:70_000])) :]
        received += frames_of(reader)
        assert reader.reserved_bytes <= size
    assert received == [frame, b"next"]


def test_a_receive_that_was_given_up_does_no_harm() -> None:
    frame = bytes(FIRST_ALLOCATION_BYTES + 5)
    data = framed(frame)
    reader = FrameReader(MIB)
    position = 0
    complete: bytes | bytearray | None = None
    while position < len(data):
        reader.buffer_to_fill()  # and the receive was cancelled
        position += receive(reader, data[position : position + 30_000])
        complete = reader.next_frame()
    assert complete == frame


def test_whether_the_peer_left_between_frames() -> None:
    reader = FrameReader(MIB)
    assert reader.is_between_frames
    for position, byte in enumerate(framed(b"frame")):
        assert reader.is_between_frames == (position == 0)
        receive(reader, bytes((byte,)))
        if position == 8:
            assert bytes(reader.next_frame() or b"none") == b"frame"
        else:
            assert reader.next_frame() is None
    assert reader.is_between_frames


@derandomized
@given(data=st.binary(max_size=200), cut=st.integers(1, 50))
def test_arbitrary_bytes_are_frames_or_a_protocol_error(data: bytes, cut: int) -> None:
    reader = FrameReader(1000)
    try:
        for start in range(0, len(data), cut):
            assert all(len(frame) <= 1000 for frame in reader.feed(data[start : start + cut]))
            assert reader.reserved_bytes <= 1000
    except ProtocolError:
        pass
