"""What the controller decides about feature levels (KIP-584, KIP-778; Kafka: FeatureControlManager).

A feature that is not among the finalized levels has level 0. A new cluster begins with the highest levels; a
cluster that an older kbroker stored keeps its levels until UpdateFeatures raises them, as in Kafka: the old
brokers, to which an administrator may want to return, would not understand what the new level writes.

``metadata.version`` can only rise: a lower level would have to do without metadata that is stored already.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import Final, NamedTuple

from wire.errors import ApiError, ErrorCode

METADATA_VERSION: Final = "metadata.version"
TRANSACTION_VERSION: Final = "transaction.version"

SUPPORTED_FEATURES: Final[Mapping[str, tuple[int, int]]] = {
    METADATA_VERSION: (7, 29),
    TRANSACTION_VERSION: (0, 2),
}
"""Name -> (lowest, highest level) that this kbroker can work with."""

NEW_CLUSTER_FEATURES: Final[Mapping[str, int]] = {
    name: highest for name, (_, highest) in SUPPORTED_FEATURES.items()
}

_NOT_SUPPORTED = (0, 0)


class UpgradeType(IntEnum):
    """What UpdateFeatures may do to a level (``FeatureUpdate.UpgradeType``)."""

    UPGRADE = 1
    SAFE_DOWNGRADE = 2
    UNSAFE_DOWNGRADE = 3


class FeatureChange(NamedTuple):
    """One line of UpdateFeatures; ``upgrade_type`` may be a number that no ``UpgradeType`` has."""

    feature: str
    level: int
    upgrade_type: int


def decide_features(
    levels: Mapping[str, int], changes: Sequence[FeatureChange], node_id: int
) -> dict[str, int]:
    """All levels after the changes, of which either all or none happen.

    Raises ApiError INVALID_UPDATE_VERSION, whose message names the broker ``node_id``.
    """
    changed = dict(levels)
    # Of a feature that is named twice the last word counts.
    for change in {change.feature: change for change in changes}.values():
        reason = _reason_against(levels.get(change.feature, 0), change, node_id)
        if reason is not None:
            raise ApiError(ErrorCode.INVALID_UPDATE_VERSION, reason)
        if change.level == 0:
            changed.pop(change.feature, None)
        else:
            changed[change.feature] = change.level
    return changed


def _reason_against(current: int, change: FeatureChange, node_id: int) -> str | None:
    feature, level, upgrade_type = change
    if upgrade_type not in tuple(UpgradeType):
        problem = "The controller does not support the given upgrade type."
    elif level < 0:
        problem = "A feature version cannot be less than 0."
    elif not _is_supported(feature, level):
        problem = _not_supported(feature, node_id)
    elif level < current and upgrade_type == UpgradeType.UPGRADE:
        problem = (
            "Can't downgrade the version of this feature without setting the upgrade type "
            "to either safe or unsafe downgrade."
        )
    elif level > current and upgrade_type != UpgradeType.UPGRADE:
        problem = "Can't downgrade to a newer version."
    elif feature == METADATA_VERSION and level < current:
        return f"Unsupported metadata.version downgrade from {current} to {level}. {_why_not_lower(upgrade_type)}"
    elif feature not in SUPPORTED_FEATURES:
        problem = f"Feature {feature} not found."
    else:
        return None
    return f"Invalid update version {level} for feature {feature}. {problem}"


def _is_supported(feature: str, level: int) -> bool:
    lowest, highest = SUPPORTED_FEATURES.get(feature, _NOT_SUPPORTED)
    return lowest <= level <= highest


def _not_supported(feature: str, node_id: int) -> str:
    supported = SUPPORTED_FEATURES.get(feature)
    if supported is None:
        return f"Local controller {node_id} does not support this feature."
    return f"Local controller {node_id} only supports versions {supported[0]}-{supported[1]}"


def _why_not_lower(upgrade_type: int) -> str:
    if upgrade_type == UpgradeType.UNSAFE_DOWNGRADE:
        return "Unsafe metadata downgrade is not supported in this version."
    return "Refusing to perform the requested downgrade because it might delete metadata information."
