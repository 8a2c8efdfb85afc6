"""``kafka-storage.sh``: outputs and exit codes are those of Apache Kafka 4.4's own."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

import pytest

from kbroker.cli.scripts.storage import main, random_id
from kbroker.os_world import OsWorld
from storage.filesystem import OsFilesystem
from storage.meta_properties import MetaProperties, read_meta_properties
from storage.uuid_text import uuid_from_text
from tests.broker_process import BrokerProcess, BrokerStartError

CLUSTER_ID = "abcdefghijklmnopqrstuv"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A node with two log directories, which do not exist yet."""
    file = tmp_path / "server.properties"
    file.write_text(f"process.roles=broker,controller\nnode.id=7\nlog.dirs={tmp_path}/a,{tmp_path}/b\n")
    return file


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    assert isinstance(ended.value.code, int)
    return ended.value.code


def properties_of(directory: Path) -> MetaProperties:
    found = read_meta_properties(OsFilesystem(), str(directory))
    assert found is not None
    return found


def test_an_id_for_a_cluster(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("random-uuid") == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert uuid_from_text(line).version == 4


def test_no_id_looks_like_an_option() -> None:
    class World(OsWorld):
        drawn = [UUID(bytes=b"\xf8" + bytes(15)), UUID(bytes=b"\xf9" + bytes(15)), UUID(bytes=bytes(16))]

        def uuid4(self) -> UUID:
            return self.drawn.pop(0)

    assert random_id(World()) == UUID(int=0), "the others begin with a dash"


def test_format_makes_every_directory_the_nodes(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("format", "-t", CLUSTER_ID, "-c", config, "--standalone", "--feature", "kraft.version=1") == 0
    first, second = (properties_of(config.parent / name) for name in "ab")
    assert (first.cluster_id, first.node_id) == (second.cluster_id, second.node_id) == (CLUSTER_ID, 7)
    assert first.directory_id is not None and first.directory_id != second.directory_id
    said = capsys.readouterr().out.splitlines()
    assert [line.partition(" with ")[0] for line in said] == [
        f"Formatting data directory {config.parent}/{name}" for name in "ab"
    ]


def test_format_leaves_alone_what_is_formatted(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("format", "--cluster-id", CLUSTER_ID, "--config", config)
    before = properties_of(config.parent / "a")
    capsys.readouterr()
    assert run("format", "-t", CLUSTER_ID, "-c", config) == 1
    assert capsys.readouterr().err == (
        f"Log directory {config.parent}/a is already formatted. "
        "Use --ignore-formatted to ignore this directory and format the others.\n"
    )
    assert run("format", "-t", CLUSTER_ID, "-c", config, "--ignore-formatted") == 0
    assert capsys.readouterr().out == "All of the log directories are already formatted.\n"
    (config.parent / "b" / "meta.properties").unlink()
    assert run("format", "-t", CLUSTER_ID, "-c", config, "-g") == 0
    assert f"Formatting data directory {config.parent}/b with" in capsys.readouterr().out
    assert properties_of(config.parent / "a") == before


def test_format_does_not_move_a_directory_to_another_cluster(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("format", "-t", CLUSTER_ID, "-c", config)
    assert run("format", "-t", "another", "-c", config, "-g") == 1
    assert f"Expected another, but read {CLUSTER_ID}" in capsys.readouterr().err
    assert properties_of(config.parent / "a").cluster_id == CLUSTER_ID


def test_info_tells_what_there_is(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("format", "-t", CLUSTER_ID, "-c", config)
    capsys.readouterr()
    assert run("info", "-c", config) == 0
    said = capsys.readouterr().out
    assert said.startswith(
        f"Found log directories:\n  {config.parent}/a\n  {config.parent}/b\n\nFound metadata: {{"
    )
    assert f"cluster.id={CLUSTER_ID}, directory.id=" in said and "node.id=7, version=1}" in said
    (config.parent / "b" / "meta.properties").unlink()
    assert run("info", "-c", config) == 1
    assert f"Found problem:\n  {config.parent}/b is not formatted.\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("format",),
        ("format", "-c", "CONFIG"),
        ("format", "-t", CLUSTER_ID, "-c", "CONFIG", "--add-scram", "SCRAM-SHA-256=[name=a,password=b]"),
        ("format", "-t", CLUSTER_ID, "-c", "/no/file"),
        ("format", "-t", CLUSTER_ID, "-c", "CONFIG", "--unknown"),
        ("info",),
        ("version",),
    ],
)
def test_mistakes_end_with_1_and_one_reason(
    config: Path, arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*(str(config) if argument == "CONFIG" else argument for argument in arguments)) == 1
    assert capsys.readouterr().err
    assert not (config.parent / "a").exists()


def test_a_node_needs_an_id(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config.write_text("log.dirs=/nowhere\n")
    assert run("info", "-c", config) == 1
    assert "node.id" in capsys.readouterr().err


@pytest.mark.slow
def test_a_broker_goes_on_with_what_was_formatted(config: Path) -> None:
    run("format", "-t", CLUSTER_ID, "-c", config)
    with BrokerProcess(config.parent / "a", overrides={"node.id": 7}) as broker:
        broker.start()
        assert broker.ready_line is not None and broker.ready_line.endswith(f"cluster.id={CLUSTER_ID}")
    other = BrokerProcess(config.parent / "b", overrides={"node.id": 8})
    with other, pytest.raises(BrokerStartError, match="belongs to node 7"):
        other.start()
