"""Altered configs: operations on single keys, whole replacements, and what is refused."""

from __future__ import annotations

import pytest

from kbroker.config.resources import ConfigResourceType
from kbroker.metadata.image import ImageDelta
from tests.kbroker.metadata.cluster import BROKER, TOPIC, Cluster, new_topic, running_cluster
from wire.errors import ApiError, ErrorCode

SET, DELETE, APPEND, SUBTRACT = range(4)
RESOURCE = (TOPIC, "a")


def code_of(outcome: dict[tuple[int, str], ApiError | None], resource: tuple[int, str] = RESOURCE) -> int:
    error = outcome[resource]
    return 0 if error is None else error.code


async def with_topic(cluster: Cluster, *configs: tuple[str, str]) -> None:
    (result,) = await cluster.controller.create_topics([new_topic("a", configs=configs)])
    assert result.error_code == 0


@pytest.mark.parametrize(
    ("before", "changes", "after"),
    [
        ({}, [("retention.ms", SET, "5")], {"retention.ms": "5"}),
        ({"retention.ms": "5"}, [("retention.ms", SET, "6")], {"retention.ms": "6"}),
        ({"retention.ms": "5"}, [("secret", SET, "x")], {"retention.ms": "5", "secret": "x"}),
        ({"retention.ms": "5"}, [("retention.ms", DELETE, None)], {}),
        ({}, [("retention.ms", DELETE, None)], {}),
        ({}, [("cleanup.policy", APPEND, "compact")], {"cleanup.policy": "delete,compact"}),
        (
            {"cleanup.policy": "compact"},
            [("cleanup.policy", APPEND, "compact,delete")],
            {"cleanup.policy": "compact,delete"},
        ),
        (
            {"cleanup.policy": "compact,delete"},
            [("cleanup.policy", SUBTRACT, "delete,nope")],
            {"cleanup.policy": "compact"},
        ),
        ({}, [("cleanup.policy", SUBTRACT, "delete")], {"cleanup.policy": ""}),
    ],
)
async def test_incremental_change(
    before: dict[str, str], changes: list[tuple[str, int, str | None]], after: dict[str, str]
) -> None:
    async with running_cluster() as cluster:
        await with_topic(cluster, *before.items())
        outcome = await cluster.controller.incremental_alter_configs({RESOURCE: changes})
        assert outcome == {RESOURCE: None}
        assert cluster.image.topic_config("a") == after


@pytest.mark.parametrize(
    ("resource", "changes", "code"),
    [
        (RESOURCE, [("nope", SET, "1")], ErrorCode.INVALID_CONFIG),
        (RESOURCE, [("retention.ms", SET, "x")], ErrorCode.INVALID_CONFIG),
        (RESOURCE, [("retention.ms", APPEND, "5")], ErrorCode.INVALID_CONFIG),
        (RESOURCE, [("retention.ms", 9, "5")], ErrorCode.INVALID_REQUEST),
        ((TOPIC, "b"), [("retention.ms", SET, "5")], ErrorCode.UNKNOWN_TOPIC_OR_PARTITION),
        ((BROKER, "7"), [("retention.ms", SET, "5")], ErrorCode.BROKER_ID_NOT_REGISTERED),
    ],
)
async def test_refused_change(
    resource: tuple[int, str], changes: list[tuple[str, int, str | None]], code: ErrorCode
) -> None:
    async with running_cluster() as cluster:
        await with_topic(cluster, ("retention.ms", "1"))
        # Sound changes beside a bad one are not made either: a resource changes as a whole.
        all_changes = [("secret", SET, "x"), *changes]
        outcome = await cluster.controller.incremental_alter_configs({resource: all_changes})
        assert code_of(outcome, resource) == code
        assert cluster.image.configs == {RESOURCE: {"retention.ms": "1"}}


async def test_resources_succeed_and_fail_by_themselves() -> None:
    async with running_cluster() as cluster:
        await with_topic(cluster)
        group = (ConfigResourceType.GROUP, "g/1")
        outcome = await cluster.controller.incremental_alter_configs(
            {
                RESOURCE: [("nope", SET, "1")],
                (BROKER, ""): [("retention.ms", SET, "1")],
                (BROKER, "1"): [("retention.ms", SET, "2")],
                group: [("retention.ms", SET, "3")],
            }
        )
        assert [code_of(outcome, resource) for resource in outcome] == [ErrorCode.INVALID_CONFIG, 0, 0, 0]
        assert cluster.image.config((BROKER, "")) == {"retention.ms": "1"}
        assert cluster.image.broker_config(1) == {"retention.ms": "2"}
        assert cluster.image.config(group) == {"retention.ms": "3"}


async def test_change_that_is_only_validated() -> None:
    async with running_cluster() as cluster:
        await with_topic(cluster)
        revision = cluster.image.revision
        for value, code in (("5", 0), ("x", ErrorCode.INVALID_CONFIG)):
            outcome = await cluster.controller.incremental_alter_configs(
                {RESOURCE: [("retention.ms", SET, value)]}, validate_only=True
            )
            assert code_of(outcome) == code
            outcome = await cluster.controller.replace_configs(
                {RESOURCE: {"retention.ms": value}}, validate_only=True
            )
            assert code_of(outcome) == code
        assert cluster.image.revision == revision


async def test_replacement_leaves_nothing_of_what_was_there() -> None:
    async with running_cluster() as cluster:
        await with_topic(cluster, ("retention.ms", "1"), ("secret", "x"))
        outcome = await cluster.controller.replace_configs({RESOURCE: {"cleanup.policy": "compact"}})
        assert outcome == {RESOURCE: None}
        assert cluster.image.topic_config("a") == {"cleanup.policy": "compact"}
        await cluster.controller.replace_configs({RESOURCE: {}})
        assert RESOURCE not in cluster.image.configs


async def test_refused_replacement() -> None:
    async with running_cluster() as cluster:
        await with_topic(cluster, ("retention.ms", "1"))
        outcome = await cluster.controller.replace_configs({RESOURCE: {"nope": "1"}, (TOPIC, "b"): {}})
        assert code_of(outcome) == ErrorCode.INVALID_CONFIG
        assert code_of(outcome, (TOPIC, "b")) == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
        assert cluster.image.topic_config("a") == {"retention.ms": "1"}


async def test_listeners_hear_of_unchanged_broker_configs_but_not_of_unchanged_topic_configs() -> None:
    async with running_cluster() as cluster:
        await with_topic(cluster)
        heard: list[tuple[int, str]] = []

        async def listener(delta: ImageDelta) -> None:
            heard.extend(delta.configs_changed)

        cluster.metadata.subscribe(listener)
        for _ in range(2):
            for resource in (RESOURCE, (BROKER, "1")):
                await cluster.controller.incremental_alter_configs({resource: [("retention.ms", SET, "5")]})
        assert heard == [RESOURCE, (BROKER, "1"), (BROKER, "1")]
