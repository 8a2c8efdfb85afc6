"""AlterClientQuotas, decided and stored (Kafka: ``ClientQuotaControlManager``)."""

from __future__ import annotations

import pytest

from kbroker.metadata import keys
from kbroker.metadata.image_update import read_image
from kbroker.metadata.quota_decisions import decide_quotas, settled_changes
from kbroker.quotas.entities import CLIENT_ID, IP, USER, ClientQuotaEntity, entity_of
from tests.kbroker.metadata.cluster import running_cluster
from wire.errors import ApiError, ErrorCode

ALICE = entity_of({USER: "alice"})
APP = entity_of({CLIENT_ID: "app"})
ODD = entity_of({USER: "a/b=c%d é", CLIENT_ID: None})


@pytest.mark.parametrize(
    ("names", "key", "value", "reason"),
    [
        ({}, "producer_byte_rate", 1, "Invalid empty client quota entity"),
        ({"group": "g"}, "producer_byte_rate", 1, "Unhandled client quota entity type: group"),
        ({USER: ""}, "producer_byte_rate", 1, "Empty user not supported"),
        ({IP: "1.1.1.1", USER: "u"}, "producer_byte_rate", 1, "Invalid quota entity combination"),
        ({IP: "1.1.1"}, "connection_creation_rate", 1, "1.1.1 is not a valid IP or resolvable host."),
        ({USER: "u"}, "connection_creation_rate", 1, "Invalid configuration key connection_creation_rate"),
        ({IP: None}, "producer_byte_rate", 1, "Invalid configuration key producer_byte_rate"),
        ({USER: "u"}, "", 1, "Invalid configuration key "),
        ({USER: "u"}, "producer_byte_rate", 0, "Quota producer_byte_rate must be greater than 0"),
        ({USER: "u"}, "request_percentage", -0.5, "Quota request_percentage must be greater than 0"),
        ({USER: "u"}, "request_percentage", float("nan"), "must be a finite number"),
        ({USER: "u"}, "request_percentage", float("inf"), "must be a finite number"),
        ({USER: "u"}, "consumer_byte_rate", 1.5, "consumer_byte_rate cannot be a fractional value."),
        ({USER: "u"}, "producer_byte_rate", 2.0**64, "is too large for a LONG."),
        ({IP: None}, "connection_creation_rate", 2.0**31, "is too large for an INT."),
        ({IP: None}, "connection_creation_rate", 0.5, "cannot be a fractional value."),
    ],
)
def test_what_is_refused(names: dict[str, str | None], key: str, value: float, reason: str) -> None:
    with pytest.raises(ApiError) as refusal:
        decide_quotas(entity_of(names), {}, {key: value})
    assert refusal.value.code is ErrorCode.INVALID_REQUEST
    assert reason in str(refusal.value.message)


@pytest.mark.parametrize(
    ("names", "key", "value"),
    [
        ({USER: "u", CLIENT_ID: None}, "producer_byte_rate", 1.0000001),
        ({CLIENT_ID: "c"}, "consumer_byte_rate", 2.0**63),
        ({USER: None}, "request_percentage", 0.01),
        ({USER: "u"}, "controller_mutation_rate", 1e300),
        ({IP: "::1"}, "connection_creation_rate", 2.0**31 - 1),
        ({IP: "localhost"}, "connection_creation_rate", 1),
    ],
)
def test_what_is_taken(names: dict[str, str | None], key: str, value: float) -> None:
    assert decide_quotas(entity_of(names), {}, {key: value}) == {key: value}


def test_quotas_are_set_and_taken_away_one_by_one() -> None:
    current = {"producer_byte_rate": 1.0, "consumer_byte_rate": 2.0}
    changes = {"producer_byte_rate": None, "request_percentage": 3.0, "no such key": None}
    assert decide_quotas(ALICE, current, changes) == {"consumer_byte_rate": 2.0, "request_percentage": 3.0}


def test_of_an_entity_named_twice_the_first_change_happens() -> None:
    wanted, refused = settled_changes(
        [(ALICE, [("k", 1.0)]), (ALICE, [("k", 2.0)]), (APP, [("k", 1.0), ("k", 1.0)]), (APP, [("k", 1.0)])]
    )
    assert wanted == {ALICE: {"k": 1.0}}
    assert [str(error.message) for error in refused.values()] == [
        "Ignoring duplicate entity ClientQuotaEntity(entries={user=alice})",
        "Ignoring duplicate entity ClientQuotaEntity(entries={client-id=app})",
    ]


@pytest.mark.parametrize("entity", [ALICE, APP, ODD, entity_of({IP: None})])
def test_an_entity_is_read_back_from_its_key(entity: ClientQuotaEntity) -> None:
    assert keys.parse_client_quotas_key(keys.client_quotas_key(entity)) == entity


def test_keys_are_what_is_documented() -> None:
    assert keys.client_quotas_key(ODD) == "client-quotas/client-id/user=a%2Fb%3Dc%25d%20%C3%A9"


async def test_what_is_stored_is_in_the_image_and_in_one_read_afresh() -> None:
    async with running_cluster() as cluster:
        alter = cluster.controller.alter_client_quotas
        refused = entity_of({USER: ""})
        outcome = await alter(
            [
                (ALICE, [("producer_byte_rate", 5.0), ("request_percentage", 0.5)]),
                (refused, [("producer_byte_rate", 5.0)]),
                (ODD, [("consumer_byte_rate", 7.0)]),
            ]
        )
        assert [error and error.code for error in outcome.values()] == [
            None,
            ErrorCode.INVALID_REQUEST,
            None,
        ]
        assert cluster.image.client_quotas == {
            ALICE: {"producer_byte_rate": 5.0, "request_percentage": 0.5},
            ODD: {"consumer_byte_rate": 7.0},
        }
        assert read_image(await cluster.store.range("")).client_quotas == cluster.image.client_quotas

        await alter([(ALICE, [("producer_byte_rate", 6.0)])], validate_only=True)
        assert cluster.image.client_quotas[ALICE]["producer_byte_rate"] == 5.0
        await alter([(ALICE, [("producer_byte_rate", None), ("request_percentage", None)])])
        assert cluster.image.client_quotas == {ODD: {"consumer_byte_rate": 7.0}}
        assert await cluster.store.get(keys.client_quotas_key(ALICE)) is None


async def test_what_changes_nothing_is_not_written() -> None:
    async with running_cluster() as cluster:
        change = [(ALICE, [("producer_byte_rate", 5.0)])]
        await cluster.controller.alter_client_quotas(change)
        before = cluster.image.client_quota_revisions
        assert await cluster.controller.alter_client_quotas(change) == {ALICE: None}
        assert cluster.image.client_quota_revisions == before


async def test_listeners_are_told_of_changed_quotas() -> None:
    async with running_cluster() as cluster:
        told: list[bool] = []

        async def note(delta) -> None:  # type: ignore[no-untyped-def]
            told.append(delta.client_quotas_changed)

        cluster.metadata.subscribe(note)
        await cluster.controller.alter_client_quotas([(ALICE, [("producer_byte_rate", 5.0)])])
        await cluster.controller.update_features([("transaction.version", 1, 1)])
        await cluster.controller.alter_client_quotas([(ALICE, [("producer_byte_rate", None)])])
        assert told == [True, False, True]
