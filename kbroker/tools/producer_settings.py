"""A producer's configuration, as properties give it: Kafka's names, defaults and refusals (ProducerConfig)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from kbroker.tools.client_properties import SettingError, boolean, integer
from wire.compression import COMPRESSION_LEVELS, Compression

ALL: Final = -1
REQUESTS_UNDER_WAY_MAX: Final = 5


@dataclass(frozen=True, kw_only=True)
class ProducerSettings:
    """What of a producer's configuration is acted on. Names, defaults and units: Kafka's ProducerConfig."""

    acks: int = ALL
    batch_size_bytes: int = 16_384
    linger_ms: int = 5
    compression: Compression = Compression.NONE
    compression_level: int | None = None
    retries: int = 2**31 - 1
    retry_backoff_ms: int = 100
    retry_backoff_max_ms: int = 1_000
    request_timeout_ms: int = 30_000
    delivery_timeout_ms: int = 120_000
    max_block_ms: int = 60_000
    max_request_bytes: int = 1_048_576
    buffer_memory_bytes: int = 33_554_432
    metadata_max_age_ms: int = 300_000
    idempotent: bool = True
    ignore_keys: bool = False
    requests_under_way_max: int = REQUESTS_UNDER_WAY_MAX
    transactional_id: str | None = None
    transaction_timeout_ms: int = 60_000

    @classmethod
    def from_properties(cls, properties: Mapping[str, str]) -> ProducerSettings:
        """Read a producer's configuration; SettingError. Keys that it does not know are left alone."""
        compression = _compression(properties.get("compression.type", "none"))
        acks = _acks(properties.get("acks", "all"))
        retries = integer(properties, "retries", cls.retries, least=0)
        transactional_id = properties.get("transactional.id") or None
        under_way = integer(properties, "max.in.flight.requests.per.connection", REQUESTS_UNDER_WAY_MAX)
        return cls(
            acks=acks,
            batch_size_bytes=integer(properties, "batch.size", cls.batch_size_bytes, least=0),
            linger_ms=integer(properties, "linger.ms", cls.linger_ms, least=0),
            compression=compression,
            compression_level=_level(properties, compression),
            retries=retries,
            retry_backoff_ms=integer(properties, "retry.backoff.ms", cls.retry_backoff_ms, least=0),
            retry_backoff_max_ms=integer(
                properties, "retry.backoff.max.ms", cls.retry_backoff_max_ms, least=0
            ),
            request_timeout_ms=integer(properties, "request.timeout.ms", cls.request_timeout_ms, least=0),
            delivery_timeout_ms=integer(properties, "delivery.timeout.ms", cls.delivery_timeout_ms, least=0),
            max_block_ms=integer(properties, "max.block.ms", cls.max_block_ms, least=0),
            max_request_bytes=integer(properties, "max.request.size", cls.max_request_bytes, least=0),
            buffer_memory_bytes=integer(properties, "buffer.memory", cls.buffer_memory_bytes, least=0),
            metadata_max_age_ms=integer(properties, "metadata.max.age.ms", cls.metadata_max_age_ms, least=0),
            idempotent=_idempotent(properties, acks, retries, under_way, transactional_id),
            ignore_keys=boolean(properties, "partitioner.ignore.keys", False),
            requests_under_way_max=max(1, under_way),
            transactional_id=transactional_id,
            transaction_timeout_ms=integer(properties, "transaction.timeout.ms", cls.transaction_timeout_ms),
        )


def _compression(name: str) -> Compression:
    try:
        return Compression[name.upper()]
    except KeyError:
        raise SettingError(
            f"Invalid value {name} for configuration compression.type: "
            "String must be one of: none, gzip, snappy, lz4, zstd"
        ) from None


def _level(properties: Mapping[str, str], compression: Compression) -> int | None:
    key = f"compression.{compression.name.lower()}.level"
    levels = COMPRESSION_LEVELS.get(compression)
    if levels is None or key not in properties:
        return None
    level = integer(properties, key, levels.default)
    if not levels.allows(level):
        raise SettingError(
            f"Invalid value {level} for configuration {key}: "
            f"Value must be between {levels.minimum} and {levels.maximum}"
        )
    return level


def _acks(text: str) -> int:
    if text not in ("all", "-1", "0", "1"):
        raise SettingError(
            f"Invalid value {text} for configuration acks: String must be one of: all, -1, 0, 1"
        )
    return ALL if text == "all" else int(text)


def _idempotent(
    properties: Mapping[str, str], acks: int, retries: int, under_way: int, transactional_id: str | None
) -> bool:
    asked = properties.get("enable.idempotence")
    if asked is not None and asked.lower() == "false":
        if transactional_id is not None:
            raise SettingError("Cannot set a transactional.id without also enabling idempotence.")
        return False
    needed = asked is not None or transactional_id is not None
    if acks == ALL and retries > 0 and under_way <= REQUESTS_UNDER_WAY_MAX:
        return True
    if needed and acks != ALL:
        raise SettingError(
            "Must set acks to all in order to use the idempotent producer. Otherwise we cannot guarantee idempotence."
        )
    if needed and retries <= 0:
        raise SettingError("Must set retries to non-zero when using the idempotent producer.")
    if needed:
        raise SettingError(
            f"Must set max.in.flight.requests.per.connection to at most {REQUESTS_UNDER_WAY_MAX} "
            "to use the idempotent producer."
        )
    return False
