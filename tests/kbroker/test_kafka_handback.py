"""What is written for Apache Kafka to go on with, and when nothing is."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import pytest
import trio

from kbroker.cli.command import main
from kbroker.config.broker_config import BrokerConfig
from kbroker.kafka_handback import hand_back
from kbroker.kafka_takeover import TakeoverError, take_over_at_start
from kbroker.metadata import keys
from kbroker.metadata.embedded import IN_MEMORY, EmbeddedMetadataStore
from kbroker.metadata.image import BrokerRegistration
from kbroker.metadata.keys import newborn_partition
from kbroker.metadata.kraft_log import read_kraft_metadata
from kbroker.metadata.store import Put
from kbroker.os_world import OsWorld
from storage.partition_metadata import decode_partition_metadata
from tests.kbroker.metadata.cluster import run_inline
from tests.kbroker.metadata.kraft_files import leader_change, metadata_batch, write_segment
from wire.internal.cluster_metadata import ProducerIdsRecord

TOPIC = UUID(int=77)


@pytest.fixture
async def store() -> AsyncIterator[EmbeddedMetadataStore]:
    """The store of a cluster ``c`` with a topic of two partitions, on the brokers 1 and 2."""
    opened = await EmbeddedMetadataStore.open(IN_MEMORY, run_blocking=run_inline, monotonic=trio.current_time)
    births = [newborn_partition((node_id,), (node_id,)) for node_id in (1, 2)]
    await opened.transact(
        [],
        [
            Put(keys.CLUSTER_KEY, keys.encode_cluster("c")),
            Put(keys.FEATURES_KEY, keys.encode_features({"metadata.version": 29})),
            Put(keys.PRODUCER_IDS_KEY, keys.encode_producer_ids(4000)),
            Put(keys.topic_key("t"), keys.encode_topic("t", TOPIC, births)),
        ],
    )
    yield opened
    await opened.close()


def config_of(data_dir: Path, **settings: str) -> BrokerConfig:
    return BrokerConfig({"log.dirs": str(data_dir), "node.id": "1", **settings})


async def handed_back(store: EmbeddedMetadataStore, config: BrokerConfig) -> str:
    return (await hand_back(config, OsWorld(), store, "c")).snapshot


async def test_a_directory_gets_a_snapshot(store: EmbeddedMetadataStore, tmp_path: Path) -> None:
    done = await hand_back(config_of(tmp_path), OsWorld(), store, "c")
    metadata_dir = tmp_path / "__cluster_metadata-0"
    assert done.snapshot == f"{metadata_dir}/{1:020d}-{1:010d}.checkpoint"
    assert (done.topics, done.partitions) == (1, 2)
    assert [path.name for path in metadata_dir.iterdir()] == [Path(done.snapshot).name]
    found = read_kraft_metadata(OsWorld().filesystem, str(metadata_dir))
    assert found.image.next_producer_id == 4000
    assert list(found.image.topics) == [TOPIC]


async def test_it_goes_further_than_what_is_there(store: EmbeddedMetadataStore, tmp_path: Path) -> None:
    """Else Apache Kafka would go on with its own log."""
    metadata_dir = tmp_path / "__cluster_metadata-0"
    write_segment(
        metadata_dir,
        0,
        leader_change(0, [1], epoch=6),
        metadata_batch([ProducerIdsRecord(next_producer_id=1)], 1, epoch=6),
    )
    first = await handed_back(store, config_of(tmp_path))
    assert first == f"{metadata_dir}/{3:020d}-{6:010d}.checkpoint"
    assert read_kraft_metadata(OsWorld().filesystem, str(metadata_dir)).image.next_producer_id == 4000


async def test_it_may_have_a_directory_of_its_own(store: EmbeddedMetadataStore, tmp_path: Path) -> None:
    apart = tmp_path / "apart"
    config = config_of(tmp_path / "logs", **{"metadata.log.dir": str(apart)})
    assert (await handed_back(store, config)).startswith(f"{apart}/__cluster_metadata-0/")


async def test_every_log_gets_its_topic_id(store: EmbeddedMetadataStore, tmp_path: Path) -> None:
    """Those here that have none: without it Apache Kafka takes a log for a stray one."""
    one, two = tmp_path / "one", tmp_path / "two"
    for name in ("t-0", "t-1"):
        (two / name).mkdir(parents=True)
    await handed_back(store, BrokerConfig({"log.dirs": f"{one},{two}", "node.id": "1"}))
    assert decode_partition_metadata((two / "t-0" / "partition.metadata").read_bytes()) == TOPIC
    assert not (two / "t-1" / "partition.metadata").exists()  # another broker's
    assert not (one / "t-0").exists()
    (two / "t-0" / "partition.metadata").write_text("as it was", encoding="ascii")
    await handed_back(store, BrokerConfig({"log.dirs": f"{one},{two}", "node.id": "1"}))
    assert (two / "t-0" / "partition.metadata").read_text(encoding="ascii") == "as it was"


async def test_it_is_noticed_when_kafka_has_run(store: EmbeddedMetadataStore, tmp_path: Path) -> None:
    """Though nothing was ever imported; and not before."""
    config = config_of(tmp_path)
    await handed_back(store, config)
    await take_over_at_start(config, OsWorld(), store, "c")
    write_segment(tmp_path / "__cluster_metadata-0", 1, leader_change(1, [1], epoch=2))
    with pytest.raises(TakeoverError, match="has run on"):
        await take_over_at_start(config, OsWorld(), store, "c")


async def test_not_while_a_broker_runs(store: EmbeddedMetadataStore, tmp_path: Path) -> None:
    lease = await store.grant_lease(60)
    broker = BrokerRegistration(2, 5, UUID(int=1), {})
    await store.transact([], [Put(keys.broker_key(2), keys.encode_broker(broker), lease)])
    with pytest.raises(TakeoverError, match="brokers are running: 2"):
        await handed_back(store, config_of(tmp_path))
    assert list(tmp_path.iterdir()) == []


async def test_not_of_another_cluster(store: EmbeddedMetadataStore, tmp_path: Path) -> None:
    with pytest.raises(TakeoverError, match="belong to cluster other, the metadata to c"):
        await hand_back(config_of(tmp_path), OsWorld(), store, "other")
    assert list(tmp_path.iterdir()) == []


def test_the_command_makes_nothing_of_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    nowhere = tmp_path / "nowhere"
    with pytest.raises(SystemExit) as exit_:
        main(["export-kafka", "--data-dir", str(nowhere)])
    assert exit_.value.code == 1
    assert capsys.readouterr().err == f"kbroker export-kafka: no broker has run on {nowhere}\n"
    assert not nowhere.exists()
