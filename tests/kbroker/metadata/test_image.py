"""Images: what is told of topics and brokers, and that following changes and reading afresh agree."""

from __future__ import annotations

import uuid

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kbroker.metadata import keys
from kbroker.metadata.image import ClusterImage, ControllerRegistration, DeletedTopic, PartitionState
from kbroker.metadata.image_update import difference, next_image, read_image
from kbroker.metadata.store import Event, KeyDeleted, KeyPut, KeyRange, KeyValue
from tests.kbroker.metadata.cluster import BROKER, TOPIC, broker, image_of
from wire.errors import ErrorCode

# A busy machine is no reason to fail.
quickly = settings(deadline=None, max_examples=60)

A, B = uuid.UUID(int=1), uuid.UUID(int=2)
BORN = keys.newborn_partition((1,), (1,))


def put(key: str, value: bytes, revision: int) -> KeyPut:
    return KeyPut(KeyValue(key, value, revision, revision))


def topic_put(name: str, topic_id: uuid.UUID, partitions: int, revision: int) -> KeyPut:
    return put(keys.topic_key(name), keys.encode_topic(name, topic_id, [BORN] * partitions), revision)


def state_put(topic_id: uuid.UUID, index: int, state: PartitionState, revision: int) -> KeyPut:
    return put(keys.partition_key(topic_id, index), keys.encode_partition(state), revision)


def config_put(resource: tuple[int, str], entries: dict[str, str], revision: int) -> KeyPut:
    return put(keys.config_key(resource), keys.encode_config(entries), revision)


def applied(*batches: list[Event], image: ClusterImage | None = None) -> ClusterImage:
    image = image or ClusterImage()
    for batch in batches:
        image = next_image(image, image.revision + 1, batch)
    return image


# What an image tells


def test_topic_is_found_by_name_and_by_id() -> None:
    image = applied([topic_put("a.b", A, 2, 1)])
    topic = image.topic("a.b")
    assert topic is not None
    assert topic is image.topic_by_id(A)
    assert (topic.name, topic.topic_id, topic.partitions) == ("a.b", A, (BORN, BORN))
    assert image.topic("a_b") is None
    assert image.topic_by_id(B) is None


def test_partition_outside_the_topic_is_none() -> None:
    image = applied([topic_put("a", A, 2, 1)])
    assert image.partition("a", 1) == BORN
    assert image.partition("a", 2) is None
    assert image.partition("a", -1) is None
    assert image.partition("b", 0) is None


def test_colliding_topic_is_another_one() -> None:
    image = applied([topic_put("a.b", A, 1, 1)])
    other = image.colliding_topic("a_b")
    assert other is not None
    assert other.name == "a.b"
    assert image.colliding_topic("a.b") is None
    assert image.colliding_topic("a-b") is None


def test_missing_topic_is_unknown_or_impossible() -> None:
    image = ClusterImage()
    assert image.missing_topic_error("a") == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
    assert image.missing_topic_error("a b") == ErrorCode.INVALID_TOPIC_EXCEPTION


def test_brokers_in_controlled_shutdown_are_alive_but_not_active() -> None:
    image = image_of(broker(2), broker(1, in_controlled_shutdown=True), broker(3, fenced=True))
    assert [alive.node_id for alive in image.alive_brokers()] == [1, 2]
    assert [node_id for node_id in range(4) if image.is_active(node_id)] == [2]


def test_configs_are_empty_unless_set() -> None:
    image = applied([config_put((TOPIC, "a"), {"k": "v"}, 1), config_put((BROKER, "1"), {"b": "1"}, 1)])
    assert image.topic_config("a") == {"k": "v"}
    assert image.topic_config("b") == {}
    assert image.broker_config(1) == {"b": "1"}
    assert image.config((BROKER, "")) == {}


def test_partitions_of_a_broker() -> None:
    image = applied(
        [topic_put("a", A, 2, 1), state_put(A, 1, BORN._replace(replicas=(2, 1)), 1)],
        [topic_put("b", B, 1, 2)],
    )
    assert [(topic.name, index) for topic, index, _ in image.partitions_of(2)] == [("a", 1)]
    assert len(list(image.partitions_of(1))) == 3


# From one image to the next


def test_the_image_before_stays_as_it_was() -> None:
    before = applied([topic_put("a", A, 1, 1), config_put((TOPIC, "a"), {"k": "v"}, 1)])
    copy = (dict(before.topics), dict(before.configs), dict(before.brokers))
    next_image(
        before,
        2,
        [
            state_put(A, 0, BORN._replace(leader_epoch=5), 2),
            KeyDeleted(keys.config_key((TOPIC, "a"))),
            put(keys.broker_key(1), keys.encode_broker(broker(1)), 2),
        ],
    )
    assert (dict(before.topics), dict(before.configs), dict(before.brokers)) == copy


