"""What a broker makes of Apache Kafka's metadata in its log directories: imports, passes over, or refuses to start."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import pytest
import trio

from kbroker.cli.command import main
from kbroker.config.broker_config import BrokerConfig
from kbroker.kafka_takeover import (
    TakeoverError,
    kafka_metadata_directory,
    locked_directories,
    take_over_at_start,
)
from kbroker.metadata.embedded import IN_MEMORY, EmbeddedMetadataStore
from kbroker.metadata.image_update import read_image
from kbroker.metadata.membership import ensure_cluster_id
from kbroker.os_world import OsWorld
from tests.broker_process import BrokerProcess, BrokerStartError
from tests.kbroker.metadata.cluster import run_inline
from tests.kbroker.metadata.kraft_files import leader_change, metadata_batch, write_segment
from wire.internal.cluster_metadata import (
    AccessControlEntryRecord,
    ConfigRecord,
    MetadataRecord,
    PartitionRecord,
    ProducerIdsRecord,
    TopicRecord,
)

TOPIC = UUID(int=77)
META_PROPERTIES = "version=1\ncluster.id=AAAAAAAAAAAAAAAAAAAAAQ\nnode.id=1\n"
CLUSTER_ID = "AAAAAAAAAAAAAAAAAAAAAQ"


@pytest.fixture
async def store() -> AsyncIterator[EmbeddedMetadataStore]:
    opened = await EmbeddedMetadataStore.open(IN_MEMORY, run_blocking=run_inline, monotonic=trio.current_time)
    yield opened
    await opened.close()


def left_by_kafka(data_dir: Path, *more: MetadataRecord, voters: tuple[int, ...] = (1,)) -> Path:
    """A directory of a node 1 with one empty topic; its metadata's segment."""
    data_dir.mkdir(parents=True, exist_ok=True)
    (data_dir / "meta.properties").write_text(META_PROPERTIES, encoding="ascii")
    records = [
        TopicRecord(name="t", topic_id=TOPIC),
        PartitionRecord(
            partition_id=0,
            topic_id=TOPIC,
            replicas=[1],
            isr=[1],
            leader=1,
            leader_epoch=0,
            partition_epoch=0,
            directories=[UUID(int=1)],
        ),
        ProducerIdsRecord(next_producer_id=3000),
        *more,
    ]
    return write_segment(
        data_dir / "__cluster_metadata-0", 0, leader_change(0, voters), metadata_batch(records, 1)
    )


def config_of(data_dir: Path, **settings: str) -> BrokerConfig:
    return BrokerConfig({"log.dirs": str(data_dir), **settings})


async def taken_over(store: EmbeddedMetadataStore, config: BrokerConfig) -> None:
    await take_over_at_start(config, OsWorld(), store, CLUSTER_ID)


