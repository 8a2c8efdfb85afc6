"""What the simulated disk does to what was not synced, and never to what was."""

from __future__ import annotations

import errno
import random
from collections.abc import Callable

import pytest

from tests.sim.coverage import Coverage
from tests.sim.disk import Disk
from tests.sim.filesystem import ALL_OPERATIONS, WRITES, Crashed, Fault, SimulatedFilesystem

TRIES = 300


def make(seed: int = 0) -> SimulatedFilesystem:
    filesystem = SimulatedFilesystem(Disk(random.Random(seed), lambda: 1, Coverage()))
    filesystem.make_directory("/d")
    filesystem.sync_directory("/")
    return filesystem


def after_power_loss(prepare: Callable[[SimulatedFilesystem], object]) -> list[SimulatedFilesystem]:
    """What a new process finds, once for each of many ways to lose the power."""
    found = []
    for seed in range(TRIES):
        filesystem = make(seed)
        prepare(filesystem)
        filesystem.kill()
        filesystem.disk.lose_power()
        found.append(SimulatedFilesystem(filesystem.disk))
    return found


def contents(found: list[SimulatedFilesystem], path: str) -> set[bytes | None]:
    return {each.read_file(path) if each.exists(path) else None for each in found}


def test_what_is_synced_survives() -> None:
    def prepare(filesystem: SimulatedFilesystem) -> None:
        filesystem.write_file("/d/f", b"content", sync=True)
        filesystem.sync_directory("/d")

    assert contents(after_power_loss(prepare), "/d/f") == {b"content"}


def test_an_unsynced_name_may_vanish_with_its_synced_content() -> None:
    found = after_power_loss(lambda filesystem: filesystem.write_file("/d/f", b"content", sync=True))
    assert contents(found, "/d/f") == {b"content", None}


def test_an_unsynced_append_is_lost_kept_torn_or_zeros() -> None:
    def prepare(filesystem: SimulatedFilesystem) -> None:
        filesystem.write_file("/d/f", b"old", sync=True)
        filesystem.sync_directory("/d")
        filesystem.open("/d/f").pwrite((b"NEW",), 3)

    found = contents(after_power_loss(prepare), "/d/f")
    assert {b"old", b"oldN", b"oldNEW", b"old\0\0\0"} <= found
    assert all(each is not None and each.startswith(b"old") for each in found)


def test_a_later_sector_may_survive_without_an_earlier_one() -> None:
    def prepare(filesystem: SimulatedFilesystem) -> None:
        filesystem.write_file("/d/f", b"a" * 1024, sync=True)
        filesystem.sync_directory("/d")
        filesystem.open("/d/f").pwrite((b"b" * 1024,), 0)

    assert b"a" * 512 + b"b" * 512 in contents(after_power_loss(prepare), "/d/f")


def test_an_unsynced_truncation_may_be_undone() -> None:
    def prepare(filesystem: SimulatedFilesystem) -> None:
        filesystem.write_file("/d/f", b"content", sync=True)
        filesystem.sync_directory("/d")
        filesystem.open("/d/f").truncate(3)

    found = contents(after_power_loss(prepare), "/d/f")
    assert {b"content", b"con"} <= found
    assert found <= {b"content", b"con", b"con\0\0\0\0"}  # the size as before, the page as after


def test_a_rename_happens_or_does_not() -> None:
    def prepare(filesystem: SimulatedFilesystem) -> None:
        filesystem.write_file("/d/f", b"old", sync=True)
        filesystem.write_file("/d/f.tmp", b"new", sync=True)
        filesystem.sync_directory("/d")
        filesystem.rename("/d/f.tmp", "/d/f")

    found = after_power_loss(prepare)
    states = {(each.read_file("/d/f"), each.exists("/d/f.tmp")) for each in found}
    assert states == {(b"old", True), (b"new", False)}


def test_a_rename_does_not_carry_unsynced_content_over() -> None:
    def prepare(filesystem: SimulatedFilesystem) -> None:
        filesystem.write_file("/d/f.tmp", b"new", sync=False)
        filesystem.rename("/d/f.tmp", "/d/f")
        filesystem.sync_directory("/d")

    assert b"" in contents(after_power_loss(prepare), "/d/f")


def test_unsynced_names_survive_in_any_order_but_those_of_one_name_in_theirs() -> None:
    def prepare(filesystem: SimulatedFilesystem) -> None:
        for name in ("a", "b"):
            filesystem.write_file(f"/d/{name}", b"", sync=False)
        filesystem.rename("/d/a", "/d/c")

    found = {tuple(entry.name for entry in each.scan("/d")) for each in after_power_loss(prepare)}
    assert found == {(), ("a",), ("b",), ("a", "b"), ("c",), ("b", "c")}


