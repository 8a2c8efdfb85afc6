"""The cluster's metadata as Apache Kafka's: a snapshot that reads back as what was written."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

import pytest

from kbroker.metadata.feature_decisions import METADATA_VERSION
from kbroker.metadata.image import ClusterImage, PartitionState, TopicImage
from kbroker.metadata.kraft_export import exported, snapshot, snapshot_name
from kbroker.metadata.kraft_log import KraftMetadata, read_kraft_metadata
from storage.filesystem import OsFilesystem
from wire.internal.cluster_metadata import PartitionRecord
from wire.records import iterate_batches

NOW_MS = 1_700_000_000_000


def image_of(*states: PartitionState, level: int = 29) -> ClusterImage:
    topic = TopicImage("t", UUID(int=7), states, revision=3)
    return ClusterImage(
        cluster_id="c",
        topics={"t": topic},
        configs={(2, "t"): {"retention.ms": "5"}, (4, ""): {"log.cleaner.threads": "2"}},
        client_quotas={
            (("client-id", None), ("user", "u")): {"request_percentage": 0.5, "producer_byte_rate": 5.0}
        },
        features={METADATA_VERSION: level, "transaction.version": 2},
    )


def read_back(directory: Path, image: ClusterImage, *, epoch: int = 4) -> KraftMetadata:
    data = snapshot(list(exported(image, 9000)), epoch=epoch, timestamp_ms=NOW_MS)
    (directory / snapshot_name(12, epoch)).write_bytes(data)
    return read_kraft_metadata(OsFilesystem(), str(directory))


def test_it_reads_back_as_it_was(tmp_path: Path) -> None:
    states = [
        PartitionState((1,), (1,), 1, leader_epoch=6, partition_epoch=11),
        PartitionState((1, 2, 3), (2, 3), 2, 6, 11, adding_replicas=(4,), removing_replicas=(1,)),
        PartitionState(
            (1, 2),
            (),
            -1,
            6,
            11,
            eligible_leader_replicas=(2,),
            last_known_eligible_leader_replicas=(1,),
            is_recovering=True,
        ),
    ]
    found = read_back(tmp_path, image_of(*states))
    topic = found.image.topics[UUID(int=7)]
    assert topic.name == "t"
    # Without a leader: the controller elects one, and that begins an epoch.
    assert topic.partitions == {index: state._replace(leader=-1) for index, state in enumerate(states)}
    assert found.image.configs == image_of().configs
    assert found.image.client_quotas == image_of().client_quotas
    assert found.image.features == image_of().features
    assert found.image.next_producer_id == 9000
    assert (found.epoch, found.end_offset) == (4, 12)


def test_thousands_of_records_are_several_batches(tmp_path: Path) -> None:
    states = [PartitionState((1,), (1,), 1) for _ in range(2_500)]
    found = read_back(tmp_path, image_of(*states))
    assert len(found.image.topics[UUID(int=7)].partitions) == 2_500
    data = (tmp_path / snapshot_name(12, 4)).read_bytes()
    counts = [header.record_count for _, header in iterate_batches(data)]
    assert counts == [1, 1000, 1000, 508, 1]


@pytest.mark.parametrize(("level", "version"), [(7, 0), (16, 0), (17, 1), (22, 1), (23, 2), (29, 2)])
def test_partitions_are_written_as_the_metadata_version_has_them(level: int, version: int) -> None:
    """An older Apache Kafka would not understand the newer ones."""
    state = PartitionState((1, 2), (), -1, eligible_leader_replicas=(2,))
    ((record, written_as),) = [
        (record, found)
        for record, found in exported(image_of(state, level=level), 0)
        if isinstance(record, PartitionRecord)
    ]
    assert written_as == version
    assert record.eligible_leader_replicas == ([2] if version == 2 else None)
    record.encode_framed(version)


def test_file_names_are_kafkas() -> None:
    assert snapshot_name(59, 1) == "00000000000000000059-0000000001.checkpoint"