async def test_a_new_store_gets_what_kafka_left(
    store: EmbeddedMetadataStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    left_by_kafka(tmp_path)
    with caplog.at_level(logging.INFO):
        await taken_over(store, config_of(tmp_path))
    assert [record.getMessage() for record in caplog.records] == [
        f"took over the metadata of Apache Kafka in {tmp_path}/__cluster_metadata-0, up to offset 4 in epoch 1: "
        "1 topics with 1 partitions, 0 configs, 0 client quotas, producer ids from 3000"
    ]
    image = read_image(await store.range(""))
    assert image.cluster_id == CLUSTER_ID
    assert image.topics["t"].topic_id == TOPIC


async def test_without_kafkas_metadata_nothing_happens(store: EmbeddedMetadataStore, tmp_path: Path) -> None:
    await taken_over(store, config_of(tmp_path))
    assert (await store.range("")).items == ()


async def test_what_is_imported_is_not_imported_again(store: EmbeddedMetadataStore, tmp_path: Path) -> None:
    left_by_kafka(tmp_path)
    await taken_over(store, config_of(tmp_path))
    before = await store.range("")
    await taken_over(store, config_of(tmp_path))
    assert await store.range("") == before


async def test_if_kafka_has_run_since_the_start_is_refused(
    store: EmbeddedMetadataStore, tmp_path: Path
) -> None:
    segment = left_by_kafka(tmp_path)
    await taken_over(store, config_of(tmp_path))
    segment.write_bytes(
        segment.read_bytes() + metadata_batch([ProducerIdsRecord(next_producer_id=4000)], 4, epoch=2)
    )
    with pytest.raises(TakeoverError, match=r"has run on .*__cluster_metadata-0 since"):
        await taken_over(store, config_of(tmp_path))


async def test_a_store_of_ours_from_before_is_left_alone(
    store: EmbeddedMetadataStore, tmp_path: Path
) -> None:
    """Somebody has put Apache Kafka's directory beside it: it is not what this cluster goes by."""
    left_by_kafka(tmp_path)
    await ensure_cluster_id(store, uuid4=OsWorld().uuid4, wanted=CLUSTER_ID)
    before = await store.range("")
    await taken_over(store, config_of(tmp_path))
    assert await store.range("") == before


async def test_with_etcd_somebody_must_say_whose_copy_counts(
    store: EmbeddedMetadataStore, tmp_path: Path
) -> None:
    """Until it is imported no broker starts; then all do, also those whose copies differ."""
    etcd = {"kbroker.metadata.store": "etcd", "kbroker.etcd.endpoints": "http://127.0.0.1:1"}
    segment = left_by_kafka(tmp_path)
    with pytest.raises(TakeoverError, match="kbroker import-kafka"):
        await taken_over(store, config_of(tmp_path, **etcd))
    assert (await store.range("")).items == ()
    await taken_over(store, config_of(tmp_path))
    segment.write_bytes(segment.read_bytes()[:-100])
    await taken_over(store, config_of(tmp_path, **etcd))


async def test_it_may_be_in_any_log_directory_or_in_one_of_its_own(tmp_path: Path) -> None:
    one, two, apart = tmp_path / "one", tmp_path / "two", tmp_path / "apart"
    left_by_kafka(two)
    both = {"log.dirs": f"{one},{two}"}
    found = kafka_metadata_directory(OsWorld().filesystem, BrokerConfig(both))
    assert found == f"{two}/__cluster_metadata-0"
    left_by_kafka(apart)
    found = kafka_metadata_directory(
        OsWorld().filesystem, BrokerConfig({**both, "metadata.log.dir": str(apart)})
    )
    assert found == f"{apart}/__cluster_metadata-0"


async def test_of_several_controllers_another_s_copy_may_go_further(
    store: EmbeddedMetadataStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    left_by_kafka(tmp_path, voters=(1, 2, 3))
    await taken_over(store, config_of(tmp_path))
    assert "is the copy of one of 3 controllers" in caplog.text


async def test_losses_are_told_and_not_all_of_them(
    store: EmbeddedMetadataStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    left_by_kafka(
        tmp_path,
        AccessControlEntryRecord(id=UUID(int=1)),
        *(
            ConfigRecord(resource_type=2, resource_name="t", name=f"no.{number}", value="x")
            for number in range(20)
        ),
    )
    await taken_over(store, config_of(tmp_path))
    told = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(told) == 11
    assert told[0] == "not carried over from Apache Kafka: access control entries: 1"
    assert told[-1] == "not carried over from Apache Kafka: 11 more configs"


async def test_metadata_that_cannot_be_read_is_no_start(store: EmbeddedMetadataStore, tmp_path: Path) -> None:
    segment = left_by_kafka(tmp_path)
    with pytest.raises(TakeoverError, match=r"no meta\.properties"):
        await take_over_at_start(config_of(tmp_path), OsWorld(), store, None)
    data = bytearray(segment.read_bytes())
    data[70] ^= 1
    segment.write_bytes(data)
    with pytest.raises(TakeoverError, match="cannot be taken over: damaged"):
        await taken_over(store, config_of(tmp_path))
    assert (await store.range("")).items == ()


def test_directories_of_several_clusters_are_refused(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    left_by_kafka(one)
    left_by_kafka(two)
    config = BrokerConfig({"log.dirs": f"{one},{two}"})
    filesystem = OsWorld().filesystem
    with locked_directories(config, filesystem) as cluster_id:
        assert cluster_id == CLUSTER_ID
        with pytest.raises(TakeoverError, match="in use"), locked_directories(config, filesystem):
            pass
    properties = META_PROPERTIES.replace("AQ", "AA")
    (two / "meta.properties").write_text(properties, encoding="ascii")
    with (
        pytest.raises(TakeoverError, match="several clusters"),
        locked_directories(config, filesystem),
    ):
        pass
    with locked_directories(config_of(one), filesystem) as cluster_id:
        assert cluster_id == CLUSTER_ID


# As a command, and in a process


def command(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as exit_:
        main(["import-kafka", *arguments])
    said = capsys.readouterr()
    assert isinstance(exit_.value.code, int)
    return exit_.value.code, said.out, said.err


def test_the_command_imports_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    left_by_kafka(tmp_path)
    where = ("--data-dir", str(tmp_path))
    code, out, _ = command(capsys, *where, "--dry-run")
    assert (code, out) == (
        0,
        f"{tmp_path}/__cluster_metadata-0, cluster {CLUSTER_ID}: up to epoch 1, offset 4; "
        "1 topics with 1 partitions, 0 configs, 0 client quotas, producer ids from 3000\n",
    )
    assert not (tmp_path / "kbroker-metadata.sqlite").exists()
    code, out, _ = command(capsys, *where)
    assert code == 0
    assert out.startswith("took over the metadata of Apache Kafka")
    code, _, err = command(capsys, *where)
    assert (code, err) == (1, "kbroker import-kafka: the metadata store has a cluster already\n")


def test_the_command_says_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = command(capsys, "--data-dir", str(tmp_path))
    assert code == 1
    assert err.startswith(f"kbroker import-kafka: no metadata of Apache Kafka in {tmp_path}")
    code, _, err = command(capsys, "--override", "node.id=x")
    assert code == 2
    left_by_kafka(tmp_path)
    with locked_directories(config_of(tmp_path), OsWorld().filesystem):
        code, _, err = command(capsys, "--data-dir", str(tmp_path))
    assert code == 1
    assert "in use" in err


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [[], ["--brokers", "2"]], ids=["one", "two"])
def test_a_broker_starts_on_it_and_then_without_it(tmp_path: Path, arguments: list[str]) -> None:
    """Once imported, the directory with Apache Kafka's metadata is not needed any more."""
    left_by_kafka(tmp_path)
    settings = {"listeners": "PLAINTEXT://127.0.0.1:0"}
    with BrokerProcess(tmp_path, port=0, arguments=arguments, overrides=settings) as broker:
        broker.start()
        assert CLUSTER_ID in str(broker.ready_line)
        assert "took over the metadata of Apache Kafka" in broker.stderr
        assert broker.terminate() == 0
        assert (tmp_path / "t-0").is_dir()
        (tmp_path / "__cluster_metadata-0").rename(tmp_path / "aside")
        broker.start()
        assert "took over" not in broker.stderr


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [[], ["--brokers", "2"]], ids=["one", "two"])
def test_a_broker_does_not_start_on_what_it_cannot_read(tmp_path: Path, arguments: list[str]) -> None:
    """And sets nothing aside: without the metadata every log would look like nobody's."""
    segment = left_by_kafka(tmp_path)
    segment.write_bytes(segment.read_bytes()[:70] + b"x" + segment.read_bytes()[71:])
    (tmp_path / "t-0").mkdir()
    with (
        BrokerProcess(tmp_path, port=0, arguments=arguments) as broker,
        pytest.raises(BrokerStartError, match="cannot be taken over") as refusal,
    ):
        broker.start()
    assert refusal.value.exit_code == 1
    assert (tmp_path / "t-0").is_dir()
