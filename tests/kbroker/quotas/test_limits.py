"""Which quota holds for whom, against a model that looks at Kafka's list of eight levels from above."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kbroker.quotas.entities import CLIENT_ID, IP, USER, ClientQuotaEntity, entity_of, entity_text
from kbroker.quotas.limits import Limits, Sharers

KEY = "k"
LEVELS: list[tuple[ClientQuotaEntity, tuple[bool, bool]]] = [
    (entity_of({USER: "u", CLIENT_ID: "c"}), (True, True)),
    (entity_of({USER: "u", CLIENT_ID: None}), (True, True)),
    (entity_of({USER: "u"}), (True, False)),
    (entity_of({USER: None, CLIENT_ID: "c"}), (True, True)),
    (entity_of({USER: None, CLIENT_ID: None}), (True, True)),
    (entity_of({USER: None}), (True, False)),
    (entity_of({CLIENT_ID: "c"}), (False, True)),
    (entity_of({CLIENT_ID: None}), (False, True)),
]


@given(st.sets(st.integers(0, 7)))
def test_the_first_level_that_is_there_decides(present: set[int]) -> None:
    quotas = {LEVELS[level][0]: {KEY: float(level)} for level in present}
    limits = Limits(quotas, KEY)
    sharers = limits.sharers("u", "c")
    assert bool(limits) == bool(present)
    if not present:
        assert limits.of(sharers) is None
        return
    by_user, by_client_id = LEVELS[min(present)][1]
    assert sharers == Sharers("u" if by_user else "", "c" if by_client_id else "")
    assert limits.of(sharers) == min(present)


@pytest.mark.parametrize("level", range(8))
def test_others_are_not_meant_unless_by_default(level: int) -> None:
    entity, _ = LEVELS[level]
    limits = Limits({entity: {KEY: 1.0}}, KEY)
    is_for_all = all(name is None for _, name in entity)
    assert limits.of(limits.sharers("v", "d")) == (1.0 if is_for_all else None)


def test_a_client_without_a_client_id_has_what_its_user_has() -> None:
    both = entity_of({USER: "u", CLIENT_ID: None})
    limits = Limits({both: {KEY: 1.0}}, KEY)
    assert limits.of(limits.sharers("u", "")) is None
    limits = Limits({both: {KEY: 1.0}, entity_of({USER: None}): {KEY: 2.0}}, KEY)
    assert limits.of(limits.sharers("u", "")) == 2.0
    limits = Limits({entity_of({CLIENT_ID: None}): {KEY: 1.0}}, KEY)
    assert limits.of(limits.sharers("u", "")) is None


def test_other_keys_and_addresses_are_no_limits() -> None:
    assert not Limits({entity_of({USER: "u"}): {"other": 1.0}, entity_of({IP: "1.1.1.1"}): {KEY: 1.0}}, KEY)


def test_entities_are_written_as_kafka_writes_them() -> None:
    entity = entity_of({USER: "u", CLIENT_ID: None})
    assert entity == entity_of({CLIENT_ID: None, USER: "u"})
    assert entity_text(entity) == "ClientQuotaEntity(entries={client-id=null, user=u})"
