"""The layout of keys and values: what is written is read back, and nothing else is."""

from __future__ import annotations

import json
import uuid

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kbroker.config.resources import ConfigResourceType
from kbroker.metadata import keys
from kbroker.metadata.image import BrokerRegistration, ControllerRegistration, Endpoint, PartitionState
from kbroker.metadata.store import StoreFormatError

# A busy machine is no reason to fail.
quickly = settings(deadline=None, max_examples=60)

node_ids = st.lists(st.integers(0, 2**31 - 1), max_size=4, unique=True).map(tuple)
epochs = st.integers(-1, 2**31 - 1)
states = st.builds(
    PartitionState,
    replicas=node_ids,
    in_sync_replicas=node_ids,
    leader=epochs,
    leader_epoch=epochs,
    partition_epoch=epochs,
    eligible_leader_replicas=node_ids,
    last_known_eligible_leader_replicas=node_ids,
    adding_replicas=node_ids,
    removing_replicas=node_ids,
)
registrations = st.builds(
    BrokerRegistration,
    node_id=st.integers(0, 2**31 - 1),
    broker_epoch=st.integers(-1, 2**63 - 1),
    incarnation_id=st.uuids(),
    endpoints=st.dictionaries(st.text(), st.builds(Endpoint, st.text(), st.integers(0, 65535), st.text())),
    rack=st.none() | st.text(),
    fenced=st.booleans(),
    in_controlled_shutdown=st.booleans(),
)


@quickly
@given(st.uuids(), st.integers(0, 10**6), states, st.integers(1, 10**9))
def test_partition_state_is_read_back(
    topic_id: uuid.UUID, index: int, state: PartitionState, revision: int
) -> None:
    key = keys.partition_key(topic_id, index)
    assert key.startswith(keys.partitions_prefix(topic_id))
    assert keys.parse_partition_key(key) == (topic_id, index)
    found = keys.decode_partition(key, keys.encode_partition(state), revision)
    assert found == state._replace(state_revision=revision)


@quickly
@given(st.uuids(), st.lists(st.tuples(node_ids, node_ids), min_size=1, max_size=20))
def test_newborn_partitions_of_a_topic_are_read_back(
    topic_id: uuid.UUID, births: list[tuple[tuple[int, ...], tuple[int, ...]]]
) -> None:
    expected = [keys.newborn_partition(replicas, in_sync) for replicas, in_sync in births]
    value = keys.encode_topic("a.b", topic_id, expected)
    assert keys.decode_topic(keys.topic_key("a.b"), value) == ("a.b", topic_id, expected)


def test_newborn_partition_is_led_by_the_first_in_sync_replica_in_epoch_zero() -> None:
    state = keys.newborn_partition((3, 1, 2), (1, 2))
    assert (state.leader, state.leader_epoch, state.partition_epoch) == (1, 0, 0)
    assert keys.newborn_partition((3,), ()).leader == -1


@quickly
@given(registrations)
def test_broker_registration_is_read_back(registration: BrokerRegistration) -> None:
    key = keys.broker_key(registration.node_id)
    value = keys.encode_broker(registration)
    found = keys.decode_broker(
        key, value, revision=registration.revision, created_revision=registration.created_revision
    )
    assert found == registration


@quickly
@given(st.sampled_from([2, 4, 16, 32]), st.text(), st.dictionaries(st.text(), st.text()))
def test_configs_are_read_back(resource_type: int, name: str, entries: dict[str, str]) -> None:
    key = keys.config_key((resource_type, name))
    assert keys.parse_config_key(key) == (resource_type, name)
    assert isinstance(keys.parse_config_key(key)[0], ConfigResourceType)
    assert keys.decode_config(key, keys.encode_config(entries)) == entries


def test_single_values_are_read_back() -> None:
    assert keys.decode_cluster(keys.encode_cluster("abc")) == "abc"
    assert keys.decode_features(keys.encode_features({"a.version": 3})) == {"a.version": 3}
    assert keys.decode_producer_ids(keys.encode_producer_ids(2**63 - 1)) == 2**63 - 1
    registration = ControllerRegistration(node_id=3, controller_epoch=9)
    assert keys.decode_controller(keys.encode_controller(registration)) == registration


def test_colliding_names_have_one_key() -> None:
    assert keys.topic_key("a.b_c") == keys.topic_key("a_b.c") != keys.topic_key("a-b.c")


def test_value_of_another_layout_is_refused() -> None:
    fields = json.loads(keys.encode_cluster("abc"))
    fields["version"] += 1
    with pytest.raises(StoreFormatError, match="layout 2"):
        keys.decode_cluster(json.dumps(fields).encode())


@pytest.mark.parametrize("value", [b"", b"\xff", b"[]", b"{}", b"3", b"null"])
def test_value_that_is_none_of_ours_is_refused(value: bytes) -> None:
    with pytest.raises(StoreFormatError):
        keys.decode_broker("brokers/1", value)


def test_unknown_kind_of_config_is_refused() -> None:
    with pytest.raises(StoreFormatError):
        keys.parse_config_key("configs/planet/earth")