def test_a_removal_may_be_undone_until_the_directory_is_synced() -> None:
    def prepare(filesystem: SimulatedFilesystem) -> None:
        for name in ("a", "b"):
            filesystem.write_file(f"/d/{name}", b"x", sync=True)
        filesystem.sync_directory("/d")
        filesystem.remove("/d/a")
        filesystem.sync_directory("/d")
        filesystem.remove("/d/b")

    found = after_power_loss(prepare)
    assert contents(found, "/d/a") == {None}
    assert contents(found, "/d/b") == {b"x", None}


def test_syncing_a_directory_covers_the_removal_of_a_whole_tree_below() -> None:
    def prepare(filesystem: SimulatedFilesystem) -> None:
        filesystem.make_directory("/d/child")
        filesystem.write_file("/d/child/f", b"x", sync=True)
        filesystem.sync_directory("/d/child")
        filesystem.sync_directory("/d")
        filesystem.remove("/d/child/f")
        filesystem.remove_directory("/d/child")
        filesystem.sync_directory("/d")

    assert all(each.scan("/d") == [] for each in after_power_loss(prepare))


def test_a_kill_keeps_everything_written_and_frees_locks() -> None:
    filesystem = make()
    filesystem.write_file("/d/f", b"content", sync=False)
    assert filesystem.lock("/d/.lock") is not None
    filesystem.kill()
    again = SimulatedFilesystem(filesystem.disk)
    assert again.read_file("/d/f") == b"content"
    assert again.lock("/d/.lock") is not None


def test_a_dead_process_changes_nothing_any_more() -> None:
    filesystem = make()
    file = filesystem.open("/d/f", create=True)
    filesystem.kill()
    for call in (lambda: file.pwrite((b"x",), 0), file.sync, lambda: filesystem.remove("/d/f")):
        with pytest.raises(Crashed):
            call()
    file.close()
    assert SimulatedFilesystem(filesystem.disk).read_file("/d/f") == b""


def test_a_process_dies_before_in_or_after_a_write() -> None:
    found = set()
    for seed in range(100):
        filesystem = make(seed)
        file = filesystem.open("/d/f", create=True)
        filesystem.crash_in = 1
        with pytest.raises(Crashed):
            file.pwrite((b"abc",), 0)
        found.add(SimulatedFilesystem(filesystem.disk).read_file("/d/f"))
    assert found == {b"", b"a", b"ab", b"abc"}


def test_a_full_disk_takes_a_part_and_then_everything_again() -> None:
    found = set()
    for seed in range(100):
        filesystem = make(seed)
        file = filesystem.open("/d/f", create=True)
        filesystem.faults.append(Fault(WRITES, "/d", errno.ENOSPC, delay=1, count=1))
        file.pwrite((b"ab",), 0)
        with pytest.raises(OSError) as raised:
            file.pwrite((b"cd",), 2)
        assert raised.value.errno == errno.ENOSPC
        found.add(file.pread(9, 0))
        file.pwrite((b"CD",), 2)
        assert file.pread(9, 0) == b"abCD"
    assert found == {b"ab", b"abc", b"abcd"}


def test_after_a_failed_sync_the_written_bytes_are_gone_also_for_readers() -> None:
    found = set()
    for seed in range(100):
        filesystem = make(seed)
        filesystem.write_file("/d/f", b"old", sync=True)
        file = filesystem.open("/d/f")
        file.pwrite((b"NEW",), 0)
        filesystem.faults.append(Fault(frozenset({"sync"}), "/d", errno.EIO))
        with pytest.raises(OSError):
            file.sync()
        file.sync()  # wrongly succeeds, as on Linux
        before = file.pread(9, 0)
        filesystem.disk.sync_names(filesystem.disk.root)
        filesystem.sync_directory("/d")
        filesystem.disk.lose_power()
        assert SimulatedFilesystem(filesystem.disk).read_file("/d/f") == before
        found.add(before)
    assert b"old" in found


def test_a_directory_that_has_failed_fails_in_everything() -> None:
    filesystem = make()
    filesystem.write_file("/d/f", b"x", sync=False)
    filesystem.faults.append(Fault(ALL_OPERATIONS, "/d", errno.EIO, count=-1))
    for call in (
        lambda: filesystem.read_file("/d/f"),
        lambda: filesystem.scan("/d"),
        lambda: filesystem.open("/d/f"),
        lambda: filesystem.sync_directory("/d"),
        lambda: filesystem.remove("/d/f"),
    ):
        with pytest.raises(OSError) as raised:
            call()
        assert raised.value.errno == errno.EIO


def test_a_file_that_shrinks_under_a_mapping_is_an_accident() -> None:
    filesystem = make()
    file = filesystem.open("/d/f", create=True)
    file.pwrite((b"abcd",), 0)
    mapping = file.map(4)
    with pytest.raises(AssertionError):
        file.truncate(2)
    mapping.close()
    file.truncate(1)
