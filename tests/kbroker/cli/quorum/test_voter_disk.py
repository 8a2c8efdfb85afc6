"""What a voter's directory says, and whom it belongs to."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from kbroker.cli.quorum.voter_disk import ForeignDirectory, VoterDisk
from kbroker.cli.quorum.voters import Voter, VoterSettings
from storage.filesystem import OsFilesystem


@pytest.fixture
def settings(tmp_path: Path) -> VoterSettings:
    voters = (Voter(1, "a", 9093), Voter(2, "b", 9093))
    return VoterSettings(1, "here", voters, 2380, "", 9093, str(tmp_path / "data" / "kbroker-quorum"))


def disk_of(settings: VoterSettings) -> VoterDisk:
    return VoterDisk(settings, OsFilesystem())


def let_etcd_write(disk: VoterDisk) -> None:
    directory = Path(disk.etcd_directory) / "member" / "wal"
    directory.mkdir(parents=True)
    assert not disk.is_members(), "an empty directory is no log"
    (directory / "0000000000000000-0000000000000000.wal").touch()


def test_what_was_heard_is_there_after_a_crash(settings: VoterSettings) -> None:
    disk = disk_of(settings)
    assert disk.open() == frozenset()
    disk.keep({2})
    assert disk_of(settings).open() == {2}
    assert not disk.is_members()


def test_a_log_of_etcds_makes_a_member(settings: VoterSettings) -> None:
    disk = disk_of(settings)
    disk.open()
    disk.keep({2})
    let_etcd_write(disk)
    assert disk.is_members()
    assert disk_of(settings).open() == {2}


@pytest.mark.parametrize(
    "change",
    [{"node_id": 2}, {"cluster_id": "elsewhere"}, {"peer_port": 2381}, {"voters": (Voter(1, "c", 9093),)}],
)
def test_a_members_directory_stays_that_members(settings: VoterSettings, change: dict[str, object]) -> None:
    disk = disk_of(settings)
    disk.open()
    disk.keep({2})
    other = disk_of(replace(settings, **change))  # type: ignore[arg-type]
    assert other.open() == frozenset(), "a blank disk belongs to nobody"
    assert disk.open() == frozenset()
    let_etcd_write(disk)
    with pytest.raises(ForeignDirectory, match="belongs to another voter"):
        other.open()


@pytest.mark.parametrize(
    "content", [b"", b"{}", b'{"version": 2, "heard": []}', b'{"version": 1, "heard": [null]}']
)
def test_a_file_that_cannot_be_understood_is_no_leave_to_take_a_log(
    settings: VoterSettings, content: bytes
) -> None:
    disk = disk_of(settings)
    disk.open()
    file = Path(settings.directory) / "voter.json"
    file.write_bytes(content)
    assert disk.open() == frozenset()
    let_etcd_write(disk)
    file.write_bytes(content)
    with pytest.raises(ForeignDirectory):
        disk.open()
    file.unlink()
    with pytest.raises(ForeignDirectory, match="missing"):
        disk.open()