def test_partition_keeps_its_state_when_the_topic_grows() -> None:
    moved = BORN._replace(leader_epoch=7)
    image = applied([topic_put("a", A, 2, 1)], [state_put(A, 1, moved, 2)], [topic_put("a", A, 3, 3)])
    topic = image.topic("a")
    assert topic is not None
    assert topic.partitions == (BORN, moved._replace(state_revision=2), BORN)
    assert topic.revision == 3


def test_topic_created_anew_under_its_name_starts_afresh() -> None:
    image = applied(
        [topic_put("a", A, 2, 1)],
        [state_put(A, 0, BORN._replace(leader_epoch=7), 2)],
        [topic_put("a", B, 1, 3)],
    )
    assert image.topic_by_id(A) is None
    assert image.partition("a", 0) == BORN
    assert image.partition("a", 1) is None


def test_state_of_a_partition_whose_topic_is_gone_is_ignored() -> None:
    image = applied([topic_put("a", A, 1, 1)], [KeyDeleted(keys.topic_key("a")), state_put(A, 0, BORN, 2)])
    assert image.topics == {}
    assert applied([state_put(B, 0, BORN, 1)]).topics == {}


def test_registration_tells_when_it_was_written_and_when_it_came() -> None:
    key, value = keys.broker_key(1), keys.encode_broker(broker(1))
    image = applied([KeyPut(KeyValue(key, value, create_revision=3, mod_revision=5))])
    assert (image.brokers[1].created_revision, image.brokers[1].revision) == (3, 5)


def test_controller_tells_its_revision() -> None:
    value = keys.encode_controller(ControllerRegistration(1, 4))
    image = applied([put(keys.CONTROLLER_KEY, value, 7)])
    assert image.controller == ControllerRegistration(1, 4, 7)


def test_broker_was_away_when_it_registered_after_the_state_was_written() -> None:
    two = keys.newborn_partition((1, 2), (1, 2))
    topic = put(keys.topic_key("a"), keys.encode_topic("a", A, [two, BORN, two]), 10)
    touched = state_put(A, 2, two, 30)
    image = applied([topic, touched])._replace(
        brokers={1: broker(1, created_revision=20), 2: broker(2, created_revision=5)}
    )
    topic_image = image.topics["a"]
    away = [
        [image.was_away(topic_image, state, node_id) for node_id in (1, 2, 3)]
        for state in topic_image.partitions
    ]
    # The second partition has no other replica; the third one's state is newer.
    assert away == [[True, False, False], [False, False, False], [False, False, False]]


def test_deleted_topics_are_told_until_nobody_has_their_logs() -> None:
    key = keys.deleted_topic_key(A)
    first = applied([put(key, keys.encode_deleted_topic("a", [1, 2]), 1)])
    assert first.deleted_topics == {A: DeletedTopic("a", A, (1, 2), 1)}
    assert difference(ClusterImage(), first).deletions_changed
    second = next_image(first, 2, [put(key, keys.encode_deleted_topic("a", [2]), 2)])
    assert second.deleted_topics[A].node_ids == (2,)
    assert first.deleted_topics[A].node_ids == (1, 2)
    third = next_image(second, 3, [KeyDeleted(key)])
    assert third.deleted_topics == {}
    assert difference(second, third).deletions_changed
    assert not difference(third, next_image(third, 4, [put("producer-ids", b"", 4)])).deletions_changed


def test_key_of_a_later_version_is_ignored() -> None:
    assert applied([put("acls/1", b"?", 1)]).revision == 1


NAMES = ["a", "b.c", "b_c", "d"]


class Model:
    """A store's content as a plain dict, changed the way controllers change it."""

    def __init__(self) -> None:
        self.content: dict[str, KeyValue] = {}
        self.revision = 0
        self.topics_made = 0

    def change(self, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, KeyPut):
                self.content[event.key] = event.key_value
            else:
                self.content.pop(event.key, None)

    def topic(self, name: str) -> tuple[uuid.UUID, int] | None:
        found = self.content.get(keys.topic_key(name))
        if found is None:
            return None
        name_found, topic_id, births = keys.decode_topic(found.key, found.value)
        return (topic_id, len(births)) if name_found == name else None


@quickly
@given(st.data())
def test_following_changes_and_reading_afresh_give_the_same_image(data: st.DataObject) -> None:
    model, image = Model(), ClusterImage()
    for _ in range(data.draw(st.integers(1, 12))):
        model.revision += 1
        batch: list[Event] = []
        for _ in range(data.draw(st.integers(1, 3))):
            events = some_change(data, model)
            # A transaction touches no key twice.
            if not {event.key for event in events} & {event.key for event in batch}:
                model.change(events)
                batch += events
        before, image = image, next_image(image, model.revision, batch)
        content = tuple(model.content[key] for key in sorted(model.content))
        assert image == read_image(KeyRange(model.revision, content))
        check_difference(before, image)


