"""UpdateFeatures, decided and stored; answers are those of Apache Kafka 4.4 to the same requests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from kbroker.metadata import keys
from kbroker.metadata.feature_decisions import (
    METADATA_VERSION,
    NEW_CLUSTER_FEATURES,
    SUPPORTED_FEATURES,
    TRANSACTION_VERSION,
    FeatureChange,
    UpgradeType,
    decide_features,
)
from kbroker.metadata.store import Compare, MetadataStore, Operation, Put, TransactionResult
from tests.kbroker.metadata.cluster import Cluster, make_controller, running_cluster
from wire.errors import ApiError, ErrorCode

UP, SAFE, UNSAFE = UpgradeType.UPGRADE, UpgradeType.SAFE_DOWNGRADE, UpgradeType.UNSAFE_DOWNGRADE
LEVELS = {METADATA_VERSION: 29, TRANSACTION_VERSION: 2}


def test_new_clusters_have_the_highest_levels() -> None:
    assert NEW_CLUSTER_FEATURES == LEVELS
    assert SUPPORTED_FEATURES[TRANSACTION_VERSION] == (0, 2)


@pytest.mark.parametrize(
    ("change", "level"),
    [
        ((TRANSACTION_VERSION, 1, SAFE), 1),
        ((TRANSACTION_VERSION, 2, UP), 2),
        ((TRANSACTION_VERSION, 2, SAFE), 2),
    ],
)
def test_levels_may_change_within_what_is_supported(change: tuple[str, int, int], level: int) -> None:
    assert decide_features(LEVELS, [FeatureChange(*change)], 1) == {**LEVELS, TRANSACTION_VERSION: level}


@pytest.mark.parametrize("upgrade_type", [SAFE, UNSAFE])
def test_level_0_is_no_entry(upgrade_type: int) -> None:
    change = FeatureChange(TRANSACTION_VERSION, 0, upgrade_type)
    assert decide_features(LEVELS, [change], 1) == {METADATA_VERSION: 29}
    back = FeatureChange(TRANSACTION_VERSION, 2, UP)
    assert decide_features({METADATA_VERSION: 29}, [back], 1) == LEVELS


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ((TRANSACTION_VERSION, 1, UP), "without setting the upgrade type"),
        ((TRANSACTION_VERSION, 3, UP), "Local controller 4 only supports versions 0-2"),
        ((TRANSACTION_VERSION, -1, SAFE), "A feature version cannot be less than 0."),
        ((TRANSACTION_VERSION, 2, 0), "does not support the given upgrade type"),
        ((TRANSACTION_VERSION, 2, 4), "does not support the given upgrade type"),
        (("nope.version", 1, UP), "Local controller 4 does not support this feature."),
        (("nope.version", 0, SAFE), "Feature nope.version not found."),
        ((METADATA_VERSION, 6, SAFE), "Local controller 4 only supports versions 7-29"),
        ((METADATA_VERSION, 28, UP), "without setting the upgrade type"),
        ((METADATA_VERSION, 28, SAFE), "downgrade from 29 to 28. Refusing to perform"),
        (
            (METADATA_VERSION, 28, UNSAFE),
            "downgrade from 29 to 28. Unsafe metadata downgrade is not supported",
        ),
    ],
)
def test_what_is_refused_and_why(change: tuple[str, int, int], reason: str) -> None:
    with pytest.raises(ApiError) as caught:
        decide_features(LEVELS, [FeatureChange(*change)], 4)
    assert caught.value.code is ErrorCode.INVALID_UPDATE_VERSION
    assert caught.value.message.startswith(("Invalid update version", "Unsupported metadata.version"))
    assert reason in caught.value.message


def test_a_downgrade_cannot_raise_a_level() -> None:
    with pytest.raises(ApiError, match="Can't downgrade to a newer version"):
        decide_features({TRANSACTION_VERSION: 1}, [FeatureChange(TRANSACTION_VERSION, 2, SAFE)], 1)


def test_one_bad_change_stops_all_and_the_last_word_on_a_feature_counts() -> None:
    good, bad = FeatureChange(TRANSACTION_VERSION, 1, SAFE), FeatureChange("nope", 1, UP)
    with pytest.raises(ApiError):
        decide_features(LEVELS, [good, bad], 1)
    overruled = FeatureChange(TRANSACTION_VERSION, 1, UP)
    assert decide_features(LEVELS, [overruled, good], 1)[TRANSACTION_VERSION] == 1


# Stored


async def stored(cluster: Cluster) -> dict[str, int]:
    found = await cluster.store.get(keys.FEATURES_KEY)
    return {} if found is None else keys.decode_features(found.value)


async def test_an_update_is_in_the_image_when_it_is_answered() -> None:
    async with running_cluster() as c:
        await c.store.transact([], [Put(keys.FEATURES_KEY, keys.encode_features(LEVELS))])
        await c.controller.update_features([(TRANSACTION_VERSION, 1, SAFE)])
        assert c.metadata.image.features == {METADATA_VERSION: 29, TRANSACTION_VERSION: 1}
        assert await stored(c) == c.metadata.image.features


async def test_a_dry_run_and_a_repeated_update_write_nothing() -> None:
    async with running_cluster() as c:
        await c.store.transact([], [Put(keys.FEATURES_KEY, keys.encode_features(LEVELS))])
        before = (await c.store.range(keys.FEATURES_KEY)).revision
        await c.controller.update_features([(TRANSACTION_VERSION, 0, SAFE)], validate_only=True)
        await c.controller.update_features([(TRANSACTION_VERSION, 2, UP)])
        with pytest.raises(ApiError):
            await c.controller.update_features([(TRANSACTION_VERSION, 3, UP)], validate_only=True)
        assert (await c.store.range(keys.FEATURES_KEY)).revision == before
        assert await stored(c) == LEVELS


class Racing:
    """A store in which another broker changes the levels just before the first write."""

    def __init__(self, store: MetadataStore, levels: dict[str, int]) -> None:
        self._store = store
        self._levels: dict[str, int] | None = levels

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def transact(
        self, compares: Sequence[Compare], operations: Sequence[Operation]
    ) -> TransactionResult:
        if self._levels is not None:
            value, self._levels = keys.encode_features(self._levels), None
            await self._store.transact([], [Put(keys.FEATURES_KEY, value)])
        return await self._store.transact(compares, operations)


async def test_levels_are_compared_and_set() -> None:
    """The update was allowed on the levels that it saw, and is not on those that another broker wrote."""
    async with running_cluster() as c:
        await c.store.transact([], [Put(keys.FEATURES_KEY, keys.encode_features(LEVELS))])
        await c.controller.update_features([(TRANSACTION_VERSION, 0, SAFE)])
        racing = make_controller(1, Racing(c.store, LEVELS), c.metadata, c.settings)  # type: ignore[arg-type]
        with pytest.raises(ApiError, match="without setting the upgrade type"):
            await racing.update_features([(TRANSACTION_VERSION, 1, UP)])
        assert await stored(c) == LEVELS
        racing = make_controller(1, Racing(c.store, {METADATA_VERSION: 28}), c.metadata, c.settings)  # type: ignore[arg-type]
        await racing.update_features([(TRANSACTION_VERSION, 0, SAFE)])
        assert await stored(c) == {METADATA_VERSION: 28}
