"""UpdateFeatures. The brokers are shared, so nothing is really changed."""

from __future__ import annotations

from compat.wire.case import Cases
from wire.messages.features import UpdateFeaturesRequest

UPDATE_FEATURES = Cases(UpdateFeaturesRequest)

UPGRADE, SAFE_DOWNGRADE, UNSAFE_DOWNGRADE = 1, 2, 3
UNKNOWN_TYPE = 0
VALIDATED = "1+"
"""Before, a request could not be for validation only."""
Update = tuple[str, int, int]
"""Feature, level, upgrade type."""


def update(*updates: Update, validate_only: bool = True, timeout_ms: int = 30_000) -> UpdateFeaturesRequest:
    return UpdateFeaturesRequest(
        timeout_ms=timeout_ms,
        feature_updates=[
            UpdateFeaturesRequest.FeatureUpdateKey(feature=name, max_version_level=level, upgrade_type=kind)
            for name, level, kind in updates
        ],
        validate_only=validate_only,
    )


def update_of_old(feature: str, level: int, *, allow_downgrade: bool = False) -> UpdateFeaturesRequest:
    return UpdateFeaturesRequest(
        feature_updates=[
            UpdateFeaturesRequest.FeatureUpdateKey(
                feature=feature, max_version_level=level, allow_downgrade=allow_downgrade
            )
        ]
    )


UPDATE_FEATURES.add("nothing", lambda at: UpdateFeaturesRequest())
UPDATE_FEATURES.add("an unknown feature", lambda at: update(("no.such.feature", 1, UPGRADE)), VALIDATED)
UPDATE_FEATURES.add("an unknown feature of old", lambda at: update_of_old("no.such.feature", 1), "0")
UPDATE_FEATURES.add("a level there is not, of old", lambda at: update_of_old("transaction.version", 99), "0")
for level, kind, what in (
    (2, UPGRADE, "where it is"),
    (1, UPGRADE, "down, as an upgrade"),
    (1, SAFE_DOWNGRADE, "down"),
    (1, UNSAFE_DOWNGRADE, "down, unsafely"),
    (0, SAFE_DOWNGRADE, "to zero"),
    (99, UPGRADE, "to a level there is not"),
    (-1, SAFE_DOWNGRADE, "below zero"),
    (1, UNKNOWN_TYPE, "by a type of no kind"),
    (1, 9, "by type 9"),
    (2, SAFE_DOWNGRADE, "where it is, as a downgrade"),
):
    UPDATE_FEATURES.add(
        f"transactions {what}",
        lambda at, level=level, kind=kind: update(("transaction.version", level, kind)),
        VALIDATED,
    )
UPDATE_FEATURES.add("metadata far up", lambda at: update(("metadata.version", 99, UPGRADE)), VALIDATED)
UPDATE_FEATURES.add(
    "metadata far down", lambda at: update(("metadata.version", 1, SAFE_DOWNGRADE)), VALIDATED
)
UPDATE_FEATURES.add("metadata down", lambda at: update(("metadata.version", 25, SAFE_DOWNGRADE)), VALIDATED)
UPDATE_FEATURES.add(
    "metadata down, as an upgrade", lambda at: update(("metadata.version", 25, UPGRADE)), VALIDATED
)
UPDATE_FEATURES.add("metadata to zero", lambda at: update(("metadata.version", 0, SAFE_DOWNGRADE)), VALIDATED)
UPDATE_FEATURES.add("a feature without a name", lambda at: update(("", 1, UPGRADE)), VALIDATED)
UPDATE_FEATURES.add(
    "a feature twice",
    lambda at: update(("transaction.version", 1, SAFE_DOWNGRADE), ("transaction.version", 2, UPGRADE)),
    VALIDATED,
)
UPDATE_FEATURES.add(
    "known and unknown features",
    lambda at: update(("transaction.version", 2, UPGRADE), ("no.such.feature", 1, UPGRADE)),
    VALIDATED,
)
UPDATE_FEATURES.add(
    "no time to do it", lambda at: update(("transaction.version", 2, UPGRADE), timeout_ms=0), VALIDATED
)
