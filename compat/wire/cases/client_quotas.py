"""DescribeClientQuotas, AlterClientQuotas. Quotas are for names of the cases' own, so that they hold nobody back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from compat.wire.case import Cases
from compat.wire.scene import Scene
from wire.errors import ErrorCode
from wire.messages.client_quotas import (
    AlterClientQuotasRequest,
    AlterClientQuotasResponse,
    DescribeClientQuotasRequest,
    DescribeClientQuotasResponse,
)

DESCRIBE_CLIENT_QUOTAS = Cases(DescribeClientQuotasRequest)
ALTER_CLIENT_QUOTAS = Cases(AlterClientQuotasRequest)

EXACT, DEFAULT, ANY = 0, 1, 2
USER, CLIENT, IP = "user", "client-id", "ip"
BYTES = "producer_byte_rate"
CONNECTIONS = "connection_creation_rate"
Entity = Sequence[tuple[str, str | None]]
Values = Sequence[tuple[str, float | None]]
Component = tuple[str, int, str | None]


def alter(*entries: tuple[Entity, Values], validate_only: bool = False) -> AlterClientQuotasRequest:
    entry = AlterClientQuotasRequest.EntryData
    return AlterClientQuotasRequest(
        entries=[
            entry(
                entity=[entry.EntityData(entity_type=kind, entity_name=name) for kind, name in entity],
                ops=[
                    entry.OpData(key=key, value=0.0 if value is None else value, remove=value is None)
                    for key, value in values
                ],
            )
            for entity, values in entries
        ],
        validate_only=validate_only,
    )


def describe(*components: Component, strict: bool = False) -> DescribeClientQuotasRequest:
    return DescribeClientQuotasRequest(
        components=[
            DescribeClientQuotasRequest.ComponentData(entity_type=kind, match_type=match_type, match=match)
            for kind, match_type, match in components
        ],
        strict=strict,
    )


def entities_of(at: Scene) -> dict[str, Entity]:
    user = at.name("user")
    return {
        "a user": [(USER, user)],
        "a user's client": [(USER, user), (CLIENT, at.name("client"))],
        "a user's other clients": [(CLIENT, None), (USER, user)],
        "a client": [(CLIENT, at.name("client"))],
    }


def have_quotas(at: Scene) -> None:
    entities = entities_of(at).values()
    altered = at.call(
        alter(*((entity, [(BYTES, 1e9), ("request_percentage", 0.5 + len(entity))]) for entity in entities)),
        AlterClientQuotasResponse,
    )
    assert all(entry.error_code == ErrorCode.NONE for entry in altered.entries), altered
    wait_until_told(at, "before")


def wait_until_told(at: Scene, when: str) -> None:
    """Brokers of Apache Kafka follow the controller: what is altered last is told of last."""
    marker = at.name(when)
    at.call(alter(([(USER, marker)], [(BYTES, 1e9)])), AlterClientQuotasResponse)
    while not at.call(describe((USER, EXACT, marker)), DescribeClientQuotasResponse).entries:
        pass


FILTERS: Mapping[str, tuple[Sequence[tuple[str, int, str]], bool]] = {
    "a user": ([(USER, EXACT, "user")], False),
    "a user alone": ([(USER, EXACT, "user")], True),
    "a user's client": ([(USER, EXACT, "user"), (CLIENT, EXACT, "client")], True),
    "a user's default client": ([(USER, EXACT, "user"), (CLIENT, DEFAULT, "")], False),
    "a user's clients": ([(USER, EXACT, "user"), (CLIENT, ANY, "")], True),
    "a client": ([(CLIENT, EXACT, "client")], False),
    "a client alone": ([(CLIENT, EXACT, "client")], True),
    "a client of any user": ([(CLIENT, EXACT, "client"), (USER, ANY, "")], False),
    "somebody without quotas": ([(USER, EXACT, "nobody")], False),
    "an address without quotas": ([(IP, EXACT, "nowhere")], True),
}


def _filtered(at: Scene, what: str) -> DescribeClientQuotasRequest:
    have_quotas(at)
    components, strict = FILTERS[what]
    return describe(
        *((kind, match_type, at.name(name) if name else None) for kind, match_type, name in components),
        strict=strict,
    )


for what in FILTERS:
    DESCRIBE_CLIENT_QUOTAS.add(what, lambda at, what=what: _filtered(at, what))

REFUSED_FILTERS: Mapping[str, Sequence[Component]] = {
    "a type without a name": [("", EXACT, "a")],
    "an unknown type": [("group", EXACT, "a")],
    "a type twice": [(USER, EXACT, "a"), (USER, ANY, None)],
    "an exact match of nothing": [(USER, EXACT, None)],
    "the default, by name": [(USER, DEFAULT, "a")],
    "whatever there is, by name": [(USER, ANY, "a")],
    "match type 3": [(USER, 3, None)],
    "match type -1": [(USER, -1, None)],
    "an address's user": [(IP, ANY, None), (USER, ANY, None)],
    "an address's client": [(CLIENT, EXACT, "a"), (IP, DEFAULT, None)],
}
for what, components in REFUSED_FILTERS.items():
    DESCRIBE_CLIENT_QUOTAS.add(what, lambda at, components=components: describe(*components))


def validated(entity: Entity, *values: tuple[str, float | None]) -> AlterClientQuotasRequest:
    return alter((entity, values), validate_only=True)


VALUES: Mapping[str, tuple[str, float]] = {
    "nothing to send": (BYTES, 0.0),
    "less than nothing": (BYTES, -1.0),
    "half a byte": (BYTES, 0.5),
    "a byte and a trace": (BYTES, 1.0000001),
    "the largest number of bytes": (BYTES, 2.0**63),
    "too many bytes": (BYTES, 2.0**64),
    "endless bytes": (BYTES, float("inf")),
    "endless percents": ("request_percentage", float("inf")),
    "a fraction of a percent": ("request_percentage", 0.001),
    "half a partition": ("controller_mutation_rate", 0.5),
    "a key of addresses": (CONNECTIONS, 1.0),
    "an unknown key": ("no_such_rate", 1.0),
    "an empty key": ("", 1.0),
}
for what, (key, value) in VALUES.items():
    ALTER_CLIENT_QUOTAS.add(
        what, lambda at, key=key, value=value: validated([(USER, at.name("user"))], (key, value))
    )

ENTITIES: Mapping[str, tuple[Entity, str]] = {
    "all users": ([(USER, None)], BYTES),
    "all users' clients": ([(USER, None), (CLIENT, None)], BYTES),
    "a client of all users": ([(CLIENT, "a"), (USER, None)], BYTES),
    "an entity of no type": ([], BYTES),
    "an unknown entity type": ([("group", "a")], BYTES),
    "a user without a name": ([(USER, "")], BYTES),
    "a user twice": ([(USER, "a"), (USER, "b")], BYTES),
    "a user with signs in the name": ([(USER, "CN=a b,O=/%25é")], BYTES),
    "all addresses": ([(IP, None)], CONNECTIONS),
    "an address": ([(IP, "10.11.12.13")], CONNECTIONS),
    "an address of version 6": ([(IP, "2001:db8::1")], CONNECTIONS),
    "this machine": ([(IP, "localhost")], CONNECTIONS),
    "no address": ([(IP, "10.11.12.13.14")], CONNECTIONS),
    "an address without a name": ([(IP, "")], CONNECTIONS),
    "an address's bytes": ([(IP, "10.11.12.13")], BYTES),
    "an address's user": ([(IP, "10.11.12.13"), (USER, "a")], BYTES),
}
for what, (entity, key) in ENTITIES.items():
    ALTER_CLIENT_QUOTAS.add(what, lambda at, entity=entity, key=key: validated(entity, (key, 5.0)))
for value in (0.5, 2.0**31 - 1, 2.0**31):
    ALTER_CLIENT_QUOTAS.add(
        f"{value:.1f} connections", lambda at, value=value: validated([(IP, None)], (CONNECTIONS, value))
    )

ALTER_CLIENT_QUOTAS.add("nobody's", lambda at: alter())
ALTER_CLIENT_QUOTAS.add("nothing of a user's", lambda at: alter(([(USER, at.name("user"))], [])))
ALTER_CLIENT_QUOTAS.add(
    "what is not there, away", lambda at: alter(([(USER, at.name("user"))], [(BYTES, None), ("other", None)]))
)


def _altered_and_described(at: Scene, request: AlterClientQuotasRequest) -> None:
    at.ask(request)
    wait_until_told(at, "after")
    at.ask(describe((USER, EXACT, at.name("user"))))
    at.ask(describe((USER, EXACT, at.name("other"))))


@ALTER_CLIENT_QUOTAS.case("what is there, changed and away")
def _changed(at: Scene) -> None:
    have_quotas(at)
    _altered_and_described(
        at, alter(([(USER, at.name("user"))], [(BYTES, None), ("request_percentage", 7.0)]))
    )


@ALTER_CLIENT_QUOTAS.case("a user named twice")
def _twice(at: Scene) -> None:
    user = [(USER, at.name("user"))]
    _altered_and_described(at, alter((user, [(BYTES, 1e9)]), (user, [(BYTES, 2e9)])))


@ALTER_CLIENT_QUOTAS.case("a key twice, and somebody else")
def _key_twice(at: Scene) -> None:
    _altered_and_described(
        at,
        alter(
            ([(USER, at.name("user"))], [(BYTES, 1e9), (BYTES, 1e9)]),
            ([(USER, at.name("other"))], [(BYTES, 1e9)]),
        ),
    )


@ALTER_CLIENT_QUOTAS.case("a good and a bad one")
def _partly(at: Scene) -> None:
    _altered_and_described(
        at,
        alter(
            ([(USER, at.name("user"))], [(BYTES, 1e9), ("no_such_rate", 1.0)]),
            ([(USER, at.name("other"))], [(BYTES, 1e9)]),
        ),
    )
