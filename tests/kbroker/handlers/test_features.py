"""UpdateFeatures at every version, through the codec."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from kbroker.handlers.features import FeatureHandlers
from tests.kbroker.handlers.requests import send
from wire.errors import ApiError, ErrorCode
from wire.messages.features import UpdateFeaturesRequest

_Key = UpdateFeaturesRequest.FeatureUpdateKey


class Store:
    def __init__(self) -> None:
        self.calls: list[tuple[list[tuple[str, int, int]], bool]] = []
        self.error: ApiError | None = None

    async def update_features(self, changes: Sequence[tuple[str, int, int]], *, validate_only: bool) -> None:
        self.calls.append((list(changes), validate_only))
        if self.error is not None:
            raise self.error


@pytest.fixture
def store() -> Store:
    return Store()


async def update(store: Store, version: int, *keys: _Key, validate_only: bool = False) -> Any:
    request = UpdateFeaturesRequest(feature_updates=list(keys), validate_only=validate_only)
    return await send(FeatureHandlers(features=store).update_features, request, version)


async def test_version_0_knows_only_whether_a_downgrade_is_allowed(store: Store) -> None:
    await update(
        store,
        0,
        _Key(feature="a", max_version_level=1),
        _Key(feature="b", max_version_level=2, allow_downgrade=True),
    )
    assert store.calls == [([("a", 1, 1), ("b", 2, 2)], False)]


@pytest.mark.parametrize("version", [1, 2])
async def test_later_versions_say_how_to_change_and_whether_at_all(store: Store, version: int) -> None:
    key = _Key(feature="a", max_version_level=3, upgrade_type=3)
    await update(store, version, key, validate_only=True)
    assert store.calls == [([("a", 3, 3)], True)]


async def test_results_by_feature_go_away_in_version_2(store: Store) -> None:
    keys = _Key(feature="a", max_version_level=1), _Key(feature="b", max_version_level=1)
    for version in (0, 1):
        response = await update(store, version, *keys)
        assert (response.error_code, response.error_message) == (0, None)
        assert [(r.feature, r.error_code, r.error_message) for r in response.results] == [
            ("a", 0, "NONE"),
            ("b", 0, "NONE"),
        ]
    response = await update(store, 2, *keys)
    assert (response.error_code, response.error_message, response.results) == (0, None, [])


@pytest.mark.parametrize("version", range(3))
async def test_one_error_is_that_of_all(store: Store, version: int) -> None:
    store.error = ApiError(ErrorCode.INVALID_UPDATE_VERSION, "it is so")
    response = await update(store, version, _Key(feature="a", max_version_level=1))
    assert response.error_code == ErrorCode.INVALID_UPDATE_VERSION
    assert response.error_message == (
        "The update failed for all features since the following feature had an error: it is so"
    )
    assert response.results == []
