"""DescribeClientQuotas and AlterClientQuotas through the codec, with the real controller behind them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping

import pytest

from kbroker.handlers.client_quotas import ClientQuotaHandlers
from tests.kbroker.handlers.requests import send
from tests.kbroker.metadata.cluster import running_cluster
from wire.errors import ApiError, ErrorCode
from wire.messages.client_quotas import (
    AlterClientQuotasRequest,
    AlterClientQuotasResponse,
    DescribeClientQuotasRequest,
    DescribeClientQuotasResponse,
)

EXACT, DEFAULT, ANY = 0, 1, 2
Component = DescribeClientQuotasRequest.ComponentData
Entry = AlterClientQuotasRequest.EntryData
Names = dict[str, str | None]

ENTITIES: list[Names] = [
    {"user": "u"},
    {"user": None},
    {"user": "u", "client-id": "c"},
    {"user": "u", "client-id": None},
    {"client-id": "c"},
    {"ip": "1.1.1.1"},
]


class Subject:
    def __init__(self, handlers: ClientQuotaHandlers) -> None:
        self.handlers = handlers

    async def alter(
        self,
        *entries: tuple[list[tuple[str, str | None]], Mapping[str, float | None]],
        version: int = 1,
        validate_only: bool = False,
    ) -> AlterClientQuotasResponse:
        request = AlterClientQuotasRequest(
            entries=[
                Entry(
                    entity=[Entry.EntityData(entity_type=kind, entity_name=name) for kind, name in names],
                    ops=[
                        Entry.OpData(key=key, value=0.0 if value is None else value, remove=value is None)
                        for key, value in values.items()
                    ],
                )
                for names, values in entries
            ],
            validate_only=validate_only,
        )
        response: AlterClientQuotasResponse = await send(self.handlers.alter_client_quotas, request, version)
        return response

    async def describe(
        self, *components: tuple[str, int, str | None], strict: bool = False, version: int = 1
    ) -> DescribeClientQuotasResponse:
        request = DescribeClientQuotasRequest(
            components=[
                Component(entity_type=kind, match_type=match_type, match=match)
                for kind, match_type, match in components
            ],
            strict=strict,
        )
        response: DescribeClientQuotasResponse = await send(
            self.handlers.describe_client_quotas, request, version
        )
        return response

    async def found(self, *components: tuple[str, int, str | None], strict: bool = False) -> list[Names]:
        response = await self.describe(*components, strict=strict)
        assert response.error_code == 0
        return [
            {part.entity_type: part.entity_name for part in entry.entity} for entry in response.entries or []
        ]


@pytest.fixture
async def subject() -> AsyncIterator[Subject]:
    async with running_cluster() as cluster:
        yield Subject(ClientQuotaHandlers(controller=cluster.controller, current_image=lambda: cluster.image))


@pytest.fixture
async def filled(subject: Subject) -> Subject:
    for names in ENTITIES:
        key = "connection_creation_rate" if "ip" in names else "request_percentage"
        response = await subject.alter(([*names.items()], {key: 5.0}))
        assert [entry.error_code for entry in response.entries] == [0]
    return subject


@pytest.mark.parametrize("version", [0, 1])
async def test_what_was_set_is_told(subject: Subject, version: int) -> None:
    values = {"producer_byte_rate": 1024.0, "request_percentage": 0.5}
    (altered,) = (await subject.alter(([("user", None)], values), version=version)).entries
    assert (altered.error_code, altered.error_message) == (0, None)
    assert [(part.entity_type, part.entity_name) for part in altered.entity] == [("user", None)]
    response = await subject.describe(version=version)
    assert (response.error_code, response.error_message, response.throttle_time_ms) == (0, "", 0)
    (entry,) = response.entries or []
    assert [(part.entity_type, part.entity_name) for part in entry.entity] == [("user", None)]
    assert {value.key: value.value for value in entry.values} == values


async def test_each_entity_is_answered_by_itself(subject: Subject) -> None:
    response = await subject.alter(
        ([("user", "u")], {"producer_byte_rate": 1.0}),
        ([("user", "v")], {"nonsense": 1.0}),
        ([("user", "u")], {"producer_byte_rate": 2.0}),
        ([("user", "w"), ("user", "x")], {"producer_byte_rate": 1.0}),
    )
    invalid = ErrorCode.INVALID_REQUEST
    assert [(entry.entity[0].entity_name, entry.error_code) for entry in response.entries] == [
        ("u", invalid),
        ("v", invalid),
        ("x", 0),
    ]
    assert response.entries[1].error_message == "Invalid configuration key nonsense"
    assert await subject.found() == [{"user": "u"}, {"user": "x"}]


async def test_validation_changes_nothing(subject: Subject) -> None:
    response = await subject.alter(
        ([("user", "u")], {"producer_byte_rate": 1.0}), ([], {}), validate_only=True
    )
    assert [entry.error_code for entry in response.entries] == [0, ErrorCode.INVALID_REQUEST]
    assert await subject.found() == []


async def test_an_entity_without_quotas_is_gone(filled: Subject) -> None:
    await filled.alter(([("user", "u")], {"request_percentage": None}))
    assert {"user": "u"} not in await filled.found()


async def test_too_many_at_once(subject: Subject) -> None:
    ops = [Entry.OpData(key="request_percentage", value=1.0)] * 10_001
    request = AlterClientQuotasRequest(
        entries=[Entry(entity=[Entry.EntityData(entity_type="user", entity_name="u")], ops=ops)]
    )
    response = await send(subject.handlers.alter_client_quotas, request, 1)
    assert [entry.error_code for entry in response.entries] == [ErrorCode.POLICY_VIOLATION]


async def test_when_nothing_can_be_decided_everybody_is_told(subject: Subject) -> None:
    class Unreachable:
        async def alter_client_quotas(self, changes: object, *, validate_only: bool = False) -> object:
            raise ApiError(ErrorCode.REQUEST_TIMED_OUT, "no store")

    subject.handlers = ClientQuotaHandlers(
        controller=Unreachable(),  # type: ignore[arg-type]
        current_image=lambda: pytest.fail("nobody asks"),
    )
    response = await subject.alter(([("user", "u")], {}), ([("user", "v")], {}))
    assert [(entry.error_code, entry.error_message) for entry in response.entries] == [
        (ErrorCode.REQUEST_TIMED_OUT, "no store")
    ] * 2


@pytest.mark.parametrize(
    ("components", "strict", "expected"),
    [
        ([], False, ENTITIES),
        ([], True, []),
        ([("user", EXACT, "u")], False, [ENTITIES[0], ENTITIES[2], ENTITIES[3]]),
        ([("user", EXACT, "u")], True, [ENTITIES[0]]),
        ([("user", DEFAULT, None)], False, [ENTITIES[1]]),
        ([("user", ANY, None)], False, ENTITIES[:4]),
        ([("user", ANY, None)], True, ENTITIES[:2]),
        ([("user", ANY, None), ("client-id", DEFAULT, None)], True, [ENTITIES[3]]),
        ([("client-id", EXACT, "c")], False, [ENTITIES[2], ENTITIES[4]]),
        ([("ip", ANY, None)], False, [ENTITIES[5]]),
        ([("user", EXACT, "nobody")], False, []),
    ],
)
async def test_filters(
    filled: Subject, components: list[tuple[str, int, str | None]], strict: bool, expected: list[Names]
) -> None:
    assert await filled.found(*components, strict=strict) == expected


@pytest.mark.parametrize(
    ("components", "code", "message"),
    [
        ([("", EXACT, "u")], ErrorCode.INVALID_REQUEST, "Invalid empty entity type."),
        (
            [("user", EXACT, "u"), ("user", ANY, None)],
            ErrorCode.INVALID_REQUEST,
            "Entity type user cannot appear more than once in the filter.",
        ),
        ([("group", EXACT, "u")], ErrorCode.UNSUPPORTED_VERSION, "Unsupported entity type group"),
        ([("user", EXACT, None)], ErrorCode.INVALID_REQUEST, "set match string to null"),
        ([("user", DEFAULT, "u")], ErrorCode.INVALID_REQUEST, "MATCH_TYPE_DEFAULT, but also specified"),
        ([("user", ANY, "u")], ErrorCode.INVALID_REQUEST, "MATCH_TYPE_SPECIFIED, but also specified"),
        ([("user", 3, None)], ErrorCode.INVALID_REQUEST, "Unknown match type 3"),
        (
            [("ip", ANY, None), ("client-id", ANY, None)],
            ErrorCode.INVALID_REQUEST,
            "Invalid entity filter component combination.",
        ),
    ],
)
@pytest.mark.parametrize("version", [0, 1])
async def test_refused_filters(
    subject: Subject,
    components: list[tuple[str, int, str | None]],
    code: ErrorCode,
    message: str,
    version: int,
) -> None:
    response = await subject.describe(*components, version=version)
    assert (response.error_code, response.entries) == (code, None)
    assert message in str(response.error_message)