def some_change(data: st.DataObject, model: Model) -> list[Event]:
    revision = model.revision
    name = data.draw(st.sampled_from(NAMES))
    kind = data.draw(st.sampled_from(["topic", "grow", "delete", "state", "config", "broker"]))
    topic = model.topic(name)
    if kind == "topic" and keys.topic_key(name) not in model.content:
        model.topics_made += 1
        return [topic_put(name, uuid.UUID(int=model.topics_made), 2, revision)]
    if kind == "grow" and topic is not None:
        return [topic_put(name, topic[0], topic[1] + 1, revision)]
    if kind == "delete" and topic is not None:
        partitions = [key for key in model.content if key.startswith(keys.partitions_prefix(topic[0]))]
        return [KeyDeleted(keys.topic_key(name)), *map(KeyDeleted, partitions)]
    if kind == "state" and topic is not None:
        state = BORN._replace(leader_epoch=data.draw(st.integers(0, 3)))
        return [state_put(topic[0], data.draw(st.integers(0, topic[1] - 1)), state, revision)]
    if kind == "config":
        if data.draw(st.booleans()):
            return [KeyDeleted(keys.config_key((TOPIC, name)))]
        return [config_put((TOPIC, name), {"k": data.draw(st.sampled_from("xy"))}, revision)]
    if kind == "broker":
        node_id = data.draw(st.integers(1, 2))
        if data.draw(st.booleans()):
            return [KeyDeleted(keys.broker_key(node_id))]
        registration = broker(node_id, fenced=data.draw(st.booleans()))
        return [put(keys.broker_key(node_id), keys.encode_broker(registration), revision)]
    return []


def check_difference(before: ClusterImage, after: ClusterImage) -> None:
    """Applying the delta's topics to the old partitions gives the new ones."""
    delta = difference(before, after)
    partitions = {
        (topic.topic_id, index): state
        for topic in before.topics.values()
        for index, state in enumerate(topic.partitions)
    }
    for topic in delta.topics_deleted:
        for index in range(len(topic.partitions)):
            del partitions[topic.topic_id, index]
    for topic in delta.topics_created:
        for index, state in enumerate(topic.partitions):
            assert (topic.topic_id, index) not in partitions
            partitions[topic.topic_id, index] = state
    for topic, index, state in delta.partitions_added:
        assert (topic.topic_id, index) not in partitions
        partitions[topic.topic_id, index] = state
    for topic, index, old, new in delta.partitions_changed:
        assert partitions[topic.topic_id, index] == old != new
        partitions[topic.topic_id, index] = new
    assert partitions == {
        (topic.topic_id, index): state
        for topic in after.topics.values()
        for index, state in enumerate(topic.partitions)
    }
    configs = dict(before.configs)
    for resource in delta.configs_changed:
        configs.pop(resource, None)
        if resource in after.configs:
            configs[resource] = after.configs[resource]
    assert configs == after.configs
    assert {
        node_id for node_id in (1, 2) if before.brokers.get(node_id) != after.brokers.get(node_id)
    } == set(delta.brokers_changed)


def test_delta_is_empty_when_listeners_have_nothing_to_do() -> None:
    before = applied([topic_put("a", A, 1, 1)])
    assert difference(before, next_image(before, 2, [put(keys.PRODUCER_IDS_KEY, b"", 2)])).is_empty
    assert not difference(before, next_image(before, 2, [topic_put("b", B, 1, 2)])).is_empty


def test_config_put_again_counts_as_changed() -> None:
    before = applied([config_put((BROKER, "1"), {"k": "v"}, 1)])
    after = next_image(before, 2, [config_put((BROKER, "1"), {"k": "v"}, 2)])
    assert difference(before, after).configs_changed == ((BROKER, "1"),)


@pytest.mark.parametrize(
    ("key", "value", "field"),
    [
        (keys.CONTROLLER_KEY, keys.encode_controller(ControllerRegistration(1, 1)), "controller_changed"),
        (keys.FEATURES_KEY, keys.encode_features({"f": 1}), "features_changed"),
    ],
)
def test_difference_of_single_values(key: str, value: bytes, field: str) -> None:
    image = applied([put(key, value, 1)])
    assert getattr(difference(ClusterImage(), image), field)
    assert not getattr(difference(image, image), field)
    assert getattr(difference(image, next_image(image, 2, [KeyDeleted(key)])), field)
